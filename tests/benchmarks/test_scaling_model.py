"""The model of many GPUs: known cases, and batches planned as training plans them."""

import numpy as np
import pytest

from benchmarks.ranks import rank_table
from benchmarks.scaling_model import Machine, Work, filling, need_rows, reduce_seconds, speed_rows


def test_one_rank_shares_nothing() -> None:
    assert reduce_seconds(10**6, 1, Machine()) == 0


def test_gradients_move_twice_but_for_a_rank_s_own_share() -> None:
    machine = Machine(inside=100, between=10, latency=0)
    inside = 2 * 7 / 8 * 4e6 / 100e9
    assert reduce_seconds(10**6, 8, machine) == pytest.approx(inside)
    assert reduce_seconds(10**6, 64, machine) == pytest.approx(inside + 2 * 7 / 8 * 4e6 / 10e9)


def test_items_of_one_size_fill_all_ranks_alike() -> None:
    found = filling(np.full(800, 100, np.int32), 1000, 8)
    assert found == (10, 1.0, 1.0)


def test_the_fullest_rank_is_within_the_budget_and_above_the_mean() -> None:
    sizes = np.random.default_rng(0).integers(5, 400, 5000)
    for ranks in (1, 4, 32):
        found = filling(sizes, 1000, ranks)
        assert 0.5 < found.mean <= found.largest <= 1
    assert found.mean < found.largest


def test_a_machine_without_costs_is_used_in_full() -> None:
    machine = Machine(inside=1e12, between=1e12, latency=0)
    sizes = np.full(512_000, 10, np.int32)
    work = Work(interfaces=len(sizes))
    assert {row[4] for row in speed_rows(work, machine, sizes)} == {"100.0 %"}
    assert need_rows(work, machine, sizes, 188.0)[-1][5] == "512,000"


def test_measured_ranks_are_compared_with_the_first() -> None:
    times = dict.fromkeys(("load", "compute", "wait", "share", "update"), 0.001)
    found = [
        {"ranks": n, "parameters": 1000, "blocks": blocks, "seconds": 10.0, "times": times}
        for n, blocks in ((1, 1000), (2, 1800))
    ]
    assert "| 2 | 180 | 90 % | 1 | 1 |" in rank_table(found)
