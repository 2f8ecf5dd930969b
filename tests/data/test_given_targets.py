"""Targets beside items: numbers or names of classes, with holes, in the order of the items."""

import numpy as np
import pytest
from item_factory import random_item

from configs.errors import DataError
from configs.task_options import LabelOptions
from data import InterfaceDataset
from data.labels import read_labels
from data.shards import write_part

ITEMS = [random_item(seed) for seed in range(4)]
NAN = float("nan")


def test_targets_take_the_place_of_labels(tmp_path) -> None:
    targets = {"pK": [6.5, None, NAN, 8], "site": ["drug", "", "ion", "drug"], "binds": [True, False, True, None]}
    for source in (ITEMS, write_part(tmp_path / "set", ITEMS)):
        dataset = InterfaceDataset(source, targets)
        labels = read_labels(dataset, LabelOptions())
        assert labels.names == ("pK", "site", "binds")
        np.testing.assert_array_equal(labels.values, [[6.5, 0, 1], [NAN, NAN, 0], [NAN, 1, 1], [8, 0, NAN]])
        assert dataset.given.classes == {"site": ("drug", "ion"), "binds": ("False", "True")}
        np.testing.assert_array_equal(dataset[2].targets, [NAN, 1, 1])
        part = dataset.subset(np.array([3, 0]))
        assert [part[i].id for i in (0, 1)] == [ITEMS[3].id, ITEMS[0].id] and len(part) == 2
        np.testing.assert_array_equal(read_labels(part, LabelOptions(targets="pK")).values, [[8], [6.5]])
        assert part.counts["n_blocks"].tolist() == [ITEMS[3].n_blocks, ITEMS[0].n_blocks]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({}, "needs at least one"),
        ({"pK": [1.0]}, "target pK: has 1 values for 4 items"),
        ({"pK": [1.0, "high", 2, 3]}, "target pK: holds values that are no numbers"),
        ({"pK": [1.0, [], 2, 3]}, "target pK: holds values that are no numbers"),
    ],
)
def test_targets_that_can_not_be_read_are_named(targets: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        InterfaceDataset(ITEMS, targets)
