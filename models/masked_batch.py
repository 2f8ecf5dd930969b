"""Copies of an item, each with one block masked, as a batch that is made without making the items."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.collate import collate_arrays
from data.item import Item
from data.vocab import ATOM_MASK, GLOBAL, MASK


class MaskedBatch(NamedTuple):
    """Copies of an item as a batch.

    Attributes:
        batch: what `collate_items` makes of `apply_mask` of each copy, to the last bit but for global positions.
        atom: [atoms] which atom of the collated item each is. is_mask: [atoms] whether it is a masked block's only one.
        copy: [atoms] number of the copy.
    """

    batch: dict[str, Tensor]
    atom: np.ndarray
    is_mask: np.ndarray
    copy: np.ndarray


class CollatedItem:
    """An item as a batch of one, from which batches of masked copies are made.

    Attributes:
        arrays: of `collate_arrays`. block_of_atom: [atoms], first_atom: [blocks] with the global ones.
        ordinary: [item's blocks] where they stand among the blocks. centre: [blocks, 3] where a masked one's atom is.
    """

    FIELDS = ("X", "A", "B", "block_lengths", "segment_ids", "lengths", "modality", "block_embeddings")

    def __init__(self, item: Item) -> None:
        found = collate_arrays([item])
        self.arrays = {name: found[name] for name in self.FIELDS if name in found}
        lengths = self.arrays["block_lengths"]
        self.n_atoms, self.n_blocks = len(self.arrays["A"]), len(lengths)
        self.block_of_atom = np.repeat(np.arange(self.n_blocks), lengths)
        self.first_atom = np.cumsum(lengths) - lengths
        self.ordinary = np.flatnonzero(self.arrays["B"] != GLOBAL)
        sums = np.add.reduceat(self.arrays["X"], self.first_atom, dtype=np.float64)
        self.centre = (sums / lengths[:, None]).astype(np.float32)

    def batch(self) -> dict[str, Tensor]:
        return {name: torch.from_numpy(values) for name, values in self.arrays.items()}

    def masked(self, blocks: np.ndarray) -> MaskedBatch:
        """A copy for each of these blocks [copies] (numbers among all blocks), which it masks."""
        a, n = self.arrays, len(blocks)
        inside = self.block_of_atom == blocks[:, None]
        is_mask = np.zeros_like(inside)
        is_mask[np.arange(n), self.first_atom[blocks]] = True
        copy, atom = np.nonzero(~inside | is_mask)
        mask = is_mask[copy, atom]
        X, A = a["X"][atom], np.where(mask, ATOM_MASK, a["A"][atom])
        X[mask] = self.centre[blocks]
        arrays = {name: np.concatenate([a[name]] * n) for name in self.FIELDS if name in a and name not in ("X", "A")}
        at = np.arange(n) * self.n_blocks + blocks
        arrays |= {"X": X, "A": A}
        arrays["B"][at], arrays["block_lengths"][at] = MASK, 1
        if "block_embeddings" in arrays:
            arrays["block_embeddings"][at] = 0
        self._move_global(arrays, blocks)
        return MaskedBatch({k: torch.from_numpy(v) for k, v in arrays.items()}, atom, mask, copy)

    def _move_global(self, arrays: dict[str, np.ndarray], blocks: np.ndarray) -> None:
        """The global atom of a masked segment lies at the mean of what is left."""
        a = self.arrays
        segment_of_atom = np.repeat(a["segment_ids"], a["block_lengths"])
        real = np.isin(self.block_of_atom, self.ordinary)
        first = np.cumsum(arrays["block_lengths"]) - arrays["block_lengths"]
        X = a["X"].astype(np.float64)
        lengths, segments = a["block_lengths"][blocks], a["segment_ids"][blocks]
        inside = np.add.reduceat(X, self.first_atom)[blocks]
        for number in np.flatnonzero(a["B"] == GLOBAL):
            of_segment = real & (segment_of_atom == a["segment_ids"][number])
            total, count = X[of_segment].sum(0), int(of_segment.sum())
            moved = np.flatnonzero(segments == a["segment_ids"][number])
            left = (total - inside[moved] + self.centre[blocks[moved]]) / (count + 1 - lengths[moved])[:, None]
            arrays["X"][first[moved * self.n_blocks + number]] = left
