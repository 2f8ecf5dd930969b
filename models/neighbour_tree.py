"""Neighbours by a k-d tree of all sets at once, the same to the last bit as by all distances.

A fourth coordinate keeps sets apart and adds exactly zero inside a set. The tree works in float64; its candidates are
ranked by the float32 distances of `neighbour_blocks`. A row is settled when its last neighbour is nearer, by more than
float32 can err, than the last candidate: no other point can then belong to it. Rows with ties at the cut get more
candidates, and in the end all points of the set.
"""

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from models.neighbour_blocks import DISTANCES_AT_A_TIME, FAR, PointSets, distances, smallest, sort_keys

ROUNDING = 1e-6
"""Bound of the relative error of a float32 distance, several times larger than needed."""
SMALLEST = 1e-15
"""Shorter distances may round to zero, Å: their squares leave the range of float32."""
SPARE = (1, 30)
"""Candidates beyond those wanted, at first and for rows that this leaves open."""


class TreeSearch:
    """Nearest neighbours in sets of finite points on the host."""

    def __init__(self, sets: PointSets) -> None:
        self.sets = sets
        self.owner = np.repeat(np.arange(len(sets.counts)), sets.counts)
        self.exact, self.apart = sets.points.numpy().astype(np.float64), _apart(sets.points)
        self.tree = _tree(self.exact, self.owner, self.apart)

    def nearest(self, sender_set: np.ndarray, k: int) -> Tensor:
        """`neighbour_blocks.nearest_by_blocks` by the tree.

        Args:
            sender_set: [sets] where the points of each set look for neighbours; all in their own set, or none.
        """
        same = bool((sender_set == np.arange(len(sender_set))).all())
        degree = torch.from_numpy(np.clip(self.sets.counts[sender_set] - same, 0, k)[self.owner])
        wanted = sender_set[self.owner]
        out = torch.zeros(len(degree), k, dtype=torch.long)
        rows = degree.nonzero()[:, 0]
        for spare in SPARE:
            if len(rows):
                out[rows], settled = self._attempt(rows, degree[rows], wanted, same, k, spare)
                rows = rows[~settled]
        left = wanted[rows.numpy()]
        for number in np.unique(left):
            self._exhaust(out, rows[torch.from_numpy(left == number)], number, same, k)
        return out

    def _attempt(
        self, rows: Tensor, degree: Tensor, wanted: np.ndarray, same: bool, k: int, spare: int
    ) -> tuple[Tensor, Tensor]:
        """[rows, k] neighbours by candidates of the tree, and [rows] whether no other point can be among them."""
        n, points = len(self.exact), self.sets.points
        some = rows.numpy()
        at = np.column_stack([self.exact[some], wanted[some] * self.apart])
        reach, found = self.tree.query(at, k=k + same + spare, distance_upper_bound=self.apart / 2)
        candidate = torch.from_numpy(found.astype(np.int64))
        real = candidate < n  # the tree says n where a set has no more points
        if same:
            real &= candidate != rows[:, None]
        candidate = candidate.clamp(max=n - 1)
        away = distances(points[rows, None], points[candidate])[:, 0]
        keys, column = smallest(sort_keys(away, candidate).where(real, FAR), k)
        last = keys.gather(1, degree[:, None] - 1)[:, 0] >> 32
        farthest = last.int().view(torch.float32).double()  # FAR gives NaN, which settles nothing
        settled = farthest < torch.from_numpy(reach[:, -1]) * (1 - ROUNDING) - SMALLEST
        return candidate.gather(1, column).where(keys < FAR, 0), settled

    def _exhaust(self, out: Tensor, rows: Tensor, number: int, same: bool, k: int) -> None:
        """Fill in rows of `out` by looking at all points of one set."""
        first, n = int(self.sets.starts[number]), int(self.sets.counts[number])
        senders = self.sets.points[first : first + n]
        for some in rows.split(max(1, DISTANCES_AT_A_TIME["cpu"] // n)):
            keys = sort_keys(distances(self.sets.points[some][None], senders[None])[0], torch.arange(n))
            if same:
                keys[torch.arange(len(some)), some - first] = FAR
            keys, column = smallest(keys, k)
            out[some] = (first + column).where(keys < FAR, 0)


def within_by_tree(
    centres: PointSets, sets: PointSets, reach: float, k: int, nearest_first: bool
) -> tuple[Tensor, Tensor]:
    """`neighbours.neighbours_within` by the pairs of two trees; all points are finite and on the host."""
    n = len(centres.points)
    chosen, found = torch.zeros(n, k, dtype=torch.long), torch.zeros(n, k, dtype=torch.bool)
    if not n or not len(sets.points):
        return chosen, found
    apart = _apart(torch.cat([centres.points, sets.points])) + 2 * reach
    trees = [
        _tree(s.points.numpy().astype(np.float64), np.repeat(np.arange(len(s.counts)), s.counts), apart)
        for s in (centres, sets)
    ]
    pairs = trees[0].sparse_distance_matrix(trees[1], reach * (1 + ROUNDING) + SMALLEST, output_type="ndarray")
    row, sender = (torch.from_numpy(pairs[name].astype(np.int64)) for name in "ij")
    away = distances(centres.points[row, None], sets.points[sender, None])[:, 0, 0]
    near = away < reach
    row, sender, away = row[near], sender[near], away[near]
    order = (sort_keys(away, sender) if nearest_first else sender).argsort()
    order = order[row[order].argsort(stable=True)]
    row, sender = row[order], sender[order]
    count = torch.bincount(row, minlength=n)
    column = torch.arange(len(row)) - (count.cumsum(0) - count)[row]
    row, sender, column = row[column < k], sender[column < k], column[column < k]
    chosen[row, column] = sender
    found[row, column] = True
    return chosen, found


def _apart(points: Tensor) -> float:
    """More than any distance between points, Å."""
    exact = points.double()
    return 2 * float((exact.amax(0) - exact.amin(0)).norm() + 1)


def _tree(exact: np.ndarray, owner: np.ndarray, apart: float) -> KDTree:
    return KDTree(np.column_stack([exact, owner * apart]), leafsize=16, balanced_tree=False)
