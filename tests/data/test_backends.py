"""Data sets made on real clusters of two worker processes are those made here, whatever dies meanwhile."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from unruly_files import bytes_of, hook_in, index_of

from configs.errors import ConfigError
from data import backends, supervise
from data.backends import Backend
from data.failures import read_failures
from data.parts import FILES_A_PART, PARTS
from data.shards import ShardReader
from scripts.process_pdbs import main

ROOT = Path(__file__).parents[2]
NAMES = [*(f"slow{i:02d}" for i in range(3 * FILES_A_PART)), "crash"]
pytestmark = pytest.mark.slow
MISSING = "{} is not installed: pip install 'ligare[{}]'"


class Cluster(NamedTuple):
    """A cluster of two workers: options that choose it, and the processes of its workers."""

    options: list[str]
    workers: Callable[[], list[int]]


@pytest.fixture(scope="module")
def path_of_hook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = hook_in(tmp_path_factory.mktemp("hook"))
    supervise.end_processes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([path, str(ROOT)]))
        yield path
    supervise.end_processes()


def dask_cluster() -> Iterator[Cluster]:
    distributed = pytest.importorskip("distributed", reason=MISSING.format("Dask", "dask"))
    options: dict[str, Any] = {"dashboard_address": None, "threads_per_worker": 1, "processes": True}
    with distributed.LocalCluster(2, **options) as cluster, distributed.Client(cluster) as client:
        yield Cluster(
            ["--backend", "dask", "--address", cluster.scheduler_address],
            lambda: list(client.run(os.getpid).values()),
        )


def ray_cluster() -> Iterator[Cluster]:
    """A cluster on the loopback interface, with a token and processes of its own: no other cluster is touched."""
    if find_spec("ray") is None:
        pytest.skip(MISSING.format("Ray", "ray"))
    import psutil

    port = free_port()
    where = ["--node-ip-address", "127.0.0.1", "--port", str(port), "--num-cpus", "2", "--include-dashboard", "false"]
    start = "import sys; from ray.scripts.scripts import main; main()"
    with tempfile.TemporaryDirectory(prefix="ray") as folder, pytest.MonkeyPatch.context() as patch:
        token = Path(folder) / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        command = [sys.executable, "-c", start, "start", "--head", "--block", *where, "--temp-dir", folder]
        head = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            soon(lambda: accepts(port) or head.poll() is not None).join()
            assert head.poll() is None, "ray start ended"

            def workers() -> list[int]:
                mine = psutil.Process(head.pid).children(recursive=True)
                return [process.pid for process in mine if process.name().startswith("ray::make_sa")]

            yield Cluster(["--backend", "ray", "--address", f"127.0.0.1:{port}"], workers)
        finally:
            mine = [*psutil.Process(head.pid).children(recursive=True), psutil.Process(head.pid)]
            for process in mine:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            head.wait()
            psutil.wait_procs(mine, timeout=10)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def accepts(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


CLUSTERS = {"dask": dask_cluster, "ray": ray_cluster}


@pytest.fixture(scope="module", params=CLUSTERS)
def cluster(request: pytest.FixtureRequest, path_of_hook: str) -> Iterator[Cluster]:
    yield from CLUSTERS[request.param]()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return index_of(tmp_path_factory.mktemp("structures"), NAMES)


@pytest.fixture(scope="module")
def made_here(index: Path, path_of_hook: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("here") / "out"
    assert main([*arguments(index, out), "--n_jobs", "2"]) == 0
    return bytes_of(out)


def arguments(index: Path, out: Path) -> list[str]:
    return ["--data_index_file", str(index), "--out_path", str(out)]


def soon(work: Callable[[], bool]) -> threading.Thread:
    """Try something in the background until it succeeds."""

    def run() -> None:
        deadline = time.monotonic() + 300
        while not work() and time.monotonic() < deadline:
            time.sleep(0.05)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_killed_worker_changes_nothing(
    cluster: Cluster, index: Path, made_here: dict[str, bytes], tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill_one() -> bool:
        if list((tmp_path / "out" / PARTS).glob("part-*")) and (workers := cluster.workers()):
            os.kill(workers[0], signal.SIGKILL)
            killed.append(workers[0])
        return bool(killed)

    killer = soon(kill_one)
    assert main([*arguments(index, tmp_path / "out"), *cluster.options]) == 0
    killer.join()
    assert killed
    assert bytes_of(tmp_path / "out") == made_here
    (crashed,) = read_failures(tmp_path / "out" / "failures.csv")
    assert "crash.pdb: ended its process 3 times (SIGKILL)" in crashed.reason
    assert ShardReader(tmp_path / "out").ids == NAMES[:-1]


def test_a_killed_run_goes_on_without_doubles(
    cluster: Cluster, index: Path, made_here: dict[str, bytes], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "scripts.process_pdbs", *arguments(index, tmp_path / "out"), *cluster.options]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts = tmp_path / "out" / PARTS
    soon(lambda: bool(list(parts.glob("part-*"))) or running.poll() is not None).join()
    running.kill()
    assert running.wait() == -signal.SIGKILL, "it finished before it could be killed"
    kept = {part: part.stat().st_mtime_ns for part in parts.glob("part-*")}
    assert main([*arguments(index, tmp_path / "out"), *cluster.options]) == 0
    assert kept
    assert bytes_of(tmp_path / "out") == made_here


def test_a_backend_that_is_absent_or_no_cluster_is_named(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = arguments(index, tmp_path / "out")
    assert main([*command, "--address", "tcp://127.0.0.1:1"]) == 2
    assert "--address: is that of a cluster (--backend dask or --backend ray)" in capsys.readouterr().err
    monkeypatch.setattr(backends, "find_spec", lambda _: None)
    for name, product in (("dask", "Dask"), ("ray", "Ray")):
        assert main([*command, "--backend", name]) == 2
        assert f"--backend {name}: needs {product} (pip install 'ligare[{name}]')" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="--backend: must be one of processes, dask, ray, got 'spark'"):
        Backend("spark")  # type: ignore[arg-type]
