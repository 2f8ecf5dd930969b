"""Make faults for real, for long: does everything that docs/reliability.md promises hold?

    python scripts/soak.py kill files --out soak.md
    python scripts/soak.py all

Ends with status 1 when a promise was broken. `make soak` runs all of them.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]  # soaks/ is no installed package

from configs.command import command  # noqa: E402
from configs.files import atomic_write  # noqa: E402
from soaks.registry import SOAKS, Options, Result, add_options  # noqa: E402


@command("soak")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    names = list(SOAKS) if "all" in options.soaks else list(dict.fromkeys(options.soaks))
    folder = options.folder or Path(tempfile.mkdtemp(prefix="ligare-soak-"))
    told: dict[str, dict[str, Any]] = {}
    for name in names:
        place = folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        start = time.perf_counter()
        asked = Options(place, options.count, options.seconds, options.seed, tuple(options.ranks))
        result = run(name, asked)
        told[name] = {"figures": result.figures, "wrong": result.wrong, "seconds": time.perf_counter() - start}
        print(in_words(name, told[name]))
        if options.out is not None:  # after each, since the next one may take an hour
            as_json = options.out.suffix == ".json"
            atomic_write(options.out, json.dumps(told, indent=1) + "\n" if as_json else report(told))
    if options.folder is None and not any(one["wrong"] for one in told.values()):
        shutil.rmtree(folder)
    else:
        print(f"files are in {folder}")
    return int(any(one["wrong"] for one in told.values()))


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    about = "\n".join(f"  {name:<10}{soak.about}" for name, soak in SOAKS.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\n{about}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("soaks", nargs="+", choices=[*SOAKS, "all"], help="which to run")
    parser.add_argument("--out", type=Path, help="report to write: .json, or else Markdown")
    parser.add_argument("--folder", type=Path, help="for the files of the soaks; kept (default: a temporary one)")
    add_options(parser)
    return parser.parse_args(argv)


def run(name: str, options: Options) -> Result:
    """One soak under a progress bar."""
    with tqdm(desc=name, disable=not sys.stderr.isatty()) as bar:

        def tell(done: int, total: int, known: str) -> None:
            bar.total = total
            bar.update(done - bar.n)
            bar.set_postfix_str(known)

        return SOAKS[name].run(options, tell)


def in_words(name: str, told: dict[str, Any]) -> str:
    """A soak's figures, and what was wrong, on a few lines."""
    lines = [f"{name}: {'BROKEN PROMISES' if told['wrong'] else 'everything held'} ({told['seconds']:.0f} s)"]
    lines += [f"  {what}: {figure}" for what, figure in told["figures"].items()]
    return "\n".join(lines + [f"  WRONG: {one}" for one in told["wrong"]])


def report(told: dict[str, dict[str, Any]]) -> str:
    """All soaks as Markdown tables."""
    parts = ["# Soak"]
    for name, one in told.items():
        rows = [f"| {what} | {figure} |" for what, figure in one["figures"].items()]
        verdict = [f"- **{what}**" for what in one["wrong"]] or ["Everything held."]
        parts += [f"## {name}", f"{SOAKS[name].about}; {one['seconds']:.0f} s", "\n".join(verdict)]
        parts.append("\n".join(["| | |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
