"""Sets of labels: read by name, counted on training items, the same vocabulary for every set, nothing unsaid."""

from pathlib import Path

import numpy as np
import pytest
from item_factory import random_item

from configs.errors import ConfigError, DataError
from configs.schema import from_flat
from configs.task_options import LabelOptions
from data.dataset import InterfaceDataset
from data.index import rows_of_index, with_label_sets
from data.label_checks import LabelCheck
from data.label_sets import COMPLETE, LabelSets, fit_vocabulary, read_label_sets, with_vocabulary
from data.labels import read_labels
from data.shards import write_part

NAN = float("nan")


def shards(folder: Path, names: list[str], rows: list[list[float]], complete: bool = True) -> Path:
    items = [random_item(seed, targets=np.array(row, "f4")) for seed, row in enumerate(rows)]
    return write_part(folder, items, extra={"targets": names} | ({COMPLETE: True} if complete else {}))


def index(folder: Path, *labels: str) -> list:
    rows = [f"x{number},a.pdb,A,B,{label}" for number, label in enumerate(labels)]
    (folder / "index.csv").write_text("\n".join(["pdb_id,pdb_path,chain1,chain2,bound", *rows]))
    return rows_of_index(folder / "index.csv", ["bound"])


def test_sets_of_an_index_become_a_target_for_each_name(tmp_path: Path) -> None:
    rows, names = with_label_sets(index(tmp_path, "MG; ATP", "-", "", "MG"))
    assert names == ("ATP", "MG")
    found = np.array([row.values() for row in rows])
    np.testing.assert_array_equal(found, [[1, 1], [0, 0], [NAN, NAN], [0, 1]])
    assert np.isnan(rows[0].value())


@pytest.mark.parametrize("text", ["ATP;", "ATP;-", ";", '"ATP,MG"'])
def test_what_is_no_set_is_told_by_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"line 3.*is no set of labels"):
        with_label_sets(index(tmp_path, "ATP", text))


def test_an_index_without_a_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names no label"):
        with_label_sets(index(tmp_path, "-", ""))


def test_parts_with_other_labels_are_joined_by_name(tmp_path: Path) -> None:
    """In complete sets a label that is not named was not seen; in columns it is not known."""
    one = shards(tmp_path / "one", ["ATP", "MG"], [[1, 0], [NAN, NAN]])
    two = shards(tmp_path / "two", ["ZN", "MG"], [[1, 1]], complete=False)
    sets = read_label_sets(InterfaceDataset([one, two]), ["HEM"])
    assert sets.names == ("ATP", "HEM", "MG", "ZN")
    expected = [[1, 0, 0, 0], [NAN] * 4, [NAN, NAN, 1, 1]]
    np.testing.assert_array_equal(sets.values, expected)
    assert list(sets.observations.items()) == [("ATP", 1), ("MG", 1), ("ZN", 1), ("HEM", 0)]


def test_a_class_is_a_set_of_one_label(tmp_path: Path) -> None:
    items = [random_item(seed, label=label) for seed, label in enumerate([1.0, NAN, 0.0])]
    sets = read_label_sets(InterfaceDataset(write_part(tmp_path, items, extra={"classes": ["zn", "atp"]})))
    np.testing.assert_array_equal(sets.of(("atp", "zn")).values, [[1, 0], [NAN, NAN], [0, 1]])


def test_data_without_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no sets of labels.*--label_sets"):
        read_label_sets(InterfaceDataset(write_part(tmp_path, [random_item(0)])))


def test_the_vocabulary_needs_enough_training_items() -> None:
    sets = LabelSets(("a", "b", "c", "d"), np.array([[1, 1, 0, 0], [1, 0, 1, 0], [NAN, 1, 1, 0]]))
    assert fit_vocabulary(sets, 2) == ("a", "b", "c")
    assert fit_vocabulary(sets, 0) == ("a", "b", "c")  # never a label without an item
    assert fit_vocabulary(sets, 50, "c, a") == ("c", "a")  # named ones, whatever their number
    with pytest.raises(ConfigError, match=r"--min_obs_per_ligand: 3 leaves no label.*a 2, b 2, c 2, d 0"):
        fit_vocabulary(sets, 3)
    with pytest.raises(ConfigError, match="no training item has the label 'd'"):
        fit_vocabulary(sets, 0, "a,d")


