"""Parts of a data set in the making: a few structure files each, made by one process and complete or absent.

Every part is a small data set of its own in OUT/.parts. Its manifest names what it was made of (a key of the rows, the
files' sizes and times, the options and the format), so that a later run takes up the parts that still hold and makes
the others again. A part is written under a name of its own and renamed: two processes that make the same one, because
the first was thought to be lost, don't meet.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from configs.errors import DataError
from data.failures import Failure
from data.index import Row
from data.item import Item
from data.prepare import Done, PrepareOptions, Task, process_task, refused_task
from data.shard_files import MANIFEST, SCHEMA_VERSION, read_manifest
from data.shards import ShardReader, write_part
from data.vocab import UNKNOWN, Vocabulary

PARTS = ".parts"
FILES_A_PART, MOST_FILES_A_PART, MANY_PARTS = 16, 256, 4096
FORMAT = 2  # of the items made; a change of the code that changes items raises it


def files_a_part(n_files: int) -> int:
    """How many files make a part: few, so that little is lost, but not so few that a large set has too many parts."""
    return min(max(FILES_A_PART, n_files // MANY_PARTS), MOST_FILES_A_PART)


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
    return {name: getattr(row, name) for name in Row.__dataclass_fields__ if name != "targets" or row.targets}


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return 0, 0
    return found.st_size, found.st_mtime_ns


def is_complete(folder: Path, key: str) -> bool:
    """Whether a part is there, whole and made of what `key` says; any other remains of it are removed."""
    if not folder.exists():
        return False
    try:
        extra = ShardReader(folder, verify=True).manifest["extra"]
        if extra.get("key") == key and "unknown" in extra:
            return True
    except DataError:
        pass  # a damaged part is made again
    shutil.rmtree(folder, ignore_errors=True)
    return False


def make_part(
    chunk: Sequence[Task],
    root: Path,
    folder: Path,
    key: str,
    options: PrepareOptions,
    refused: Mapping[int, str] | None = None,
    tell: Callable[[int], Any] = lambda _: None,
) -> list[Failure]:
    """Make one part; return its failures.

    Args:
        refused: number of a task in `chunk` -> reason why it isn't tried (again). tell: called with the number of each
            task before it is begun, and with -1 before the part is written.
    """
    vocabulary = options.load_vocabulary()
    done: list[Done] = []
    for number, task in enumerate(chunk):
        tell(number)
        reason = (refused or {}).get(number)
        done += process_task(task, root, options) if reason is None else refused_task(task, reason)
    tell(-1)
    done.sort(key=lambda d: d.place)
    items = [d for d in done if isinstance(d.result, Item)]
    failures = [(*d.place, *d.result) for d in done if isinstance(d.result, Failure)]
    results = [d.result for d in items if isinstance(d.result, Item)]
    extra = {
        "key": key,
        "places": [d.place for d in items],
        "failures": failures,
        "unknown": Counter(name for item in results for name in unknown_names(item)),
    }
    private = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))  # fails when the run is over and gone
    write_part(private, results, vocabulary.fingerprint, vocabulary=vocabulary.name, extra=extra)
    _put(private, folder, key)
    return [Failure(*row[2:]) for row in failures]


def _put(private: Path, folder: Path, key: str) -> None:
    """Give a finished part its name, unless another process was faster."""
    try:
        os.replace(private, folder)
    except OSError:
        if not (folder / MANIFEST).exists() or read_manifest(folder)["extra"].get("key") != key:
            raise
        shutil.rmtree(private, ignore_errors=True)


def unknown_names(item: Item) -> Iterator[str]:
    """Residue name of every block of unknown type."""
    names = item.block_resname or []
    return (names[i] for i in (item.B == UNKNOWN).nonzero()[0].tolist())
