"""Splits keep groups whole, respect the fractions, and never put a huge group into a small part."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from item_factory import assert_same_item, random_item

from configs.errors import ConfigError, DataError
from data import splits
from data.shards import ShardReader, write_part
from data.splits import group_of, split_folder, split_groups
from scripts.split_data import main


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=30, max_size=60), st.floats(0.1, 0.3), st.integers(0, 99))
def test_whole_groups_are_on_one_side_and_fractions_are_kept(sizes, fraction, seed):
    groups = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]
    parts = split_groups(groups, {"valid": fraction, "test": 0.1}, seed)
    sides = {name: {groups[i] for i in part.indices} for name, part in parts.items()}
    assert sides["train"] | sides["valid"] | sides["test"] == set(groups)
    assert sum(map(len, sides.values())) == len(set(groups))
    assert sum(len(part.indices) for part in parts.values()) == len(groups)
    n_valid = len(parts["valid"].indices)
    wanted = round(fraction * len(groups))
    assert wanted - max(sizes) < n_valid <= wanted


def test_a_huge_group_always_goes_to_training():
    groups = ["antibodies"] * 60 + [f"g{i}" for i in range(40)]
    for seed in range(20):
        valid = split_groups(groups, {"valid": 0.2}, seed)["valid"]
        assert len(valid.indices) == 20
        assert valid.indices.min() >= 60


def test_the_seed_decides():
    groups = [f"g{i}" for i in range(50)]
    chosen = [tuple(split_groups(groups, {"valid": 0.2}, seed)["valid"].indices) for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_items_without_a_group_stay_with_their_entry():
    assert group_of("1abc_2", "") == group_of("1abc_7", "") == "1abc"
    assert group_of("1abc_2", "family9") == "family9"
    assert group_of("single", "") == "single"


@pytest.fixture
def folder(tmp_path):
    items = [random_item(i, 3, group="" if i % 2 else f"family{i % 8}").with_(id=f"{i // 4}_{i}") for i in range(60)]
    return write_part(tmp_path / "all", items, "abc")


def test_a_folder_is_split_into_folders(folder, tmp_path):
    parts = split_folder(folder, tmp_path / "out", {"valid": 0.2, "test": 0.2}, seed=1)
    source, seen = ShardReader(folder), Counter[int]()
    for name, part in parts.items():
        reader = ShardReader(tmp_path / "out" / name)
        assert reader.vocabulary_fingerprint == "abc"
        for index, item in zip(part.indices.tolist(), reader, strict=True):
            assert_same_item(source[index], item)
            seen[index] += 1
    assert seen == Counter(range(60))


def test_random_splits_divide_items_one_by_one(folder, tmp_path):
    parts = split_folder(folder, tmp_path / "out", {"valid": 0.25}, by="random")
    assert (len(parts["train"].indices), len(parts["valid"].indices)) == (45, 15)


def test_the_command_reports_the_parts(folder, tmp_path, capsys):
    arguments = [str(folder), "--by", "random", "--test_fraction", "0.1", "--out_path", str(tmp_path / "out")]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [["train", "48"], ["valid", "6"], ["test", "6"]]
    assert lines[3].startswith("valid against train: 0 shared ids, ")
    assert main(arguments) == 2
    assert "train: holds a data set already (choose another folder)" in capsys.readouterr().err


def test_an_existing_part_stops_the_split_before_anything_is_written(folder, tmp_path):
    write_part(tmp_path / "out" / "valid", [])
    with pytest.raises(DataError, match="valid: holds a data set already"):
        split_folder(folder, tmp_path / "out", {"valid": 0.2})
    assert not (tmp_path / "out" / "train").exists()


def test_a_split_that_was_interrupted_can_be_made_again(folder, tmp_path, monkeypatch):
    out, real = tmp_path / "out", splits.copy_items

    def dies_at_valid(reader, indices, path):
        if path.name == "valid":
            raise KeyboardInterrupt
        return real(reader, indices, path)

    monkeypatch.setattr(splits, "copy_items", dies_at_valid)
    with pytest.raises(KeyboardInterrupt):
        split_folder(folder, out, {"valid": 0.2})
    assert not (out / "train").exists()
    monkeypatch.setattr(splits, "copy_items", real)
    split_folder(folder, out, {"valid": 0.2})
    assert sorted(path.name for path in out.iterdir()) == ["train", "valid"]


@pytest.mark.parametrize("fractions", [{"valid": 0.0}, {"valid": 1.0}, {"valid": 0.6, "test": 0.5}, {"valid": -0.1}])
def test_fractions_that_leave_nothing_are_refused(fractions):
    with pytest.raises(ConfigError, match="must be positive and leave a share for training"):
        split_groups(["a", "b", "c"], fractions)


def test_a_part_that_no_group_fits_is_refused():
    with pytest.raises(ConfigError, match=r"--valid_fraction: leaves a part without a group \(.* has 2 groups"):
        split_groups(["a"] * 50 + ["b"] * 50, {"valid": 0.1})
