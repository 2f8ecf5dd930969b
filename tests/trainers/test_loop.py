"""Promises of the one loop."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from stand_ins import TinyModel, TinyTrainer, make_loader, make_trainer
from torch import nn

from configs.errors import ConfigError
from trainers import TrainConfig, Trainer
from trainers.callbacks import Callback, TimeLimit
from trainers.distributed import to_device


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class Recorder(Callback):
    def __init__(self) -> None:
        self.events: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda trainer, *rest: self.events.append(name.removeprefix("on_"))
        return super().__getattribute__(name)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_events_in_order(tmp_path: Path) -> None:
    recorder = Recorder()
    loader = make_loader(8, 4)
    make_trainer(tmp_path, train_loader=loader, max_epoch=1, log_every=2, callbacks=[recorder]).train(gpus=[-1])
    assert recorder.events == [
        "train_start", "epoch_start", "batch_end", "batch_end", "log",
        "validation", "checkpoint", "epoch_end", "train_end",
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Seems like `optimizer.step")
def test_one_step_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def record(owner: Any, name: str, label: str) -> None:
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, **k: (calls.append(label), original(*a, **k))[1])

    trainer = make_trainer(tmp_path, train_loader=make_loader(4, 4), valid_loader=None, max_epoch=1, final_lr=1e-3)
    record(trainer, "train_step", "train_step")
    record(trainer.optimizer, "zero_grad", "zero_grad")
    record(torch.Tensor, "backward", "backward")
    record(torch.nn.utils, "clip_grad_norm_", "clip")
    record(trainer.optimizer, "step", "step")
    record(trainer.scheduler, "step", "scheduler")
    trainer.train(gpus=[-1])
    assert calls == ["train_step", "zero_grad", "backward", "clip", "step", "scheduler"]


def test_default_schedule_is_steplr(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, lr=0.1, max_epoch=4)
    scheduler = trainer.get_scheduler(trainer.optimizer)
    assert scheduler is not None and scheduler["frequency"] == "epoch"
    trainer.train(gpus=[-1])
    assert [record["lr"] for record in trainer.history] == pytest.approx([0.1 * 0.9**epoch for epoch in range(4)])


def test_epochs_are_counted_once(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, max_epoch=4)
    trainer.train(gpus=[-1])
    assert [record["epoch"] for record in trainer.history] == [0, 1, 2, 3]
    assert trainer.global_step == 4 * 6


class Scripted(TinyTrainer):
    """Validation losses from a list."""

    script: tuple[float, ...] = (3.0, 2.0, 2.5, 2.5, 2.5, 1.0)

    def metrics(self, predictions: dict[str, Any], means: dict[str, float]) -> dict[str, float]:
        return {"loss": self.script[self.epoch]}


def test_stops_when_patience_is_used_up(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, kind=Scripted, max_epoch=6, patience=2)
    trainer.train(gpus=[-1])
    assert [record["epoch"] for record in trainer.history] == [0, 1, 2, 3]
    assert (trainer.best_epoch, trainer.best_valid_metric) == (1, 2.0)


def test_patience_counts_from_the_end_of_the_warm_up(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, kind=Scripted, max_epoch=6, patience=2, warmup_epochs=3)
    trainer.train(gpus=[-1])
    assert len(trainer.history) == 5  # epochs 3 and 4 count, epoch 2 doesn't


def test_no_early_stopping_by_default(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, kind=Scripted, max_epoch=6)
    trainer.train(gpus=[-1])
    assert len(trainer.history) == 6


def test_monitor_may_be_any_metric_and_direction(tmp_path: Path) -> None:
    class AddMetric(Callback):
        def on_validation(self, trainer: Trainer, metrics: dict[str, float]) -> None:
            metrics["score"] = [0.1, 0.9, 0.4][trainer.epoch]

    options = {"monitor": "score", "metric_min_better": False, "callbacks": [AddMetric()]}
    trainer = make_trainer(tmp_path, **options)
    trainer.train(gpus=[-1])
    assert (trainer.best_epoch, trainer.best_valid_metric) == (1, 0.9)


def test_unknown_monitor_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--monitor: 'los' is not a validation metric.*'loss'"):
        make_trainer(tmp_path, monitor="los").train(gpus=[-1])


def test_every_run_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    for _ in range(3):
        make_trainer(tmp_path, max_epoch=1).train(gpus=[-1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["version_0", "version_1", "version_2"]
    saved = json.loads((tmp_path / "version_2" / "train_config.json").read_text())
    assert saved["options"]["max_epoch"] == 1 and saved["versions"]["torch"] and saved["command"]


def test_save_dir_is_required() -> None:
    with pytest.raises(ConfigError, match="--save_dir: is required"):
        TinyTrainer(TinyModel(), make_loader(), None, TrainConfig())


def test_loss_may_be_a_tensor_or_an_object(tmp_path: Path) -> None:
    class TensorLoss(TinyTrainer):
        def share_step(self, batch: Any, batch_idx: int, val: bool = False) -> Any:
            return self.model(batch).loss

    as_object, as_tensor = make_trainer(tmp_path), make_trainer(tmp_path, kind=TensorLoss)
    for trainer in (as_object, as_tensor):
        torch.manual_seed(0)
        trainer.train(gpus=[-1])
    assert torch.equal(weights(as_object.model), weights(as_tensor.model))
    assert as_object.history == as_tensor.history


def test_without_validation_every_epoch_is_saved(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, valid_loader=None, max_epoch=3, save_topk=2, patience=1)
    trainer.train(gpus=[-1])
    names = {path.name for path in (trainer.save_dir / "checkpoint").glob("epoch*")}
    assert names == {"epoch1_step12", "epoch2_step18"}
    assert (trainer.save_dir / "checkpoint" / "best").resolve().name == "epoch2_step18"
    assert "valid" not in trainer.history[0]


def test_share_step_must_be_defined(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, kind=Trainer)
    for step in (trainer.share_step, trainer.train_step, trainer.valid_step):
        with pytest.raises(NotImplementedError, match="Trainer must define share_step"):
            step({}, 0)


def test_to_device_reaches_into_nested_values() -> None:
    moved = to_device({"a": torch.ones(1), "b": [torch.ones(2), ("text", torch.ones(3))]}, torch.device("meta"))
    assert moved["a"].is_meta and moved["b"][0].is_meta and moved["b"][1][1].is_meta and moved["b"][1][0] == "text"


def test_validation_weighs_items_not_batches(tmp_path: Path) -> None:
    """10 items in batches of 4, 4 and 2: the mean over items, whatever the batches."""
    by_batch = {}
    for size in (4, 10, 1):
        trainer = make_trainer(tmp_path, valid_loader=make_loader(10, size, shuffle=False, seed=1))
        by_batch[size] = trainer.evaluate(trainer.valid_loader)["loss"]
    assert by_batch[4] == pytest.approx(by_batch[10], rel=1e-6) == pytest.approx(by_batch[1], rel=1e-6)


def test_validation_leaves_random_states_alone(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    before = torch.get_rng_state()
    trainer.evaluate(trainer.valid_loader)
    assert torch.equal(before, torch.get_rng_state())


def test_accumulation_averages_batches_also_in_a_last_part(tmp_path: Path) -> None:
    """3 batches accumulated by 2: one step on the mean gradient of two, one on the third alone."""
    model = TinyModel(dropout=0)
    start = weights(model)
    rate, batches = 0.1, list(make_loader(12, 4))
    for group in (batches[:2], batches[2:]):
        model.zero_grad()
        sum(model(batch).loss for batch in group).backward()  # type: ignore[union-attr]
        with torch.no_grad():
            for p in model.parameters():
                p -= rate * p.grad / len(group)

    class Plain(TinyTrainer):
        def get_optimizer(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.model.parameters(), lr=rate)

    trainer = make_trainer(
        tmp_path, kind=Plain, model=TinyModel(dropout=0), train_loader=make_loader(12, 4), max_epoch=1, accumulate=2
    )
    trainer.train(gpus=[-1])
    assert trainer.global_step == 2
    assert not torch.allclose(weights(trainer.model), start)
    torch.testing.assert_close(weights(trainer.model), weights(model))


def test_gradients_are_clipped(tmp_path: Path) -> None:
    class Plain(TinyTrainer):
        def get_optimizer(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.model.parameters(), lr=1.0)

    model = TinyModel()
    start = weights(model)
    trainer = make_trainer(tmp_path, kind=Plain, model=model, max_epoch=1, max_steps=1, grad_clip=1e-3)
    trainer.train(gpus=[-1])
    assert torch.linalg.norm(weights(model) - start) == pytest.approx(1e-3, rel=1e-3)


def test_non_finite_loss_is_skipped_counted_and_named(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, train_loader=make_loader(8, 2, shuffle=False, bad=(3,)), max_epoch=2)
    trainer.train(gpus=[-1])
    assert trainer.skipped_steps == 2 and trainer.global_step == 2 * 3
    assert torch.isfinite(weights(trainer.model)).all()
    lines = [json.loads(line) for line in (trainer.save_dir / "bad_steps.jsonl").read_text().splitlines()]
    assert [line["ranks"] for line in lines] == [
        [{"rank": 0, "reason": "non-finite loss", "ids": ["item2", "item3"]}]
    ] * 2
    assert lines[0]["reason"] == "non-finite loss" and lines[0]["batch"] == 1


def test_non_finite_gradient_is_skipped(tmp_path: Path) -> None:
    class RootAtZero(TinyTrainer):
        """A finite loss with an infinite derivative in the second batch."""

        def share_step(self, batch: Any, batch_idx: int, val: bool = False) -> Any:
            loss = self.model(batch).loss
            return loss + torch.sqrt((loss - loss.detach()).clamp(min=0)) if batch_idx == 1 and not val else loss

    trainer = make_trainer(tmp_path, kind=RootAtZero, max_epoch=1)
    trainer.train(gpus=[-1])
    assert trainer.skipped_steps == 1 and trainer.global_step == 5
    assert "non-finite gradient" in (trainer.save_dir / "bad_steps.jsonl").read_text()
    assert torch.isfinite(weights(trainer.model)).all()


def test_a_skipped_batch_does_not_spoil_its_group(tmp_path: Path) -> None:
    loader = make_loader(8, 2, shuffle=False, bad=(3,))
    trainer = make_trainer(tmp_path, train_loader=loader, max_epoch=1, accumulate=4)
    trainer.train(gpus=[-1])
    assert trainer.global_step == 1 and trainer.skipped_steps == 1 and torch.isfinite(weights(trainer.model)).all()


def test_max_steps_ends_inside_an_epoch(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, max_epoch=5, max_steps=8)
    trainer.train(gpus=[-1])
    assert trainer.global_step == 8 and len(trainer.history) == 2 and "valid" in trainer.history[-1]


def test_time_ends_training_with_the_first_step_past_it(tmp_path: Path) -> None:
    """A clock that is asked at the start and after each step, 20 s apart: a minute is over with the third step."""
    seconds = itertools.count(100.0, 20.0)
    trainer = make_trainer(tmp_path, max_epoch=5, callbacks=[TimeLimit(1.0, lambda: next(seconds))])
    trainer.train(gpus=[-1])
    assert trainer.global_step == 3 and len(trainer.history) == 1 and "valid" in trainer.history[0]
    assert (trainer.save_dir / "checkpoint" / "best").resolve().name == "epoch0_step3"


def test_max_minutes_is_an_option(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, max_epoch=5, max_minutes=0)
    trainer.train(gpus=[-1])
    assert trainer.global_step == 1 and "valid" in trainer.history[0]
    with pytest.raises(ConfigError, match="--max_minutes: must be"):
        TrainConfig(tmp_path, max_minutes=-1.0)


def test_valid_every(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, max_epoch=4, valid_every=3)
    trainer.train(gpus=[-1])
    assert ["valid" in record for record in trainer.history] == [False, False, True, True]  # and always the last


def test_moving_average_validates_and_is_saved(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, max_epoch=1, ema_decay=0.5)
    trainer.train(gpus=[-1])
    assert trainer.average is not None
    own, averaged = weights(trainer.model), torch.cat([t.flatten() for t in trainer.average.average.values()])
    assert not torch.allclose(own, averaged)
    from safetensors.torch import load_file

    saved = load_file(trainer.save_dir / "checkpoint" / "best" / "model.safetensors")
    for name, tensor in trainer.average.average.items():
        assert torch.equal(saved[name], tensor)


def test_mixed_precision_changes_nothing_on_the_cpu(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    trainers = [make_trainer(tmp_path, max_epoch=1, mixed_precision=mixed) for mixed in (False, True)]
    for trainer in trainers:
        torch.manual_seed(0)
        trainer.train(gpus=[-1])
    assert torch.equal(weights(trainers[0].model), weights(trainers[1].model))
    assert "--mixed_precision has no effect on the CPU" in capsys.readouterr().err


def test_gpus_and_device_ids_are_the_same(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, max_epoch=1)
    trainer.train(-1, 0)
    assert trainer.device.type == "cpu"
    with pytest.raises(ConfigError, match="--gpus: device 77 is not there"):
        make_trainer(tmp_path).train(gpus=77)
    with pytest.raises(ConfigError, match=r"names 2 devices for one process.*torchrun --nproc_per_node 2"):
        make_trainer(tmp_path).train([0, 1])


def test_config_keeps_unknown_options() -> None:
    config = TrainConfig("runs", lr=1e-4, max_epoch=7, fold=3)
    config.add_parameter(note="x", lr=1e-5)
    assert (config.patience, config.fold, config.note, config.lr) == (7, 3, "x", 1e-5)
    assert json.loads(json.dumps(config.to_dict()))["fold"] == 3
    assert "fold=3" in repr(config) and config.to_dict()["patience"] == -1


def test_config_checks_values() -> None:
    with pytest.raises(ConfigError, match="--lr: must be a positive number, got -1"):
        TrainConfig("runs", lr=-1)
