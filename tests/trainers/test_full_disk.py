"""A full or read-only disk: training says so, keeps the last good state, and goes on or stops; nothing is made up."""

import json
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from stand_ins import TinyTrainer, make_trainer
from test_resume import OPTIONS, run, same_outcome

from configs.command import command
from configs.errors import DataError, StorageError
from data.shards import ShardReader, ShardWriter
from soaks.items import make_item
from trainers import Trainer
from trainers.callbacks import Callback
from trainers.rng import seed_everything
from trainers.run_folder import prepare_run_folder
from trainers.training_state import find_restart, read_state

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_disk import SmallDisk, small_disk


class At(Callback):
    """Does something after some steps."""

    def __init__(self, **actions: Callable[[], object]) -> None:
        self.actions = actions

    def on_batch_end(self, trainer: Trainer) -> None:
        self.actions.get(f"step{trainer.global_step}", lambda: None)()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as mounted:
        yield mounted


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole") / "runs"
    run(folder)
    return folder


def train(folder: Path, state: Any = None, every: int = 4, **actions: Callable[[], object]) -> Trainer:
    torch.set_num_threads(1)
    seed_everything(1)
    trainer = make_trainer(folder, state, callbacks=[At(**actions)], **(OPTIONS | {"save_every_steps": every}))
    trainer.train(gpus=[-1])
    return trainer


def test_a_disk_that_is_full_for_a_while_costs_warnings_only(
    disk: SmallDisk, uninterrupted: Path, capsys: pytest.CaptureFixture
) -> None:
    """Full for two saves of the state: told, counted, and the run comes out the same, without a gap in its logs."""
    runs = disk.path / "runs"
    newest: list[Any] = []

    def look() -> None:
        newest.append(find_restart(runs))
        disk.make_room()

    trainer = train(runs, every=2, step7=disk.fill, step11=look)
    said = capsys.readouterr().err
    assert trainer.saving.failed == 2  # at steps 8 and 10
    assert "WARNING: the state before batch 2 of epoch 1 could not be stored: " in said
    assert "no space left on device" in said and "is stored again, after 2 failures in a row" in said
    assert "2 saves failed" in said
    assert newest[0].values["global_step"] == 6  # the last good one, complete
    one, other = read_state(runs / "version_0"), read_state(uninterrupted / "version_0")
    assert all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())
    for name in ("history.jsonl", "training_history.json"):
        assert (runs / "version_0" / name).read_bytes() == (uninterrupted / "version_0" / name).read_bytes()
    assert not list(runs.rglob(".writing-*"))


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_disk_that_stays_so_ends_the_run_and_keeps_the_last_good_state(
    disk: SmallDisk, uninterrupted: Path, capsys: pytest.CaptureFixture, fault: str
) -> None:
    runs = disk.path / "runs"
    faults = {"full": disk.fill, "read-only": lambda: disk.writable(False)}

    @command("train")
    def main(argv: Any = None) -> int:
        train(runs, step7=faults[fault])
        return 0

    assert main() == 74
    said = capsys.readouterr().err
    last = said.splitlines()[-1]
    assert "could not be stored" in last and "3 failures in a row" in last
    assert {"full": "no space left on device", "read-only": "read-only file system"}[fault] in last
    state = find_restart(runs)
    assert state is not None and state.values["global_step"] == 6
    disk.make_room() if fault == "full" else disk.writable(True)
    train(runs, state)
    same_outcome(runs, uninterrupted)


def test_a_result_that_can_not_be_stored_is_no_success(disk: SmallDisk) -> None:
    """Full before the last save: the run does not end as if it had gone well."""
    with pytest.raises(StorageError, match="the state before batch 0 of epoch 4 could not be stored"):
        train(disk.path / "runs", step22=disk.fill)


def test_a_run_that_can_store_nothing_does_not_begin(disk: SmallDisk) -> None:
    runs = disk.path / "runs"
    make_trainer(runs / "other", **OPTIONS)  # while there is room
    trainer = make_trainer(runs, **OPTIONS)
    disk.fill()
    with pytest.raises((StorageError, OSError), match=r"could not be stored|No space left"):
        trainer.train(gpus=[-1])
    assert trainer.global_step == 0


