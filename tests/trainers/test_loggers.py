"""Logs that others read: TensorBoard events, Weights & Biases offline, the console."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from stand_ins import make_trainer

from trainers.callbacks import in_words


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_tensorboard_events_are_readable(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = make_trainer(tmp_path, max_epoch=2, use_tensorboard=True)
    trainer.train(gpus=[-1])
    events = EventAccumulator(str(trainer.save_dir)).Reload()
    assert {"train/loss", "valid/loss", "train_step/loss", "lr"} <= set(events.Tags()["scalars"])
    logged = [(event.step, event.value) for event in events.Scalars("valid/loss")]
    assert logged == [(r["step"], pytest.approx(r["valid"]["loss"])) for r in trainer.history]


def test_resumed_events_have_no_doubles(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = make_trainer(tmp_path, max_epoch=2, use_tensorboard=True)
    first.train(gpus=[-1])
    make_trainer(tmp_path, first.save_dir, max_epoch=3, use_tensorboard=True).train(gpus=[-1])
    events = EventAccumulator(str(first.save_dir)).Reload()
    assert [event.step for event in events.Scalars("valid/loss")] == [6, 12, 18]


@pytest.mark.slow
def test_wandb_offline_really_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setenv("WANDB_SERVICE", "")  # where its process is; taken back afterwards
    del os.environ["WANDB_SERVICE"]
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    trainer = make_trainer(tmp_path, max_epoch=1)
    trainer.train(gpus=[-1], use_wandb=True)
    wandb.teardown()  # its process has written everything when it has ended
    (record,) = (trainer.save_dir / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"valid/loss" in record.read_bytes()
    assert (trainer.save_dir / "wandb_id.txt").read_text() in record.name


@pytest.mark.parametrize("fails", ["log", "finish"])
def test_training_goes_on_without_the_process_of_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, fails: str
) -> None:
    """As when the system kills it: what is told from then on, or the end of it, is answered by a broken connection."""

    def broken(*_: Any, **__: Any) -> None:
        raise ConnectionResetError("Connection lost")

    run = SimpleNamespace(id="run0", log=lambda *_, **__: None, finish=lambda: None)
    setattr(run, fails, broken)
    wandb = SimpleNamespace(init=lambda **_: run, Error=RuntimeError)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    trainer = make_trainer(tmp_path, max_epoch=2, use_wandb=True)
    trainer.train(gpus=[-1])
    assert len(trainer.history) == 2
    assert capsys.readouterr().err.count("--use_wandb: Connection lost; going on without it") == 1


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        ("wandb", {"use_wandb": True}, "--use_wandb: wandb is not installed, going on without it (pip install wandb)"),
        ("ray.tune", {"use_raytune": True}, "--use_raytune: ray[tune] is not installed, going on without it"),
        ("torch.utils.tensorboard", {"use_tensorboard": True}, "--use_tensorboard: tensorboard is not installed"),
    ],
)
def test_a_missing_package_costs_the_report_only(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    module: str,
    options: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    trainer = make_trainer(tmp_path, max_epoch=1, **options)
    trainer.train(gpus=[-1])
    assert message in capsys.readouterr().err and len(trainer.history) == 1


def test_ray_tune_gets_the_validation_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[dict[str, float]] = []

    class Tune:
        report = staticmethod(reports.append)

    monkeypatch.setitem(sys.modules, "ray.tune", Tune)
    monkeypatch.setitem(sys.modules, "ray", Tune)
    trainer = make_trainer(tmp_path, max_epoch=2)
    trainer.train(gpus=[-1], use_raytune=True)
    assert [report["loss"] for report in reports] == [record["valid"]["loss"] for record in trainer.history]


def test_console_says_a_line_an_epoch(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    make_trainer(tmp_path, max_epoch=2).train(gpus=[-1])
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines if line.startswith("epoch")] == ["epoch 0", "epoch 1"]
    assert any(line.startswith("best loss") for line in lines)


def test_losses_are_shown_beside_their_base() -> None:
    parts = {"loss": 3.0, "torsion_loss": 0.5, "torsion_base": 0.75, "masked_accuracy": 0.25}
    assert in_words(parts) == "loss 3, torsion_loss 0.5 [0.75], masked_accuracy 0.25"


def test_scores_of_many_labels_are_left_to_the_history() -> None:
    few = {"macro_ap": 0.4, "ap/ZN": 0.3, "macro_ap_by_frequency": 0.1}
    assert in_words(few) == "macro_ap 0.4 [0.1], ap/ZN 0.3"
    assert in_words(few | {f"ap/{number}": 0.5 for number in range(100)}) == "macro_ap 0.4 [0.1]"


def test_history_lines(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, max_epoch=2, log_every=3)
    trainer.train(gpus=[-1])
    records = [json.loads(line) for line in (trainer.save_dir / "history.jsonl").read_text().splitlines()]
    assert [(r["event"], r["step"]) for r in records] == [
        ("step", 3), ("step", 6), ("epoch", 6), ("step", 9), ("step", 12), ("epoch", 12),
    ]  # fmt: skip
    assert json.loads((trainer.save_dir / "training_history.json").read_text()) == trainer.history
    mean = (records[0]["train"]["loss"] + records[1]["train"]["loss"]) / 2
    assert records[2]["train"]["loss"] == pytest.approx(mean)
