"""From splits to tables: baselines and models scored alike, on whole groups."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_pretrain_trainer import make_item

from configs.errors import DataError
from data.shards import write_part
from data.vocab import load_vocabulary
from scripts import baselines, collect_results
from trainers.pooled import Pooled, read_cross_validation
from trainers.score_tables import cell, markdown_table

LABELS = {
    "regression": lambda i: i * 0.5,
    "binary_classifier": lambda i: i // 8 % 2,
    "multiclass_classifier": lambda i: i % 3,
}


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.baselines.TREES", 5)
    monkeypatch.setattr("trainers.baselines.STRENGTHS", [1.0, 100.0])


def folds(folder: Path, task: str) -> Path:
    """Two folds of 24 items of 8 groups; sizes tell the label."""
    vocabulary = load_vocabulary()
    items = []
    for i in range(24):
        label = float(LABELS[task](i))
        items.append(make_item(i, 6 + 2 * int(label), False, label=label, group=f"g{i % 8}"))
    extra = {"classes": ["red", "green", "blue"]} if task == "multiclass_classifier" else {}
    for fold in range(2):
        tested = [item for item in items if int(item.group[1]) % 2 == fold]
        rest = [item for item in items if item not in tested]
        for name, some in (("train", rest), ("test", tested)):
            place = folder / f"fold_{fold}" / name
            write_part(place, some, vocabulary.fingerprint, vocabulary=vocabulary.name, extra=extra)
    return folder


@pytest.mark.parametrize("task", LABELS)
def test_baselines_test_every_item_once(tmp_path: Path, task: str) -> None:
    splits = folds(tmp_path / "folds", task)
    out = tmp_path / "out"
    words = ["--task", task, "--out", str(out), "--bootstrap", "5", "--subset", "item1"]
    assert baselines.main([str(splits), *words]) == 0
    report = json.loads((out / "baselines.json").read_text())
    rows = {(row["predictor"], row["subset"]): row for row in report["rows"]}
    assert rows["size", ""]["items"] == 24 and rows["size", ""]["groups"] == 8
    assert rows["size", "item1"]["items"] == 11  # item1, item10 to item19
    table = pd.read_csv(out / "size.csv")
    assert sorted(table["id"]) == sorted(f"item{i}" for i in range(24))
    best = {"regression": "pearson", "binary_classifier": "auroc", "multiclass_classifier": "accuracy"}[task]
    value, low, high = rows["size", ""]["scores"][best]
    assert value > 0.8 and low <= value <= high
    if task == "multiclass_classifier":
        assert [name for name in table if name.startswith("pred")] == ["pred red", "pred green", "pred blue"]
    assert "| size | 24 |" in (out / "baselines.md").read_text()


def test_unlabelled_tasks_have_their_own_baselines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = folds(tmp_path / "folds", "regression")
    for task in ("masking", "prot_interface"):
        words = ["--task", task, "--out", str(tmp_path / task), "--bootstrap", "20"]
        assert baselines.main([str(splits / "fold_0"), *words]) == 0
        assert json.loads((tmp_path / task / "baselines.json").read_text())["task"] == task
    assert baselines.main([str(splits), "--task", "masking", "--out", str(tmp_path / "x")]) == 2
    assert "has no folds" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def predictions(folder: Path, rng: np.random.Generator, task: str = "regression") -> None:
    """What scripts/cross_validate.py leaves behind."""
    target = np.arange(24) * 0.5
    seeds = {f"seed_{s}": target + rng.normal(size=24) for s in (1, 2, 3)}
    table = {"id": [f"item{i}" for i in range(24)], "fold": "fold_0", "group": [f"g{i % 8}" for i in range(24)]}
    table |= {"target": target, **seeds, "ensemble": np.mean(list(seeds.values()), 0), "ensemble_sd": 0.1}
    folder.mkdir(parents=True)
    pd.DataFrame(table).to_csv(folder / "predictions.csv", index=False)
    results = {"task": task, "seeds": [1, 2, 3], "runs": [{}] * 3, "failed": {}, "single": {}}
    (folder / "results.json").write_text(json.dumps(results))


def test_seeds_ensembles_and_baselines_stand_in_one_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    splits, table = folds(tmp_path / "folds", "regression"), tmp_path / "results" / "affinity"
    words = ["--task", "regression", "--out", str(table / "baselines"), "--bootstrap", "20"]
    assert baselines.main([str(splits), *words]) == 0
    predictions(table / "scratch", rng)
    out = tmp_path / "tables.md"
    assert collect_results.main([str(tmp_path / "results"), "--out", str(out), "--bootstrap", "50"]) == 0
    text = out.read_text()
    assert "## affinity" in text
    assert "| size | 24 |" in text
    seeds = read_cross_validation(table / "scratch" / "predictions.csv")
    assert seeds.keys() == {"seed_1", "seed_2", "seed_3", "ensemble"}
    errors = [np.sqrt(np.mean((seeds[f"seed_{s}"].pred - seeds[f"seed_{s}"].target) ** 2)) for s in (1, 2, 3)]
    line = next(line for line in text.splitlines() if line.startswith("| scratch, mean of 3 seeds"))
    assert f"{np.mean(errors):.3f} ± {np.std(errors, ddof=1):.3f}" in line
    assert "| scratch, ensemble | 24 |" in text


def test_runs_without_predictions_show_their_spread(tmp_path: Path) -> None:
    place = tmp_path / "results" / "masking" / "scratch"
    place.mkdir(parents=True)
    single = {"masked_accuracy": {"mean": 0.25, "sd": 0.01}}
    results = {"task": "masking", "seeds": [1], "runs": [{}, {}], "failed": {"fold_0 seed 2": "?"}, "single": single}
    (place / "results.json").write_text(json.dumps(results))
    assert collect_results.main([str(tmp_path / "results"), "--out", str(tmp_path / "t.md")]) == 0
    text = (tmp_path / "t.md").read_text()
    assert "| scratch, 2 runs |  | 0.250 ± 0.010 |" in text
    assert "1 run failed (fold_0 seed 2)" in text


def test_tasks_of_one_table_must_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    predictions(tmp_path / "t" / "one", rng)
    predictions(tmp_path / "t" / "two", rng, "masking")
    assert collect_results.main([str(tmp_path), "--out", str(tmp_path / "t.md"), "--bootstrap", "5"]) == 2
    assert "one task a table" in capsys.readouterr().err
    assert collect_results.main([str(tmp_path / "nothing"), "--out", str(tmp_path / "t.md")]) == 2
    assert not (tmp_path / "t.md").exists()


def test_both_kinds_of_regression_stand_in_one_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    predictions(tmp_path / "t" / "energies", rng, "PDBBind")
    predictions(tmp_path / "t" / "numbers", rng)
    assert collect_results.main([str(tmp_path), "--out", str(tmp_path / "t.md"), "--bootstrap", "5"]) == 0
    rows = [line for line in (tmp_path / "t.md").read_text().splitlines() if "ensemble" in line]
    assert [row.split(",")[0] for row in rows] == ["| energies", "| numbers"]


def test_intervals_draw_whole_groups() -> None:
    """A single group tells nothing about others, so there is no interval."""
    rng = np.random.default_rng(0)
    target = rng.normal(size=30)
    one = Pooled(np.array([f"i{i}" for i in range(30)]), np.full(30, "g"), target, target + rng.normal(size=30))
    value, low, high = one.scores("regression", n=20)["rmse"]
    assert value > 0 and np.isnan([low, high]).all()
    several = Pooled(one.ids, one.ids, one.target, one.pred).scores("regression", n=50)["rmse"]
    assert several.low < value < several.high


def test_damaged_predictions_are_named(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text("id,group,target,seed_1\na,g,1,2\n")
    with pytest.raises(DataError, match="no predictions of an ensemble"):
        read_cross_validation(tmp_path / "predictions.csv")
    (tmp_path / "predictions.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="lacks the columns id, group and target"):
        read_cross_validation(tmp_path / "predictions.csv")


def test_cells_say_as_much_as_is_known() -> None:
    assert cell([0.5, 0.4, 0.6]) == "0.500 (0.400 to 0.600)"
    assert cell([0.5, 0.1]) == "0.500 ± 0.100"
    assert cell([0.5, None]) == cell([0.5, None, None]) == "0.500"
    assert cell([None, None, None]) == cell(None) == "-"
    table = markdown_table([{"predictor": "mean", "items": 3, "scores": {"rmse": [1.0, None, None]}}], "regression")
    assert table == "| predictor | items | rmse |\n|---|---|---|\n| mean | 3 | 1.000 |\n"
