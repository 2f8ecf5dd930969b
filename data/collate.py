"""Items to one batch: flat arrays, graphs one after another, a global block at the start of every segment.

A global block (type 3) holds one global atom (type 2) at the mean of its segment's atoms. It is made here, so items and
shards know nothing of it. Everything is vectorised over the whole batch.

Keys of a batch (a `torch_geometric.data.Data`; integers int64, numbers float32):

    X [atoms, 3], A [atoms], atom_positions [atoms], B [blocks], block_lengths [blocks], segment_ids [blocks]
    lengths [graphs] blocks a graph, label [graphs] (NaN: none), modality [graphs] (-1: unknown), id: list of str
    targets [graphs, targets] (NaN: none)
    noisy_segment, tr_eps, atom_eps [graphs], tr_score, rot_score [graphs, 3], atom_score [atoms, 3]
    tor_edges [2, torsions] atoms, tor_score [torsions], tor_batch [torsions] graph of each
    masked_blocks [blocks] bool, masked_labels [masked], block_embeddings [blocks, D] (zero for global blocks)
    sizes: plain numbers that models plan with (`data.batch_sizes`), unknown blocks counted as ordinary and as global
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data

from configs.errors import DataError
from data.batch_sizes import batch_sizes
from data.item import FIELDS, Item
from data.vocab import ATOM_GLOBAL, GLOBAL

ALWAYS = ("X", "A", "B", "block_lengths", "segment_ids", "label", "modality")
OPTIONAL = (
    "noisy_segment",
    "tr_eps",
    "tr_score",
    "rot_score",
    "atom_eps",
    "atom_score",
    "tor_score",
    "masked_blocks",
    "masked_labels",
    "block_embeddings",
    "targets",
)


def _present(items: Sequence[Item]) -> list[str]:
    """The optional fields of these items; all items must have the same ones."""
    present = []
    for name in OPTIONAL:
        absent = [getattr(item, name) is None for item in items]
        if not any(absent):
            present.append(name)
        elif not all(absent):
            without = items[absent.index(True)].id
            raise DataError(f"has no {name}, but other items of the batch do", without)
    return present


def _joined(items: Sequence[Item], name: str) -> np.ndarray:
    """One array of a field for all items: values stacked, arrays one after another; int64, float32 or bool."""
    field = FIELDS[name]
    values = [getattr(item, name) for item in items]
    kind = {"f": np.float32, "b": np.bool_}.get(field.dtype.kind, np.int64)  # type: ignore[union-attr]
    try:
        if field.level == "item":
            return np.array(values, kind)
        return np.concatenate(values).astype(kind, copy=False)
    except ValueError as differ:
        raise DataError(f"{name} has different widths in one batch", *(item.id for item in items)) from differ


class _Layout:
    """Where the rows of blocks and atoms go when global ones are put before every segment."""

    def __init__(self, lengths: np.ndarray, block_lengths: np.ndarray, segment_ids: np.ndarray) -> None:
        graph = np.repeat(np.arange(len(lengths)), lengths)
        key = 2 * graph + segment_ids
        new_segment = np.empty(len(key), bool)
        new_segment[0] = True
        np.not_equal(key[1:], key[:-1], out=new_segment[1:])
        first_block = np.flatnonzero(new_segment)
        first_atom = (np.cumsum(block_lengths) - block_lengths)[first_block]
        n_segments = np.arange(len(first_block))
        self.segments_before = np.cumsum(new_segment)  # [blocks] global rows up to and with this block's segment
        self.first_atom, self.n_atoms = first_atom, int(block_lengths.sum())
        self.blocks = np.arange(len(key)) + self.segments_before
        self.atoms = np.arange(self.n_atoms) + np.repeat(self.segments_before, block_lengths)
        self.global_blocks, self.global_atoms = first_block + n_segments, first_atom + n_segments
        self.segment_graph, self.global_segments = graph[first_block], segment_ids[first_block]

    def spread(self, values: np.ndarray, at: np.ndarray, global_at: np.ndarray, global_values: Any) -> np.ndarray:
        """Rows `values` at places `at`, rows of the global ones between them."""
        out = np.empty((len(at) + len(global_at), *values.shape[1:]), values.dtype)
        out[at] = values
        out[global_at] = global_values
        return out

    def with_blocks(self, values: np.ndarray, global_values: Any) -> np.ndarray:
        return self.spread(values, self.blocks, self.global_blocks, global_values)

    def with_atoms(self, values: np.ndarray, global_values: Any) -> np.ndarray:
        return self.spread(values, self.atoms, self.global_atoms, global_values)

    def segment_mean(self, values: np.ndarray) -> np.ndarray:
        """[segments, 3] mean over the atoms of every segment, summed in float64."""
        sizes = np.diff(self.first_atom, append=self.n_atoms)
        return np.add.reduceat(values, self.first_atom, dtype=np.float64) / sizes[:, None]


def _torsions(items: Sequence[Item], layout: _Layout) -> dict[str, np.ndarray]:
    """tor_edges and tor_batch: bonds of all items with the atom numbers of the batch."""
    bonds = [np.zeros((0, 2), np.int32) if item.tor_bonds is None else item.tor_bonds for item in items]
    n_bonds = [len(b) for b in bonds]
    first_atom = np.cumsum([0] + [item.n_atoms for item in items[:-1]])
    shifted = np.concatenate(bonds).astype(np.int64) + np.repeat(first_atom, n_bonds)[:, None]
    return {
        "tor_edges": np.ascontiguousarray(layout.atoms[shifted].T),
        "tor_batch": np.repeat(np.arange(len(items)), n_bonds),
    }


def collate_arrays(items: Sequence[Item]) -> dict[str, np.ndarray]:
    """The batch of `collate_items` as numpy arrays.

    Raises:
        DataError: no items, or items that don't carry the same optional fields; names the item.
    """
    if not items:
        raise DataError("a batch needs at least one item")
    names = (*ALWAYS, *_present(items))
    batch = {name: _joined(items, name) for name in names}
    if all(item.atom_positions is not None for item in items):
        batch["atom_positions"] = _joined(items, "atom_positions")
    else:
        batch["atom_positions"] = np.zeros_like(batch["A"])
    lengths = np.array([item.n_blocks for item in items])
    layout = _Layout(lengths, batch["block_lengths"], batch["segment_ids"])
    if "tor_score" in batch:
        batch |= _torsions(items, layout)
    batch["lengths"] = lengths + np.bincount(layout.segment_graph, minlength=len(items))
    global_rows = {
        "B": GLOBAL,
        "A": ATOM_GLOBAL,
        "block_lengths": 1,
        "atom_positions": 0,
        "segment_ids": layout.global_segments,
        "masked_blocks": False,
        "block_embeddings": 0,
    }
    for name in ("X", "atom_score"):  # the global atom sits, and moves, with the mean of its segment
        if name in batch:
            global_rows[name] = layout.segment_mean(batch[name])
    for name, rows in global_rows.items():
        if name in batch:
            spread = layout.with_atoms if FIELDS[name].level == "atom" else layout.with_blocks
            batch[name] = spread(batch[name], rows)
    return batch


def collate_items(items: Sequence[Item]) -> Data:
    """Join items to one batch with the keys listed above; optional keys appear when all items carry them.

    Raises:
        DataError: no items, or items that don't carry the same optional fields; names the item.
    """
    arrays = collate_arrays(items)
    names = ("B", "block_lengths", "segment_ids", "lengths", "tor_batch", "noisy_segment")
    structure = {name: arrays.get(name) for name in names}
    sizes = [batch_sizes(**structure, unknown_is_special=special) for special in (False, True)]  # type: ignore[arg-type]
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return Data(**tensors, id=[item.id for item in items], sizes=sizes)
