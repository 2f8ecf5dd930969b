"""What run folders tell, whole, half-written or damaged; and what stored predictions tell of their errors."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import ConfigError, DataError
from data.shards import write_part
from data.synthetic import make_items
from data.vocab import load_vocabulary
from trainers.predicted import read_predicted
from trainers.run_record import changed_options, data_sets, read_run_folder

CLASSES = {"classes": ["no", "yes"]}


def write_run(folder: Path, epochs: int = 2, **options: Any) -> Path:
    """A run of one-line logs."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"task": "regression", "max_epoch": 2} | options
    (folder / "train_config.json").write_text(json.dumps({"options": options, "model": "RegressionPredictor"}))
    lines = [
        {
            "event": "epoch",
            "epoch": n,
            "step": 5 * n + 5,
            "lr": 1e-3,
            "train": {"loss": 2.0},
            "valid": {"rmse": 2.0 - n},
        }
        for n in range(epochs)
    ]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_run_is_finished_running_or_stopped(tmp_path: Path) -> None:
    assert read_run_folder(write_run(tmp_path / "a")).state() == "finished"
    begun = read_run_folder(write_run(tmp_path / "b", epochs=1))
    written = (tmp_path / "b" / "history.jsonl").stat().st_mtime
    assert begun.state(now=written + 10) == "running"
    assert begun.state(now=written + 10_000) == "stopped"


def test_damage_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with open(run / "history.jsonl", "a") as file:
        file.write('{"event": "epo')  # cut by a kill
    (run / "final_report.json").write_text("{")
    record = read_run_folder(run)
    assert len(record.epochs) == 2 and record.final == {}
    assert record.notes == [
        "final_report.json is not valid JSON; the file is damaged",
        "history.jsonl has 1 damaged lines, which are left out",
    ]


def test_a_foreign_folder_is_refused_and_runs_inside_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        read_run_folder(tmp_path / "none")
    write_run(tmp_path / "version_3")
    with pytest.raises(ConfigError, match=r"is not a run folder.*version_3"):
        read_run_folder(tmp_path)


def test_options_that_differ_are_those_given_and_tuples_are_lists(tmp_path: Path) -> None:
    assert changed_options({"lr": 0.5, "max_epoch": 10, "gpus": [], "fold": 3}) == [
        ("lr", 0.5, 1e-3),
        ("fold", 3, None),
    ]


def test_sizes_of_data_are_told_only_while_they_are_the_same(tmp_path: Path) -> None:
    vocabulary = load_vocabulary()
    write_part(tmp_path / "data", make_items(4), vocabulary.fingerprint, vocabulary=vocabulary.name)
    record = read_run_folder(write_run(tmp_path / "run", train_set=str(tmp_path / "data")))
    (row,) = data_sets(record)
    assert row["role"] == "train_set" and row["items"] == 4 and sum(row["modalities"].values()) == 4
    record.config["data"] = {str(tmp_path / "data"): "0" * 64}
    assert next(data_sets(record))["note"] == "has changed since the run"
    shutil.rmtree(tmp_path / "data")
    assert "no such folder" in next(data_sets(record))["note"]


def test_numbers_have_errors_groups_and_worst_items(tmp_path: Path) -> None:
    path = tmp_path / "predictions_test.csv"
    path.write_text("id,group,target,pred\na,x,1.0,1.5\nb,x,2.0,1.0\nNA,y,3.0,0.0\nd,y,,9.0\n")
    (found,) = read_predicted(path, {}, "pK")
    assert found.error.tolist() == [0.5, 1.0, 3.0]
    assert found.worst(1) == [{"id": "NA", "group": "y", "value": "3", "predicted": "0", "error": "3"}]
    groups = found.by_group()
    assert groups[["group", "items", "error", "bias"]].to_numpy().tolist() == [
        ["y", 1, 3.0, -3.0],
        ["x", 2, 0.75, -0.25],
    ]
    assert found.coverage() is None


def test_classes_have_confidences_and_coverage(tmp_path: Path) -> None:
    path = tmp_path / "predictions_test.csv"
    path.write_text("id,group,target,pred\na,x,1,0.9\nb,x,0,0.2\nc,y,0,0.6\nd,y,1,0.6\n")
    (found,) = read_predicted(path, CLASSES)
    np.testing.assert_allclose(found.confidence, [0.9, 0.8, 0.6, 0.6])
    share, wrong, best = found.coverage()  # the two that are equally sure come together
    assert share.tolist() == [0.25, 0.5, 1.0] and wrong.tolist() == [0, 0, 0.25] and best.tolist() == [0, 0, 0.25]
    assert found.worst(1)[0]["predicted"] == "yes" and found.worst(1)[0]["id"] == "c"


def test_a_stored_confidence_and_the_spread_of_an_ensemble_are_used(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text("id,target,pred,confidence\na,1,2,0.3\nb,1,1,0.9\n")
    assert read_predicted(path, {})[0].confidence.tolist() == [0.3, 0.9]
    path.write_text("id,fold,group,target,seed_1,ensemble,ensemble_sd\na,f,x,1,2,2,0.5\nb,f,x,1,1,1,0.1\n")
    (found,) = read_predicted(path, {})
    assert found.confidence.tolist() == [-0.5, -0.1] and found.pred.tolist() == [2, 1]


def test_several_targets_of_mixed_types(tmp_path: Path) -> None:
    path = tmp_path / "predictions_valid.csv"
    path.write_text("id,target pK,target site,pred pK,pred site\na,5,1,5.5,0\nb,,0,4,0\n")
    labels = {"targets": {"pK": {"scale": {"unit": "pK"}}, "site": {"classes": ["in", "out"]}}}
    number, kind = read_predicted(path, labels)
    assert (number.name, number.unit, number.ids.tolist()) == ("pK", "pK", ["a"])
    assert kind.classes == ("in", "out") and kind.error.tolist() == [1, 0] and kind.prob is None


@pytest.mark.parametrize("text", ["", "id,pred\na,1\n", "id,target,pred\na,7,0.5\n"])
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DataError):
        read_predicted(tmp_path / "p.csv", CLASSES)
