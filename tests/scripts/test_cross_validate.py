"""Cross-validation from its command line: every item is predicted by models that did not see it."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from data.item import Item
from data.shards import ShardReader, ShardWriter
from data.vocab import load_vocabulary
from models.persistence import from_pretrained
from scripts import cross_validate, split_data
from trainers.processes import Job

SIZES = "--atom_hidden_size 8 --block_hidden_size 8 --edge_size 4 --k_neighbors 3 --n_layers 1".split()
QUIET = "--gpus -1 --no_progress --no_use_tensorboard --max_epoch 1 --batch_size 4 --bootstrap 20".split()


def labelled(seed: int, n_blocks: int = 4) -> Item:
    """Blocks of two atoms."""
    rng = np.random.default_rng(seed)
    return Item(
        id=f"item{seed:02d}",
        group=f"g{seed // 2}",
        X=rng.normal(size=(2 * n_blocks, 3)).astype("f4") * 4,
        A=rng.integers(8, 12, 2 * n_blocks).astype("u1"),
        B=rng.integers(4, 10, n_blocks).astype("u2"),
        block_lengths=np.full(n_blocks, 2, "i4"),
        segment_ids=(np.arange(n_blocks) >= n_blocks // 2).astype("u1"),
        modality=0,
        label=float(seed),
    )


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("data")
    with ShardWriter(folder / "all", load_vocabulary(None).fingerprint) as writer:
        for seed in range(16):
            writer.add(labelled(seed))
    options = ["--folds", "2", "--valid_fraction", "0.3", "--no_similarity", "--out_path", str(folder / "folds")]
    assert split_data.main([str(folder / "all"), *options]) == 0
    return folder / "folds"


def test_two_folds_with_two_seeds(folds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(folds), "--out_path", str(tmp_path / "cv"), "--seeds", "1", "2", "--bootstrap", "50"]
    training = ["--", "--task", "regression", *SIZES, *QUIET]
    assert cross_validate.main([*command, *training]) == 0
    assert "regression: 4 runs (2 folds, 2 seeds)" in capsys.readouterr().out
    results = json.loads((tmp_path / "cv" / "results.json").read_text())
    assert results["single"]["rmse"]["n"] == 4 and results["ensemble"]["rmse"]["n"] == 2 and not results["failed"]
    assert [(run["fold"], run["seed"]) for run in results["runs"]] == [(f"fold_{f}", s) for f in (0, 1) for s in (1, 2)]
    assert all(run["valid"]["rmse"] > 0 for run in results["runs"])
    table = pd.read_csv(tmp_path / "cv" / "predictions.csv").sort_values("id")
    assert table["id"].tolist() == [f"item{n:02d}" for n in range(16)]
    assert table["target"].tolist() == list(range(16)) and table["group"].tolist()[:3] == ["g0", "g0", "g1"]
    assert np.allclose(table["ensemble"], (table["seed_1"] + table["seed_2"]) / 2)
    assert results["pooled"]["rmse"]["value"] == pytest.approx(
        np.sqrt(np.mean((table["ensemble"] - table["target"]) ** 2))
    )
    split = pd.read_csv(folds / "split.csv").set_index("id")
    assert (split.loc[table["id"], "part"].to_numpy() == table["fold"].to_numpy()).all()

    (curve,) = results["coverage"]
    assert (curve["items"], curve["confidence"]) == (16, "agreement of the ensemble's members")
    assert curve["scores"]["risk"]["value"] == pytest.approx((table["ensemble"] - table["target"]).abs().mean())
    assert (tmp_path / "cv" / "coverage.png").stat().st_size > 0
    for run in results["runs"]:  # every model keeps its errors on the items that it had not seen
        facts = from_pretrained(tmp_path / "cv" / run["folder"] / "checkpoint" / "best").facts
        kept = facts["calibration"]["label"]
        own = table[table["fold"] == run["fold"]]
        assert kept["source"] == "held-out fold"
        errors = (own[f"seed_{run['seed']}"] - own["target"]).abs()
        assert sorted(kept["residuals"]) == pytest.approx(sorted(errors), rel=1e-5)
        assert len(set(kept["groups"])) == own["group"].nunique()

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cv" / "runs").rglob("*")}
    assert cross_validate.main([*command, *training]) == 0  # nothing is left to do
    assert "4 of 4 runs have finished before" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "cv" / "runs").rglob("*")}
    assert cross_validate.main([*command, *training, "--lr", "0.1"]) == 2
    assert "cv: holds runs with another --lr (choose another --out_path)" in capsys.readouterr().err


def test_a_run_that_fails_is_named_and_the_rest_reported(
    folds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pretend(jobs: list[Job], devices: list[int]) -> Iterator[tuple[Job, bool]]:
        """Predict each label with an error of one, except in the second fold, which fails."""
        for job in jobs:
            run, ok = job.folder / "version_0", "fold_1" not in job.name
            run.mkdir(parents=True)
            if ok:
                items = ShardReader(Path(job.arguments[job.arguments.index("--test_set") + 1]))
                rows = [f"{item.id},{item.label},{item.label + 1}" for item in items]
                (run / "predictions_test.csv").write_text("\n".join(["id,target,pred", *rows]))
                report = {"checkpoint": "epoch0_step1", "epoch": 0, "unit": "pK", "sets": {}}
                (run / "final_report.json").write_text(json.dumps(report))
                (run / "train_config.json").write_text("{}")
                (job.folder / "finished.json").write_text('{"folder": "version_0"}')
            job.log.write_text("starts\ntrain: item03: has no label\n")
            yield job, ok

    monkeypatch.setattr(cross_validate, "run_jobs", pretend)
    command = [str(folds), "--out_path", str(tmp_path / "cv"), "--seeds", "3", "--bootstrap", "5"]
    assert cross_validate.main([*command, "--", "--task", "regression"]) == 2
    said = capsys.readouterr()
    assert (
        "regression: 1 run (1 fold, 1 seed), pK" in said.out
        and "| rmse | - | 1.000 | 1.000 [1.000, 1.000] |" in said.out
    )
    lines = said.err.splitlines()
    assert lines[:2] == ["[1/2] fold_0 seed 3: finished", "[2/2] fold_1 seed 3: train: item03: has no label"]
    assert lines[2].startswith("cross_validate: 1 of 2 runs failed: fold_1 seed 3 (see ") and "log.txt" in lines[2]
    results = json.loads((tmp_path / "cv" / "results.json").read_text())
    assert results["failed"] == {"fold_1 seed 3": "train: item03: has no label"}
    assert len(pd.read_csv(tmp_path / "cv" / "predictions.csv")) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--task regression --seed 3", "--seed: is filled in for each run (leave it out behind `--`)"),
        ("--task regression --train_set x", "--train_set: is filled in for each run"),
        ("--task pretrain_torsion", "--task: 'pretrain_torsion' has no test scores"),
        ("--task regression --no_final_report", "--final_report: is needed"),
        ("--task regresion", "--task: unknown task 'regresion' (did you mean 'regression'?)"),
    ],
)
def test_bad_options_stop_it_before_the_first_run(
    folds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, message: str
) -> None:
    try:
        status = cross_validate.main([str(folds), "--out_path", str(tmp_path / "cv"), "--", *options.split()])
    except SystemExit as left:
        status = int(left.code or 0)
    assert status == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "cv").exists()
