"""Runs in processes of their own, and ensembles of what they predict."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.errors import DataError
from data.labels import LabelScale
from trainers.ensemble import RunResult, join_seeds, mean_and_sd, pooled_scores, read_run, score
from trainers.processes import Job, run_jobs

NAN = float("nan")


def jobs_in(folder: Path, n: int) -> list[Job]:
    return [Job(f"run {k}", folder / str(k), "run_stand_in", (str(folder / str(k)), str(k))) for k in range(n)]


def test_a_failing_run_is_named_and_the_others_are_kept(tmp_path):
    jobs = jobs_in(tmp_path, 3)
    jobs[1].folder.mkdir()
    (jobs[1].folder / "fail").touch()
    assert {job.name: ok for job, ok in run_jobs(jobs)} == {"run 0": True, "run 1": False, "run 2": True}
    assert jobs[1].last_words() == "train: item 1: is wrong" and jobs[1].result() is None
    (jobs[1].folder / "fail").unlink()
    logs = [job.log.read_text() for job in jobs]
    assert all(ok for _, ok in run_jobs(jobs))
    assert [job.log.read_text() == log for job, log in zip(jobs, logs)] == [True, False, True]  # the rest ran once


def test_runs_are_dealt_to_devices(tmp_path):
    jobs = jobs_in(tmp_path, 3)
    assert all(ok for _, ok in run_jobs(jobs, [7, 8]))
    assert {job.log.read_text().strip() for job in jobs} <= {"gpus --gpus 7", "gpus --gpus 8"}


def test_a_run_that_was_killed_says_so(tmp_path):
    (job,) = jobs_in(tmp_path, 1)
    job.folder.mkdir()
    (job.folder / "die").touch()
    assert [ok for _, ok in run_jobs([job])] == [False]
    assert job.last_words() == "killed by signal 9 (out of memory?)"


def test_a_run_that_ended_without_a_report_has_failed(tmp_path):
    job = Job("json", tmp_path / "x", "json.tool", ())
    assert [ok for _, ok in run_jobs([job])] == [False]


def run_of(folder: Path, seed: int, rows: dict[str, Any], **columns: Any) -> RunResult:
    folder = folder / f"seed_{seed}"
    folder.mkdir(parents=True)
    scores = {"rmse": {"value": float(seed), "low": None, "high": None}, "pearson": {"value": None}}
    (folder / "final_report.json").write_text(json.dumps({"sets": {"test": {"items": 2, "scores": scores}}}))
    pd.DataFrame(rows | columns).to_csv(folder / "predictions_test.csv", index=False)
    return read_run("fold_0", seed, folder)


def test_an_ensemble_is_the_mean_over_seeds_item_by_item(tmp_path):
    one = run_of(tmp_path, 1, {"id": ["NA", "b"], "target": [1.0, NAN], "pred": [1.0, 4]})
    two = run_of(tmp_path, 2, {"id": ["b", "NA"], "target": [NAN, 1.0], "pred": [6.0, 3]})
    found = join_seeds([one, two], {"NA": "g"})
    assert (found.ids, found.groups, found.seeds) == (["NA", "b"], ["g", ""], [1, 2])
    assert found.mean.tolist() == [[2], [5]] and found.spread.ravel() == pytest.approx([math.sqrt(2)] * 2)
    table = found.table()
    assert list(table.columns) == ["id", "fold", "group", "target", "seed_1", "seed_2", "ensemble", "ensemble_sd"]
    assert table["seed_2"].tolist() == [3, 6]
    assert np.isnan(join_seeds([one], {}).spread).all()
    assert one.scores("test")["rmse"] == 1 and math.isnan(one.scores("test")["pearson"]) and one.scores("valid") == {}


def test_transformed_labels_are_also_told_in_the_unit_of_the_data(tmp_path):
    found = join_seeds([run_of(tmp_path, 1, {"id": ["a", "b"], "target": [9.0, 6.0], "pred": [8.0, 6.0]})], {})
    scale = LabelScale(transform="pK_from_nM", data_unit="nM", unit="pK", mean=(7.0,), std=(2.0,))
    assert found.table(scale)["ensemble_in_data_unit"].tolist() == pytest.approx([10, 1000])
    assert "ensemble_in_data_unit" not in found.table(LabelScale(mean=(7.0,)))


def test_classes_keep_their_names(tmp_path):
    rows = {"id": ["a", "b"], "target": [0.0, 1.0], "pred zn": [0.9, 0.4], "pred ca": [0.1, 0.6]}
    found = join_seeds([run_of(tmp_path, 1, rows)], {})
    assert found.names == ["zn", "ca"] and {"ensemble zn", "seed_1 ca", "target"} < set(found.table().columns)
    assert score("multiclass_classifier", found.mean, found.target, found.names)["accuracy/ca"] == 1


def test_several_targets_keep_their_names(tmp_path):
    rows = {"id": ["a", "b"], "target kd": [0.0, 1], "target ki": [2.0, NAN], "pred kd": [1.0, 2], "pred ki": [2.0, 2]}
    found = join_seeds([run_of(tmp_path, 1, rows)], {})
    scores = score("regression", found.mean, found.target, found.names)
    assert (scores["rmse/kd"], scores["rmse/ki"]) == (1, 0) and "target ki" in found.table()


def test_runs_on_other_items_are_refused(tmp_path):
    one = run_of(tmp_path, 1, {"id": ["a"], "target": [1.0], "pred": [1.0]})
    two = run_of(tmp_path, 2, {"id": ["b"], "target": [1.0], "pred": [1.0]})
    with pytest.raises(DataError, match=r"seed_2: predicts other items than .*seed_1 \(delete it to run it again\)"):
        join_seeds([one, two], {})
    with pytest.raises(DataError, match="has an id twice"):
        run_of(tmp_path, 3, {"id": ["a", "a"], "target": [1.0, 1], "pred": [1.0, 1]})


def test_pooled_scores_of_folds(tmp_path):
    ids, target = [f"i{n}" for n in range(10)], np.arange(10.0)
    groups = {name: f"g{n // 5}" for n, name in enumerate(ids)}
    folds = [
        join_seeds([run_of(tmp_path / str(f), 1, {"id": ids[s], "target": list(target[s]), "pred": pred})], groups)
        for f, (s, pred) in enumerate([(slice(0, 5), [0.0, 1, 2, 3, 4]), (slice(5, 10), [9.0, 8, 7, 6, 5])])
    ]
    found = pooled_scores("regression", folds, by_group=False, n=100)
    assert found["rmse"].value == pytest.approx(2) and found["rmse"].low < 2 < found["rmse"].high
    assert found["within_group_spearman"] == pytest.approx((0, -1, 1))
    by_group = pooled_scores("regression", folds, by_group=True, n=100)["mae"]
    assert (by_group.value, by_group.low, by_group.high) == pytest.approx((1.2, 0, 2.4))


def test_mean_and_spread_leave_out_what_is_undefined():
    found = mean_and_sd([{"rmse": 1.0, "pearson": NAN}, {"rmse": 3.0, "pearson": 0.5}, {"mae": NAN}])
    assert found["rmse"] == pytest.approx({"mean": 2, "sd": math.sqrt(2), "n": 2})
    assert found["pearson"]["n"] == 1 and math.isnan(found["pearson"]["sd"]) and "mae" not in found
