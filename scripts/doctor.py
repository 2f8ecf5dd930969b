"""What this installation is made of, what it lacks, and whether it computes the right numbers.

    ligare doctor
    ligare doctor --json > doctor.json

Tells versions, system, processor and devices, the compiled kernel, extras with the line that installs them, room on
disks, threads; and compares a tiny model with its recorded embeddings, in single and double precision and on every GPU.
Exit status: 0, or 1 when something is broken. Notes are no faults: the program works without what they name.
"""

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict

from configs.command import command
from configs.words import count_of
from scripts.examinations import BROKEN, EXAMINATIONS, NOTE, Finding

MARKS = {BROKEN: "BROKEN", NOTE: "note"}
WIDTH = 110


@command("doctor")
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    options = parser.parse_args(argv)
    found: list[Finding] = []
    for title, examine in EXAMINATIONS.items():
        here = list(examine())
        found += here
        if not options.json:
            print(in_words(title, here), flush=True)
    broken = [one for one in found if one.state == BROKEN]
    if options.json:
        print(json.dumps({"ok": not broken, "findings": [asdict(one) for one in found]}, indent=1))
    else:
        notes = sum(one.state == NOTE for one in found)
        told = ", ".join(one.name for one in broken)
        print(f"\nbroken: {told}" if broken else f"\nnothing is broken ({count_of(notes, 'note')})")
    return int(bool(broken))


def in_words(title: str, found: Sequence[Finding]) -> str:
    """A title, and a line for each finding; what to do about it on the next."""
    lines = [f"\n{title}"]
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        mark, space = MARKS.get(one.state, "ok"), " " * (10 + width)
        text = textwrap.fill(
            one.told, WIDTH, initial_indent=f"  {mark:<6}  {one.name:<{width}}  ", subsequent_indent="  " + space
        )
        lines.append(text)
        if one.hint:
            lines.append(f"  {space}-> {one.hint}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
