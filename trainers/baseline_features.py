"""What can be said of an interface without learning geometry: sizes, contacts, composition; and frozen embeddings."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from data.collate import collate_items
from data.item import Item
from data.vocab import AMINO_ACIDS, FIRST_ELEMENT, FIRST_MASKABLE, GLOBAL, NUCLEOTIDES

CONTACT = 5.5  # Å between heavy atoms, as in the contacts of Vangone and Bonvin, eLife 2015;4:e07454
SEGMENTS = (0, 1)
CHARGED, POLAR = frozenset("ASP GLU LYS ARG HIS".split()), frozenset("ASN GLN SER THR TYR TRP CYS".split())
KINDS = ("charged", "polar", "apolar", "nucleotide", "other")


def kind_of_types(n_types: int) -> np.ndarray:
    """[block types] number in `KINDS`; elements and fragments are `other`."""
    kinds = np.full(max(n_types, FIRST_ELEMENT), KINDS.index("other"))
    for place, name in enumerate((*AMINO_ACIDS, *NUCLEOTIDES)):
        amino = "charged" if name in CHARGED else "polar" if name in POLAR else "apolar"
        kinds[FIRST_MASKABLE + place] = KINDS.index(amino if place < len(AMINO_ACIDS) else "nucleotide")
    return kinds


def sizes(items: Sequence[Item], n_types: int) -> np.ndarray:
    """[items, 4] logarithm of one more than the blocks and atoms of either segment."""
    rows = []
    for item in items:
        atoms = [int(item.block_lengths[item.segment_ids == s].sum()) for s in SEGMENTS]
        rows.append([*((item.segment_ids == s).sum() for s in SEGMENTS), *atoms])
    return np.log1p(np.array(rows, float))


def block_contacts(item: Item) -> np.ndarray:
    """[contacts, 2] pairs of blocks of different segments with heavy atoms within 5.5 Å, each pair once."""
    split = int(item.block_lengths[item.segment_ids == 0].sum())
    if split in (0, item.n_atoms):
        return np.zeros((0, 2), int)
    trees = cKDTree(item.X[:split]), cKDTree(item.X[split:])
    pairs = trees[0].sparse_distance_matrix(trees[1], CONTACT, output_type="ndarray")
    owner = item.block_of_atom
    return np.unique(np.stack([owner[pairs["i"]], owner[pairs["j"] + split]], 1), axis=0)


def contact_counts(items: Sequence[Item], n_types: int) -> np.ndarray:
    """[items, 2] number of contacts between blocks of the two segments, and its logarithm."""
    count = np.array([len(block_contacts(item)) for item in items], float)
    return np.stack([count, np.log1p(count)], 1)


def contact_kinds(items: Sequence[Item], n_types: int) -> np.ndarray:
    """[items, 25 + 10] contacts by the kinds of their blocks (charged, polar, apolar, nucleotide, other; either order
    counts alike), and the share of each kind among the blocks of either segment."""
    kinds, rows = kind_of_types(n_types), []
    for item in items:
        pairs = np.sort(kinds[item.B[block_contacts(item)]], axis=1)
        counts = np.zeros((len(KINDS), len(KINDS)))
        np.add.at(counts, tuple(pairs.T), 1)
        shares = [np.bincount(kinds[item.B[item.segment_ids == s]], minlength=len(KINDS)) for s in SEGMENTS]
        rows.append(np.concatenate([counts.ravel(), *(share / max(share.sum(), 1) for share in shares)]))
    return np.array(rows)


def composition(items: Sequence[Item], n_types: int) -> np.ndarray:
    """[items, 2 block types] blocks of each type in either segment."""
    rows = np.zeros((len(items), 2 * n_types))
    for row, item in zip(rows, items):
        np.add.at(row, item.B.astype(int) + n_types * item.segment_ids.astype(int), 1)
    return rows


def embeddings(items: Sequence[Item], model: Any) -> np.ndarray:
    """[items, 5 H] frozen vectors: that of the complex, and mean and deviation over the blocks of either segment."""
    rows = []
    model = model.eval()
    for item in items:
        batch = collate_items([item])
        with torch.inference_mode():
            found = model.encode(batch)
        blocks, ordinary = found.block_repr.numpy(), batch["B"].numpy() != GLOBAL
        parts = [found.graph_repr.numpy()[0]]
        for segment in SEGMENTS:
            own = blocks[ordinary & (batch["segment_ids"].numpy() == segment)]
            own = own if len(own) else np.zeros((1, blocks.shape[1]))
            parts += [own.mean(0), own.std(0)]
        rows.append(np.concatenate(parts))
    return np.array(rows)


FEATURES: dict[str, Callable[[Sequence[Item], int], np.ndarray]] = {
    "size": sizes,
    "contacts": contact_counts,
    "contact kinds": contact_kinds,
    "composition": composition,
}
"""Name of a baseline -> (items, number of block types) -> [items, features]."""
