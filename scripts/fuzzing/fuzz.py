"""Damage real structure files at random and read them: every file must give a typed error or a sound item.

    python -m scripts.fuzzing.fuzz FOLDER_OR_FILE ... --count 10000 --seed 0 --n_jobs 2 [--out findings]

Files (PDB, mmCIF, SDF, MOL2, CSV; also gzip) are cut, bits flipped, lines swapped, columns moved, numbers replaced, and
pieces of other files put in. Each damaged file is read in a process with limits of time and memory, so that a crash or
a hang shows. What is neither a typed error nor an item that passes the checks of `scripts.fuzzing.soundness` is a
finding; the file that provoked it is kept in the folder --out. Exit status: 0 without findings, 1 with some, 2 for bad
arguments.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from configs.command import check_processes, command
from configs.errors import DataError
from scripts.fuzzing.workers import Outcome, Source, read_sources, run_mutants

SUFFIXES = (".pdb", ".ent", ".cif", ".pdbx", ".sdf", ".mol2", ".csv")


@command("fuzz")
def main(argv: Sequence[str] | None = None) -> int:
    """Damage, read, tell; see the exit status above."""
    options = arguments(argv)
    check_processes(options.n_jobs)
    sources = read_sources(files_of(options.files), options.max_bytes)
    if not sources:
        raise DataError("hold no structure, ligand or index files", *options.files)
    return fuzz(sources, options)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="files to damage, or folders of them")
    parser.add_argument("--count", type=int, default=10_000, help="damaged files (default 10000)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--start", type=int, default=0, help="number of the first (default 0)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    parser.add_argument("--n_jobs", type=int, default=1, help="processes (default 1; -1: all cores)")
    parser.add_argument("--max_bytes", type=int, default=200_000, help="larger files are left out (default 200000)")
    parser.add_argument("--seconds_per_file", type=float, default=30, help="then reading counts as a hang (default 30)")
    parser.add_argument("--memory", type=float, default=4, help="GiB that reading may take (default 4)")
    parser.add_argument("--out", type=Path, help="folder for the files of findings (default: a temporary one)")
    return parser.parse_args(argv)


def files_of(given: Sequence[Path]) -> Iterator[Path]:
    """The files named, and those in the folders named, sorted."""
    for path in given:
        if not path.exists():
            raise DataError("no such file or folder", path)
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (p for p in found if p.is_file() and (p == path or p.name.removesuffix(".gz").endswith(SUFFIXES)))


def fuzz(sources: list[Source], options: argparse.Namespace) -> int:
    """Run, report while running, and sum up; 1 when there are findings."""
    out = options.out or Path(tempfile.mkdtemp(prefix="fuzz-"))
    tally: Counter[str] = Counter()
    findings: list[Outcome] = []
    started = time.monotonic()
    for outcome in run_mutants(sources, options):
        tally[f"{outcome.format} {outcome.kind}"] += 1
        if outcome.kind not in ("item", "refused"):
            out.mkdir(parents=True, exist_ok=True)
            (out / outcome.name).write_bytes(outcome.content)
            findings.append(outcome)
            print(f"{outcome.name}: {outcome.kind}: {outcome.detail}", flush=True)
    print(f"{tally.total()} damaged files in {time.monotonic() - started:.0f} s")
    for name, number in sorted(tally.items()):
        print(f"  {name:<20}{number:>8}")
    print(f"{len(findings)} findings" + (f", kept in {out}" if findings else ""))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