class Blocked(Callback):
    """A file in the place of the folder of checkpoints, from the validation of an epoch to its end."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_validation(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        if trainer.epoch == self.epoch:
            self._folder(trainer).rename(trainer.save_dir / "aside")
            self._folder(trainer).touch()

    def on_epoch_end(self, trainer: Trainer) -> None:
        if self._folder(trainer).is_file():
            self._folder(trainer).unlink()
            (trainer.save_dir / "aside").rename(self._folder(trainer))

    on_train_end = on_epoch_end

    @staticmethod
    def _folder(trainer: Trainer) -> Path:
        return trainer.save_dir / "checkpoint"


class Scripted(TinyTrainer):
    script: tuple[float, ...] = (3.0, 1.0, 2.0)

    def metrics(self, predictions: dict[str, Any], means: dict[str, float]) -> dict[str, float]:
        return {"loss": self.script[self.epoch]}


class Improving(Scripted):
    script = (4.0, 3.0, 2.0)


def test_the_last_checkpoint_can_not_be_left_out(tmp_path: Path) -> None:
    """Else the run would end as finished, and no start of it would ever store its weights again."""
    first = make_trainer(tmp_path, kind=Improving, callbacks=[Blocked(2)], max_epoch=3, save_topk=1)
    with pytest.raises(StorageError, match="the checkpoint of epoch 2 could not be stored"):
        first.train(gpus=[-1])
    second = make_trainer(tmp_path, find_restart(tmp_path), kind=Improving, max_epoch=3, save_topk=1)
    second.train(gpus=[-1])
    assert [path.name for path in (first.save_dir / "checkpoint").glob("epoch*")] == ["epoch2_step18"]


def test_a_checkpoint_that_was_missed_is_made_up_for_after_a_restart(tmp_path: Path) -> None:
    """The best weights are lost; those of the next validation are better than none of the later ones."""
    first = make_trainer(tmp_path, kind=Scripted, callbacks=[Blocked(1)], max_epoch=3, save_topk=1)
    first.callbacks.append(At(step13=_stop))
    with pytest.raises(KeyboardInterrupt):
        first.train(gpus=[-1])
    assert [path.name for path in (first.save_dir / "checkpoint").glob("epoch*")] == ["epoch0_step6"]
    second = make_trainer(tmp_path, find_restart(tmp_path), kind=Scripted, max_epoch=3, save_topk=1)
    second.train(gpus=[-1])
    assert second.best_epoch == 1  # which has no weights
    assert [path.name for path in (first.save_dir / "checkpoint").glob("epoch*")] == ["epoch2_step18"]


def _stop() -> None:
    raise KeyboardInterrupt


def test_the_line_of_a_launch_waits_for_room_and_comes_with_the_next_state(disk: SmallDisk) -> None:
    trainer = make_trainer(disk.path / "runs", **OPTIONS)
    log = trainer.save_dir / "launches.jsonl"
    prepare_run_folder(trainer.save_dir, {"lr": 1}, {}, [], trainer.launches)
    disk.fill()
    prepare_run_folder(trainer.save_dir, {"lr": 2, "long": "x" * 5000}, {}, [], trainer.launches)
    assert trainer.launches.waiting
    disk.make_room()
    assert trainer.saving.state(trainer)
    assert [json.loads(line)["options"]["lr"] for line in log.read_text().splitlines()] == [1, 2]


def test_a_limit_of_file_sizes_is_a_full_disk(tmp_path: Path, uninterrupted: Path) -> None:
    """Where nothing can be mounted, the system refuses to write more than so many bytes to a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    runs = tmp_path / "runs"
    try:
        trainer = train(runs, step7=lambda: limit(1000), step10=lambda: limit(before[0]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert trainer.saving.failed == 1
    same_outcome(runs, uninterrupted)


def test_a_data_set_on_a_full_disk_is_refused_whole_and_can_be_made_again(disk: SmallDisk) -> None:
    shards = disk.path / "shards"
    items = [make_item(number) for number in range(40)]

    def write() -> None:
        with ShardWriter(shards, "fingerprint", max_file_items=5) as writer:
            for item in items:
                writer.add(item)
            writer._pack()
            disk.fill() if (disk.path / "fault").exists() else None

    (disk.path / "fault").touch()
    with pytest.raises(OSError, match="No space left"):
        write()
    assert not list(shards.rglob("*")), list(shards.rglob("*"))
    assert not shards.exists()
    with pytest.raises(DataError, match="no such folder"):
        ShardReader(shards)
    (disk.path / "fault").unlink()
    disk.make_room()
    write()
    assert len(ShardReader(shards)) == 40
    shutil.rmtree(shards)
