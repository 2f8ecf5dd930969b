"""The inspection tells counts, sizes, kinds, groups, labels and one item in words, and draws a picture."""

import numpy as np
import pytest
from item_factory import random_item

from data.shards import write_part
from data.vocab import load_vocabulary
from scripts.inspect_data import main


@pytest.fixture
def folder(tmp_path):
    vocabulary = load_vocabulary("PS_300")
    items = [random_item(i, 4 + i).with_(modality=i % 2) for i in range(6)]
    items[0] = items[0].with_(B=np.array([4, 5, 39, 200], np.uint16), label=float("nan"))
    return write_part(tmp_path / "set", items, vocabulary.fingerprint, vocabulary="PS_300")


def test_everything_is_told(folder, capsys):
    assert main([str(folder)]) == 0
    text = capsys.readouterr().out
    assert "6 items in 1 file, " in text
    assert "vocabulary PS_300" in text
    blocks = next(line for line in text.splitlines() if line.startswith("blocks an item"))
    assert blocks.split()[3:] == ["39", "4", "6", "6.5", "9"]
    assert [line.split() for line in text.splitlines() if line.startswith("  P")] == [
        ["PP", "3", "50.0%"],
        ["PL", "3", "50.0%"],
    ]
    assert "groups: 3 for 6 items" in text
    assert "labels: 5 of 6 items" in text
    assert "WARNING" not in text


def test_sets_of_labels_are_counted_in_one_line(tmp_path, capsys):
    sets = [[1, 1, 0], [0, 1, 0], [0, 0, 0], [np.nan] * 3]
    items = [random_item(seed, targets=np.array(row, "f4")) for seed, row in enumerate(sets)]
    extra = {"targets": ["ATP", "MG", "ZN"], "label_sets": True}
    assert main([str(write_part(tmp_path / "set", items, extra=extra))]) == 0
    told = "sets of 3 labels: 1 item without a label, nothing is known of 1; MG 2, ATP 1, ZN 0"
    assert told in capsys.readouterr().out.splitlines()


def test_an_item_is_described_in_words(folder, capsys):
    assert main([str(folder), "--item", "0"]) == 0
    text = capsys.readouterr().out
    assert "item 0, 0000_A_B: PP, 4 blocks" in text
    assert "segment 0: GLY:A-3A ALA:A-2" in text
    assert "segment 1: O:B-1 " in text


def test_the_picture_is_a_png(folder, tmp_path, capsys):
    assert main([str(folder), "--out", str(tmp_path / "sizes.png")]) == 0
    assert (tmp_path / "sizes.png").read_bytes().startswith(b"\x89PNG")
    assert "sizes.png" in capsys.readouterr().out


def test_doubled_ids_are_told(tmp_path, capsys):
    write_part(tmp_path, [random_item(1), random_item(1), random_item(2)])
    assert main([str(tmp_path)]) == 0
    assert "WARNING: 1 item has the id of another one" in capsys.readouterr().out


def test_an_empty_set_and_an_absent_item_are_no_errors(tmp_path, folder, capsys):
    assert main([str(write_part(tmp_path / "empty", []))]) == 0
    assert "0 items" in capsys.readouterr().out
    assert main([str(folder), "--item", "99"]) == 0
    assert "item 99: there are only 6" in capsys.readouterr().out


def test_what_is_no_data_set_is_named(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "is not a data set: it has no manifest.json" in capsys.readouterr().err
