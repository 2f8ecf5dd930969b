"""A loader process that the system kills ends the run with a word about it, and the run goes on from its state."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from stand_ins import TinyItems, TinySampler, make_trainer
from torch.utils.data import DataLoader

from configs.command import KILLED, command
from trainers import Trainer
from trainers.batches import naming_lost_loaders
from trainers.callbacks import Callback
from trainers.training_state import find_restart, read_state


class KilledAfter(Callback):
    """Kills the loader processes after a step."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.others = set(multiprocessing.active_children())  # of tests before

    def on_batch_end(self, trainer: Trainer) -> None:
        if trainer.global_step == self.step:
            for child in set(multiprocessing.active_children()) - self.others:
                child.kill()
                child.join()


class Deadly(TinyItems):
    """Items of which the third ends the process that makes it, while a file is there."""

    fuse: Path

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        if key[1] == 2 and self.fuse.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(key)


def loader(items: TinyItems) -> DataLoader:
    return DataLoader(items, batch_sampler=TinySampler(len(items), 4, shuffle=True), num_workers=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("where", ["training", "validation"])
def test_a_killed_loader_process_is_named_and_the_run_goes_on(
    tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    fuse = tmp_path / "fuse"

    def train(folder: Path, *callbacks: Callback) -> None:
        items = Deadly(10, seed=1)
        items.fuse = fuse
        options: dict[str, Any] = {"train_loader": loader(TinyItems(24)), "valid_loader": loader(items)}
        options |= {"save_every_steps": 4, "max_epoch": 2}
        state = find_restart(folder) if folder.exists() else None
        make_trainer(folder, state, callbacks=list(callbacks), **options).train(gpus=[-1])

    @command("train")
    def main(argv: Any = None) -> int:
        with naming_lost_loaders():
            train(tmp_path / "runs", *([KilledAfter(9)] if where == "training" else []))
        return 0

    if where == "validation":
        fuse.touch()
    assert main() == KILLED == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("train: a loader process was killed (DataLoader worker")
    assert "the same command with --restart auto continues from the newest state (out of memory?" in last
    fuse.unlink(missing_ok=True)
    for name in ("runs", "whole"):
        train(tmp_path / name)
    one, other = (read_state(tmp_path / name / "version_0") for name in ("runs", "whole"))
    assert one.values == other.values
    assert all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())


def test_another_error_of_a_loader_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="of its own"), naming_lost_loaders():
        raise RuntimeError("of its own")
