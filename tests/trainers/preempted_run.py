"""Run by test_preemption.py, alone or as ranks: trains with a loader process and waits at one point for what comes.

usage: preempted_run.py FOLDER [STEP RANK]      STEP: this rank waits after it, or in the validation "valid"

With BUDGET in the environment batches are filled up to a number of blocks, and FOLDER/seen gets the items trained on.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stand_ins import TinyItems, TinyModel, TinySampler, TinyTrainer, make_trainer
from torch.utils.data import default_collate

from configs.command import command
from data.loader import make_loader
from data.sampler import BatchSampler
from trainers.callbacks import Callback
from trainers.distributed import process_group, rank, world_size
from trainers.preemption import heeding_signals, told_to_stop
from trainers.rng import seed_everything
from trainers.training_state import find_restart

OPTIONS: dict[str, Any] = {"max_epoch": 3, "save_topk": 2, "log_every": 3, "lr_schedule": "cosine", "final_lr": 1e-4}


def wait_for_signal(folder: Path) -> None:
    """Tell the test that the point is reached, and go on once a signal has come."""
    (folder / "waiting").write_text(str(os.getpid()))
    end = time.monotonic() + 300
    while not told_to_stop() and time.monotonic() < end:
        time.sleep(0.01)


class WaitsAt(Callback):
    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step = folder, step

    def on_batch_end(self, trainer: Any) -> None:
        if trainer.global_step == self.step:
            wait_for_signal(self.folder)


class WaitsInValidation(TinyTrainer):
    def valid_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 1 and self.epoch == 1:
            wait_for_signal(self.save_dir.parent)
        return super().valid_step(batch, batch_idx)


class NotesItems(TinyTrainer):
    ids: list[str]

    def train_step(self, batch: Any, batch_idx: int) -> Any:
        self.ids = batch["id"]
        return super().train_step(batch, batch_idx)


class TellsItems(Callback):
    """Which items made the steps of this rank."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_batch_end(self, trainer: Any) -> None:
        with open(self.folder / "seen", "a") as file:
            file.writelines(f"{trainer.epoch} {trainer.global_step} {name}\n" for name in trainer.ids)


def loader(n: int, shuffle: bool, seed: int) -> Any:
    sampler: Any = TinySampler(n, 4, shuffle, rank(), world_size())
    if "BUDGET" in os.environ:
        counts = {"n_blocks": np.ones(n, np.int32)}
        budget = int(os.environ["BUDGET"])
        sampler = BatchSampler(counts, None, budget, shuffle=shuffle, rank=rank(), world=world_size())
    items: Any = TinyItems(n, seed)
    # Beside the threads of a process group a forked loader has hung once (docs/reliability.md).
    return make_loader(items, sampler, num_workers=int(world_size() == 1), collate=default_collate)


@command("train")
def main(argv: Any = None) -> int:
    folder, step, waiting = Path(argv[0]), *(argv[1:] or ["", "-1"])
    with heeding_signals(), process_group(torch.device("cpu")):
        mine = int(waiting) == rank() and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        seed_everything(1, rank())
        trainer = make_trainer(
            folder,
            find_restart(folder),
            kind=WaitsInValidation if mine and step == "valid" else NotesItems,
            model=TinyModel(),
            train_loader=loader(24, True, 0),
            valid_loader=loader(10, False, 1),
            callbacks=[WaitsAt(folder, int(step))] if mine and step != "valid" else [],
            save_every_steps=1 if step == "9" else None,
            **OPTIONS,
        )
        if "BUDGET" in os.environ:
            trainer.callbacks.insert(0, TellsItems(folder))
        trainer.train(gpus=[-1])
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1:]))
