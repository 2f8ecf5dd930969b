"""Masked blocks: some blocks lose their type and atoms, and the model is to name them."""

from typing import Any

import numpy as np

from data.item import Item
from data.vocab import ATOM_MASK, FIRST_MASKABLE, MASK


def mask_blocks(item: Item, proportion: float, rng: np.random.Generator) -> Item:
    """Mask a share of the maskable blocks (at least one, when there is one) of both segments.

    A masked block becomes block type 1 with one atom of type 1 at its centre; its atom noise becomes the mean. Torsion
    bonds inside a masked block leave the loss: the atoms that they would turn are no longer there.
    """
    maskable = np.flatnonzero(item.B >= FIRST_MASKABLE)
    if not len(maskable):
        return _without_turning(item, masked_blocks=np.zeros(item.n_blocks, bool), masked_labels=np.zeros(0, np.int32))
    chosen = rng.permutation(maskable)[: max(1, int(proportion * len(maskable)))]
    masked = np.zeros(item.n_blocks, bool)
    masked[chosen] = True
    return apply_mask(item, masked)


def apply_mask(item: Item, masked: np.ndarray) -> Item:
    """Mask the blocks with masked [blocks] True (at least one)."""
    lengths = item.block_lengths[masked]
    first = (np.cumsum(item.block_lengths) - item.block_lengths)[masked]  # the atom that stays, at the block's centre
    in_masked = np.repeat(masked, item.block_lengths)
    keep = ~in_masked
    keep[first] = True
    number = np.cumsum(keep, dtype=np.int32) - np.int32(1)  # of an atom after masking: all of a masked block share one
    new_first, starts = number[first], np.cumsum(lengths) - lengths

    def reduced(values: np.ndarray) -> np.ndarray:
        out = values[keep]
        out[new_first] = np.add.reduceat(values[in_masked], starts, dtype=np.float64) / lengths[:, None]
        return out

    def replaced(values: np.ndarray, kept: np.ndarray | slice, where: np.ndarray, by: int) -> np.ndarray:
        out = values[kept].copy()
        out[where] = by
        return out

    everything = slice(None)
    changes: dict[str, Any] = {
        "X": reduced(item.X),
        "A": replaced(item.A, keep, new_first, ATOM_MASK),
        "B": replaced(item.B, everything, masked, MASK),
        "block_lengths": replaced(item.block_lengths, everything, masked, 1),
        "masked_blocks": masked,
        "masked_labels": item.B[masked].astype(np.int32) - FIRST_MASKABLE,
    }
    if item.atom_positions is not None:
        changes["atom_positions"] = replaced(item.atom_positions, keep, new_first, 0)
    if item.block_embeddings is not None:  # vectors of a block tell its type
        changes["block_embeddings"] = replaced(item.block_embeddings, everything, masked, 0)
    if item.atom_score is not None:
        changes["atom_score"] = reduced(item.atom_score)
    if item.tor_score is not None and item.tor_bonds is not None:
        bonds = number[item.tor_bonds].reshape(-1, 2)
        in_loss = bonds[:, 0] != bonds[:, 1]
        changes |= {"tor_bonds": bonds[in_loss], "tor_score": item.tor_score[in_loss]}
    return _without_turning(item, **changes)


def _without_turning(item: Item, **changes: Any) -> Item:
    """The item with changes, less what is needed to turn torsions (and all of it when no torsion noise was applied)."""
    if item.tor_score is None:
        changes["tor_bonds"] = None
    return item.with_(tor_depth=None, tor_moved_lengths=None, tor_moved=None, **changes)
