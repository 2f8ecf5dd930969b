"""Steps that fail: out of memory is tried again in halves, what can't be used is left out, counted and named."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from faults import FaultyModel
from stand_ins import TinyModel, TinyTrainer, make_loader, make_trainer
from test_pretrain_trainer import make_item, make_run, noised
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.utils.data import DataLoader

from configs.command import command
from data.collate import collate_items
from data.sampler import BatchSampler
from data.vocab import load_vocabulary
from models import create_model
from trainers import TrainConfig, Trainer, create_trainer, launch
from trainers.bad_steps import out_of_memory
from trainers.callbacks import Callback
from trainers.gradient_step import joint_counts
from trainers.orphans import LAUNCHER
from trainers.rng import seed_everything
from trainers.training_state import find_restart

TOLERANCE = {"rel": 1e-4, "abs": 1e-6}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    gc.freeze()  # every fault collects garbage, which takes long among the objects of all libraries
    yield
    gc.unfreeze()


def notes(trainer: Trainer) -> list[dict[str, Any]]:
    path = trainer.save_dir / "bad_steps.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def train(folder: Path, model: TinyModel, **options: Any) -> Trainer:
    seed_everything(1)
    trainer = make_trainer(folder, model=model, **{"max_epoch": 2, "ema_decay": 0.9} | options)
    trainer.train(gpus=[-1])
    return trainer


def test_what_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as real:
        torch.empty(2**60)
    assert out_of_memory(real.value)
    assert out_of_memory(MemoryError()) and out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not out_of_memory(RuntimeError("size mismatch")) and not out_of_memory(ValueError("out of memory"))


@pytest.mark.parametrize("fault", ["memory", "memory backward"])
@pytest.mark.parametrize("most", [2, 1])
def test_a_batch_that_takes_too_much_memory_is_taken_in_parts(tmp_path: Path, fault: str, most: int) -> None:
    """In halves, or item by item; the gradient is that of the whole."""
    few: dict[str, Any] = {"train_loader": make_loader(8, 4), "max_epoch": 1}
    whole = train(tmp_path / "whole", TinyModel(dropout=0), **few)
    parts = train(tmp_path / "parts", FaultyModel(fault, item=None, most=most), **few)
    assert parts.model.tried[: 3 - most] == [4, 2, 2][: 3 - most]
    assert (parts.skipped_steps, parts.split_steps, parts.global_step) == (0, 2, 2)
    assert parts.history[-1]["split_steps"] == 2
    assert weights(parts).tolist() == pytest.approx(weights(whole).tolist(), **TOLERANCE)
    assert parts.history[-1]["train"]["loss"] == pytest.approx(whole.history[-1]["train"]["loss"], rel=1e-4)
    first = notes(parts)[0]
    assert first["action"] == "taken in parts" and first["reason"] == "out of memory"
    assert len(first["ranks"][0]["ids"]) == 4


def test_an_item_without_a_place_of_its_own_costs_the_step(tmp_path: Path) -> None:
    trainer = train(tmp_path, FaultyModel("memory"))
    assert (trainer.skipped_steps, trainer.global_step) == (2, 10)
    assert trainer.history[-1]["skipped_steps"] == 2
    found = notes(trainer)
    assert [line["action"] for line in found] == ["taken in parts", "skipped"] * 2
    (place,) = found[1]["ranks"]
    assert place["too_large"] == ["item7"] and len(place["ids"]) == 4 and "item7" in place["ids"]
    assert {"phase": "train", "epoch": 0, "reason": "out of memory"}.items() <= found[1].items()


@pytest.mark.parametrize("fault", ["memory", "memory backward", "loss", "gradient"])
def test_a_step_that_is_left_out_changes_nothing(tmp_path: Path, fault: str) -> None:
    """Weights, optimiser, schedule and moving average are as after the step before; no random number differs."""
    options: dict[str, Any] = {"lr_schedule": "cosine", "final_lr": 1e-4, "max_epoch": 1, "max_bad_steps": 0}
    seen: list[Any] = []

    class Watches(TinyTrainer):
        def _step(self, group: list[Any], device: torch.device) -> bool:
            stepped = super()._step(group, device)
            average = self.average.average if self.average is not None else {}
            tensors = [*self.model.parameters(), *average.values()]
            tensors += [t for state in self.optimizer.state.values() for t in state.values()]
            copy = torch.cat([t.detach().flatten().double() for t in tensors])
            seen.append((stepped, copy, self.scheduler.last_epoch, self.last_lr, self.average.steps))
            return stepped

    seed_everything(1)
    trainer = make_trainer(tmp_path, kind=Watches, model=FaultyModel(fault), ema_decay=0.9, **options)
    trainer.train(gpus=[-1])
    bad = [stepped for stepped, *_ in seen].index(False)
    assert bad > 0 and sum(not stepped for stepped, *_ in seen) == 1
    assert torch.equal(seen[bad - 1][1], seen[bad][1]) and seen[bad - 1][2:] == seen[bad][2:]
    assert not torch.equal(seen[bad][1], seen[bad + 1][1])


def test_parts_start_from_the_random_state_of_the_batch(tmp_path: Path) -> None:
    """With dropout a run that took parts is repeatable, and goes on bit for bit after it was stopped."""

    class Stops(Callback):
        def on_batch_end(self, trainer: Trainer) -> None:
            if trainer.global_step == 8:
                raise KeyboardInterrupt

    def faulty() -> FaultyModel:
        return FaultyModel("memory", most=2, dropout=0.25)

    once, again = (train(tmp_path / name, faulty()) for name in ("once", "again"))
    assert torch.equal(weights(once), weights(again)) and once.history == again.history
    options: dict[str, Any] = {"save_every_steps": 1, "max_epoch": 2, "ema_decay": 0.9}
    model = faulty()
    seed_everything(1)
    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path / "parts", model=model, callbacks=[Stops()], **options).train(gpus=[-1])
    rest = make_trainer(tmp_path / "parts", find_restart(tmp_path / "parts"), model=faulty(), **options)
    rest.train(gpus=[-1])
    assert torch.equal(weights(rest), weights(once)) and rest.history == once.history
    assert notes(rest) == notes(once)


def test_too_many_in_a_row_end_the_run_with_a_status_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @command("train")
    def main(argv: Any = None) -> int:
        train(tmp_path, FaultyModel("loss", item=None), max_bad_steps=3)
        return 0

    assert main() == 70
    said = capsys.readouterr().err
    assert "train: 3 steps in a row could not be used, the last in epoch 0, batch 2" in said
    assert "Traceback" not in said
    state = find_restart(tmp_path)
    assert state is not None and state.values["batch"] == 0  # nothing was stored after the last good step


def test_bad_steps_are_counted_in_a_row(tmp_path: Path) -> None:
    trainer = train(tmp_path, FaultyModel("loss"), max_bad_steps=2, max_epoch=3)
    assert trainer.skipped_steps == 3
    assert train(tmp_path / "never", FaultyModel("loss", item=None), max_bad_steps=0).skipped_steps == 12


def test_other_errors_are_no_bad_steps(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        train(tmp_path, FaultyModel("error"))


@pytest.mark.parametrize("fault", ["memory", "loss"])
def test_validation_leaves_out_what_it_can_not_measure(tmp_path: Path, fault: str) -> None:
    """Batches of 4, 4 and 2 items; item 5 fails in any of them."""
    model = FaultyModel(fault, item=5, phase="valid")
    trainer = make_trainer(tmp_path, model=model, max_epoch=1)
    trainer.train(gpus=[-1])
    assert trainer.history[0]["valid"]["left_out"] == 1
    (line,) = notes(trainer)
    assert {"phase": "validation", "epoch": 0, "action": "left out"}.items() <= line.items()
    assert [one["ids"] for one in line["ranks"]] == [["item5"]]
    rest = [make_loader(10, 4, shuffle=False, seed=1).dataset[0, index] for index in range(10) if index != 5]
    (batch,) = DataLoader(rest, batch_size=9)
    with torch.no_grad():
        expected = TinyModel.forward(trainer.model.eval(), batch).loss
    assert trainer.history[0]["valid"]["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_a_validation_with_fewer_items_never_is_the_best(tmp_path: Path) -> None:
    class FailsLater(FaultyModel):
        def forward(self, batch: dict[str, Any]) -> Any:
            self.item = 5 if self.epoch == 1 else -1
            output = super().forward(batch)
            output.loss = output.loss / (1 + self.epoch)  # the rest of the set scores better
            return output

    class Tells(Callback):
        def on_epoch_start(self, trainer: Trainer) -> None:
            trainer.model.epoch = trainer.epoch

    model = FailsLater("loss", phase="valid")
    trainer = make_trainer(tmp_path, model=model, max_epoch=2, callbacks=[Tells()], lr=1e-6)
    trainer.train(gpus=[-1])
    assert trainer.history[1]["valid"]["loss"] < trainer.history[0]["valid"]["loss"]
    assert [record["improved"] for record in trainer.history] == [True, False]


def test_a_validation_without_any_item_is_no_crash(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, model=FaultyModel("loss", item=None, phase="valid"), max_epoch=1)
    trainer.train(gpus=[-1])
    assert trainer.history[0]["valid"] == {"left_out": 10} and trainer.best_epoch is None


def test_gradients_of_halves_add_up_to_that_of_the_batch(tmp_path: Path) -> None:
    """Of a real model, with items that have no torsions between others that have: every part by its own count."""
    run = make_run(mask_proportion=0.3)
    items = noised(run, [make_item(seed, 5 + seed, torsions=seed % 2 == 0) for seed in range(4)])
    torch.manual_seed(0)
    sampler = BatchSampler({"n_blocks": torch.ones(4).numpy()}, 4)
    loader: Any = DataLoader(Keyed(items), batch_sampler=sampler, collate_fn=collate_items)  # type: ignore[arg-type]
    model = create_model(run, load_vocabulary(None))
    options = {"progress": False, "use_tensorboard": False}
    trainer = create_trainer(model, loader, None, TrainConfig(tmp_path, **options))
    gradients = []
    for limit in (4, 2, 1):
        trainer.train_step = limited(type(trainer).train_step.__get__(trainer), limit)  # type: ignore[method-assign]
        model.zero_grad(set_to_none=True)
        (batch,) = loader
        totals, _ = joint_counts([trainer.part_counts(batch)], False)
        share = trainer._share(batch, 0, totals[0], torch.device("cpu"))
        assert share.fault is None and share.in_parts == (limit < 4) and len(share.logged) == 4 // limit
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    for other in gradients[1:]:
        assert other.keys() == gradients[0].keys()
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(other[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


class Keyed:
    """Items as the sampler asks for them."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __getitem__(self, key: tuple[int, int]) -> Any:
        return self.items[key[1]]

    def __len__(self) -> int:
        return len(self.items)


def limited(step: Any, limit: int) -> Any:
    def fails(batch: Any, batch_idx: int) -> Any:
        if len(batch["id"]) > limit:
            raise MemoryError
        return step(batch, batch_idx)

    return fails


@pytest.mark.parametrize("status", [70, 75])
def test_the_launcher_hands_on_the_status_of_its_ranks(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    def fails(_: Any) -> None:
        raise ChildFailedError("train.py", {0: ProcessFailure(0, 1, status, "no file")})

    monkeypatch.setattr(launch, "torchrun", fails)
    for name in (LAUNCHER, "TORCHELASTIC_SIGNALS_TO_HANDLE"):  # what it tells its ranks is no business of other tests
        monkeypatch.setenv(name, "")
    assert launch.main([]) == status
