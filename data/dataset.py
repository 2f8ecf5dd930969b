"""The data set a training loop sees: items of one or several sources, transformed with their own random numbers."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import overload

import numpy as np
from torch.utils.data import Dataset

from configs.errors import DataError
from data.arrow_items import COUNTED, TRAINING_COLUMNS
from data.given_targets import Values, read_targets
from data.item import Item
from data.shards import ShardReader, check_vocabulary

Transform = Callable[[Item, np.random.Generator], Item]
Source = str | Path | Sequence[Item]


def random_of(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers of one item in one epoch, whatever the number of workers and ranks."""
    return np.random.default_rng((seed, epoch, index))


class InterfaceDataset(Dataset):
    """Items by number, or by (epoch, number) as the batch sampler asks for them.

    Args:
        source: a folder of shards, a list of items, or a list of folders whose items are joined in that order.
        targets: name -> [items] measured values, or names of classes (text, or truth values), to learn in the place of
            the labels that the items have; None, NaN or "" is missing.
        transform: applied to every item with the random numbers of (seed, epoch, number); see `data.noise`.
        seed: of those random numbers.
        training: False: the epoch is taken as 0, so that every validation sees the same noise.
        vocabulary_fingerprint: refuse shards made with another vocabulary (default: they must only agree).

    Attributes:
        given: `targets`, read; None without them.
        counts: arrays [items]: n_atoms, n_blocks, n_torsions, modality, label, and `source` (which folder).

    Raises:
        DataError: shards that can't be read, or made with different vocabularies; an empty data set; targets of another
            number of items.
    """

    def __init__(
        self,
        source: Source | Sequence[str | Path],
        targets: Mapping[str, Values] | None = None,
        *,
        transform: Transform | None = None,
        seed: int = 0,
        training: bool = True,
        vocabulary_fingerprint: str | None = None,
    ) -> None:
        self.transform, self.seed, self.training = transform, seed, training
        self.parts: list[Sequence[Item]] = [
            ShardReader(part, TRAINING_COLUMNS) if isinstance(part, str | Path) else part for part in _parts_of(source)
        ]
        readers = [part for part in self.parts if isinstance(part, ShardReader)]
        for reader in readers:
            check_vocabulary(reader, vocabulary_fingerprint or readers[0].vocabulary_fingerprint)
        self.counts = _joined_counts(self.parts)
        self._ends = np.cumsum([len(part) for part in self.parts])
        if not len(self):
            raise DataError("holds no items", *(reader.path for reader in readers))
        self.given = None if targets is None else read_targets(targets, len(self))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def stored(self, index: int) -> Item:
        """Item number `index` as stored, without the transform."""
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        part = int(self._ends.searchsorted(index, side="right"))
        item = self.parts[part][index - (int(self._ends[part - 1]) if part else 0)]
        return item if self.given is None else item.with_(targets=self.given.values[index])

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        item = self.stored(index)
        if self.transform is None:
            return item
        return self.transform(item, random_of(self.seed, epoch if self.training else 0, index))

    def subset(self, indices: np.ndarray) -> "InterfaceDataset":
        """The items with these numbers, in this order, read when they are asked for."""
        chosen = copy(self)
        chosen.parts = [_Chosen(self, np.asarray(indices))]
        chosen.given = None if self.given is None else replace(self.given, values=self.given.values[indices])
        chosen.counts = {name: values[indices] for name, values in self.counts.items()}
        chosen.counts["source"] = np.zeros(len(indices), np.int8)
        chosen._ends = np.array([len(indices)])
        return chosen


class _Chosen(Sequence[Item]):
    """Some items of a data set, without its transform."""

    def __init__(self, dataset: InterfaceDataset, indices: np.ndarray) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self.dataset.stored(int(i)) for i in self.indices[index]]
        return self.dataset.stored(int(self.indices[index]))


def _parts_of(source: Source | Sequence[str | Path]) -> list[str | Path | Sequence[Item]]:
    if isinstance(source, str | Path) or not len(source):
        return [source]  # type: ignore[list-item]
    if all(isinstance(part, str | Path) for part in source):
        return list(source)  # type: ignore[arg-type]
    return [source]  # type: ignore[list-item]


def _counts_of_items(items: Sequence[Item]) -> dict[str, np.ndarray]:
    sizes = [item.counts() for item in items]
    levels = {"n_atoms": "atom", "n_blocks": "block", "n_torsions": "torsion"}
    counts = {name: np.array([size[levels[name]] for size in sizes], np.int32) for name in COUNTED}
    counts["modality"] = np.array([item.modality for item in items], np.int8)
    counts["label"] = np.array([item.label for item in items], np.float32)
    return counts


def _joined_counts(parts: Sequence[Sequence[Item]]) -> dict[str, np.ndarray]:
    of_parts = [part.counts if isinstance(part, ShardReader) else _counts_of_items(part) for part in parts]
    if len(parts) == 1:  # stays mapped: the counts of millions of items need no memory of their own
        joined = dict(of_parts[0])
    else:
        joined = {name: np.concatenate([counts[name] for counts in of_parts]) for name in of_parts[0]}
    joined["source"] = np.repeat(np.arange(len(parts), dtype=np.int8), [len(part) for part in parts])
    return joined
