"""How near the two sides of an item are, block by block."""

from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from data.item import Item

CONTACT = 4.0
"""Heavy atoms of the two sides that are in contact are at most so far apart, Å."""


class Contact(NamedTuple):
    """Two blocks in contact: their numbers (of segment 0, of segment 1) and their smallest distance, Å."""

    first: int
    second: int
    distance: float


def distance_to_other_side(item: Item) -> np.ndarray:
    """[blocks] smallest distance, Å, of an atom of a block to the other segment; infinite without one."""
    segment, distance = item.segment_of_atom, np.full(item.n_atoms, np.inf)
    for side in (0, 1):
        here, there = item.X[segment == side], item.X[segment != side]
        if len(here) and len(there):
            distance[segment == side] = cKDTree(there).query(here)[0]
    return np.minimum.reduceat(distance, np.cumsum(item.block_lengths) - item.block_lengths)


def contacts(item: Item, cutoff: float = CONTACT) -> list[Contact]:
    """Pairs of blocks of the two sides with atoms within the cutoff, the nearest first."""
    segment, block = item.segment_of_atom, item.block_of_atom
    first, second = (np.flatnonzero(segment == side) for side in (0, 1))
    if not len(first) or not len(second):
        return []
    found = cKDTree(item.X[first]).sparse_distance_matrix(cKDTree(item.X[second]), cutoff, output_type="ndarray")
    nearest: dict[tuple[int, int], float] = {}
    for i, j, distance in found:
        pair = (int(block[first[i]]), int(block[second[j]]))
        nearest[pair] = min(float(distance), nearest.get(pair, np.inf))
    return sorted((Contact(*pair, distance) for pair, distance in nearest.items()), key=lambda c: c.distance)


def neighbour_counts(item: Item, reach: float = 8.0) -> np.ndarray:
    """[blocks] atoms of either side within `reach` Å of a block's atoms, on average over them: how buried it is."""
    tree = cKDTree(item.X)
    counts = tree.query_ball_point(item.X, reach, return_length=True)
    starts = np.cumsum(item.block_lengths) - item.block_lengths
    return np.add.reduceat(counts, starts, dtype=np.float64) / item.block_lengths
