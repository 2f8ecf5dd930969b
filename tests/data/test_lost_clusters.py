"""A cluster that goes away: the command says which, ends with a status of its own, and can go on elsewhere."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_backends import MISSING, ROOT, Cluster, arguments, ray_cluster, soon
from unruly_files import hook_in, index_of

from configs.command import PREEMPTED
from configs.errors import ClusterError
from data import backends, supervise
from data.backends import Backend
from data.parts import FILES_A_PART, PARTS
from data.shards import ShardReader
from data.supervise import Made, Order
from scripts.process_pdbs import main

pytestmark = pytest.mark.slow
NAMES = [f"slow{i:02d}" for i in range(3 * FILES_A_PART)]
CLUSTER = """
import sys, distributed
if __name__ == "__main__":
    cluster = distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None)
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
"""
ANSWER_SOON = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3"}


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files that take their time, also on workers."""
    (tmp_path / "hook").mkdir()
    supervise.end_processes()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([hook_in(tmp_path / "hook"), str(ROOT)]))
    yield
    supervise.end_processes()


def dask_apart(tmp_path: Path) -> Iterator[tuple[Cluster, Callable[[], None]]]:
    """A Dask cluster whose scheduler is a process of its own, and what kills it."""
    pytest.importorskip("distributed", reason=MISSING.format("Dask", "dask"))
    (tmp_path / "cluster.py").write_text(CLUSTER)
    command = [sys.executable, str(tmp_path / "cluster.py")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as scheduler:
        assert scheduler.stdout is not None
        address = scheduler.stdout.readline().strip()
        assert address, "no scheduler was started"
        yield Cluster(["--backend", "dask", "--address", address], list), scheduler.kill
        scheduler.kill()


def ray_apart(tmp_path: Path) -> Iterator[tuple[Cluster, Callable[[], None]]]:
    """A Ray cluster, and what kills its head."""
    psutil = pytest.importorskip("psutil")

    def kill() -> None:
        for process in psutil.Process().children(recursive=True):
            if process.name() in ("gcs_server", "raylet"):
                process.kill()

    for cluster in ray_cluster():
        yield cluster, kill


@pytest.mark.parametrize("apart", [dask_apart, ray_apart], ids=["dask", "ray"])
def test_a_cluster_that_dies_is_named_and_the_same_command_goes_on_elsewhere(
    apart: Callable[[Path], Iterator[tuple[Cluster, Callable[[], None]]]], hook: None, tmp_path: Path
) -> None:
    index = index_of(tmp_path, NAMES)
    out, parts = tmp_path / "out", tmp_path / "out" / PARTS
    for cluster, kill in apart(tmp_path):
        command = [sys.executable, "-m", "scripts.process_pdbs", *arguments(index, out), *cluster.options]
        running = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | ANSWER_SOON,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        soon(lambda run=running: bool(list(parts.glob("part-*"))) or run.poll() is not None).join()
        assert running.poll() is None, "it ended before its cluster could be killed"
        kill()
        said = running.communicate(timeout=120)[1]
        assert running.returncode == PREEMPTED, said
        last = said.strip().splitlines()[-1]
        assert "doesn't answer any more (the parts that were made are kept; the same command continues" in last
        assert cluster.options[-1] in last
        assert "Traceback" not in said.rpartition("process_pdbs: ")[2]
    assert list(parts.glob("part-*"))
    assert main([*arguments(index, out), "--n_jobs", "2"]) == 0
    assert ShardReader(out).ids == NAMES


def orders(number: int) -> Iterator[Order]:
    return (Order(i, "{}", ("x.pdb",)) for i in range(number))


def test_a_cluster_of_our_own_ends_with_the_work_however_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when a part fails, and when nobody wants the rest."""
    distributed = pytest.importorskip("distributed", reason=MISSING.format("Dask", "dask"))
    psutil = pytest.importorskip("psutil")
    started: list[distributed.LocalCluster] = []

    class Watched(distributed.LocalCluster):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options | {"processes": False})
            started.append(self)

    def fails(order: Order, _: object) -> Made:
        if order.number:
            raise OSError(28, "No space left on device", "part-000001")
        return Made(order.number, [])

    monkeypatch.setattr(distributed, "LocalCluster", Watched)
    monkeypatch.setattr(backends, "make_safely", fails)
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(OSError, match="No space left on device"):  # what a worker raised is no fault of the cluster
        list(Backend("dask", 1).make(orders(2)))
    made = Backend("dask", 1).make(orders(1))
    next(made)
    made.close()  # type: ignore[attr-defined]
    assert len(started) == 2
    assert {cluster.status for cluster in started} == {distributed.Status.closed}
    assert set(psutil.Process().children(recursive=True)) <= before


def test_what_waits_for_a_thread_learns_of_its_error_and_of_its_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "SILENCE", 0.01)
    let_go = threading.Event()

    def work() -> Iterator[Made]:
        yield Made(0, [])
        let_go.wait(60)
        raise ZeroDivisionError

    looked: list[int] = []

    def check() -> None:
        looked.append(1)
        if len(looked) == 3:
            raise ClusterError("is gone")

    watched = backends._watched(work(), check)
    assert next(watched) == Made(0, [])
    with pytest.raises(ClusterError, match="is gone"):
        next(watched)
    let_go.set()
    with pytest.raises(ZeroDivisionError):
        list(backends._watched(work(), lambda: None))
