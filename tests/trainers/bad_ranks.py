"""Run as two ranks by test_bad_ranks.py: one of them has a fault; tells what both made of it."""

import errno
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from faults import FaultyModel
from stand_ins import Output, TinyModel, TinyTrainer, make_loader, make_trainer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from configs.command import command
from configs.errors import BrokenDown, ConfigError
from models.persistence import save_pretrained
from trainers import Trainer, checkpoint
from trainers.callbacks import Callback
from trainers.distributed import barrier, gather_objects, is_main, process_group, rank, world_size
from trainers.gather_rows import gather_rows, tell_missing
from trainers.training_state import find_restart

N_TRAIN, N_VALID = 22, 10


def trainer_of(folder: Path, model: TinyModel, kind: type[Trainer] = TinyTrainer, **options: Any) -> Trainer:
    place = {"rank": rank(), "world": world_size()}
    defaults = {
        "train_loader": make_loader(N_TRAIN, 4, **place),
        "valid_loader": make_loader(N_VALID, 4, shuffle=False, seed=1, **place),
        "max_epoch": 2,
    }
    return make_trainer(folder, kind=kind, model=model, **defaults | options)


def outcome(trainer: Trainer) -> dict[str, Any]:
    return {
        "weights": torch.cat([p.detach().flatten() for p in trainer.model.parameters()]).tolist(),
        "history": trainer.history,
        "counts": [trainer.global_step, trainer.skipped_steps, trainer.split_steps],
        "lr": trainer.optimizer.param_groups[0]["lr"],
    }


def train(folder: Path, model: TinyModel, **options: Any) -> dict[str, Any]:
    trainer = trainer_of(folder, model, **options)
    try:
        trainer.train(gpus=[-1])
    except (BrokenDown, ConfigError) as reason:
        return {"stopped": str(reason), "steps": trainer.global_step}
    return outcome(trainer)


class MeetsInside(TinyTrainer):
    """A loss of the rows of all ranks, as that of the retrieval task: ranks meet inside the forward pass."""

    splits_batches = False

    def part_counts(self, batch: Any) -> dict[str, tuple[float, float]]:
        return super().part_counts(batch) | {"joint": (1.0, 1.0)}

    def loss_terms(self, output: Any) -> dict[str, torch.Tensor]:
        return {"joint": output.loss}

    def share_step(self, batch: Any, batch_idx: int, val: bool = False) -> Any:
        try:
            output = self.model(batch)
        except (RuntimeError, MemoryError):
            if not val:
                tell_missing()
            raise
        if val:
            return output
        rows = gather_rows(torch.stack([output.prediction, batch["y"]], 1))
        return Output(((rows[:, 0] - rows[:, 1]) ** 2).mean() * torch.isfinite(output.loss) + 0 * output.loss, rows)


class Plateau(TinyTrainer):
    def get_scheduler(self, optimizer: Any) -> dict[str, Any]:
        return {"scheduler": ReduceLROnPlateau(optimizer, patience=0, factor=0.5), "frequency": "epoch"}


class Drifts(Callback):
    """The weights of rank 1 change by the last bit."""

    def on_batch_end(self, trainer: Trainer) -> None:
        if trainer.global_step == 8 and rank() == 1:
            bits = trainer.model.head.weight.data.view(torch.int32)
            bits[0, 3] ^= 1


