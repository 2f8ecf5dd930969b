"""Batches keep their budget, cover every item once, and are the same for any number of ranks."""

import logging
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import ConfigError, DataError
from data.sampler import BatchSampler, balanced_order, classes_of


def counts(n=101, seed=0, largest=250):
    rng = np.random.default_rng(seed)
    return {
        "n_blocks": rng.integers(5, largest, n).astype(np.int32),
        "label": np.full(n, np.nan, np.float32),
        "modality": rng.choice(3, n, p=[0.7, 0.2, 0.1]).astype(np.int8),
    }


def batches(sampler):
    return [[index for _, index in batch] for batch in sampler]


def all_ranks(world, **options):
    return [batches(BatchSampler(rank=rank, world=world, **options)) for rank in range(world)]


MODES = [{"batch_size": 8}, {"max_blocks": 700}, {"max_blocks": 700, "max_blocks_per_item": 100}]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_every_item_occurs_once_and_every_rank_has_as_many_batches(mode, shuffle, world):
    ranks = all_ranks(world, counts=counts(), shuffle=shuffle, **mode)
    assert len({len(rank) for rank in ranks}) == 1
    assert all(batch for rank in ranks for batch in rank)
    assert sorted(index for rank in ranks for batch in rank for index in batch) == list(range(101))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 900), st.booleans(), st.integers(0, 99))
def test_any_sizes_any_budget_any_ranks(n, world, budget, shuffle, seed):
    options = {"counts": counts(n, seed), "shuffle": shuffle, "seed": seed}
    for mode in ({"max_blocks": budget}, {"batch_size": max(world, budget % 20)}):
        if n < world:
            with pytest.raises(DataError, match=f"{n} items can't be spread over {world} ranks"):
                all_ranks(world, **options, **mode)
            continue
        ranks = all_ranks(world, **options, **mode)
        assert len({len(rank) for rank in ranks}) == 1
        assert sorted(index for rank in ranks for batch in rank for index in batch) == list(range(n))
        assert all(batch for rank in ranks for batch in rank)


@pytest.mark.parametrize("per_item", [None, 100])
def test_no_batch_exceeds_the_budget_unless_one_item_does(per_item):
    data = counts()
    sizes = np.minimum(data["n_blocks"], per_item or 10**6)
    found = batches(BatchSampler(data, max_blocks=200, max_blocks_per_item=per_item, shuffle=True))
    for batch in found:
        assert sizes[batch].sum() <= 200 or len(batch) == 1
    for this, following in pairwise(found):  # and no batch is needlessly small
        assert sizes[this].sum() + sizes[following[0]] > 200


def test_items_above_the_budget_are_told(caplog):
    with caplog.at_level(logging.WARNING):
        BatchSampler(counts(), max_blocks=200)
    assert "items have more than 200 blocks and make batches of their own; --max_n_vertex_per_item" in caplog.text


def test_two_ranks_have_the_batches_of_one_but_for_splits():
    options = {"counts": counts(), "shuffle": True, "max_blocks": 700}
    (one,) = all_ranks(1, **options)
    two = all_ranks(2, **options)
    together = [batch for pair in zip(*two) for batch in pair]
    assert len(together) - len(one) == len(one) % 2
    assert sum(batch in one for batch in together) >= len(one) - 1
    assert [i for batch in together for i in batch] == [i for batch in one for i in batch]


def test_a_step_of_two_ranks_has_the_items_of_a_step_of_one_with_a_fixed_batch_size():
    options = {"counts": counts(), "shuffle": True, "batch_size": 10}
    (one,) = all_ranks(1, **options)
    two = all_ranks(2, **options)
    steps = [first + second for first, second in zip(*two)]
    assert steps[:-2] == one[:-2]  # of 101 items the last is shared out with the batch before
    assert steps[-2] + steps[-1] == one[-2] + one[-1]
    assert {len(first) - len(second) for first, second in zip(*two)} <= {-1, 0, 1}


def test_a_last_batch_too_small_for_all_ranks_is_shared_out_with_the_one_before():
    ranks = all_ranks(4, counts=counts(17), batch_size=8)
    assert [len(rank) for rank in ranks] == [3, 3, 3, 3]
    sizes = [sum(len(rank[step]) for rank in ranks) for step in range(3)]
    assert sizes == [8, 4, 5]


def test_an_epoch_has_its_own_order_and_always_the_same():
    sampler, other = (BatchSampler(counts(), batch_size=8, shuffle=True, seed=1) for _ in range(2))
    first = batches(sampler)
    sampler.set_epoch(1)
    second = batches(sampler)
    assert first != second
    other.set_epoch(1)
    assert batches(other) == second
    assert batches(BatchSampler(counts(), batch_size=8, shuffle=True, seed=2)) != first
    assert {epoch for batch in sampler for epoch, _ in batch} == {1}


