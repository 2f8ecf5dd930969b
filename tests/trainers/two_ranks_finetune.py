"""Run by torchrun in test_finetune_ranks.py: fine-tunes on this rank's share and tells what it saw.

usage: two_ranks_finetune.py FOLDER
"""

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from staged_model import staged_trainer
from stand_ins import make_loader
from two_ranks import N_TRAIN, N_VALID, Stop

from trainers.callbacks import Callback
from trainers.distributed import process_group, rank, world_size
from trainers.training_state import find_restart

STAGED = {"partial_finetune": True, "unfreeze_at_epoch": ("attention_pooling.*:1", "top_encoder.*:2")}
CASES: dict[str, dict[str, Any]] = {
    "staged": STAGED,
    "staged_accumulate": STAGED | {"accumulate": 2},
    "head_only": {"partial_finetune": True, "weight_decay": 0.1},
    "frozen": {"freeze": ("top_encoder.*",), "head_lr": 3e-2},
    "adapters": {"lora_rank": 2, "lora_targets": ("top_*", "attention_*")},
    "resumed": STAGED | {"stop": 8},
    "resumed_at_a_stage": STAGED | {"stop": 6},
}


class SeesGradients(Callback):
    """The gradients of the last step, by name."""

    def __init__(self) -> None:
        self.seen: dict[str, list[float]] = {}

    def on_batch_end(self, trainer: Any) -> None:
        named = trainer.model.named_parameters()
        self.seen = {name: p.grad.flatten().tolist() for name, p in named if p.grad is not None}


def run(folder: Path, case: str) -> dict[str, Any]:
    """Train one case on this rank (or, without torchrun, alone on the whole batches)."""
    options = {"save_every_steps": 3, "log_every": 4, "ema_decay": 0.9} | CASES[case]
    stop, place = options.pop("stop", None), {"rank": rank(), "world": world_size()}
    gradients = SeesGradients()

    def train(state: Any, *callbacks: Callback) -> Any:
        trainer = staged_trainer(
            folder / case,
            state,
            dropout=0,
            train_loader=make_loader(N_TRAIN, 4, **place),
            valid_loader=make_loader(N_VALID, 4, shuffle=False, seed=1, **place),
            callbacks=[gradients, *callbacks],
            **options,
        )
        trainer.train(gpus=[-1])
        return trainer

    if stop:
        with suppress(KeyboardInterrupt):
            train(None, Stop(stop))
    trainer = train(find_restart(folder / case) if stop else None)
    return {
        "weights": {name: p.flatten().tolist() for name, p in trainer.model.named_parameters()},
        "gradients": gradients.seen,
        "average": {name: value.flatten().tolist() for name, value in trainer.average.average.items()},
        "history": trainer.history,
        "steps": trainer.global_step,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    with process_group(torch.device("cpu")):
        results = {case: run(out, case) for case in CASES}
        (out / f"rank{rank()}.json").write_text(json.dumps(results))
