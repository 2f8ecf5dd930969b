"""Rows into an atlas: all of a call or none, whatever happens meanwhile.

A part that is not larger than what is added is joined with it, so that there are few of them however often rows are
added, and a row is written again at most as often as the atlas doubles.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from configs.errors import DataError
from configs.files import TEMPORARY_PREFIX, atomic_file, sha256_of, write_json
from data.atlas import FORMAT, LIST, Atlas, Origin, Rows, library, unit

LOCK = ".lock"
MADE = re.compile(rf"rows-\d{{5,}}\.parquet|vectors-\d{{5,}}\.faiss|{re.escape(TEMPORARY_PREFIX)}.*")
"""Names of parts, and of files that are being written."""
Known = Literal["refuse", "replace", "skip"]
KNOWN: tuple[Known, ...] = get_args(Known)


def add(folder: str | Path, origin: Origin, rows: Rows, known: Known = "refuse") -> tuple[Atlas, int]:
    """Add rows to the atlas in a folder, or make it: all of them or none.

    Args:
        known: what happens to rows with an id that is there: refuse (nothing is added), replace the old ones, or skip.

    Returns:
        The atlas after it, and how many rows were written.

    Raises:
        DataError: no rows, another origin or width, known or repeated ids, vectors that are no directions, another
            build at work, or the folder holds something else.
    """
    if not len(rows):
        raise DataError("there are no rows to add", folder)
    folder, vectors = Path(folder), unit(rows.vectors, None, "vector", rows.ids)
    name, times = Counter(rows.ids).most_common(1)[0]
    if times > 1:
        raise DataError(f"{name!r} comes {times} times", "id", hint="every row needs an id of its own")
    rows = Rows(rows.ids, vectors, rows.columns)
    with building(folder):
        before = Atlas(folder) if (folder / LIST).exists() else None
        if before is None:
            described = {"format": FORMAT, "origin": asdict(origin), "width": vectors.shape[1], "next": 0, "parts": []}
            return _committed(folder, described, [], rows), len(rows)
        before.check(origin)
        if vectors.shape[1] != before.width:
            raise DataError(f"holds vectors of {before.width} numbers, these have {vectors.shape[1]}", folder)
        old = [name for name in rows.ids if name in before.places]
        if old and known == "refuse":
            hint = "--known replace puts the new rows in their place, --known skip leaves the old ones"
            raise DataError(f"has {len(old)} of {len(rows)} ids already, {old[0]!r} is one", folder, hint=hint)
        if old and known == "skip":
            rows = rows.taken(np.array([n for n, name in enumerate(rows.ids) if name not in before.places], int))
        if not len(rows):
            return before, 0
        return _committed(folder, before.listed, old if known == "replace" else [], rows), len(rows)


def _committed(folder: Path, described: Mapping[str, Any], gone: Sequence[str], rows: Rows) -> Atlas:
    """Write the rows as a new part, together with parts that lose rows or are not larger, and then the new list."""
    kept, joined, absent = list(described["parts"]), [rows], set(gone)
    for part in reversed(described["parts"]):
        held = None
        if absent:
            ids = pq.read_table(folder / part["rows"], columns=["id"])["id"].to_pylist()
            stay = np.array([n for n, name in enumerate(ids) if name not in absent], int)
            held = stay if len(stay) < len(ids) else None
        if held is not None or part["n"] <= sum(map(len, joined)):
            whole = _read(folder, part)
            joined.insert(0, whole if held is None else whole.taken(held))
            kept.remove(part)
    number = described["next"]
    part = _write(folder, number, Rows.joined(joined))
    write_json(folder / LIST, {**described, "parts": [*kept, part], "next": number + 1}, sealed=True)
    in_use = {name for part in [*kept, part] for name in part["sha256"]}
    for path in folder.iterdir():
        if MADE.fullmatch(path.name) and path.name not in in_use:  # of this build, or of one that was killed
            with suppress(OSError):  # another program has it open on a system that minds
                path.unlink()
    return Atlas(folder)


def _read(folder: Path, part: Mapping[str, Any]) -> Rows:
    table = pq.read_table(folder / part["rows"])
    index = library().read_index(str(folder / part["vectors"]))
    columns = {name: table[name].to_pylist() for name in table.column_names if name != "id"}
    return Rows(table["id"].to_pylist(), index.reconstruct_n(0, index.ntotal), columns)


def _write(folder: Path, number: int, rows: Rows) -> dict[str, Any]:
    """Store a part; returns its entry in the list."""
    faiss = library()
    names = f"rows-{number:05d}.parquet", f"vectors-{number:05d}.faiss"
    with atomic_file(folder / names[0]) as path:
        texts = {"id": rows.ids, **rows.columns}
        pq.write_table(pa.table({name: pa.array(values, pa.string()) for name, values in texts.items()}), path)
    index = faiss.IndexFlatIP(rows.vectors.shape[1])
    index.add(rows.vectors)
    with atomic_file(folder / names[1]) as path:
        faiss.write_index(index, str(path))
    checksums = {name: sha256_of(folder / name) for name in names}
    return {"rows": names[0], "vectors": names[1], "n": len(rows), "sha256": checksums}


@contextmanager
def building(folder: Path) -> Iterator[None]:
    """Keep other builds away from a folder; a folder that was made for it goes again when the build fails.

    What a first build left that was killed (its lock and parts, no list) is no obstacle.
    """
    if folder.is_dir() and not (folder / LIST).exists():
        there = {path.name for path in folder.iterdir()} - {LOCK}
        if there and not ((folder / LOCK).exists() and all(map(MADE.fullmatch, there))):
            raise DataError("is no atlas, and not empty", folder, hint="name a new folder")
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout as busy:
        raise DataError("another build is at work here", folder, hint="run it again when that has ended") from busy
    except BaseException:
        if made and not (folder / LIST).exists():
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        raise
