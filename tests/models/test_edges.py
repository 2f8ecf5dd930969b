"""Neighbour edges equal those read off the full matrix of distances (parity SPEC 3)."""

import json

import numpy as np
import pytest
import torch
from complexes import joined, some_complexes
from golden import RECORDED, folder_of, recorded_batch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import neighbours
from models.edges import neighbour_edges
from models.graph import read_graph

KINDS = ("PredictionModel", "PredictionModel_L2", "PredictionModel_noglobal", "PredictionModel_bottomglobal")
recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recordings in {RECORDED} (INTERFACE_PARITY)")
RECORDINGS = [
    pytest.param(name, batch, marks=(recorded, pytest.mark.real_data))
    for names, batches in (
        (KINDS, ("batch0", "batch1", "batch2_edge_cases")),
        (("DenoisePretrainModel", "DenoisePretrainModel_atomnoise"), ("batch0", "batch1")),
    )
    for name in names
    for batch in batches
]


def brute_force(positions, graph, segment, special, k, with_global):
    """The definition, one receiver after another."""
    points = positions.numpy().astype(np.float32)
    found = {0: [], 1: [], 2: [], 3: []}
    for i in range(len(points)):
        others = [j for j in range(len(points)) if j != i and graph[j] == graph[i]]
        away = {j: float(np.float32(torch.dist(positions[i].float(), positions[j].float()))) for j in others}
        for kind, same in ((0, True), (1, False)):
            allowed = [j for j in others if not special[i] and not special[j] and (segment[j] == segment[i]) == same]
            found[kind] += [(i, j) for j in sorted(allowed, key=lambda j: (away[j], j))[:k]]
        if with_global:
            found[2] += [(i, j) for j in others if segment[j] == segment[i] and (special[i] or special[j])]
            found[3] += [(i, j) for j in others if special[i] and special[j]]
    pairs = [pair for kind in range(4) for pair in found[kind]]
    kinds = [kind for kind in range(4) for _ in found[kind]]
    return np.array(pairs, int).reshape(-1, 2).T, np.array(kinds, int)


def batch_of(sizes, grid, seed):
    """Graphs of blocks of one atom on a coarse grid (many equal distances), some of them special or unknown."""
    g = np.random.default_rng(seed)
    segments = np.concatenate([np.repeat([0, 1], pair) for pair in sizes])
    n = len(segments)
    batch = {
        "X": g.integers(0, grid, (n, 3)).astype(np.float32),
        "A": np.full(n, 5),
        "B": g.choice([2, 3, 10, 11, 12, 13], n),
        "block_lengths": np.ones(n, int),
        "segment_ids": segments,
        "lengths": np.array([sum(pair) for pair in sizes]),
    }
    return {name: torch.as_tensor(value) for name, value in batch.items()}


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(
        st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda p: sum(p) > 0), min_size=1, max_size=4
    ),
    grid=st.integers(1, 4),
    k=st.integers(1, 6),
    with_global=st.booleans(),
    unknown=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_edges_equal_the_definition(sizes, grid, k, with_global, unknown, seed) -> None:
    graph = read_graph(batch_of(sizes, grid, seed), torch.float32, unknown_is_special=unknown)
    for level in (graph.atoms, graph.blocks):
        pairs, kinds = neighbour_edges(level, k, with_global).listed()
        expected, expected_kinds = brute_force(
            level.positions, level.graph, level.segment, level.special, k, with_global
        )
        np.testing.assert_array_equal(pairs, expected)
        np.testing.assert_array_equal(kinds, expected_kinds)


@pytest.mark.parametrize("tree_from", [0, 1 << 40], ids=["tree", "blocks"])
@pytest.mark.parametrize(("name", "batch"), RECORDINGS)
def test_both_ways_to_search_find_the_published_edges(monkeypatch, name: str, batch: str, tree_from: int) -> None:
    monkeypatch.setattr(neighbours, "TREE_FROM", tree_from)
    inputs, expected = recorded_batch(name, batch)
    config = json.loads((folder_of(name) / "config.json").read_text())
    graph = read_graph(inputs, torch.float32, unknown_is_special=True)
    for part, level in (("bottom_", graph.atoms), ("", graph.blocks)):
        with_global = bool(config.get(f"{part}global_message_passing", False))
        pairs, kinds = neighbour_edges(level, config["k_neighbors"], with_global).listed()
        np.testing.assert_array_equal(pairs, expected[f"{part or 'top_'}edges"])
        np.testing.assert_array_equal(kinds, expected[f"{part or 'top_'}edge_type"])


def test_slots_without_an_edge_are_few_and_name_real_nodes() -> None:
    graph = read_graph(joined(some_complexes(6)), torch.float32, unknown_is_special=False)
    slots = neighbour_edges(graph.blocks, 4, True).slots
    assert slots.filled is not None
    assert slots.filled.float().mean() > 0.5
    assert 0 <= int(slots.sender.min()) <= int(slots.sender.max()) < graph.blocks.n
    counts = torch.zeros(graph.blocks.n).index_add(0, slots.receiver, slots.filled.float())
    torch.testing.assert_close(slots.inverse_count, 1 / counts[slots.nodes])


def test_no_edge_leaves_its_graph() -> None:
    graph = read_graph(joined(some_complexes(3)), torch.float32, unknown_is_special=False)
    for level in (graph.atoms, graph.blocks):
        pairs, _ = neighbour_edges(level, 4, True).listed()
        assert (level.graph[pairs[0]] == level.graph[pairs[1]]).all()
