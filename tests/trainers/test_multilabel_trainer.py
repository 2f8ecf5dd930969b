"""A run on sets of labels, and what is made of its checkpoint: predictions, explanations, a report, another run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from contract_rows import SIZES, make_data, run_row

from configs.errors import ConfigError
from data.dataset import InterfaceDataset
from data.loader import make_loader
from data.sampler import BatchSampler
from models import create_model, from_pretrained, save_pretrained
from models.losses import asymmetric_loss
from scripts import interact_score, predict, report
from trainers import MultiLabelTrainer, TrainConfig, create_trainer

LABELS = ["MG", "ATP", "HEM"]
ON_CPU = ["--gpus", "-1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("multilabel")
    make_data(folder)
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("runs")
    more = f"{SIZES} --max_epoch 2 --lr 0.01 --bootstrap 20"
    return run_row("multilabel", data, folder, f"{more} --test_set {data / 'sets' / 'valid'}")


@pytest.fixture(scope="module")
def checkpoint(run: Any) -> Path:
    return run.save_dir / "checkpoint" / "best"


def predicted(data: Path, out: Path, *words: Any) -> pd.DataFrame:
    assert predict.main([str(data / "sets" / "valid"), *map(str, words), "--out", str(out), *ON_CPU]) == 0
    return pd.read_csv(out, keep_default_na=False, na_values={"probability MG": [""]})


def test_the_vocabulary_and_its_frequencies_are_kept(run: Any, checkpoint: Path) -> None:
    stored = from_pretrained(checkpoint)
    assert isinstance(run, MultiLabelTrainer)
    assert list(stored.labels) == json.loads((checkpoint / "config.json").read_text())["labels"]
    assert set(stored.labels) == {"ATP", "MG", "HEM"}  # ZN is in no training item
    told = stored.facts["labels"]
    assert told["labels"] == list(stored.labels)
    assert dict(zip(told["labels"], told["frequencies"])) == pytest.approx(
        {"ATP": 0.5, "MG": 3 / 7, "HEM": 0.5}, abs=0.2
    )


def test_the_loss_is_the_one_asked_for_over_what_is_known(run: Any) -> None:
    (batch,) = list(run.valid_loader)[:1]
    target = batch["targets"]
    known = torch.isfinite(target)
    assert not known.all()
    run.model.eval()
    output = run.valid_step(batch, 0)
    torch.testing.assert_close(output.loss, asymmetric_loss(output.logits[known], target[known]).mean())
    assert run.part_counts(batch)[""] == (float(known.sum()),) * 2


def test_the_report_has_every_label_and_what_frequency_scores(run: Any) -> None:
    found = json.loads((run.save_dir / "final_report.json").read_text())
    scores = found["sets"]["test"]["scores"]
    assert found["monitor"] == "macro_ap"
    assert {"macro_ap", "macro_ap_by_frequency", "labels_scored", *(f"ap/{name}" for name in LABELS)} <= set(scores)
    assert found["sets"]["test"]["coverage"][0]["risk"] == "share of wrong labels"
    table = pd.read_csv(run.save_dir / "predictions_test.csv")
    assert {f"{kind} {name}" for kind in ("target", "pred") for name in LABELS} <= set(table)


def test_the_page_of_the_run_shows_each_label(run: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert report.main([str(run.save_dir), "--out", str(page)]) == 0
    text = page.read_text()
    assert all(f"test set: {name}" in text for name in LABELS)
    assert "macro_ap_by_frequency" in text


def test_predict_gives_a_probability_a_label_and_those_that_are_likely(
    run: Any, data: Path, tmp_path: Path, checkpoint: Path
) -> None:
    table = predicted(data, tmp_path / "found.csv", "--checkpoint", checkpoint, "--label_threshold", 0.4)
    names = from_pretrained(checkpoint).labels
    columns = [f"probability {name}" for name in names]
    assert list(table) == ["id", *columns, "labels", *(c for c in table if c not in {"id", *columns, "labels"})]
    prob = table[columns].to_numpy(float)
    for row, listed in zip(prob, table["labels"]):
        likely = sorted((-p, place) for place, p in enumerate(row) if p > 0.4)
        assert listed == (";".join(names[place] for _, place in likely) or "-")
    sure = np.maximum(prob, 1 - prob).min(axis=1)
    assert table["confidence"].to_numpy(float) == pytest.approx(sure, abs=1e-6)
    stored = pd.read_csv(run.save_dir / "predictions_valid.csv").set_index("id").loc[table["id"]]
    assert prob == pytest.approx(stored[[f"pred {name}" for name in names]].to_numpy(), abs=1e-4)


def test_what_is_unsure_is_left_empty(data: Path, tmp_path: Path, checkpoint: Path) -> None:
    words = ("--checkpoint", checkpoint)
    limit = predicted(data, tmp_path / "all.csv", *words)["confidence"].astype(float).median()
    table = predicted(data, tmp_path / "some.csv", *words, "--confidence_threshold", limit)
    unsure = table["confidence"].astype(float) < limit
    assert 0 < unsure.sum() < len(table)
    assert (table["labels"] == "").tolist() == unsure.tolist()
    assert table["probability MG"].isna().tolist() == unsure.tolist()


def test_the_confidence_is_in_what_the_threshold_tells(data: Path, tmp_path: Path, checkpoint: Path) -> None:
    """A label of 0.2 above a threshold of 0.1 is told to hold, and that is right with a probability of 0.2."""
    prob = predicted(data, tmp_path / "p.csv", "--checkpoint", checkpoint).filter(like="probability").astype(float)
    cut = float(np.median(prob.to_numpy()))
    table = predicted(data, tmp_path / "c.csv", "--checkpoint", checkpoint, "--label_threshold", cut)
    right = np.where(prob > cut, prob, 1 - prob).min(axis=1)
    assert table["confidence"].to_numpy(float) == pytest.approx(right, abs=1e-6)
    assert right.min() < 0.5


def test_class_numbers_of_the_input_are_no_numbers_to_compare_with(
    data: Path, tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--checkpoint", str(checkpoint), "--out", str(tmp_path / "x.csv"), *ON_CPU]
    assert predict.main([str(data / "classes" / "valid"), *words]) == 0
    assert not (tmp_path / "x.scores.json").exists()
    assert "rmse" not in capsys.readouterr().out


def test_the_order_of_labels_makes_no_difference_to_an_ensemble(data: Path, tmp_path: Path, checkpoint: Path) -> None:
    """Folds order their labels by counts of their own."""
    model = from_pretrained(checkpoint)
    turned = create_model("MultiLabelModel", **(vars(model.config) | {"labels": model.labels[::-1]}))
    weights = model.state_dict()
    for name in list(weights)[-2:]:
        weights[name] = weights[name].flip(0)
    turned.load_state_dict(weights)
    save_pretrained(turned, tmp_path / "turned", {"vocabulary": model.facts["vocabulary"]})
    both = predicted(data, tmp_path / "both.csv", "--checkpoint", checkpoint, tmp_path / "turned")
    alone = predicted(data, tmp_path / "alone.csv", "--checkpoint", checkpoint)
    for name in model.labels:
        said = [table[f"probability {name}"].to_numpy(float) for table in (both, alone)]
        assert said[0] == pytest.approx(said[1], abs=1e-6)
        assert both[f"spread {name}"].to_numpy(float) == pytest.approx(0, abs=1e-6)


def test_an_ensemble_gives_mean_and_spread(data: Path, tmp_path: Path, checkpoint: Path) -> None:
    other = run_row("multilabel", data, tmp_path / "other", f"{SIZES} --max_epoch 1 --seed 7 --no_final_report")
    paths = [checkpoint, other.save_dir / "checkpoint" / "best"]
    both = predicted(data, tmp_path / "both.csv", "--checkpoint", *paths)
    alone = [predicted(data, tmp_path / f"{n}.csv", "--checkpoint", path) for n, path in enumerate(paths)]
    said = np.array([one["probability MG"].to_numpy(float) for one in alone])
    assert both["probability MG"].to_numpy(float) == pytest.approx(said.mean(axis=0), abs=1e-6)
    assert both["spread MG"].to_numpy(float) == pytest.approx(said.std(axis=0, ddof=1), abs=1e-6)


def test_models_of_other_labels_make_no_ensemble(
    data: Path, tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = f"{SIZES} --max_epoch 1 --targets ATP,MG --no_final_report"
    other = run_row("multilabel", data, tmp_path / "other", more).save_dir / "checkpoint" / "best"
    words = ["--checkpoint", str(checkpoint), str(other), "--out", str(tmp_path / "x.csv"), *ON_CPU]
    assert predict.main([str(data / "sets" / "valid"), *words]) == 2
    assert "ATP, MG" in capsys.readouterr().err


def explained(data: Path, out: Path, checkpoint: Path, *words: str) -> int:
    given = ["--checkpoint", str(checkpoint), "--target", "prediction", "--out", str(out), *words]
    return interact_score.main([str(data / "sets" / "valid"), *given, *ON_CPU])


def test_a_label_is_explained_by_its_name(
    data: Path, tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = predicted(data, tmp_path / "said.csv", "--checkpoint", checkpoint).set_index("id")
    number = from_pretrained(checkpoint).labels.index("MG")
    for name, output in (("HEM", "HEM"), ("MG", str(number))):
        assert explained(data, tmp_path / "scores.csv", checkpoint, "--output", output) == 0
        table = pd.read_csv(tmp_path / "scores.csv").groupby("id")["prediction"].first()
        assert table.to_numpy() == pytest.approx(said.loc[table.index, f"probability {name}"].astype(float), abs=1e-5)
    assert explained(data, tmp_path / "scores.csv", checkpoint) == 0  # the likeliest
    table = pd.read_csv(tmp_path / "scores.csv").groupby("id")["prediction"].first()
    best = said.filter(like="probability").astype(float).max(axis=1)
    assert table.to_numpy() == pytest.approx(best.loc[table.index].to_numpy(), abs=1e-5)
    capsys.readouterr()
    assert explained(data, tmp_path / "none.csv", checkpoint, "--output", "HEN") == 2
    assert "did you mean 'HEM'?" in capsys.readouterr().err


def test_a_run_is_continued_with_its_own_labels_only(data: Path, tmp_path: Path) -> None:
    short = f"{SIZES} --no_final_report --save_every_steps 1"
    first = run_row("multilabel", data, tmp_path, f"{short} --max_epoch 1")
    longer = run_row("multilabel", data, tmp_path, f"{short} --max_epoch 2 --restart auto")
    assert [one["epoch"] for one in json.loads((longer.save_dir / "training_history.json").read_text())] == [0, 1]
    assert longer.names == first.names  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"--targets"):
        run_row("multilabel", data, tmp_path, f"{short} --max_epoch 3 --restart auto --targets ATP,MG")


def test_other_labels_than_the_model_has_are_refused(data: Path, tmp_path: Path) -> None:
    dataset = InterfaceDataset(data / "sets" / "train")
    loader = make_loader(dataset, BatchSampler(dataset.counts, 4))
    model = create_model("MultiLabelModel", labels=("ATP",), atom_hidden_size=8, block_hidden_size=8, n_layers=1)
    with pytest.raises(ConfigError, match=r"the model has the labels 1 \(ATP"):
        create_trainer(model, loader, None, TrainConfig(tmp_path))
