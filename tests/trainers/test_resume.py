"""A resumed run equals the uninterrupted one, bit for bit."""

import errno
import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from stand_ins import TinyModel, TinyTrainer, make_loader, make_trainer

from configs.errors import CheckpointError, Preempted, StorageError
from trainers import Trainer, run_folder, run_lock, saving
from trainers.callbacks import Callback
from trainers.rng import seed_everything
from trainers.training_state import find_restart, read_state

OPTIONS: dict[str, Any] = {
    "max_epoch": 4,
    "ema_decay": 0.9,
    "lr_schedule": "cosine",
    "final_lr": 1e-4,
    "warmup_epochs": 0.5,
    "save_every_steps": 4,
    "log_every": 3,
    "save_topk": 2,
    "grad_clip": 1.0,
}
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class StopAt(Callback):
    """Dies at a step, as a killed process does: nothing is stored any more."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_batch_end(self, trainer: Trainer) -> None:
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


def run(folder: Path, stop: int | None = None, **changes: Any) -> Trainer:
    """Train with the same command: continue what there is, else start."""
    options = OPTIONS | changes
    seed_everything(1)
    state = find_restart(folder) if folder.exists() else None
    callbacks = [StopAt(stop)] if stop is not None else []
    trainer = make_trainer(folder, state, callbacks=callbacks, **options)
    try:
        trainer.train(gpus=[-1])
    except KeyboardInterrupt:
        assert stop is not None
    return trainer


def same_outcome(a: Path, b: Path) -> None:
    """Same state to the last bit, same logs to the last byte, same checkpoints."""
    one, other = read_state(a / "version_0"), read_state(b / "version_0")
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, other.tensors[name]), name
    assert one.values == other.values
    for name in ("history.jsonl", "training_history.json", "checkpoint/topk.json"):
        assert (a / "version_0" / name).read_bytes() == (b / "version_0" / name).read_bytes(), name
    kept = [sorted(p.name for p in (folder / "version_0" / "checkpoint").iterdir()) for folder in (a, b)]
    assert kept[0] == kept[1]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole")
    run(folder / "runs")
    return folder / "runs"


@pytest.mark.parametrize("stops", [[12], [13], [3], [5, 11, 23], [1, 2, 3]], ids=str)
def test_resumed_equals_uninterrupted(tmp_path: Path, uninterrupted: Path, stops: list[int]) -> None:
    for stop in stops:
        run(tmp_path / "runs", stop)
    run(tmp_path / "runs")
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["version_0"]
    same_outcome(tmp_path / "runs", uninterrupted)


def test_inside_an_epoch_the_position_is_stored(tmp_path: Path) -> None:
    run(tmp_path / "runs", stop=11)
    state = find_restart(tmp_path / "runs")
    assert state is not None and (state.values["epoch"], state.values["batch"]) == (1, 2)


def test_accumulation_resumes_between_steps(tmp_path: Path) -> None:
    changes = {"accumulate": 4, "save_every_steps": 1}  # 6 batches an epoch: steps of 4 and 2
    run(tmp_path / "whole", **changes)
    for stop in (2, 4):
        run(tmp_path / "parts", stop, **changes)
    run(tmp_path / "parts", **changes)
    same_outcome(tmp_path / "parts", tmp_path / "whole")


def test_default_schedule_and_skips_resume(tmp_path: Path) -> None:
    def one(folder: Path, stop: int | None = None) -> None:
        run(folder, stop, lr_schedule=None, final_lr=None, warmup_epochs=0, train_loader=make_loader(bad=(5,)))

    one(tmp_path / "whole")
    for stop in (4, 9):
        one(tmp_path / "parts", stop)
    one(tmp_path / "parts")
    same_outcome(tmp_path / "parts", tmp_path / "whole")
    logs = [(tmp_path / name / "version_0" / "bad_steps.jsonl").read_bytes() for name in ("whole", "parts")]
    assert logs[0] == logs[1] and logs[0].count(b"\n") == 4


def test_a_loader_that_can_not_start_in_the_middle_is_wound_forward(tmp_path: Path) -> None:
    items = [{"id": str(i), "x": torch.full((3,), i / 6), "y": torch.tensor(0.0)} for i in range(6)]

    def one(folder: Path, stop: int | None = None) -> None:
        run(folder, stop, train_loader=torch.utils.data.DataLoader(items, batch_size=1), save_every_steps=1)  # type: ignore[arg-type]

    one(tmp_path / "whole")
    one(tmp_path / "parts", stop=9)
    one(tmp_path / "parts")
    same_outcome(tmp_path / "parts", tmp_path / "whole")


def test_killed_process_continues(tmp_path: Path, uninterrupted: Path) -> None:
    """kill -9 of a real process, twice, at moments that nobody chose."""
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]\n"
        "import torch, time; torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "import test_resume\n"
        "from trainers.callbacks import Callback\n"
        "class Slow(Callback):\n"
        "    def on_batch_end(self, trainer): time.sleep(0.05)\n"
        "original = test_resume.make_trainer\n"
        "test_resume.make_trainer = lambda *a, callbacks, **k: original(*a, callbacks=[Slow()], **k)\n"
        "test_resume.run(Path(sys.argv[1]))\n"
    )
    runs = tmp_path / "runs"
    for step in (5, 14):
        process = subprocess.Popen([sys.executable, str(script), str(runs)], stderr=subprocess.DEVNULL)
        log = runs / "version_0" / "history.jsonl"
        while process.poll() is None and not (log.exists() and f'"step": {step // 3 * 3},' in log.read_text()):
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    run(runs)
    same_outcome(runs, uninterrupted)


def test_a_damaged_state_is_passed_over(tmp_path: Path, uninterrupted: Path) -> None:
    run(tmp_path / "runs", stop=22)
    newest = find_restart(tmp_path / "runs")
    assert newest is not None and newest.path is not None
    tensors = newest.path / "tensors.safetensors"
    content = bytearray(tensors.read_bytes())
    content[len(content) // 2] ^= 1
    tensors.write_bytes(bytes(content))
    with pytest.warns(UserWarning, match=r"passing over a damaged training state: .*tensors\.safetensors"):
        run(tmp_path / "runs")
    same_outcome(tmp_path / "runs", uninterrupted)


def test_a_run_without_a_readable_state_is_not_begun_anew_in_silence(tmp_path: Path) -> None:
    """Nor is an older one taken in its place; only one that had stored nothing but its beginning loses nothing."""
    runs = tmp_path / "runs"
    run(runs, stop=5)
    shutil.copytree(runs / "version_0", runs / "version_1", symlinks=True)
    states = sorted((runs / "version_1" / "training_state").iterdir())
    assert [path.name for path in states] == ["epoch0_batch0", "epoch0_batch4"]
    for path in states:
        (path / "manifest.json").unlink()
    refused = pytest.raises(CheckpointError, match=r"version_1: no stored state of this run can be read")
    with pytest.warns(UserWarning, match=r"epoch0_batch4.manifest\.json: no such file"), refused:
        find_restart(runs)
    shutil.rmtree(states[1])
    shutil.rmtree(runs / "version_0")
    with pytest.warns(UserWarning, match=r"epoch0_batch0.manifest\.json: no such file"):
        assert find_restart(runs) is None
    with pytest.raises(CheckpointError, match="neither a run folder nor a training state"):
        read_state(tmp_path)


def test_a_finished_run_stays_as_it_is(tmp_path: Path, uninterrupted: Path) -> None:
    shutil.copytree(uninterrupted, tmp_path / "runs", symlinks=True)
    trainer = run(tmp_path / "runs")
    assert trainer.global_step == 24
    same_outcome(tmp_path / "runs", uninterrupted)


def test_more_epochs_continue_in_the_same_folder(tmp_path: Path, uninterrupted: Path) -> None:
    shutil.copytree(uninterrupted, tmp_path / "runs", symlinks=True)
    trainer = run(tmp_path / "runs", max_epoch=6, allow_changes=["max_epoch"])
    assert [record["epoch"] for record in trainer.history] == list(range(6))


def test_further_epochs_get_a_new_folder_and_the_final_rate(tmp_path: Path, uninterrupted: Path) -> None:
    state = read_state(uninterrupted / "version_0")
    state.further = True
    trainer = make_trainer(tmp_path / "more", state, **(OPTIONS | {"max_epoch": 2}))
    trainer.train(gpus=[-1])
    assert [record["epoch"] for record in trainer.history] == [0, 1, 2, 3, 4, 5]
    assert {record["lr"] for record in trainer.history[4:]} == {1e-4}
    lines = (trainer.save_dir / "history.jsonl").read_bytes()
    assert lines.startswith((uninterrupted / "version_0" / "history.jsonl").read_bytes())


def test_another_model_is_refused(tmp_path: Path, uninterrupted: Path) -> None:
    model = TinyModel()
    model.head = torch.nn.Linear(8, 2)
    trainer = make_trainer(tmp_path, uninterrupted / "version_0", kind=TinyTrainer, model=model, **OPTIONS)
    with pytest.raises(CheckpointError, match="doesn't fit this model"):
        trainer.train(gpus=[-1])


def test_a_state_without_moving_average_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "runs", stop=4, ema_decay=None)
    with pytest.raises(CheckpointError, match=r"holds no moving average.*leave out --ema_decay"):
        run(tmp_path / "runs", allow_changes=["ema_decay"])


def test_a_run_killed_before_its_options_were_written_is_passed_over(tmp_path: Path) -> None:
    """Of a command with --resume, which looks for runs that were started with the same one."""
    run(tmp_path, stop=4)
    (tmp_path / "version_1").mkdir()
    assert find_restart(tmp_path, "a state") is None


def test_a_folder_stays_locked_between_both_looks_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, stop=4)
    gc.collect()
    folder, held = tmp_path / "version_0", []

    def hold(*arguments: Any) -> None:
        held.append(folder.resolve() in run_lock._held)
        run_lock.hold(*arguments)

    monkeypatch.setattr(run_folder, "hold", hold)
    assert run_folder.restart_state(tmp_path) is not None
    assert held == [False, True]


def test_a_signal_in_a_validation_tells_when_nothing_could_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 75 would say that everything is stored."""
    trainer = make_trainer(tmp_path, **OPTIONS)

    def evaluate(loader: Any) -> dict[str, float]:
        def write(*_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(saving, "write_state", write)
        raise Preempted("stopped")

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    with pytest.raises(StorageError, match="the state before batch 6 of epoch 0 could not be stored"):
        trainer.train(gpus=[-1])
