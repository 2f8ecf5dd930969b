"""What training never saw, blocks and kinds of complexes: where a prediction should not be trusted."""

from collections.abc import Collection, Iterable
from typing import Literal

import numpy as np

from configs.errors import DataError
from data.dataset import InterfaceDataset
from data.item import Item
from data.shards import ShardReader
from data.vocab import FIRST_MASKABLE, MODALITIES

Weight = Literal["blocks", "atoms"]
N_TYPES = 2**16
"""Block types are stored in two bytes."""


def seen_blocks(dataset: InterfaceDataset) -> frozenset[int]:
    """Block types of the items of a data set, without the special ones (padding, mask, unknown, global).

    Whole items count, whatever a training crops. Of shards only the column of block types is read, file by file: a
    million items of 57 blocks take a few seconds.
    """
    there = np.zeros(N_TYPES, bool)
    for part in dataset.parts:
        for types in _types_of(part):
            there |= np.bincount(types, minlength=N_TYPES)[:N_TYPES] > 0
    return frozenset(np.flatnonzero(there).tolist()) - frozenset(range(FIRST_MASKABLE))


def seen_kinds(dataset: InterfaceDataset) -> dict[str, int]:
    """Kind of complex (`data.vocab.MODALITIES`) -> number of items of a data set; those of unknown kind don't count."""
    kinds, numbers = np.unique(dataset.counts["modality"], return_counts=True)
    return {MODALITIES[kind]: number for kind, number in zip(kinds.tolist(), numbers.tolist()) if kind >= 0}


def _types_of(part: object) -> Iterable[np.ndarray]:
    if isinstance(part, ShardReader):
        columns = (part.column(file, "B") for file in range(len(part.manifest["files"])))
        return (column.flatten().to_numpy() for column in columns)
    return (np.asarray(item.B) for item in part)  # type: ignore[attr-defined]


def unknown_fraction(item: Item, vocab: Collection[int], weight: Weight = "blocks") -> float:
    """Share of an item's blocks, or of its atoms, that is of block types which are not in a vocabulary.

    Args:
        vocab: block types seen in training (`seen_blocks`). A type without a name never counts as seen.
        weight: a block counts one (`blocks`), or as many as it has atoms (`atoms`).

    Raises:
        DataError: the item has no blocks.
        ValueError: another weight.
    """
    if weight not in ("blocks", "atoms"):
        raise ValueError(f"weight must be blocks or atoms, got {weight!r}")
    if not item.n_blocks:
        raise DataError("has no blocks, so nothing is known of it", item.id)
    amounts = np.ones(item.n_blocks) if weight == "blocks" else np.asarray(item.block_lengths, float)
    seen = np.array([number >= FIRST_MASKABLE and number in vocab for number in np.asarray(item.B, int).tolist()])
    return float(amounts[~seen].sum() / amounts.sum())