class AddsItsOwn(Callback):
    """A metric that every rank sees otherwise: rank 0 says that epoch 0 is best, rank 1 says epoch 1."""

    def on_validation(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        metrics["loss"] = float(trainer.epoch if rank() == 0 else -trainer.epoch)


class FailsToStore(Callback):
    """The best checkpoint, that of epoch 1, can't be stored: the main rank then wants the next one, the worst."""

    def on_validation(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        metrics["loss"] = [2.0, 1.0, 3.0][trainer.epoch]
        if trainer.epoch == 1:
            checkpoint.save_pretrained = self.fail

    def on_epoch_end(self, trainer: Trainer) -> None:
        checkpoint.save_pretrained = save_pretrained

    def fail(self, *_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def uneven(folder: Path) -> dict[str, Any]:
    loader = make_loader(N_TRAIN - 4 * rank(), 4, rank=rank(), world=world_size())
    return train(folder, TinyModel(dropout=0), train_loader=loader)


class Stop(Callback):
    def on_batch_end(self, trainer: Trainer) -> None:
        if trainer.global_step == 8:
            raise KeyboardInterrupt


def shards_stopped(folder: Path) -> dict[str, Any]:
    """A sharded run, stopped in its second epoch."""
    trainer = trainer_of(folder, TinyModel(dropout=0), shard="optimizer", save_every_steps=4, callbacks=[Stop()])
    with suppress(KeyboardInterrupt):
        trainer.train(gpus=[-1])
    held = sum(len(state) for state in trainer.optimizer.state.values())
    return {"entries": sum(gather_objects(held)), "own": held < sum(gather_objects(held))}


def continued(source: Path, folder: Path, shard: str) -> dict[str, Any]:
    """The rest of a stopped run, in another folder."""
    if is_main():
        shutil.copytree(source, folder, symlinks=True)
    barrier()
    trainer = trainer_of(folder, TinyModel(dropout=0), resume=find_restart(folder), shard=shard, save_every_steps=4)
    trainer.train(gpus=[-1])
    return outcome(trainer)


CASES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "plain": lambda folder: train(folder, TinyModel(dropout=0)),
    "halves": lambda folder: train(folder, FaultyModel("memory", 7, 1, most=1)),
    "halves_accumulate": lambda folder: train(folder, FaultyModel("memory backward", 7, 1, most=1), accumulate=2),
    "accumulate": lambda folder: train(folder, TinyModel(dropout=0), accumulate=2),
    "unstored": lambda folder: train(
        folder, TinyModel(dropout=0), callbacks=[FailsToStore()], max_epoch=3, save_topk=1
    ),
    "memory": lambda folder: train(folder, FaultyModel("memory", 7, 1)),
    "memory_backward": lambda folder: train(folder, FaultyModel("memory backward", 7, 1)),
    "memory_accumulate": lambda folder: train(folder, FaultyModel("memory", 7, 1), accumulate=2),
    "loss": lambda folder: train(folder, FaultyModel("loss", 7, 1)),
    "gradient": lambda folder: train(folder, FaultyModel("gradient", 7, 1)),
    "in_a_row": lambda folder: train(folder, FaultyModel("memory backward", None, 1), max_bad_steps=3),
    "validation": lambda folder: train(folder, FaultyModel("memory", 5, 1, phase="valid")),
    "meets": lambda folder: train(folder, TinyModel(dropout=0), kind=MeetsInside),
    "meets_memory": lambda folder: train(folder, FaultyModel("memory", 7, 1), kind=MeetsInside),
    "meets_memory_backward": lambda folder: train(folder, FaultyModel("memory backward", 7, 1), kind=MeetsInside),
    "drift": lambda folder: train(folder, TinyModel(dropout=0), callbacks=[Drifts()], max_epoch=3),
    "own_metric": lambda folder: train(
        folder, TinyModel(dropout=0), callbacks=[AddsItsOwn()], patience=1, max_epoch=5, save_topk=1
    ),
    "shards": lambda folder: train(folder, TinyModel(dropout=0), shard="optimizer"),
    "shards_stopped": shards_stopped,
    "shards_resumed": lambda folder: continued(folder.parent / "shards_stopped", folder, "optimizer"),
    "plateau": lambda folder: train(folder, TinyModel(dropout=0), kind=Plateau, lr=1.0, max_epoch=4),
    "uneven": uneven,
}


def run_cases(out: Path) -> None:
    with process_group(torch.device("cpu"), timeout=1.0):
        results = {name: case(out / name) for name, case in CASES.items()}
        (out / f"rank{rank()}.json").write_text(json.dumps(results))


class Goes(Callback):
    """Rank 1 is killed, stops without a word, or raises an error."""

    def __init__(self, how: str) -> None:
        self.how = how

    def on_batch_end(self, trainer: Trainer) -> None:
        if trainer.global_step == 3 and rank() == 1:
            if self.how == "error":
                raise ValueError("a bug")
            os.kill(os.getpid(), signal.SIGKILL if self.how == "killed" else signal.SIGSTOP)


def leave(folder: Path, how: str) -> int:
    """Train until rank 1 leaves; rank 0 writes when its training ended."""

    @command("train")
    def main(argv: Any = None) -> int:
        with process_group(torch.device("cpu"), timeout=0.25):
            trainer = trainer_of(folder, TinyModel(dropout=0), callbacks=[Goes(how)])
            start = time.monotonic()
            try:
                trainer.train(gpus=[-1])
            finally:
                (folder / f"rank{rank()}.txt").write_text(f"{trainer.global_step} {time.monotonic() - start:.1f}")
        return 0

    return main()
