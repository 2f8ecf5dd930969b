"""Labels: converted by their formulas and back, read from data sets, and refused by item when they are of no use."""

from pathlib import Path

import numpy as np
import pytest
import torch
from item_factory import random_item

from configs.errors import CheckpointError, ConfigError, DataError
from configs.task_options import LabelOptions
from data.collate import collate_items
from data.dataset import InterfaceDataset
from data.index import rows_of_index, with_class_numbers
from data.label_checks import LabelCheck, class_weights, count_classes
from data.labels import LabelScale, fit_scale, kcal_per_pK, read_labels
from data.shards import ShardReader, copy_items, write_part

NAN = float("nan")


def dataset(labels: list[float]) -> InterfaceDataset:
    return InterfaceDataset([random_item(seed, label=label) for seed, label in enumerate(labels)])


def check(labels: list[float], **options) -> LabelCheck:
    data, chosen = dataset(labels), LabelOptions(**options)
    return LabelCheck(data, read_labels(data, chosen), chosen)


def test_a_unit_of_pK_is_worth_1_36_kcal_at_room_temperature() -> None:
    assert kcal_per_pK(298.15) == pytest.approx(1.364247, abs=1e-6)


@pytest.mark.parametrize(
    ("transform", "label", "expected"),
    [
        ("none", 3.0, 3.0),
        ("log10", 100.0, 2.0),
        ("pK_from_dG", -13.64247, 10.0),
        ("dG_from_pK", 10.0, -13.64247),
        ("pK_from_nM", 1.0, 9.0),
        ("pK_from_M", 1e-6, 6.0),
        ("dG_from_nM", 1.0, -12.27822),
        ("dG_from_M", 1e-9, -12.27822),
    ],
)
@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_transforms_and_their_inverses(transform: str, label: float, expected: float, kind) -> None:
    labels = np.array([[label], [label * 1.5], [NAN]])
    scale = fit_scale(
        read_labels(dataset(labels[:, 0].tolist()), LabelOptions()), LabelOptions(label_transform=transform)
    )
    given = kind(labels) if kind is np.array else torch.tensor(labels)
    changed = scale.transformed(given)
    assert float(changed[0, 0]) == pytest.approx(expected, rel=1e-4)
    learnt = scale.forward(given)
    assert float(learnt[:2].mean()) == pytest.approx(0, abs=1e-5) and float(abs(learnt[0, 0])) == pytest.approx(
        1, rel=1e-4
    )
    assert np.isnan(float(learnt[2, 0]))
    np.testing.assert_allclose(np.asarray(scale.values(learnt)), np.asarray(changed), rtol=1e-6)
    np.testing.assert_allclose(np.asarray(scale.inverse(learnt)), labels, rtol=1e-5)


def test_temperature_scales_the_energy() -> None:
    labels = read_labels(dataset([5.0, 7.0]), LabelOptions())
    cold, warm = (
        fit_scale(labels, LabelOptions(label_transform="dG_from_pK", temperature=t)).mean[0] for t in (200.0, 300.0)
    )
    assert warm / cold == pytest.approx(1.5)


def test_units_are_kept_and_a_contradiction_is_refused() -> None:
    labels = read_labels(dataset([5.0, 7.0]), LabelOptions())
    scale = fit_scale(labels, LabelOptions(label_transform="dG_from_pK"))
    assert (scale.data_unit, scale.unit) == ("pK", "kcal/mol")
    assert LabelScale.from_dict(scale.to_dict()) == scale
    assert fit_scale(labels, LabelOptions(label_transform="log10", label_unit="s")).unit == "log10(s)"
    with pytest.raises(ConfigError, match="--label_unit: is 'nM', but dG_from_pK reads pK"):
        fit_scale(labels, LabelOptions(label_transform="dG_from_pK", label_unit="nM"))
    with pytest.raises(CheckpointError, match="is no scale of labels"):
        LabelScale.from_dict({"mean": 1})


def test_without_standardisation_the_model_learns_the_labels_themselves() -> None:
    labels = read_labels(dataset([5.0, 7.0]), LabelOptions())
    scale = fit_scale(labels, LabelOptions(standardise=False))
    np.testing.assert_array_equal(scale.forward(labels.values), labels.values)


def test_several_targets_survive_the_disk_and_can_be_chosen(tmp_path: Path) -> None:
    rows = np.array([[1, NAN, 3], [4, 5, NAN], [NAN, 8, 9]], np.float32)
    items = [random_item(seed, targets=row) for seed, row in enumerate(rows)]
    write_part(tmp_path / "all", items, "x", extra={"targets": ["a", "b", "c"], "label_unit": "nM"})
    copy_items(ShardReader(tmp_path / "all"), np.array([0, 2]), tmp_path / "part")
    labels = read_labels(InterfaceDataset(tmp_path / "all"), LabelOptions())
    np.testing.assert_array_equal(labels.values, rows)
    assert (labels.names, labels.columns, labels.unit) == (("a", "b", "c"), (0, 1, 2), "nM")
    part = read_labels(InterfaceDataset(tmp_path / "part"), LabelOptions(targets="c, a"))
    np.testing.assert_array_equal(part.values, rows[[0, 2]][:, [2, 0]])
    assert part.columns == (2, 0)
    batch = collate_items([ShardReader(tmp_path / "all")[i] for i in range(3)])
    np.testing.assert_array_equal(batch["targets"], rows)
    with pytest.raises(ConfigError, match=r"--targets: the data hold no target 'd' \(the data hold a, b, c\)"):
        read_labels(InterfaceDataset(tmp_path / "all"), LabelOptions(targets="a,d"))


