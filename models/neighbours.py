"""Which points are near which: exact searches in sets of points, for edges and for torsion bonds.

Distances are those of `torch.cdist` in float32 on the coordinates as they are, and of equally far points the one that
stands first wins (parity SPEC 3). There are two ways with the same result: `neighbour_blocks` computes all distances,
a bounded number at a time, and asks the device for nothing; `neighbour_tree` costs n log n and runs on the host.
"""

import numpy as np
import torch
from torch import Tensor

from models.graph import on_host
from models.neighbour_blocks import PointSets, nearest_by_blocks, within_by_blocks
from models.neighbour_tree import TreeSearch, within_by_tree

TREE_FROM = 100
"""Fewer points than this are searched faster without a tree (measured on a CPU)."""


def nearest_neighbours(sets: PointSets, k: int, tree: bool | None = None) -> tuple[Tensor, Tensor]:
    """The k nearest points of the own set, itself left out, and of the partner set, ascending by (distance, place).

    Args:
        sets: set 2i and set 2i + 1 are partners.
        tree: which way to search; None chooses the faster one.

    Returns:
        Two tables [n, k] of places in `points`; where there are fewer neighbours, the rest of the row is 0.
    """
    own = np.arange(len(sets.counts))
    if _with_tree(sets) if tree is None else tree:
        search = TreeSearch(sets)
        return search.nearest(own, k), search.nearest(own ^ 1, k)
    return nearest_by_blocks(sets, own, k), nearest_by_blocks(sets, own ^ 1, k)


def neighbours_within(
    centres: PointSets, sets: PointSets, reach: float, k: int, nearest_first: bool, tree: bool | None = None
) -> tuple[Tensor, Tensor]:
    """At most k points closer than `reach` (Å) to each centre, in the set of the same number.

    Args:
        nearest_first: which k: the nearest, or else those that stand first.
        tree: which way to search; None chooses the faster one.

    Returns:
        [centres, k] places in the points of `sets` (0 where there are fewer), and [centres, k] whether there is one.
    """
    if tree is None:
        tree = _with_tree(sets) and bool(centres.points.isfinite().all())
    search = within_by_tree if tree else within_by_blocks
    return search(centres, sets, reach, k, nearest_first)


def _with_tree(sets: PointSets) -> bool:
    points: torch.Tensor = sets.points
    return on_host(points) and len(points) >= TREE_FROM and bool(points.isfinite().all())
