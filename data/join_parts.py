"""Finished parts to one data set in the order of the input, without holding its items."""

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.failures import Failure
from data.shard_files import read_manifest
from data.shards import ShardReader, ShardWriter

OPEN_PARTS = 512  # a system allows a process some 65,000 mapped files


class Joined(NamedTuple):
    """What parts hold together.

    Attributes:
        part, number: [items] part of each item, and its number there, in the order of the input.
        failures: in that order, too. unknown: residue name -> number of blocks of unknown type.
    """

    part: np.ndarray
    number: np.ndarray
    failures: list[Failure]
    unknown: Counter[str]


def survey(folders: Sequence[Path]) -> Joined:
    """Read the manifests of all parts."""
    places, failures, unknown = [], [], Counter[str]()
    for folder in folders:
        extra = read_manifest(folder)["extra"]
        places.append(np.array(extra["places"], np.int64).reshape(-1, 2))
        failures += extra["failures"]
        unknown.update(extra["unknown"])
    sizes = [len(found) for found in places]
    every = np.concatenate([*places, np.zeros((0, 2), np.int64)])
    order = np.lexsort((every[:, 1], every[:, 0]))
    part = np.repeat(np.arange(len(folders)), sizes)[order]
    index = np.concatenate([*map(np.arange, sizes), np.zeros(0, np.int64)])[order]
    failures.sort(key=lambda row: row[:2])
    return Joined(part, index, [Failure(*row[2:]) for row in failures], unknown)


def copy_joined(joined: Joined, folders: Sequence[Path], writer: ShardWriter) -> None:
    """Write the items of all parts, in order; neighbours of one part are copied in one go."""
    readers: OrderedDict[int, ShardReader] = OrderedDict()
    for part, start, stop in runs(joined.part, joined.number):
        if part not in readers:
            readers[part] = ShardReader(folders[part], verify=False)
            if len(readers) > OPEN_PARTS:
                readers.popitem(last=False)
        readers.move_to_end(part)
        before = 0
        for file, entry in enumerate(readers[part].manifest["files"]):
            first, last = max(start - before, 0), min(stop - before, entry["items"])
            if first < last:
                writer.add_batch(readers[part].batch(file).slice(first, last - first))
            before += entry["items"]


def runs(part: np.ndarray, index: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """(part, start, stop) of items that follow each other in a part, too."""
    if not len(part):
        return
    breaks = np.flatnonzero((np.diff(part) != 0) | (np.diff(index) != 1)) + 1
    for start, stop in zip([0, *breaks.tolist()], [*breaks.tolist(), len(part)]):
        yield int(part[start]), int(index[start]), int(index[start]) + stop - start
