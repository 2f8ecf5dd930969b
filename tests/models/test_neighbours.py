"""Both ways to search for neighbours find the same, to the last bit: what a stable sort of all distances gives."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import neighbour_blocks, neighbour_tree
from models.neighbour_blocks import PointSets
from models.neighbours import nearest_neighbours, neighbours_within

CLOUDS = {
    "random": lambda rng, n: rng.normal(0, 5, (n, 3)),
    "lattice": lambda rng, n: rng.integers(0, 5, (n, 3)),
    "few places": lambda rng, n: rng.integers(0, 2, (n, 3)),
    "lines": lambda rng, n: np.arange(n)[:, None] * np.array([1.5, 0, 0]),
    "repeated": lambda rng, n: np.repeat(rng.normal(0, 5, (n // 7 + 1, 3)), 7, 0)[:n],
    "far from the origin": lambda rng, n: rng.normal(0, 5, (n, 3)) + np.array([1e5, -3e4, 2e6]),
    "nearly equal": lambda rng, n: 4 + rng.integers(0, 3, (n, 3)) * 1e-7,
    "vanishing": lambda rng, n: rng.normal(0, 1, (n, 3)) * 1e-25,
    "huge": lambda rng, n: rng.normal(0, 1, (n, 3)) * 1e20,
}
sizes = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=4)


def point_sets(cloud: str, pairs: list[tuple[int, int]], seed: int) -> PointSets:
    counts = np.array(pairs, np.int64).reshape(-1)
    points = CLOUDS[cloud](np.random.default_rng(seed), int(counts.sum()))
    return PointSets(torch.from_numpy(np.asarray(points, np.float32)), counts)


def all_distances(receivers: torch.Tensor, senders: torch.Tensor) -> torch.Tensor:
    return torch.cdist(receivers, senders, compute_mode="donot_use_mm_for_euclid_dist")


def defined(sets: PointSets, k: int, partner: bool) -> list[list[int]]:
    """Places of the nearest points by the definition, point after point."""
    out = []
    starts = np.cumsum(sets.counts) - sets.counts
    for number, (start, n) in enumerate(zip(starts, sets.counts)):
        other = number ^ partner
        first, m = starts[other], sets.counts[other]
        away = all_distances(sets.points[start : start + n], sets.points[first : first + m])
        order = away.argsort(dim=1, stable=True) + first
        out += [[place for place in row if place != start + i][:k] for i, row in enumerate(order.tolist())]
    return out


@pytest.mark.parametrize("tree", [False, True], ids=["blocks", "tree"])
@settings(max_examples=80, deadline=None)
@given(cloud=st.sampled_from(sorted(CLOUDS)), pairs=sizes, k=st.integers(1, 9), seed=st.integers(0, 2**20))
def test_nearest_neighbours_are_those_of_a_stable_sort(tree: bool, cloud: str, pairs, k: int, seed: int) -> None:
    sets = point_sets(cloud, pairs, seed)
    if not len(sets.points):
        return
    for partner, table in enumerate(nearest_neighbours(sets, k, tree=tree)):
        wanted = [row + [0] * (k - len(row)) for row in defined(sets, k, bool(partner))]
        assert table.tolist() == wanted


@settings(max_examples=80, deadline=None)
@given(
    cloud=st.sampled_from(sorted(CLOUDS)),
    pairs=sizes,
    share=st.floats(0, 0.5),
    reach=st.sampled_from([1e-26, 1e-7, 1.0, 2.0, 3.0, 5.0]),
    k=st.integers(1, 9),
    nearest_first=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_neighbours_within_reach_are_those_of_the_definition(
    cloud: str, pairs, share: float, reach: float, k: int, nearest_first: bool, seed: int
) -> None:
    sets = point_sets(cloud, pairs, seed)
    rng = np.random.default_rng(seed)
    of_set = [np.sort(rng.choice(n, int(n * share), replace=False)) for n in sets.counts]
    starts = np.cumsum(sets.counts) - sets.counts
    middles = torch.cat([sets.points[start + some] for start, some in zip(starts, of_set)])
    centres = PointSets(middles, np.array([len(some) for some in of_set]))
    tree, blocks = (neighbours_within(centres, sets, reach, k, nearest_first, tree=way) for way in (True, False))
    for found in (tree, blocks):
        for row, (number, some) in enumerate((n, i) for n, places in enumerate(of_set) for i in places):
            first, m = starts[number], sets.counts[number]
            away = all_distances(sets.points[first + some][None], sets.points[first : first + m])[0]
            near = [j for j in range(m) if away[j] < reach]
            near = sorted(near, key=lambda j: (float(away[j]), j)) if nearest_first else near
            assert found[0][row][found[1][row]].tolist() == [first + j for j in near[:k]]
    assert torch.equal(tree[0], blocks[0])
    assert torch.equal(tree[1], blocks[1])


def test_the_number_of_distances_at_a_time_does_not_matter(monkeypatch) -> None:
    sets = point_sets("lattice", [(50, 31), (7, 90)], 0)
    whole = nearest_neighbours(sets, 5, tree=False)
    monkeypatch.setitem(neighbour_blocks.DISTANCES_AT_A_TIME, "cpu", 1)
    for way in (False, True):
        parts = nearest_neighbours(sets, 5, tree=way)
        assert all(torch.equal(a, b) for a, b in zip(parts, whole, strict=True))


def test_rows_without_ties_are_settled_by_the_first_candidates(monkeypatch) -> None:
    """Otherwise the tree would save nothing."""
    sets = point_sets("random", [(300, 300)], 1)
    rows = []
    attempt = neighbour_tree.TreeSearch._attempt
    monkeypatch.setattr(
        neighbour_tree.TreeSearch,
        "_attempt",
        lambda self, some, *rest: rows.append(len(some)) or attempt(self, some, *rest),
    )
    nearest_neighbours(sets, 8, tree=True)
    assert rows.count(600) == 2
    assert sum(rows) < 1.02 * 1200


def test_coordinates_that_are_not_finite_do_not_reach_the_tree() -> None:
    sets = point_sets("random", [(80, 80)], 2)
    sets.points[3, 1] = torch.nan
    found = nearest_neighbours(sets, 4)
    assert all(torch.equal(a, b) for a, b in zip(found, nearest_neighbours(sets, 4, tree=False), strict=True))
