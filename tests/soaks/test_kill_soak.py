"""kill -9 of the real command, by the soak that makes a hundred of them (`make soak`); here three, inside saves."""

import os
import random
import subprocess
import sys
import time
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from configs.errors import ConfigError
from soaks import kill
from soaks.items import make_sets
from soaks.kill import MOMENTS, Figures, one_round, uninterrupted
from soaks.marked import MARK, kill_marked, marked, wait_until_gone
from soaks.outcome import differences, of_events
from trainers.run_folder import choose_run_folder
from trainers.run_lock import LOCK, hold

ROOT = Path(__file__).parents[2]
KINDS = ["a state half written", "the first state half written", "weights of a checkpoint written, topk.json not"]

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")


class Owner:
    """Something that a lock can belong to."""


@pytest.mark.slow
def test_a_run_that_is_killed_inside_saves_equals_the_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real command, a loader process, three kills: the state, the first state, and the list of checkpoints are half
    written. Weights, optimiser, average, logs, order of batches, checkpoints, report and TensorBoard are the same."""
    monkeypatch.setattr(kill, "RUN", kill.RUN.replace("--max_epoch 8", "--max_epoch 3"))
    mark = "test-" + os.urandom(8).hex()
    try:
        trial = uninterrupted("regression", 1, tmp_path, mark)
        figures = list(one_round(trial, list(KINDS), Figures(), mark, random.Random(0)))[-1]
    finally:
        kill_marked(mark)
    assert figures.wrong == []
    assert figures.kills == dict.fromkeys(KINDS, 1)
    assert (figures.rounds, figures.same) == (1, 1)
    a_killed_run_that_was_changed_is_noticed(trial.whole, tmp_path / "killed-0")


def a_killed_run_that_was_changed_is_noticed(whole: Path, killed: Path) -> None:
    """The comparison can fail."""
    log = killed / "version_0" / "history.jsonl"
    log.write_text(log.read_text().replace("1", "2", 1))
    assert differences(whole, killed) == ["history.jsonl differs"]
    for path in (killed / "version_0").glob("events*"):
        path.unlink()
    assert list(of_events(whole / "version_0", killed / "version_0"))


def test_every_moment_names_an_operation() -> None:
    assert set(KINDS) <= set(MOMENTS)
    for chosen in MOMENTS.values():
        count, _, pattern = chosen.partition(" ")
        assert int(count) > 0 and pattern


def test_processes_are_found_by_their_mark_whoever_their_parent_is() -> None:
    mark = "test-" + os.urandom(8).hex()
    orphan = f"{sys.executable} -c 'import time; time.sleep(600)' & echo started"
    subprocess.run(["sh", "-c", orphan], env=os.environ | {MARK: mark}, check=True, stdout=subprocess.DEVNULL)
    assert len(marked(mark)) >= 1
    assert kill_marked(mark) >= 1
    assert wait_until_gone(mark, 120) is not None


def holder_of(folder: Path) -> BaseProcess:
    """Another process that holds the lock of a run folder."""
    context = get_context("fork")
    held = context.Event()

    def body() -> None:
        owner = Owner()
        hold(folder, owner)
        held.set()
        time.sleep(600)

    process = context.Process(target=body)
    process.start()
    assert held.wait(60)
    return process


def test_two_processes_never_train_in_one_folder(tmp_path: Path) -> None:
    """The second is told who the first is, and goes on once the first has been killed."""
    folder = tmp_path / "version_0"
    folder.mkdir()
    other = holder_of(folder)
    try:
        with pytest.raises(ConfigError, match=f"version_0: process {other.pid} on .* trains in this folder"):
            hold(folder, Owner(), wait=0)
    finally:
        other.kill()
        other.join()
    mine, again = Owner(), Owner()
    hold(folder, mine, wait=0)
    hold(folder, again, wait=0)  # this process has it already
    del mine
    assert (folder / LOCK).exists()
    del again
    third = holder_of(folder)  # it was let go
    third.kill()
    third.join()


def test_a_folder_whose_run_never_began_is_taken_again(tmp_path: Path) -> None:
    """Only with --restart auto, and only when there is nothing in it that somebody could miss."""
    first = Owner()
    assert choose_run_folder(tmp_path, None, first).name == "version_0"
    (tmp_path / "version_0" / "train_config.json").write_text("{}")
    assert choose_run_folder(tmp_path, None, Owner(), restart=True).name == "version_0"
    assert not (tmp_path / "version_0" / "train_config.json").exists()
    assert choose_run_folder(tmp_path, None, Owner()).name == "version_1"
    (tmp_path / "version_1" / "history.jsonl").write_text("{}\n")
    assert choose_run_folder(tmp_path, None, Owner(), restart=True).name == "version_2"
    (tmp_path / "version_2" / "training_state" / "epoch0_batch0").mkdir(parents=True)
    assert choose_run_folder(tmp_path, None, Owner(), restart=True).name == "version_3"


def test_built_in_items_are_a_data_set(tmp_path: Path) -> None:
    train, valid = make_sets(tmp_path, 5, 3)
    assert (train / "manifest.json").exists() and (valid / "manifest.json").exists()