def test_sets_with_other_targets_are_not_mixed(tmp_path: Path) -> None:
    for name, width in (("one", 2), ("other", 3)):
        items = [random_item(seed, targets=np.zeros(width, np.float32)) for seed in range(2)]
        write_part(tmp_path / name, items, "x")
    with pytest.raises(DataError, match="have different numbers of targets"):
        read_labels(InterfaceDataset([tmp_path / "one", tmp_path / "other"]), LabelOptions())
    mixed = InterfaceDataset([random_item(0), random_item(1, targets=np.zeros(2, np.float32))])
    with pytest.raises(DataError, match="0000_A_B: has another number of targets"):
        read_labels(mixed, LabelOptions())


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([NAN, NAN], {}, r"no item of the training set has a label \(label\)"),
        (
            [1.0, NAN, NAN],
            {},
            r"item 0001_A_B \(number 1\): has no label, one of 2 such items .*--missing_labels ignore",
        ),
        ([1.0, float("inf")], {}, r"0001_A_B .*: has an infinite label"),
        ([1.0, 0.0], {"label_transform": "log10"}, r"0001_A_B .*: has a label that log10 is not defined for"),
        ([1.0, -3.0], {"label_transform": "pK_from_nM"}, r"0001_A_B .*: has a label that pK_from_nM is not defined"),
    ],
)
def test_bad_numbers_are_refused_by_item(labels: list[float], options: dict, message: str) -> None:
    checked = check(labels, **options)
    with pytest.raises(DataError, match=message):
        checked.numbers(fit_scale(checked.labels, checked.options))


def test_missing_numbers_can_be_ignored_and_equal_ones_are_told() -> None:
    checked = check([2.0, NAN, 2.0], missing_labels="ignore")
    (warning,) = checked.numbers(fit_scale(checked.labels, checked.options))
    assert warning == "all labels label of the training set are 2: there is nothing to learn"
    assert fit_scale(checked.labels, checked.options).std == (1.0,)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.0, 1.5], r"item 0001_A_B \(number 1\): a class is a whole number, this is 1.5"),
        ([0.0, 1.0, 3.0], r"item 0002_A_B \(number 2\): the 3 classes are 0 to 2, this is 3"),
        ([0.0, -1.0], "the 3 classes are 0 to 2, this is -1"),
        ([1.0, 1.0], "all items of the training set are of class 1, which leaves auroc undefined"),
        ([0.0, NAN], "has no label"),
    ],
)
def test_bad_classes_are_refused_by_item(labels: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check(labels).classes(3, "auroc")


def test_absent_classes_are_told() -> None:
    assert check([0.0, 2.0, 0.0]).classes(4, "auroc") == ["the training set has no item of class 1, 3"]
    assert check([1.0, 1.0]).classes(2) == ["the training set has no item of class 0"]


def test_classes_are_counted_and_weighted() -> None:
    labels = read_labels(dataset([0.0, 0.0, 0.0, 2.0]), LabelOptions())
    assert count_classes(labels) == 3
    weights = class_weights(labels, 3, "balanced")
    np.testing.assert_allclose(weights, [4 / (2 * 3), 0, 4 / 2])
    assert weights[[0, 0, 0, 2]].mean() == pytest.approx(1)
    np.testing.assert_array_equal(class_weights(labels, 3, "none"), [1, 1, 1])


def test_named_classes_are_all_there_are(tmp_path: Path) -> None:
    outside = [random_item(seed, label=float(seed)) for seed in (0, 1, 4)]
    named = InterfaceDataset(write_part(tmp_path / "named", outside, "x", extra={"classes": ["ion", "drug"]}))
    assert count_classes(read_labels(named, LabelOptions())) == 2
    checked = LabelCheck(named, read_labels(named, LabelOptions()), LabelOptions())
    with pytest.raises(DataError, match=r"item 0004_A_B \(number 2\): the 2 classes are 0 to 1, this is 4"):
        checked.classes(2)


@pytest.mark.filterwarnings("error")
def test_labels_without_any_class_weigh_nothing() -> None:
    labels = read_labels(dataset([-9.5, -7.0]), LabelOptions())
    np.testing.assert_array_equal(class_weights(labels, 2, "balanced"), [0, 0])


INDEX = "pdb_id,pdb_path,chain1,chain2,kind,kd,ic50\na,x.pdb,A,B,ion,1.5,\nb,x.pdb,A,B,drug,,3\nc,x.pdb,A,B,ion,2,4\n"


def test_the_index_gives_other_columns_and_names_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "index.csv"
    path.write_text(INDEX)
    assert [row.label for row in rows_of_index(path, ["kd"])] == ["1.5", "", "2"]
    values = [row.values() for row in rows_of_index(path, ["kd", "ic50"])]
    np.testing.assert_array_equal(values, np.array([[1.5, NAN], [NAN, 3], [2, 4]], np.float32))
    assert rows_of_index(path)[0].values() is None
    kinds = rows_of_index(path, ["kind"])
    numbered, classes = with_class_numbers(kinds)
    assert ([row.label for row in numbered], classes) == (["1", "0", "1"], ("drug", "ion"))
    assert [row.label for row in with_class_numbers(kinds, ["ion", "drug"])[0]] == ["0", "1", "0"]
    with pytest.raises(DataError, match="line 3, label: 'drug' is none of the classes ion, sugar"):
        with_class_numbers(kinds, ["ion", "sugar"])
    with pytest.raises(DataError, match="lacks the column 'pKd' of --label_columns"):
        rows_of_index(path, ["pKd"])
    with pytest.raises(DataError, match=r"label: 'ion' is no number \(names of classes: --label_classes\)"):
        kinds[0].value()
