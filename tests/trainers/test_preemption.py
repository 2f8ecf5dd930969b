"""Real processes get real signals: they store their state at the next step, end with status 75, and lose nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from test_resume import same_outcome

from configs.command import PREEMPTED, command
from configs.errors import Preempted
from trainers.preemption import heeding_signals, stop_together, told_to_stop
from trainers.training_state import find_restart

HERE = Path(__file__).parent
SCRIPT = str(HERE / "preempted_run.py")
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)]),
    "OMP_NUM_THREADS": "1",
}
LAUNCH = ["-m", "trainers.launch", "--nproc_per_node", "2", "--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0"]


def start(*words: object) -> subprocess.Popen[str]:
    command_line = [sys.executable, *map(str, words)]
    return subprocess.Popen(
        command_line, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, cwd=HERE.parents[1], start_new_session=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and what was said; nothing is left running."""
    try:
        said = process.communicate(timeout=600)[1]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, said


def waiting(process: subprocess.Popen[str], folder: Path) -> int:
    """The process that has reached the point where it waits."""
    mark = folder / "waiting"
    while process.poll() is None and not (mark.exists() and mark.read_text()):
        time.sleep(0.01)
    assert process.poll() is None, finish(process)
    number = int(mark.read_text())
    mark.unlink()
    return number


def position(folder: Path) -> tuple[int, int, int]:
    state = find_restart(folder)
    assert state is not None
    return state.values["epoch"], state.values["batch"], state.values["global_step"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, never interrupted."""
    folder = tmp_path_factory.mktemp("alone") / "runs"
    folder.mkdir()
    status, said = finish(start(SCRIPT, folder))
    assert status == 0, said
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ranks, never interrupted."""
    folder = tmp_path_factory.mktemp("together") / "runs"
    folder.mkdir()
    status, said = finish(start(*LAUNCH, SCRIPT, folder))
    assert status == 0, said
    return folder


def test_a_signal_stops_a_process_at_the_next_step_and_the_run_loses_nothing(tmp_path: Path, alone: Path) -> None:
    """Inside an epoch, to all processes of the job (the loader's process must outlive it), and in the validation."""
    for number, step, after in ((signal.SIGTERM, 3, (0, 4, 4)), (signal.SIGUSR1, "valid", (1, 6, 12))):
        process = start(SCRIPT, tmp_path, step, 0)
        os.killpg(waiting(process, tmp_path), number)
        status, said = finish(process)
        assert status == PREEMPTED == 75
        assert f"train: stopped by {number.name}, " in said
        assert "the same command with --restart auto continues" in said
        assert "Traceback" not in said
        assert position(tmp_path) == after
    assert finish(start(SCRIPT, tmp_path))[0] == 0
    same_outcome(tmp_path, alone)


@pytest.mark.slow
def test_all_ranks_stop_at_the_same_step_when_one_is_told(tmp_path: Path, together: Path) -> None:
    """First one rank alone, then the launcher, which tells all of them, then one rank in the validation."""
    for step, rank in ((3, 1), (8, 0), ("valid", 1)):
        process = start(*LAUNCH, SCRIPT, tmp_path, step, rank)
        told = waiting(process, tmp_path)
        if step == 8:
            os.kill(process.pid, signal.SIGTERM)
        else:
            os.kill(told, signal.SIGUSR1)
        status, said = finish(process)
        assert status == PREEMPTED, said
        assert position(tmp_path) == {3: (0, 4, 4), 8: (1, 3, 9), "valid": (1, 6, 12)}[step]
    status, said = finish(start(*LAUNCH, SCRIPT, tmp_path))
    assert status == 0, said
    same_outcome(tmp_path, together)


@pytest.mark.slow
def test_a_killed_rank_is_replaced(tmp_path: Path, together: Path) -> None:
    """The launcher starts all ranks anew, and they go on from the newest state."""
    process = start(*LAUNCH, "--max_restarts", 1, SCRIPT, tmp_path, 9, 1)
    os.kill(waiting(process, tmp_path), signal.SIGKILL)
    status, said = finish(process)
    assert status == 0, said
    assert "continuing" in said
    same_outcome(tmp_path, together)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks stop inside an epoch of 6 steps; a single one takes the rest: no item is dropped or doubled."""
    monkeypatch.setitem(ENVIRONMENT, "BUDGET", "2")
    process = start(*LAUNCH, SCRIPT, tmp_path, 3, 1)
    os.kill(waiting(process, tmp_path), signal.SIGTERM)
    assert finish(process)[0] == PREEMPTED
    assert position(tmp_path) == (0, 4, 4)
    status, said = finish(start(SCRIPT, tmp_path))
    assert status == 0, said
    assert "the state was stored by 2 ranks, this run has 1" in said
    seen = [line.split() for line in (tmp_path / "seen").read_text().splitlines()]
    for epoch in "012":
        assert sorted(name for e, _, name in seen if e == epoch) == sorted(f"item{i}" for i in range(24))
    assert max(int(step) for epoch, step, _ in seen if epoch == "0") == 4 + 4


def test_a_failure_keeps_its_own_status(tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text("raise SystemExit(3)")
    assert finish(start(*LAUNCH, tmp_path / "fails.py"))[0] == 1


def test_signals_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with heeding_signals():
        assert not told_to_stop()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert told_to_stop()
    assert signal.getsignal(signal.SIGTERM) is before
    with heeding_signals():  # an older signal is none of this run's business
        assert not told_to_stop()
        stop_together("nothing")


def test_the_status_is_distinct(capsys: pytest.CaptureFixture[str]) -> None:
    @command("try")
    def stops(argv: object = None) -> int:
        raise Preempted("stopped by SIGTERM")

    assert stops() == 75
    assert capsys.readouterr().err == "try: stopped by SIGTERM\n"


def test_a_run_that_reached_its_last_step_is_not_trained_further(tmp_path: Path) -> None:
    """A state stored between the last step and the end of its epoch: what remains is the end of the epoch."""
    from stand_ins import make_trainer

    torch.set_num_threads(1)
    trainer = make_trainer(tmp_path, max_steps=8)
    validate = trainer._valid_epoch

    def told(device: torch.device) -> dict[str, float] | None:
        if trainer.finished:
            trainer._save_state()
            raise Preempted("now")
        return validate(device)

    trainer._valid_epoch = told  # type: ignore[method-assign]
    with pytest.raises(Preempted):
        trainer.train(gpus=[-1])
    assert position(tmp_path) == (1, 2, 8)
    again = make_trainer(tmp_path, find_restart(tmp_path), max_steps=8)
    again.train(gpus=[-1])
    whole = make_trainer(tmp_path / "whole", max_steps=8)
    whole.train(gpus=[-1])
    assert again.global_step == 8
    same_outcome(tmp_path, tmp_path / "whole")
