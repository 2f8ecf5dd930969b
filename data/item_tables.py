"""Where the blocks and atoms of items come from, as columns of long tables."""

from collections.abc import Sequence

import numpy as np

from data.inputs import InputItem
from data.vocab import ELEMENTS, Vocabulary

ORIGIN = {"block_chain": "", "block_resid": -1, "block_icode": "", "block_resname": ""}
"""Fields of items that say where a block comes from, and what stands for them where an item has none."""
NO_ELEMENT = "X"


def block_columns(entries: Sequence[InputItem], vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """A row for each block of some items.

    Returns:
        id; block (its number in the item, from 0), segment_ids, block_chain, block_resid, block_icode and
        block_resname (author numbering), block_type (name in the vocabulary).
    """
    lengths = [entry.item.n_blocks for entry in entries]
    found = {
        "id": np.repeat(np.array([entry.name for entry in entries], object), lengths),
        "block": np.concatenate([np.arange(n) for n in lengths]),
        "segment_ids": np.concatenate([entry.item.segment_ids for entry in entries]),
    }
    for name, nothing in ORIGIN.items():
        values = [getattr(entry.item, name) for entry in entries]
        kind = object if nothing == "" else np.int32
        parts = [np.full(n, nothing, kind) if value is None else value for value, n in zip(values, lengths)]
        found[name] = np.concatenate([np.asarray(part, kind) for part in parts])
    names = np.array(vocabulary.blocks, object)
    found["block_type"] = names[np.concatenate([entry.item.B for entry in entries]).astype(np.int64)]
    return found


def atom_columns(entries: Sequence[InputItem], vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """A row for each atom of some items.

    Returns:
        the columns of its block; atom (its number in the item, from 0), atom_name (in the structure file; "" where it
        is not known, for atoms of shards or of a ligand file) and element.
    """
    lengths = np.concatenate([entry.item.block_lengths for entry in entries])
    found = {name: np.repeat(values, lengths) for name, values in block_columns(entries, vocabulary).items()}
    sizes = [entry.item.n_atoms for entry in entries]
    names = [entry.atom_names if entry.atom_names is not None else [""] * n for entry, n in zip(entries, sizes)]
    found["atom"] = np.concatenate([np.arange(n) for n in sizes])
    found["atom_name"] = np.concatenate([np.asarray(part, object) for part in names])
    symbols = np.array([NO_ELEMENT] * 3 + [*ELEMENTS], object)
    found["element"] = symbols[np.concatenate([entry.item.A for entry in entries]).astype(np.int64)]
    return found
