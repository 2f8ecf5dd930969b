"""Run by torchrun in test_ranks.py: trains on this rank's share and tells what it saw.

usage: two_ranks.py FOLDER CASE
"""

import itertools
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from stand_ins import TinyModel, TinyTrainer, make_loader, make_trainer
from torch import nn

from trainers.callbacks import Callback, TimeLimit
from trainers.distributed import process_group, rank, world_size
from trainers.training_state import find_restart

N_TRAIN, N_VALID = 22, 10
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulate": {"accumulate": 2},
    "bad_item": {"bad": (7,)},
    "bad_item_accumulate": {"bad": (7,), "accumulate": 2},
    "stops_early": {"patience": 1, "lr": 3.0, "max_epoch": 8},
    "sometimes_unused": {"branches": True},
    "out_of_time": {"clock": True},
    "resumed": {"stop": 8},
}


class Branches(TinyModel):
    """The extra head sees only items with a positive first coordinate: in some batches of some ranks, none."""

    def __init__(self) -> None:
        super().__init__(dropout=0)
        self.extra, self.never = nn.Linear(8, 1), nn.Linear(8, 1)

    def forward(self, batch: dict[str, Any]) -> Any:
        output = super().forward(batch)
        chosen = batch["x"][:, 0] > 0
        if chosen.any():
            extra = self.extra(torch.tanh(self.hidden(batch["x"][chosen])))
            output.loss = output.loss + (extra**2).sum() / len(chosen)
        return output


class SeesGradients(Callback):
    def __init__(self, trainer_seen: list) -> None:
        self.seen = trainer_seen

    def on_batch_end(self, trainer: Any) -> None:
        if not self.seen:
            gradients = [p.grad for p in trainer.model.parameters() if p.grad is not None]
            self.seen += torch.cat([g.flatten() for g in gradients]).tolist()


class Stop(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_batch_end(self, trainer: Any) -> None:
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


def run(folder: Path, case: str) -> dict[str, Any]:
    """Train one case on this rank (or, without torchrun, alone on the whole batches)."""
    options: dict[str, Any] = {"save_every_steps": 3, "max_epoch": 3, "log_every": 4} | CASES[case]
    bad, branches, stop = options.pop("bad", ()), options.pop("branches", False), options.pop("stop", None)
    place = {"rank": rank(), "world": world_size()}
    gradients: list[float] = []
    clocks = {0: itertools.count(0, 10), 1: itertools.repeat(0)}  # the other rank's stands still
    limits = [TimeLimit(1.0, lambda: float(next(clocks[rank()])))] if options.pop("clock", False) else []

    def train(state: Any, *callbacks: Callback) -> Any:
        trainer = make_trainer(
            folder / case,
            state,
            kind=TinyTrainer,
            model=Branches() if branches else TinyModel(dropout=0),
            train_loader=make_loader(N_TRAIN, 4, bad=bad, **place),
            valid_loader=make_loader(N_VALID, 4, shuffle=False, seed=1, **place),
            callbacks=[SeesGradients(gradients), *limits, *callbacks],
            **options,
        )
        trainer.train(gpus=[-1])
        return trainer

    if stop:
        with suppress(KeyboardInterrupt):
            train(None, Stop(stop))
    trainer = train(find_restart(folder / case) if stop else None)
    weights = torch.cat([p.detach().flatten() for p in trainer.model.parameters()]).tolist()
    return {
        "weights": weights,
        "gradients": gradients,
        "history": trainer.history,
        "steps": trainer.global_step,
        "skipped": trainer.skipped_steps,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    with process_group(torch.device("cpu")):
        results = {case: run(out, case) for case in CASES}
        (out / f"rank{rank()}.json").write_text(json.dumps(results))
