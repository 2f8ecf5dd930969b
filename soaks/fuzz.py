"""Damage real structure, ligand and index files at random and read them: a typed error or a sound item each time."""

import argparse
import math
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from configs.errors import DataError
from scripts.fuzzing.fuzz import files_of
from scripts.fuzzing.workers import read_sources, run_mutants
from soaks.registry import Options, Result, Tell

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("INTERFACE_DATA", ROOT.parent / "shared" / "data"))
COUNT = 40_000
MAX_BYTES = 200_000  # of a file, unpacked
# All files of a folder, or every so many-th.
FOLDERS = {"malformed": 1, "pretrain/structures": 40, "pl_affinity/ligands": 30, "crystals/clusters": 20}


def sources_in(data: Path) -> Iterator[Path]:
    """Files to damage."""
    for name, step in FOLDERS.items():
        if (data / name).is_dir():
            yield from list(files_of([data / name]))[::step]
    yield from sorted(data.glob("*/interfaces.csv"))


def run(options: Options, tell: Tell) -> Result:
    """Damage and read; the files that broke a promise are kept in the folder of the soak."""
    sources = read_sources(sources_in(DATA), MAX_BYTES)
    if not sources:
        raise DataError("no structures to damage", DATA, hint="set INTERFACE_DATA to a folder that has some")
    count = options.count or COUNT
    asked = argparse.Namespace(
        count=count,
        start=0,
        seed=options.seed,
        n_jobs=1,
        seconds=options.seconds or math.inf,
        seconds_per_file=30,
        memory=4,
    )
    tally: Counter[str] = Counter()
    wrong = []
    for done, outcome in enumerate(run_mutants(sources, asked), 1):
        tally[f"{outcome.format}: {outcome.kind}"] += 1
        if outcome.kind not in ("item", "refused"):
            (options.folder / outcome.name).write_bytes(outcome.content)
            wrong.append(f"{outcome.name}: {outcome.kind}: {outcome.detail}")
        tell(done, count, f"{len(wrong)} findings")
    return Result({"files damaged from": len(sources), "damaged": tally.total(), **dict(sorted(tally.items()))}, wrong)
