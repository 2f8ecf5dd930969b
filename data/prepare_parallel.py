"""Tasks to a data set on many processes: parts that survive an interruption, then one data set in the given order.

Every part is a small data set of its own in OUT/.parts, complete when its manifest is there. Its manifest names what
it was made of (a key of the rows, the files' sizes and times, the options and the format), so a second run takes up
the parts that still hold and makes the others again.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from joblib import Parallel, delayed
from tqdm import tqdm

from configs.errors import DataError
from data.failures import Failure, write_failures
from data.index import Row
from data.item import Item
from data.prepare import PrepareOptions, Task, process_task
from data.shard_files import MANIFEST, SCHEMA_VERSION
from data.shards import ShardReader, ShardWriter, write_part
from data.vocab import MODALITIES, UNKNOWN, Vocabulary

PARTS = ".parts"
FILES_A_PART = 16
FORMAT = 2  # of the items made; a change of the code that changes items raises it


class Report(NamedTuple):
    """What a run made.

    Attributes:
        made, refused: number of rows by modality. failures: the refused rows. unknown: residue name -> number of
        blocks of unknown type.
    """

    made: Counter[str]
    refused: Counter[str]
    failures: list[Failure]
    unknown: Counter[str]


def prepare(
    tasks: Sequence[Task],
    root: Path,
    out: Path,
    options: PrepareOptions,
    n_jobs: int = 1,
    progress: bool = True,
    label_facts: Mapping[str, Any] | None = None,
) -> Report:
    """Make the data set of some tasks in folder `out`; a run that was interrupted is continued.

    The items are in index order (or by file and order of discovery), whatever `n_jobs`. Rows that give no item are
    listed in `out`/failures.csv.

    Args:
        label_facts: what the labels are (`targets`, `classes`, `label_unit`), kept in the manifest.

    Raises:
        DataError: `out` holds a data set of other input or options, or no task gave an item.
    """
    vocabulary = options.load_vocabulary()
    chunks = [tasks[i : i + FILES_A_PART] for i in range(0, len(tasks), FILES_A_PART)]
    keys = [key_of(chunk, root, options, vocabulary) for chunk in chunks]
    facts = dict(label_facts or {})
    whole = hashlib.sha256(("".join(keys) + (json.dumps(facts) if facts else "")).encode()).hexdigest()
    if (out / MANIFEST).exists():
        if ShardReader(out, verify=False).manifest["extra"].get("key") == whole:
            return _report(out)
        hint = "choose another --out_path or delete this one"
        raise DataError("holds a data set of other rows, files or options", out, hint=hint)
    folders = [out / PARTS / f"part-{i:06d}" for i in range(len(chunks))]
    waiting = [i for i, folder in enumerate(folders) if not is_complete(folder, keys[i])]
    calls = (delayed(make_part)(chunks[i], root, folders[i], keys[i], options) for i in waiting)
    with tqdm(total=len(tasks), unit=" files", disable=not progress) as bar:
        bar.update(len(tasks) - sum(len(chunks[i]) for i in waiting))
        for done in Parallel(n_jobs=n_jobs, return_as="generator_unordered")(calls):
            bar.update(done)
    return _join(folders, out, {"key": whole} | facts, options, vocabulary)


def key_of(chunk: Sequence[Task], root: Path, options: PrepareOptions, vocabulary: Vocabulary) -> str:
    """Hash of everything that the items of some tasks are made of."""
    names = dict.fromkeys(name for t in chunk for name in (t.path, *(row.ligand_path for row in t.rows or ())) if name)
    content = {
        "format": [FORMAT, SCHEMA_VERSION],
        "options": asdict(options),
        "vocabulary": vocabulary.fingerprint,
        "tasks": [(t.number, t.path, None if t.rows is None else [_content(row) for row in t.rows]) for t in chunk],
        "files": [_state(root / name) for name in names],
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _content(row: Row) -> dict[str, Any]:
    """What a row says; without targets as before there were any, so that older data sets stay those of their rows."""
    return {name: value for name, value in asdict(row).items() if name != "targets" or value}


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return 0, 0
    return found.st_size, found.st_mtime_ns


def is_complete(folder: Path, key: str) -> bool:
    """Whether a part is there, whole and made of what `key` says; any other remains of it are removed."""
    try:
        if (folder / MANIFEST).exists() and ShardReader(folder).manifest["extra"].get("key") == key:
            return True
    except DataError:
        pass  # a damaged part is made again
    shutil.rmtree(folder, ignore_errors=True)
    return False


def make_part(chunk: Sequence[Task], root: Path, folder: Path, key: str, options: PrepareOptions) -> int:
    """Make one part; return its number of files."""
    vocabulary = options.load_vocabulary()
    done = sorted((d for task in chunk for d in process_task(task, root, options)), key=lambda d: d.place)
    items = [d for d in done if isinstance(d.result, Item)]
    failures = [(*d.place, *d.result) for d in done if isinstance(d.result, Failure)]
    extra: dict[str, Any] = {"key": key, "places": [d.place for d in items], "failures": failures}
    results = [d.result for d in items if isinstance(d.result, Item)]
    write_part(folder, results, vocabulary.fingerprint, vocabulary=vocabulary.name, extra=extra)
    return len(chunk)


def _join(
    folders: list[Path], out: Path, facts: dict[str, Any], options: PrepareOptions, vocabulary: Vocabulary
) -> Report:
    readers = [ShardReader(folder, verify=False) for folder in folders]
    places = sorted(
        (tuple(place), part, i)
        for part, reader in enumerate(readers)
        for i, place in enumerate(reader.manifest["extra"]["places"])
    )
    listed = sorted(tuple(row) for reader in readers for row in reader.manifest["extra"]["failures"])
    failures = [Failure(*row[2:]) for row in listed]
    write_failures(out / "failures.csv", failures)
    if not places:
        shutil.rmtree(out / PARTS)
        first = f"; the first of {len(failures)} reasons: {failures[0].reason}" if failures else ""
        raise DataError(f"no interface could be made{first}", hint=f"all are in {out / 'failures.csv'}")
    unknown: Counter[str] = Counter()
    extra = facts | {"options": asdict(options), "failures": [list(f) for f in failures], "unknown": unknown}
    writer = ShardWriter(
        out, vocabulary.fingerprint, vocabulary=vocabulary.name, fragmentation_method=vocabulary.name, extra=extra
    )
    with writer:
        for item in (readers[part][i] for _, part, i in places):
            unknown.update(unknown_names(item))
            writer.add(item)
    shutil.rmtree(out / PARTS)
    return _report(out)


def unknown_names(item: Item) -> Iterator[str]:
    """Residue name of every block of unknown type."""
    names = item.block_resname or []
    return (names[i] for i in (item.B == UNKNOWN).nonzero()[0].tolist())


def _report(out: Path) -> Report:
    reader = ShardReader(out, verify=False)
    extra = reader.manifest["extra"]
    failures = [Failure(*row) for row in extra["failures"]]
    made = Counter(MODALITIES[m] for m in reader.counts["modality"].tolist())
    return Report(made, Counter(f.modality for f in failures), failures, Counter(extra["unknown"]))
