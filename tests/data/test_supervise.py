"""Files that hang, crash or need too much memory are refused by name; killed processes are replaced."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from unruly_files import bytes_of, hook_in, index_of

from configs.errors import ConfigError, DataError
from data import supervise
from data.failures import read_failures
from data.index import rows_of_index
from data.parts import FILES_A_PART
from data.prepare import PrepareOptions, tasks_of_rows
from data.prepare_parallel import prepare
from data.shards import ShardReader
from data.supervise import Limits
from scripts.process_pdbs import main


@pytest.fixture(autouse=True)
def unruly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Processes of this test see the hook, and no other test gets them."""
    (tmp_path / "hook").mkdir()
    supervise.end_processes()
    monkeypatch.setenv("PYTHONPATH", hook_in(tmp_path / "hook"))
    yield
    supervise.end_processes()


def process(index: Path, out: Path, *options: str) -> int:
    return main(["--data_index_file", str(index), "--out_path", str(out), *options])


def test_unruly_files_are_refused_with_reasons_and_the_rest_is_made(tmp_path: Path) -> None:
    good = [f"good{i}" for i in range(FILES_A_PART)]
    index = index_of(tmp_path, ["hang", "once", *good, "greedy", "crash"])
    limits = ["--seconds_per_file", "3", "--memory_per_process", "1"]
    assert process(index, tmp_path / "out", *limits, "--n_jobs", "2") == 0
    assert ShardReader(tmp_path / "out").ids == ["once", *good]
    reasons = {failure.pdb_id: failure.reason for failure in read_failures(tmp_path / "out" / "failures.csv")}
    assert list(reasons) == ["hang", "greedy", "crash"]
    assert reasons["hang"] == "hang.pdb: took longer than 3 s (--seconds_per_file)"
    assert reasons["greedy"] == "greedy.pdb: needs more memory than a process may have (--memory_per_process)"
    assert "crash.pdb: ended its process 3 times (SIGKILL)" in reasons["crash"]


def test_a_killed_process_is_replaced_and_the_result_is_the_same(tmp_path: Path) -> None:
    index = index_of(tmp_path, [f"slow{i}" for i in range(FILES_A_PART + 4)])
    killed: list[int] = []
    over = threading.Event()

    def kill_one() -> None:
        while not killed and not over.wait(0.01):
            for process in list(supervise._busy):
                if process.alive():
                    os.kill(process._process.pid, signal.SIGKILL)
                    killed.append(process._process.pid)
                    return

    killer = threading.Thread(target=kill_one)
    killer.start()
    assert process(index, tmp_path / "out", "--n_jobs", "2") == 0
    over.set()
    killer.join()
    assert len(killed) == 1
    assert process(index, tmp_path / "whole") == 0
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


def test_processes_end_with_their_program(tmp_path: Path) -> None:
    index = index_of(tmp_path, ["hang"])
    command = [sys.executable, "-m", "scripts.process_pdbs", "--data_index_file", str(index)]
    root = Path(__file__).parents[2]
    running = subprocess.Popen([*command, "--out_path", str(tmp_path / "out")], cwd=root, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (children := children_of(running.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.5)  # it is in the file by now
    running.kill()
    running.wait()
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children
    assert not any(map(alive, children))


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    tasks = tasks_of_rows(rows_of_index(index_of(tmp_path, ["slow1"])))
    faults: list[BaseException] = []

    def second(order, limits):  # the second run starts in the midst of the first
        try:
            prepare(tasks, tmp_path, tmp_path / "out", PrepareOptions(), progress=False)
        except DataError as refused:
            faults.append(refused)
        return supervise.make_safely(order, limits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data.backends.make_safely", second)
        prepare(tasks, tmp_path, tmp_path / "out", PrepareOptions(), progress=False)
    assert "another run is making this data set" in str(faults)
    assert len(ShardReader(tmp_path / "out")) == 1


@pytest.mark.parametrize(("limits", "option"), [({"seconds": 0}, "--seconds_per_file"), ({"memory": 0.1}, "--memory")])
def test_limits_that_make_no_sense_are_refused(limits: dict[str, float], option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        Limits(**limits)


def test_processes_are_given_back_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a program that ends them could find their number changed, and leave some."""
    locked = []

    class Watched(set):
        def discard(self, process: object) -> None:
            locked.append(supervise._lock.locked())
            super().discard(process)

    class Process:
        def __init__(self, memory: float) -> None:
            self.memory = memory

        def alive(self) -> bool:
            return False

    monkeypatch.setattr(supervise, "_busy", Watched())
    monkeypatch.setattr(supervise, "_idle", [])
    monkeypatch.setattr(supervise, "_Process", Process)
    with supervise._borrowed(1.0):
        pass
    assert locked == [True]
