"""The numbers that collation stores for models are those counted by hand and by looping."""

import numpy as np
import pytest
from item_factory import random_item

from data.batch_sizes import batch_sizes
from data.collate import collate_items
from data.vocab import GLOBAL, UNKNOWN

# Graph 0: a global block, an unknown one and a residue in segment 0; graph 1: one residue in segment 1.
BY_HAND = {
    "B": np.array([GLOBAL, UNKNOWN, 5, 6]),
    "block_lengths": np.array([1, 3, 4, 2]),
    "segment_ids": np.array([0, 0, 0, 1]),
    "lengths": np.array([3, 1]),
}


@pytest.mark.parametrize(
    ("unknown_is_special", "atoms", "blocks"),
    [
        (False, [7, 1, 0, 0, 0, 0, 2, 0], [2, 1, 0, 0, 0, 0, 1, 0]),
        (True, [4, 4, 0, 0, 0, 0, 2, 0], [1, 2, 0, 0, 0, 0, 1, 0]),
    ],
)
def test_sizes_by_hand(unknown_is_special, atoms, blocks):
    found = batch_sizes(**BY_HAND, unknown_is_special=unknown_is_special)
    assert found == [*atoms, *blocks, 3, 1, 2, 1, 0, 0]
    noised = batch_sizes(**BY_HAND, tor_batch=np.array([1, 1, 0]), noisy_segment=np.array([0, 1]))
    assert noised[-4:] == [1, 2, 0, 1]


def test_a_batch_carries_the_sizes_of_its_own_arrays():
    batch = collate_items([random_item(seed, 9) for seed in range(3)])
    arrays = [batch[name].numpy() for name in ("B", "block_lengths", "segment_ids", "lengths")]
    assert batch["sizes"] == [batch_sizes(*arrays, unknown_is_special=special) for special in (False, True)]
    assert sum(batch["sizes"][0][:12]) == len(batch["A"])
    assert all(type(number) is int for number in batch["sizes"][0])
