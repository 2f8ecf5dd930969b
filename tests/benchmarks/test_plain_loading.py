"""The plain loader does the same work as ours: same random numbers, same batch."""

import numpy as np
import pytest
import torch
from item_factory import random_item

from benchmarks.plain_loading import collated, noised, record_of
from benchmarks.work import published_run
from data.collate import collate_items
from data.noise import PretrainTransform

ITEMS = {
    "small": [random_item(seed, n_blocks=10 + seed) for seed in range(3)],
    "cropped": [random_item(seed, n_blocks=40) for seed in range(3)],
    "without torsions": [random_item(seed, torsions=False) for seed in range(2)],
    "ligand": [random_item(7, B=np.full(12, 200, np.uint16))],
    "ion": [random_item(8, split=11, torsions=False)],
}


@pytest.mark.parametrize("name", ITEMS)
@pytest.mark.parametrize("seed", range(3))
def test_plain_and_ours_make_the_same_batch(name: str, seed: int) -> None:
    noise, budget = published_run().noise, 24
    rng = [np.random.default_rng(seed) for _ in range(2)]
    transform = PretrainTransform(noise, budget)
    ours = collate_items([transform(item, rng[0]) for item in ITEMS[name]])
    plain = collated([noised(record_of(item), noise, budget, rng[1]) for item in ITEMS[name]])
    assert set(plain) == {key for key in ours.keys() if isinstance(ours[key], torch.Tensor)}  # noqa: SIM118
    for key, value in plain.items():
        assert value.shape == ours[key].shape, key
        torch.testing.assert_close(value.to(ours[key]), ours[key], atol=1e-4, rtol=1e-5, equal_nan=True, msg=key)


def test_a_record_holds_the_whole_item() -> None:
    item = random_item(1)
    record = record_of(item)
    assert [a for block in record["blocks"] for a in block[2]] == item.A.tolist()
    assert [[p, q] for p, q, *_ in record["torsions"]] == item.tor_bonds.tolist()
    assert [a for *_, moved in record["torsions"] for a in moved] == item.tor_moved.tolist()
