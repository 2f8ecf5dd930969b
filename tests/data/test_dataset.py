"""The data set joins sources and gives every item random numbers of its own, whoever asks for it."""

import numpy as np
import pytest
from item_factory import assert_same_item, random_item

from configs.errors import DataError
from configs.schema import NoiseOptions
from data.arrow_items import TRAINING_COLUMNS
from data.dataset import InterfaceDataset
from data.noise import PretrainTransform
from data.shards import write_part

TRANSFORM = PretrainTransform(NoiseOptions(translation_noise=1, rotation_noise=0.25, torsion_noise=0.5))
ITEMS = [random_item(i) for i in range(5)]


def test_without_a_transform_items_come_as_stored(tmp_path):
    dataset = InterfaceDataset(write_part(tmp_path / "set", ITEMS))
    for i in range(5):
        assert_same_item(ITEMS[i], dataset[i], TRAINING_COLUMNS)


def test_shards_and_lists_give_the_same_batches(tmp_path):
    shards = InterfaceDataset(write_part(tmp_path / "set", ITEMS), transform=TRANSFORM, seed=3)
    listed = InterfaceDataset(ITEMS, transform=TRANSFORM, seed=3)
    for i in range(5):
        np.testing.assert_array_equal(shards[2, i].X, listed[2, i].X)
    for name, counts in listed.counts.items():
        np.testing.assert_array_equal(shards.counts[name], counts)


def test_noise_depends_on_seed_epoch_and_item_only():
    dataset, again, other = (InterfaceDataset(ITEMS, transform=TRANSFORM, seed=seed) for seed in (1, 1, 2))
    expected = dataset[4, 3].X
    for i in (0, 2, 1):  # the order of asking does not matter
        again[7, i]
    np.testing.assert_array_equal(again[4, 3].X, expected)
    assert not np.array_equal(other[4, 3].X, expected)
    assert not np.array_equal(dataset[5, 3].X, expected)
    same = InterfaceDataset([ITEMS[3]] * 5, transform=TRANSFORM, seed=1)
    assert not np.array_equal(same[4, 2].X, same[4, 3].X)


def test_every_validation_sees_the_same_noise():
    dataset = InterfaceDataset(ITEMS, transform=TRANSFORM, training=False)
    np.testing.assert_array_equal(dataset[0, 1].X, dataset[9, 1].X)
    np.testing.assert_array_equal(dataset[1].X, dataset[9, 1].X)


def test_several_folders_are_joined_in_their_order(tmp_path):
    folders = [write_part(tmp_path / "a", ITEMS[:2]), write_part(tmp_path / "b", ITEMS[2:])]
    dataset = InterfaceDataset(folders)
    assert [dataset[i].id for i in range(len(dataset))] == [item.id for item in ITEMS]
    assert dataset.counts["source"].tolist() == [0, 0, 1, 1, 1]
    assert dataset.counts["n_atoms"].tolist() == [item.n_atoms for item in ITEMS]
    with pytest.raises(IndexError, match="item 5 of 5"):
        dataset[5]


def test_folders_of_different_vocabularies_are_not_mixed(tmp_path):
    folders = [write_part(tmp_path / name, ITEMS, name) for name in ("first", "second")]
    with pytest.raises(DataError, match=r"second: was made with vocabulary None \(second\), expected first"):
        InterfaceDataset(folders)
    with pytest.raises(DataError, match=r"expected mine \(check --fragmentation_method"):
        InterfaceDataset(folders[0], vocabulary_fingerprint="mine")


def test_an_empty_data_set_is_refused(tmp_path):
    with pytest.raises(DataError, match="empty: holds no items"):
        InterfaceDataset(write_part(tmp_path / "empty", []))
    with pytest.raises(DataError, match="holds no items"):
        InterfaceDataset([])


def test_an_absent_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        InterfaceDataset(str(tmp_path / "nowhere"))
