"""Tasks with labels: schedules, losses over what is known, units, and faults that are told before the first step."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from contract_rows import SIZES, command, labelled, make_data, make_item, run_row

import train
from configs.schema import from_flat
from data.collate import collate_items
from data.labels import LabelScale, kcal_per_pK
from data.shards import ShardReader, write_part
from data.vocab import load_vocabulary
from models import create_model, from_pretrained
from models.losses import mean_of_known
from models.units import predict_in_unit, scale_of
from scripts import inspect_data, predict
from trainers import AffinityTrainer, TrainConfig, create_trainer

ONE_EPOCH = f"{SIZES} --max_epoch 1 --no_final_report"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("supervised")
    make_data(folder)
    return folder


@pytest.fixture(scope="module")
def in_pK(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Any:
    """A regression of dG labels, learnt as pK."""
    more = f"{SIZES} --max_epoch 2 --lr 0.01 --label_transform pK_from_dG --bootstrap 20"
    return run_row("regression", data, tmp_path_factory.mktemp("pK"), f"{more} --test_set {data / 'values' / 'valid'}")


def regression(tmp_path: Path, loader: Any = (), **options: Any) -> AffinityTrainer:
    run = from_flat(
        {"task": "regression", "atom_hidden_size": 8, "block_hidden_size": 8, "edge_size": 4, "n_layers": 1}
    )
    model = create_model(replace(run, head=replace(run.head, num_targets=options.pop("num_targets", None))), VOCABULARY)
    trainer = create_trainer(model, loader, None, TrainConfig(tmp_path, **options))
    assert isinstance(trainer, AffinityTrainer)
    return trainer


VOCABULARY = load_vocabulary("PS_300")


def test_the_rate_falls_exponentially_and_ends_where_it_should(tmp_path: Path) -> None:
    trainer = regression(tmp_path, [None] * 100, lr=1e-3, final_lr=1e-5, max_epoch=10)
    rates = []
    for _ in range(1001):
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        trainer.optimizer.step()
        trainer.scheduler.step()
    assert rates[0] == pytest.approx(1e-3)
    assert rates[500] == pytest.approx(1e-4, rel=1e-9)
    assert rates[1000] == 1e-5


def test_regression_decays_weights_unless_told_otherwise(tmp_path: Path) -> None:
    trainer = regression(tmp_path)
    assert type(trainer.optimizer).__name__ == "AdamW"
    assert trainer.optimizer.param_groups[0]["weight_decay"] == 1e-3
    assert type(regression(tmp_path, weight_decay=0.0).optimizer).__name__ == "Adam"


def test_missing_targets_take_no_part(tmp_path: Path) -> None:
    """The loss is that of the known values, whatever a missing one would say, and every gradient is finite."""
    trainer = regression(tmp_path, num_targets=3)
    items = [labelled("targets", seed) for seed in range(4)]
    batch = collate_items(items)
    batch["label"] = torch.full((4,), float("nan"))
    trainer.labels = type("Chosen", (), {"columns": (0, 1, 2)})()  # type: ignore[assignment]
    output = trainer.share_step(batch, 0)
    target = batch["targets"]
    known = torch.isfinite(target)
    assert not known.all()
    torch.testing.assert_close(output.loss, (output.pred[known] - target[known]).square().mean())
    assert trainer.part_counts(batch)[""] == (float(known.sum()),) * 2
    output.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in trainer.model.parameters() if p.grad is not None)


def test_a_batch_without_labels_teaches_nothing() -> None:
    losses = torch.tensor([1.0, 2.0], requires_grad=True)
    mean = mean_of_known(losses, torch.zeros(2))
    mean.backward()
    assert mean.item() == 0
    assert losses.grad is not None and losses.grad.tolist() == [0, 0]


@pytest.mark.parametrize(("name", "expected"), [("mse", 8.125), ("mae", 2.25), ("huber", 1.8125)])
def test_regression_losses(tmp_path: Path, name: str, expected: float) -> None:
    trainer = regression(tmp_path, regression_loss=name)
    output = type("Output", (), {"pred": torch.tensor([0.5, 4.0])})()
    losses = trainer.losses(output, torch.zeros(2, 1))
    assert losses.mean().item() == pytest.approx(expected)


def test_weighted_classes_count_as_their_weights_say(data: Path, tmp_path: Path) -> None:
    trainer = run_row("multiclass_classifier", data, tmp_path, ONE_EPOCH)
    (batch,) = list(trainer.valid_loader)[:1]
    labels = batch["label"].long()
    weights = trainer.weights[labels]  # type: ignore[attr-defined]
    assert trainer.weights.tolist() == pytest.approx([8 / 9, 8 / 9, 8 / 6])  # type: ignore[attr-defined]
    assert trainer.part_counts(batch)[""][1] == pytest.approx(float(weights.sum()))
    trainer.model.eval()
    output = trainer.valid_step(batch, 0)
    own = -output.logits.log_softmax(1)[range(len(labels)), labels]
    torch.testing.assert_close(output.loss, (own * weights).sum() / weights.sum())


def test_class_names_are_in_scores_and_in_the_checkpoint(data: Path, tmp_path: Path) -> None:
    trainer = run_row("multiclass_classifier", data, tmp_path, f"{SIZES} --max_epoch 1 --bootstrap 5")
    (epoch,) = json.loads((trainer.save_dir / "training_history.json").read_text())
    assert {"accuracy/ion", "accuracy/sugar", "accuracy/drug"} <= set(epoch["valid"])
    out = tmp_path / "found.csv"
    words = [data / "classes" / "valid", "--checkpoint", trainer.save_dir / "checkpoint" / "best", "--out", out]
    assert predict.main([*map(str, words), "--gpus", "-1"]) == 0
    table = pd.read_csv(out)
    told = ["unknown_fraction", "confidence", "unseen_kind"]
    assert list(table) == ["id", "probability ion", "probability sugar", "probability drug", "class", *told]
    assert table["confidence"].to_numpy() == pytest.approx(table.iloc[:, 1:4].max(axis=1).to_numpy())
    assert table.iloc[:, 1:4].sum(axis=1).to_numpy() == pytest.approx(1)
    assert set(table["class"]) <= {"ion", "sugar", "drug"}


def test_predictions_return_to_the_unit_of_the_data(in_pK: Any, data: Path, tmp_path: Path) -> None:
    model = from_pretrained(in_pK.save_dir / "checkpoint" / "best")
    assert (scale_of(model).data_unit, scale_of(model).unit) == ("kcal/mol", "pK")
    assert "It predicts `label`, in `kcal/mol`" in (in_pK.save_dir / "checkpoint" / "best" / "README.md").read_text()
    batch = collate_items(list(ShardReader(data / "values" / "valid")))
    pK, dG = predict_in_unit(model, batch, of_data=False), predict_in_unit(model, batch)
    torch.testing.assert_close(dG, -kcal_per_pK(298.15) * pK)
    stored = pd.read_csv(in_pK.save_dir / "predictions_valid.csv").set_index("id").loc[list(batch["id"])]
    np.testing.assert_allclose(stored["pred"], pK[:, 0], rtol=1e-5)
    np.testing.assert_allclose(stored["target"], batch["label"] / -kcal_per_pK(298.15), rtol=1e-5)
    words = [data / "values" / "valid", "--checkpoint", in_pK.save_dir / "checkpoint" / "best", "--gpus", "-1"]
    for option, expected, unit in (([], dG, "kcal/mol"), (["--transformed"], pK, "pK")):
        assert predict.main([*map(str, words), *option, "--out", str(tmp_path / "found.csv")]) == 0
        np.testing.assert_allclose(pd.read_csv(tmp_path / "found.csv")[f"label ({unit})"], expected[:, 0], rtol=1e-5)


def test_the_final_report_measures_the_best_checkpoint(in_pK: Any) -> None:
    report = json.loads((in_pK.save_dir / "final_report.json").read_text())
    best = in_pK.history[report["epoch"]]
    assert (report["monitor"], report["unit"], set(report["sets"])) == ("rmse", "pK", {"valid", "test"})
    scores = report["sets"]["valid"]["scores"]
    assert scores == report["sets"]["test"]["scores"]
    for name, value in best["valid"].items():
        assert scores[name]["value"] == pytest.approx(value, rel=1e-5), name
    assert scores["rmse"]["low"] < scores["rmse"]["value"] < scores["rmse"]["high"]
    assert best["valid"]["rmse"] == min(epoch["valid"]["rmse"] for epoch in in_pK.history)


def test_the_report_tells_how_sure_predictions_are_and_makes_intervals(in_pK: Any, data: Path, tmp_path: Path) -> None:
    report = json.loads((in_pK.save_dir / "final_report.json").read_text())
    (curve,) = report["sets"]["test"]["coverage"]
    stored = pd.read_csv(in_pK.save_dir / "predictions_test.csv")
    error = (stored["pred"] - stored["target"]).abs()
    assert (curve["target"], curve["unit"], curve["items"]) == ("label", "pK", len(stored))
    assert curve["scores"]["risk"]["value"] == pytest.approx(error.mean(), rel=1e-5)
    assert (stored["confidence"] == 1 - stored["unknown_fraction"]).all()
    best = in_pK.save_dir / "checkpoint" / "best"
    model = from_pretrained(best)
    blocks = {int(b) for item in ShardReader(data / "values" / "train") for b in item.B}
    assert set(model.facts["seen_blocks"]) == {b for b in blocks if b > 3}
    kept = model.facts["calibration"]["label"]
    assert kept["source"] == "validation set"
    assert sorted(kept["residuals"]) == pytest.approx(sorted(error), rel=1e-5)
    held = report["sets"]["test"]["intervals"]["label"]["0.8"]  # the same items, here: too many are held
    assert held["held"]["value"] >= 0.8 or held["width"] is None
    n = len(set(kept["groups"]))
    words = [data / "values" / "valid", "--checkpoint", best, "--gpus", "-1", "--out", tmp_path / "found.csv"]
    level = n / (n + 1) - 0.01
    assert predict.main([*map(str, words), "--interval", str(level)]) == 0
    found = pd.read_csv(tmp_path / "found.csv")
    half = max(kept["residuals"]) * kcal_per_pK(298.15)
    np.testing.assert_allclose(found["high"] - found["label (kcal/mol)"], half, rtol=1e-4)
    np.testing.assert_allclose(found["label (kcal/mol)"] - found["low"], half, rtol=1e-4)
    told = json.loads((tmp_path / "found.scores.json").read_text())
    assert told["items"] == len(found)
    assert told["interval"]["held"]["value"] == 1
    assert told["scores"]["mae"]["value"] == pytest.approx(error.mean() * kcal_per_pK(298.15), rel=1e-4)


def test_the_report_resamples_whole_groups(data: Path, tmp_path: Path) -> None:
    """Two groups of three equal items each: an interval of items would be narrower than that of their groups."""
    items = [make_item(seed // 3, id=f"{seed}_x", group=f"family{seed // 3}") for seed in range(6)]
    write_part(tmp_path / "valid", items, VOCABULARY.fingerprint)
    more = f"{SIZES} --max_epoch 1 --bootstrap 50"
    words = [*command("regression", data, tmp_path / "runs", more), "--valid_set", str(tmp_path / "valid")]
    trainer = train.train(train.parse(words), train.given_options(words))
    report = json.loads((trainer.save_dir / "final_report.json").read_text())["sets"]["valid"]
    assert (report["items"], report["groups"]) == (6, 2)
    table = pd.read_csv(trainer.save_dir / "predictions_valid.csv")
    assert sorted(set(table["group"])) == ["family0", "family1"]
    errors = (table["pred"] - table["target"]).abs().groupby(table["group"]).mean()
    assert report["scores"]["mae"]["low"] == pytest.approx(errors.min(), rel=1e-4)
    assert report["scores"]["mae"]["high"] == pytest.approx(errors.max(), rel=1e-4)


def test_the_saved_options_repeat_a_run(in_pK: Any, tmp_path: Path) -> None:
    saved = json.loads((in_pK.save_dir / "train_config.json").read_text())["options"]
    (tmp_path / "again.json").write_text(json.dumps(saved | {"save_dir": str(tmp_path / "runs")}))
    assert train.main(["--config", str(tmp_path / "again.json")]) == 0
    assert json.loads((tmp_path / "runs" / "version_0" / "training_history.json").read_text()) == in_pK.history


def test_sets_in_different_units_are_not_mixed(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = {unit: write(tmp_path / unit, [1.0, 2.0], extra={"label_unit": unit}) for unit in ("nM", "uM")}
    words = command("regression", data, tmp_path / "runs", ONE_EPOCH)
    words += ["--train_set", str(folders["nM"]), "--train_set2", str(folders["uM"])]
    assert train.main(words) == 2
    assert "have labels in nM and uM" in capsys.readouterr().err
    words += ["--train_set2", "None", "--valid_set", str(folders["uM"])]
    assert train.main(words) == 2
    assert "has labels in uM, the training set in nM" in capsys.readouterr().err


def test_saving_again_keeps_the_scale(in_pK: Any, tmp_path: Path) -> None:
    model = from_pretrained(in_pK.save_dir / "checkpoint" / "best")
    model.save_pretrained(tmp_path)
    assert scale_of(from_pretrained(tmp_path)) == scale_of(model)


def test_further_training_on_other_data_keeps_the_scale(in_pK: Any, data: Path, tmp_path: Path) -> None:
    write(tmp_path / "train", [-1.0, -2.0, -30.0, -40.0])
    more = f"{SIZES} --max_epoch 1 --label_transform pK_from_dG --no_final_report --resume {in_pK.save_dir}"
    words = [*command("regression", data, tmp_path / "runs", more), "--train_set", str(tmp_path / "train")]
    trainer = train.train(train.parse(words), train.given_options(words))
    assert isinstance(trainer, AffinityTrainer)
    assert trainer.scale == in_pK.scale == LabelScale.from_dict(trainer.facts["labels"])
    assert len(trainer.history) == 3


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("values", r"labels: 8 of 8 items, -1\d\.\d+ to -\d\.\d+, mean"),
        ("targets", r"target b: 5 of 8 items"),
        ("classes", r"classes: ion 3, sugar 3, drug 2$"),
    ],
)
def test_the_inspection_tells_labels(data: Path, capsys: pytest.CaptureFixture[str], kind: str, line: str) -> None:
    assert inspect_data.main([str(data / kind / "train")]) == 0
    assert re.search(line, capsys.readouterr().out, re.M)


def test_monitors_have_their_direction(data: Path, tmp_path: Path) -> None:
    for row, name, smaller in (
        ("regression", "rmse", True),
        ("binary_classifier", "auroc", False),
        ("multiclass_classifier", "macro_f1", False),
        ("prot_interface", "mean_reciprocal_rank", False),
        ("pretrain_torsion", "loss", True),
    ):
        monitor = run_row(row, data, tmp_path / row, ONE_EPOCH).monitor
        assert (monitor.name, monitor.smaller_is_better) == (name, smaller)
    monitor = run_row("regression", data, tmp_path / "own", f"{ONE_EPOCH} --monitor spearman").monitor
    assert not monitor.smaller_is_better


def write(folder: Path, labels: list[float], **options: Any) -> Path:
    items = [make_item(seed, label=label) for seed, label in enumerate(labels)]
    return write_part(folder, items, VOCABULARY.fingerprint, vocabulary="PS_300", **options)


FAULTS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "no labels": ("regression", {"train": [np.nan] * 4}, "", "no item of the training set has a label"),
    "some without": ("PDBBind", {"train": [1, 2, np.nan, 3]}, "", "item2 (number 2): has no label"),
    "valid without": ("regression", {"valid": [1.0, np.nan]}, "", "one of 1 such items of the validation set"),
    "fractions": ("binary_classifier", {"train": [0, 1, 0.5, 1]}, "", "a class is a whole number, this is 0.5"),
    "third class": ("binary_classifier", {"train": [0, 1, 2, 1]}, "", "item2 (number 2): the 2 classes are 0 to 1"),
    "too large": ("multiclass_classifier", {"train": [0, 1, 2]}, "--num_classifier_classes 2", "the 2 classes are 0"),
    "one class": ("multiclass_classifier", {"train": [1, 1, 1]}, "", "all items of the training set are of class 1"),
    "one class to validate": ("binary_classifier", {"valid": [1, 1]}, "", "which leaves auroc undefined"),
    "new class to validate": ("multiclass_classifier", {"valid": [0, 5]}, "", "the 2 classes are 0 to 1, this is 5"),
    "monitor": ("regression", {}, "--monitor auroc", "--monitor: 'auroc' is not a validation metric of this task"),
    "target": ("regression", {}, "--targets dG", "--targets: the data hold no target 'dG'"),
    "logarithm": ("regression", {"train": [1, 2, 0]}, "--label_transform log10", "that log10 is not defined for"),
    "test set": ("regression", {}, "--test_set nowhere", "nowhere: no such folder"),
    "freeze": ("regression", {}, "--freeze nothing.*", "--freeze"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_told_before_anything_is_trained(
    fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, labels, options, message = FAULTS[fault]
    labels = {"train": [0, 1, 1, 0], "valid": [0, 1]} | labels
    folders = {part: write(tmp_path / part, labels[part]) for part in labels}
    words = ["--task", task, "--train_set", str(folders["train"]), "--valid_set", str(folders["valid"]), *SIZES.split()]
    words += [
        "--fragmentation_method",
        "PS_300",
        "--gpus",
        "-1",
        "--save_dir",
        str(tmp_path / "runs"),
        *options.split(),
    ]
    assert train.main(words) == 2
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("*/*"))


@pytest.mark.parametrize(
    ("sizes", "size"),
    [
        ("--atom_hidden_size 16 --block_hidden_size 16", 16),
        ("--atom_hidden_size 128", 128),
    ],  # 128: as the other's default
)
def test_a_checkpoint_of_another_size_names_the_option(
    sizes: str, size: int, data: Path, in_pK: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = in_pK.save_dir / "checkpoint" / "best"
    more = f"--pretrain_ckpt {best} {sizes} --max_epoch 1"
    assert train.main(command("regression", data, tmp_path, more)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"--atom_hidden_size is {size}, the checkpoint has 8" in said
    assert "leave these options out to take over those of the checkpoint" in said


def test_other_sizes_are_taken_over_and_told(
    data: Path, in_pK: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = in_pK.save_dir / "checkpoint" / "best"
    words = command("PDBBind", data, tmp_path, f"--pretrain_ckpt {best} --k_neighbors 2 --max_epoch 1 --bootstrap 0")
    assert train.main(words) == 0
    said = capsys.readouterr().err
    assert re.search(r"--atom_hidden_size is 8 as in the checkpoint, not 128", said)
    assert "tensors loaded" in said
    options = json.loads((tmp_path / "version_0" / "train_config.json").read_text())["options"]
    assert (options["atom_hidden_size"], options["edge_size"], options["k_neighbors"]) == (8, 4, 2)
    assert train.main([*words, "--restart", "auto"]) == 0


def test_balanced_batches_draw_rare_classes_as_often(tmp_path: Path) -> None:
    write(tmp_path / "train", [0] * 9 + [1] * 3)
    write(tmp_path / "valid", [0, 1])
    words = [*command("binary_classifier", tmp_path, tmp_path, ONE_EPOCH, 4), "--balanced_sampler", "--train_set"]
    words += [str(tmp_path / "train"), "--valid_set", str(tmp_path / "valid")]
    trainer = train.train(train.parse(words), train.given_options(words))
    drawn = torch.cat([batch["label"] for batch in trainer.train_loader])
    assert drawn.mean().item() == 0.5


@pytest.mark.parametrize(
    ("task", "more", "names"),
    [
        ("masking", "--mask_proportion 0.3", ("masked_accuracy", "masked_accuracy_top5")),
        ("prot_interface", "", ("recall_at_1", "recall_at_5", "mean_reciprocal_rank")),
    ],
)
def test_reports_without_labels_have_intervals_too(data: Path, tmp_path: Path, task: str, more: str, names) -> None:
    """Means over masked blocks or pairs: what whole groups of items give, with all candidates of the set."""
    words = command(task, data, tmp_path / "runs", f"{SIZES} --max_epoch 1 --bootstrap 200 {more}")
    trainer = train.train(train.parse(words), train.given_options(words))
    report = json.loads((trainer.save_dir / "final_report.json").read_text())["sets"]["valid"]
    assert report["items"] == len(trainer.valid_loader.dataset)
    best = min(trainer.history, key=lambda epoch: epoch["epoch"])["valid"]
    for name in names:
        score = report["scores"][name]
        assert score["value"] == pytest.approx(best[name], rel=1e-5)
        assert score["low"] <= score["value"] <= score["high"], name
