"""Each measurement does its work on the models and batches it names."""

from pathlib import Path

import numpy as np
import pytest
import torch
from item_factory import random_item

from benchmarks import work
from benchmarks.measure import measure
from benchmarks.step_profile import (
    AGGREGATE,
    ATTENTION,
    COMPILED,
    COUPLE,
    NETWORK,
    OF_CONVOLUTION,
    ORDER,
    PROJECT,
    REST,
    group_of,
)
from data.item import check_item
from models.layers import native

LIMITS = {"blocks": 20, "repeat": 2, "budget": 10.0}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("model", ["float32", "plain"])
def test_ours_and_plain_run_on_the_same_batch(shards: str, tiny: dict[str, int], model: str, training: bool) -> None:
    found = measure("model", threads=1, data=shards, model=model, training=training, changes=tiny, **LIMITS)
    assert len(found["seconds"]) == 2
    assert found["blocks"] == 20 + 2 * found["items"]
    assert found["peak_gib"] > 0.05
    assert ("flops" in found) == (model == "float32")


def test_both_have_the_same_weights_and_results(shards: str, tiny: dict[str, int]) -> None:
    batch = work.batch_of(work.items_of(shards, 20, work.published_run(**tiny).noise), torch.device("cpu"))
    ours, plain = (work.build(name, padding="batch", **tiny).eval() for name in ("float32", "plain"))
    with torch.inference_mode():
        torch.testing.assert_close(ours(batch).block_repr, plain(batch)["block_repr"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", list(work.VARIANTS))
def test_every_variant_that_there_is_trains(shards: str, tiny: dict[str, int], name: str) -> None:
    found = measure("model", threads=1, data=shards, model=name, training=True, changes=tiny, **LIMITS)
    assert found["atoms"] > 0


def test_a_batch_has_the_blocks_asked_for_even_beyond_the_data(shards: str) -> None:
    for blocks in (5, 60, 150):
        items = work.items_of(shards, blocks, work.NoiseOptions())
        assert blocks - 1 <= sum(item.n_blocks for item in items) <= blocks


def test_a_large_interface_is_real_ones_side_by_side(shards: str) -> None:
    item = check_item(work.large_interface(shards, 300))
    assert 200 < item.n_atoms <= 300
    assert set(item.segment_ids.tolist()) == {0, 1}


def test_joined_items_keep_every_atom_of_both_segments() -> None:
    parts = [random_item(seed) for seed in range(3)]
    whole = check_item(work.joined(parts, "whole"))
    for segment in (0, 1):
        X = np.concatenate([item.X[item.segment_of_atom == segment] for item in parts])
        np.testing.assert_array_equal(whole.X[whole.segment_of_atom == segment], X)


def test_loading_counts_the_same_blocks_for_all(shards: str) -> None:
    found = measure("load", threads=1, data=shards, items=6)
    assert found["blocks"] == sum(8 + seed for seed in range(6))
    assert {name: len(times) for name, times in found["seconds"].items()} == {
        "read": 2,
        "noised": 2,
        "collated": 3,
        "plain": 2,
    }


def test_structures_are_made_by_both(tmp_path: Path) -> None:
    atom = "ATOM  {:5d}  {:<3s} GLY {}{:4d}    {:8.3f}{:8.3f}{:8.3f}  1.00  0.00           {}\n"
    lines = [
        atom.format(i + 1, n, c, 1, x + i, 0, 0, n[0])
        for c, x in (("A", 0), ("B", 7))
        for i, n in enumerate(("N", "CA", "C"))
    ]
    (tmp_path / "a.pdb").write_text("".join(lines))
    row = {"line": 2, "pdb_id": "a", "pdb_path": "a.pdb", "chain1": "A", "chain2": "B"}
    found = measure("structures", threads=1, rows=[row], root=str(tmp_path), repeat=1)
    assert found["files"][0]["same"]
    assert found["files"][0]["atoms"] == 6


def test_a_profile_finds_the_products_and_the_parts(shards: str, tiny: dict[str, int]) -> None:
    found = measure("profile", threads=1, data=shards, blocks=20, model="float32", changes=tiny)
    assert tuple(found["groups"]) == ORDER
    products = (AGGREGATE, PROJECT) if native.library() is None else (COMPILED,)
    assert all(found["groups"][name] > 0 for name in (*products, OF_CONVOLUTION, ATTENTION, "edges", "heads"))
    assert found["flops"] > 0


@pytest.mark.parametrize(
    ("name", "shapes", "group"),
    [
        ("aten::bmm", [[24, 240, 16], [24, 16, 129]], AGGREGATE),
        ("aten::baddbmm_", [[24, 16, 129], [24, 16, 240], [24, 240, 129]], AGGREGATE),
        ("aten::bmm", [[384, 20, 3], [384, 3, 16]], COUPLE),
        ("aten::bmm", [[384, 5, 22], [384, 22, 16]], COUPLE),
        ("aten::mm", [[72, 10320], [10320, 16]], PROJECT),
        ("aten::addmm_", [[10320, 16], [10320, 72], [72, 16]], PROJECT),
        ("aten::mm", [[384, 9], [9, 110]], COUPLE),
        ("aten::addmm", [[128], [384, 128], [128, 128]], NETWORK),
        ("aten::cat", [[384, 128]], OF_CONVOLUTION),
    ],
)
def test_products_are_told_apart_by_their_sizes(name: str, shapes: list[list[int]], group: str) -> None:
    assert group_of(name, shapes, OF_CONVOLUTION, {129}) == group
    assert group_of(name, shapes, ATTENTION, {129}) == ATTENTION
    assert group_of(name, shapes, REST, {129}) == REST
