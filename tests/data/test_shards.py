"""Shards give back items bit for bit, are complete or absent, and damage is noticed by file name."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from item_factory import assert_same_item, random_item

from configs.errors import DataError
from configs.files import read_json, write_json
from data.arrow_items import TRAINING_COLUMNS
from data.shards import ShardReader, ShardWriter, copy_items, merge_parts, write_part

OPTIONAL = ("atom_positions", "block_chain", "block_resid", "block_icode", "block_resname", "tor_depth")


@st.composite
def items(draw):
    seed, n_blocks = draw(st.integers(0, 10**6)), draw(st.integers(1, 9))
    item = random_item(seed, n_blocks, draw(st.integers(0, n_blocks)), torsions=draw(st.booleans()))
    changes = {name: None for name in OPTIONAL if draw(st.booleans())}
    changes["label"] = draw(st.floats(width=32, allow_nan=True))
    changes["group"] = draw(st.text(max_size=5).filter(lambda t: t.isprintable()))
    if width := draw(st.integers(0, 3)):
        changes["block_embeddings"] = np.full((n_blocks, width), draw(st.floats(width=32)), np.float32)
    X = item.X.copy()
    X[0] = draw(st.tuples(*[st.floats(width=32)] * 3))  # also NaN, infinities and minus zero keep their bits
    return item.with_(X=X, **changes)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(given_items=st.lists(items(), min_size=1, max_size=6))
def test_items_come_back_bit_for_bit(tmp_path_factory, given_items):
    folder = tmp_path_factory.mktemp("shards")
    write_part(folder, given_items, max_file_items=2)
    reader = ShardReader(folder)
    assert len(reader) == len(given_items)
    for item, found in zip(given_items, reader):
        assert_same_item(item, found)
    shutil.rmtree(folder)


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_part(tmp_path / "set", [random_item(i) for i in range(7)], "abc", max_file_items=3)


def test_the_counts_tell_sizes_kinds_and_labels_without_reading_items(folder):
    reader = ShardReader(folder)
    items = [random_item(i) for i in range(7)]
    assert len(reader.manifest["files"]) == 3
    for name in reader.manifest["files"]:
        (folder / name["name"]).unlink()
    assert reader.counts["n_atoms"].tolist() == [item.n_atoms for item in items]
    assert reader.counts["n_blocks"].tolist() == [item.n_blocks for item in items]
    assert reader.counts["n_torsions"].tolist() == [len(item.tor_bonds) for item in items]
    assert reader.counts["modality"].tolist() == [item.modality for item in items]
    assert reader.counts["label"].tolist() == [item.label for item in items]
    assert reader.ids == [item.id for item in items]
    assert reader.groups == [item.group for item in items]


def test_an_item_without_torsions_counts_none(tmp_path):
    write_part(tmp_path, [random_item(1, torsions=False), random_item(2)])
    assert (ShardReader(tmp_path).counts["n_torsions"] > 0).tolist() == [False, True]


def test_reading_copies_nothing(folder):
    item = ShardReader(folder)[4]
    assert not item.X.flags.owndata
    assert not item.X.flags.writeable


def test_unwanted_columns_are_left_out(folder):
    item = ShardReader(folder, TRAINING_COLUMNS)[0]
    assert item.block_chain is None
    assert_same_item(random_item(0), item, TRAINING_COLUMNS)


def test_items_are_a_sequence(folder):
    reader = ShardReader(folder)
    assert [item.id for item in reader[-2:]] == [reader[5].id, reader[-1].id]
    with pytest.raises(IndexError, match="item 7 of 7"):
        reader[7]


def test_a_reader_can_be_sent_to_another_process(folder):
    assert_same_item(random_item(6), pickle.loads(pickle.dumps(ShardReader(folder)))[6])


def test_an_empty_data_set_is_a_data_set(tmp_path):
    write_part(tmp_path, [])
    assert len(ShardReader(tmp_path)) == 0


def test_a_killed_writer_leaves_what_is_never_taken_for_a_data_set(tmp_path):
    writer = ShardWriter(tmp_path, max_file_items=2)
    for i in range(5):
        writer.add(random_item(i))
        writer._pack()
    assert list(tmp_path.glob("items-*.arrow"))
    with pytest.raises(DataError, match=r"is not a data set: it has no manifest\.json .*an interrupted run has none"):
        ShardReader(tmp_path)
    write_part(tmp_path, [random_item(9)])
    assert [item.id for item in ShardReader(tmp_path)] == ["0009_A_B"]


@pytest.mark.parametrize("existing", [False, True])
def test_writing_that_fails_leaves_nothing(tmp_path, existing):
    folder = tmp_path / "new"
    if existing:
        folder.mkdir()
    with pytest.raises(KeyboardInterrupt), ShardWriter(folder, max_file_items=2) as writer:  # noqa: PT012
        for i in range(5):
            writer.add(random_item(i))
            writer._pack()
        assert list(folder.glob("items-*.arrow"))
        raise KeyboardInterrupt
    assert sorted(tmp_path.rglob("*")) == ([folder] if existing else [])


def test_appending_keeps_what_was_there(folder):
    with ShardWriter(folder, "abc", append=True) as writer:
        writer.add(random_item(7))
        assert len(ShardReader(folder)) == 7  # readers see the old set until the end
    for i, item in enumerate(ShardReader(folder)):
        assert_same_item(random_item(i), item)
    assert len(list(folder.glob("counts-*.arrow"))) == 1


def test_appending_that_fails_leaves_the_old_set(folder):
    with pytest.raises(RuntimeError), ShardWriter(folder, "abc", append=True) as writer:  # noqa: PT012
        writer.add(random_item(7))
        writer._pack()
        writer._flush()
        raise RuntimeError
    assert len(ShardReader(folder, verify=True)) == 7
    assert len(list(folder.glob("items-*.arrow"))) == len(ShardReader(folder).manifest["files"])


def test_an_existing_data_set_is_not_overwritten(folder):
    with pytest.raises(DataError, match="holds a data set already"):
        write_part(folder, [])
    assert len(ShardReader(folder)) == 7


def test_parts_are_merged_in_order_into_few_files(tmp_path):
    parts = [write_part(tmp_path / str(p), [random_item(10 * p + i) for i in range(3)], "abc") for p in range(4)]
    reader = ShardReader(merge_parts(parts, tmp_path / "out", "abc", vocabulary="PS_300", max_file_items=8))
    assert reader.ids == [f"{10 * p + i:04d}_A_B" for p in range(4) for i in range(3)]
    assert [entry["items"] for entry in reader.manifest["files"]] == [6, 6]
    assert_same_item(random_item(31), reader[10])


def test_parts_of_another_vocabulary_are_refused(tmp_path, folder):
    with pytest.raises(DataError, match=r"was made with vocabulary None \(abc\), expected xyz"):
        merge_parts([folder], tmp_path / "out", "xyz")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_chosen_items_are_copied_with_the_description(tmp_path, folder):
    reader = ShardReader(copy_items(ShardReader(folder), np.array([1, 2, 6]), tmp_path / "some"))
    assert reader.vocabulary_fingerprint == "abc"
    for i, item in zip((1, 2, 6), reader):
        assert_same_item(random_item(i), item)


@pytest.mark.parametrize("name", ["manifest.json", "counts", "items-00001"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "delete", "empty"])
def test_damage_is_noticed_and_the_file_named(folder, name, damage):
    path = next(folder.glob(f"{name}*"))
    content = bytearray(path.read_bytes())
    for position in range(0, len(content), max(1, len(content) // 12)):
        if damage == "flip":
            changed = bytearray(content)
            changed[position] ^= 0x41
            path.write_bytes(changed)
        elif damage == "truncate":
            path.write_bytes(content[:position])
        elif damage == "empty":
            path.write_bytes(b"")
        else:
            path.unlink(missing_ok=True)
        if name == "manifest.json" and damage == "flip":
            continue  # any text of it may change; what matters is checked below
        with pytest.raises(DataError, match=name):
            ShardReader(folder)


def test_a_flipped_manifest_gives_the_same_items_or_a_data_error(folder):
    path = folder / "manifest.json"
    content = path.read_bytes()
    for position in range(0, len(content), 3):
        for bit in (0x01, 0x10):
            path.write_bytes(content[:position] + bytes([content[position] ^ bit]) + content[position + 1 :])
            try:
                reader = ShardReader(folder)
            except DataError:
                continue
            assert [item.id for item in reader] == [f"{i:04d}_A_B" for i in range(7)]


def test_large_data_sets_are_checked_when_asked_to(folder, monkeypatch):
    monkeypatch.setattr("data.shards.SMALL_BYTES", 0)
    path = folder / "items-00000.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    ShardReader(folder)
    with pytest.raises(DataError, match=r"items-00000\.arrow: does not match its sha256"):
        ShardReader(folder, verify=True)


def edited(folder: Path, **changes) -> None:
    manifest = folder / "manifest.json"
    write_json(manifest, read_json(manifest) | changes, sealed=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "has schema version 2, this program reads 1"),
        ({"format": "other"}, "is not the manifest of a data set"),
        ({"items": 3}, "the numbers of items disagree"),
        ({"files": [{"name": "items"}]}, "lacks documented entries"),
        ({"vocabulary_fingerprint": None}, "lacks documented entries"),
        (
            {"files": [{"name": "../../secret", "items": 7, "bytes": 1, "sha256": ""}]},
            "lists a file it can't have written: '../../secret'",
        ),
    ],
)
def test_a_manifest_of_another_kind_is_refused(folder, changes, message):
    edited(folder, **changes)
    with pytest.raises(DataError, match=message):
        ShardReader(folder)


def test_an_absent_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        ShardReader(tmp_path / "nowhere")


def test_noised_items_are_not_stored(tmp_path):
    with pytest.raises(DataError, match="0003_A_B: carries noisy_segment, tr_eps, which is made while training"):
        write_part(tmp_path, [random_item(3).with_(noisy_segment=1, tr_eps=0.5)])
    assert not (tmp_path / "manifest.json").exists()


def test_values_that_do_not_fit_are_refused(tmp_path):
    item = random_item(3)
    with pytest.raises(DataError, match="0003_A_B: B holds values that do not fit into uint16"):
        write_part(tmp_path, [item.with_(B=item.B.astype(np.int64) + 70_000)])


def test_no_temporary_files_stay(folder):
    assert not [name for name in os.listdir(folder) if name.startswith(".")]