def test_without_shuffling_the_order_is_that_of_the_data():
    sampler = BatchSampler(counts(), max_blocks=500)
    assert [i for batch in batches(sampler) for i in batch] == list(range(101))


def test_iteration_goes_on_inside_an_epoch():
    sampler = BatchSampler(counts(), max_blocks=500, shuffle=True, rank=1, world=2)
    sampler.set_epoch(3)
    whole = list(sampler)
    resumed = BatchSampler(counts(), max_blocks=500, shuffle=True, rank=1, world=2)
    resumed.start_batch = 4
    resumed.set_epoch(3)
    assert list(resumed) == whole[4:]
    assert len(resumed) == len(whole)
    assert list(resumed) == whole  # the next iteration is a whole one again


def test_balanced_sampling_draws_modalities_equally_often():
    data = counts(200)
    found = [i for batch in batches(BatchSampler(data, batch_size=10, balanced=True)) for i in batch]
    drawn = np.bincount(data["modality"][found])
    assert len(found) == 200
    assert drawn.max() - drawn.min() <= 1


def test_balanced_sampling_uses_the_items_of_a_class_in_turn():
    classes = np.array([0] * 90 + [1] * 10)
    order = balanced_order(classes, np.random.default_rng(0))
    times = np.bincount(order, minlength=100)
    assert set(times[90:]) == {5}
    assert set(times[:90]) == {0, 1}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1, 0, 1, 2], [1, 0, 1, 2]),
        ([0.5, 1, 2, 3], [0, 0, 1, 1]),  # measurements are no classes
        ([1, 0, np.nan, 2], [0, 0, 1, 1]),
        ([1, 1, 1, 1], [0, 0, 1, 1]),
    ],
)
def test_classes_are_whole_labels_or_else_modalities(labels, expected):
    found = classes_of({"label": np.array(labels, np.float32), "modality": np.array([4, 4, 7, 7])})
    assert found.tolist() == expected


def test_a_batch_size_or_a_budget_is_needed():
    with pytest.raises(ConfigError, match="--batch_size: give a number of items, or a block budget"):
        BatchSampler(counts())


def test_a_batch_smaller_than_the_number_of_ranks_is_refused():
    with pytest.raises(ConfigError, match=r"--batch_size: must be at least the number of processes \(4\), got 2"):
        BatchSampler(counts(), batch_size=2, world=4)


@pytest.mark.parametrize(("n", "world"), [(5, 2), (7, 4), (9, 5), (5, 3)])
def test_batches_of_single_items_are_joined_when_ranks_need_it(n, world):
    ranks = all_ranks(world, counts=counts(n), max_blocks=1)
    assert len({len(rank) for rank in ranks}) == 1
    assert sorted(index for rank in ranks for batch in rank for index in batch) == list(range(n))


@settings(max_examples=40, deadline=None)
@given(st.integers(30, 90), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_an_epoch_goes_on_with_another_number_of_ranks(n, first, second, third, seed):
    """Some steps with each number of ranks: no item is dropped or doubled, and all ranks take as many steps."""
    for mode in ({"max_blocks": 700}, {"batch_size": 8}):
        options = {"counts": counts(n, seed), "shuffle": True, "seed": seed, **mode}
        seen, batch, used = [], 0, 0
        for world, steps in ((first, 2), (second, 1), (third, None)):
            samplers = [BatchSampler(rank=rank, world=world, **options) for rank in range(world)]
            for sampler in samplers:
                sampler.set_epoch(3)
                sampler.go_on(3, batch, used)
                sampler.start_batch = batch
            ranks = [batches(sampler)[:steps] for sampler in samplers]
            assert len({len(rank) for rank in ranks}) == 1
            seen += [index for rank in ranks for items in rank for index in items]
            batch += len(ranks[0])
            used = samplers[0].items_before(batch)
            assert used == len(seen)
            if used == n:
                break
        assert sorted(seen) == list(range(n))
        later = BatchSampler(**options)
        later.go_on(3, batch, used)
        later.set_epoch(4)
        assert sorted(index for items in batches(later) for index in items) == list(range(n))


def test_going_on_with_the_same_ranks_changes_nothing():
    options = {"counts": counts(), "shuffle": True, "max_blocks": 700, "world": 2}
    whole, rest = BatchSampler(**options), BatchSampler(**options)
    rest.go_on(0, 3, whole.items_before(3))
    rest.start_batch = 3
    assert batches(rest) == batches(whole)[3:]
    assert len(rest) == len(whole)
