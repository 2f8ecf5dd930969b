"""Structure files to a data set on many processes: parts that survive an interruption (`data.parts`), made here or on a
cluster (`data.backends`), then one data set in the given order (`data.join_parts`)."""

import fcntl
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from configs.errors import DataError
from data.backends import Backend
from data.failures import Failure, append_failures, read_failures, write_failures
from data.join_parts import copy_joined, survey
from data.part_process import order_of
from data.parts import PARTS, files_a_part, is_complete, key_of
from data.prepare import PrepareOptions, Task
from data.shard_files import MANIFEST, read_manifest
from data.shards import ShardReader, ShardWriter
from data.supervise import Order
from data.vocab import MODALITIES, Vocabulary

FAILURES = "failures.csv"
TOLD = 3  # failures in a report


class Report(NamedTuple):
    """What a run made.

    Attributes:
        made, refused: number of rows by modality. failures: the first refused rows. unknown: residue name -> number of
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
    backend: Backend | None = None,
    progress: bool = True,
    label_facts: Mapping[str, Any] | None = None,
) -> Report:
    """Make the data set of some tasks in folder `out`; a run that was interrupted is continued.

    The items are in index order (or by file and order of discovery), whatever the backend. Rows that give no item are
    listed in `out`/failures.csv: while the run goes on as they come, at its end in the order of the index.

    Args:
        backend: where to work (default: one process here). Workers of a cluster must see `root` and `out` by the same
            paths. label_facts: what the labels are (`targets`, `classes`, `label_unit`), kept in the manifest.

    Raises:
        DataError: `out` holds a data set of other input or options, another run is making it, or no task gave an item.
    """
    vocabulary = options.load_vocabulary()
    size = files_a_part(len(tasks))
    chunks = [tasks[i : i + size] for i in range(0, len(tasks), size)]
    keys = [key_of(chunk, root, options, vocabulary) for chunk in chunks]
    facts = dict(label_facts or {})
    whole = hashlib.sha256(("".join(keys) + (json.dumps(facts) if facts else "")).encode()).hexdigest()
    if (out / MANIFEST).exists():
        if read_manifest(out)["extra"].get("key") == whole:
            return _report(out)
        hint = "choose another --out_path or delete this one"
        raise DataError("holds a data set of other rows, files or options", out, hint=hint)
    folders = [out / PARTS / f"part-{i:06d}" for i in range(len(chunks))]
    with _alone(out):
        _make_parts(chunks, keys, folders, root, options, backend or Backend(), progress)
        _join(folders, out, {"key": whole} | facts, options, vocabulary)
    return _report(out)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep other runs on this machine from the same folder."""
    (out / PARTS).mkdir(parents=True, exist_ok=True)
    with open(out / PARTS / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            raise DataError("another run is making this data set", out) from taken
        yield


def _make_parts(
    chunks: Sequence[Sequence[Task]],
    keys: Sequence[str],
    folders: Sequence[Path],
    root: Path,
    options: PrepareOptions,
    backend: Backend,
    progress: bool,
) -> None:
    """Make the parts that are not there yet."""
    waiting = [i for i, folder in enumerate(folders) if not is_complete(folder, keys[i])]
    failures = folders[0].parent.parent / FAILURES if folders else Path()
    ready = sorted({*range(len(folders))} - {*waiting})
    if folders:
        write_failures(failures, survey([folders[i] for i in ready]).failures)
    there = replace(options, vocabulary=_absolute(options.vocabulary))
    orders = (
        Order(
            i,
            order_of(chunks[i], root.absolute(), folders[i].absolute(), keys[i], there),
            tuple(task.path for task in (chunks[i][0], chunks[i][-1])),
        )
        for i in waiting
    )
    with tqdm(total=sum(map(len, chunks)), unit=" files", disable=not progress) as bar:
        bar.update(sum(len(chunks[i]) for i in ready))
        for made in backend.make(orders) if waiting else ():
            if not (folders[made.number] / MANIFEST).exists():
                hint = "--out_path must be the same folder on all machines"
                raise DataError("a worker made this part, but it isn't here", folders[made.number], hint=hint)
            append_failures(failures, made.failures)
            bar.update(len(chunks[made.number]))


def _absolute(vocabulary: str) -> str:
    """The same vocabulary for a process with another working folder."""
    return str(Path(vocabulary).resolve()) if Path(vocabulary).is_file() else vocabulary


def _join(
    folders: list[Path], out: Path, facts: dict[str, Any], options: PrepareOptions, vocabulary: Vocabulary
) -> None:
    joined = survey(folders)
    write_failures(out / FAILURES, joined.failures)
    if not len(joined.part):
        shutil.rmtree(out / PARTS)
        first = f"; the first of {len(joined.failures)} reasons: {joined.failures[0].reason}" if joined.failures else ""
        raise DataError(f"no interface could be made{first}", hint=f"all are in {out / FAILURES}")
    extra = facts | {"options": asdict(options), "refused": len(joined.failures), "unknown": joined.unknown}
    with ShardWriter(
        out, vocabulary.fingerprint, vocabulary=vocabulary.name, fragmentation_method=vocabulary.name, extra=extra
    ) as writer:
        copy_joined(joined, folders, writer)
    shutil.rmtree(out / PARTS)


def _report(out: Path) -> Report:
    reader = ShardReader(out, verify=False)
    numbers, counts = np.unique(reader.counts["modality"], return_counts=True)
    made = Counter({MODALITIES[m]: n for m, n in zip(numbers.tolist(), counts.tolist())})
    refused, first = Counter[str](), list[Failure]()
    for failure in read_failures(out / FAILURES):
        refused[failure.modality] += 1
        if len(first) < TOLD:
            first.append(failure)
    return Report(made, refused, first, Counter(reader.manifest["extra"]["unknown"]))