@pytest.mark.parametrize("name", ["a,b", "a;b", " a", "-", ""])
def test_labels_that_a_list_could_not_hold_are_refused(name: str) -> None:
    """Only where they would be learnt: `predict.py` lists labels as `ATP;MG`, options as `ATP,MG`."""
    with pytest.raises(DataError, match="can't be told from others"):
        fit_vocabulary(LabelSets(("ATP", name), np.array([[1, 1], [1, 1]])), 2)
    assert fit_vocabulary(LabelSets(("ATP", name), np.array([[1, 1], [1, 0]])), 2) == ("ATP",)


def test_a_label_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names the label 'ATP' twice"):
        read_label_sets(InterfaceDataset(shards(tmp_path, ["ATP", "ATP"], [[1, 0]])))


def test_only_training_items_decide_and_the_rest_is_told(tmp_path: Path) -> None:
    training = InterfaceDataset(shards(tmp_path / "a", ["ATP", "MG", "ZN"], [[1, 0, 0], [1, 1, 1], [0, 1, 0]]))
    valid = InterfaceDataset(shards(tmp_path / "b", ["HEM", "MG"], [[1, 1], [1, 0], [1, 0]]))
    run = from_flat({"task": "multilabel", "min_obs_per_ligand": 2})
    run, notes = with_vocabulary(run, training, {"validation set": valid})
    assert run.label.targets == "ATP,MG"
    assert "learning 2 of 3 labels: ATP 2, MG 2" in notes[0]
    assert "training set: 1 observations of 1 other labels (too rare" in notes[1] and "ZN 1" in notes[1]
    assert "validation set: 3 observations of 1 other labels (not learnt, so not scored): HEM 3" in notes[2]
    np.testing.assert_array_equal(training[1].targets, [1, 1])
    np.testing.assert_array_equal([valid[i].targets for i in range(3)], [[0, 1], [0, 0], [0, 0]])
    assert read_labels(valid, run.label).names == ("ATP", "MG")


def test_other_tasks_keep_their_labels(tmp_path: Path) -> None:
    dataset = InterfaceDataset([random_item(0)])
    run = from_flat({"task": "regression"})
    assert with_vocabulary(run, dataset, {}) == (run, [])
    assert dataset.given is None


def checked(folder: Path, rows: list[list[float]], monitor: str | None = None, **options) -> list[str]:
    dataset, chosen = InterfaceDataset(shards(folder, ["ATP", "MG"], rows)), LabelOptions(**options)
    return LabelCheck(dataset, read_labels(dataset, chosen), chosen, "validation set").sets(monitor)


def test_what_leaves_the_monitor_undefined_is_refused(tmp_path: Path) -> None:
    for number, rows in enumerate(([[0, 0], [0, 0]], [[1, 0], [1, NAN]])):
        with pytest.raises(DataError, match="leaves macro_ap undefined"):
            checked(tmp_path / str(number), rows, monitor="macro_ap")
    assert len(checked(tmp_path / "some", [[1, 0], [0, 0]], monitor="macro_ap")) == 1


def test_labels_are_checked_before_the_first_step(tmp_path: Path) -> None:
    assert checked(tmp_path / "0", [[1, 0], [0, 1]]) == []
    (told,) = checked(tmp_path / "1", [[1, 0], [0, NAN]])
    assert told == "no item of the validation set has MG: such labels are not scored"
    (told,) = checked(tmp_path / "2", [[1, 1], [1, 0]])
    assert told == "all items of the validation set have ATP: there is nothing to tell apart"
    with pytest.raises(DataError, match="a label is 0, 1, or empty"):
        checked(tmp_path / "3", [[1, 0], [0.5, 0]])
    with pytest.raises(DataError, match="no item of the validation set has labels"):
        checked(tmp_path / "4", [[NAN, NAN]])
    with pytest.raises(DataError, match=r"has no label, one of 1 such items.*--missing_labels ignore"):
        checked(tmp_path / "5", [[1, 0], [NAN, NAN]])
    assert len(checked(tmp_path / "6", [[1, 0], [NAN, NAN], [0, 0]], missing_labels="ignore")) == 1
