"""Processes of the page: what takes too long or dies is given up alone, and those who wait get their turn."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from configs.errors import ConfigError
from data.line_process import LineProcess
from scripts.page import pool as pools
from scripts.page.pool import Pool, PoolOptions, Refused, Worker
from scripts.page.uploads import LIGANDS, STRUCTURES, Uploads, plain

STAND_IN = """
import json, os, sys, time
said = json.loads(sys.argv[1])
print(json.dumps(said), flush=True)
for line in sys.stdin:
    order = json.loads(line)
    if order["job"] == "hang":
        time.sleep(600)
    if order["job"] == "die":
        os.abort()
    print(json.dumps({"error": "bad"} if order["job"] == "fail" else {"done": order["n"]}), flush=True)
"""


@pytest.fixture(autouse=True)
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that load no models."""
    (tmp_path / "page_stand_in.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(pools, "LineProcess", lambda module, *rest: LineProcess("page_stand_in", *rest))


def refusal(worker: Worker, job: str) -> Refused:
    with pytest.raises(Refused) as refused:
        worker.do({"job": job, "n": 0})
    return refused.value


def test_an_order_that_hangs_crashes_or_fails_does_not_spoil_the_next() -> None:
    worker = Worker(json.dumps({"about": {"x": 1}}), PoolOptions(seconds=3.0))
    worker.ready()
    assert worker.about == {"x": 1}
    start = time.monotonic()
    assert refusal(worker, "hang").status == 504
    assert time.monotonic() - start < 60
    assert worker.do({"job": "echo", "n": 7}) == 7
    died = refusal(worker, "die")
    assert died.status == 500 and "SIGABRT" in died.reason
    failed = refusal(worker, "fail")
    assert (failed.status, failed.reason) == (400, "bad")
    assert worker.do({"job": "echo", "n": 8}) == 8
    worker.close()


def test_a_worker_that_can_not_start_says_why() -> None:
    worker = Worker(json.dumps({"error": "no such checkpoint"}), PoolOptions())
    with pytest.raises(ConfigError, match="no such checkpoint"):
        worker.ready()
    worker.close()


def test_orders_wait_in_a_line_of_limited_length() -> None:
    async def some() -> list[object]:
        pool = Pool(json.dumps({"about": {}}), PoolOptions(workers=1, waiting=2))
        pool.start()
        orders = (pool.do({"job": "echo", "n": n}) for n in range(5))
        found = await asyncio.gather(*orders, return_exceptions=True)
        assert pool.under_way == 0
        pool.close()
        return found

    done = asyncio.run(some())
    assert done[:3] == [0, 1, 2]
    assert [one.status for one in done[3:] if isinstance(one, Refused)] == [503, 503]


def test_names_of_uploads_lose_what_is_dangerous() -> None:
    assert plain("../../etc/1abc.PDB.gz", STRUCTURES) == "1abc.PDB.gz"
    assert plain("C:\\x y\\a b.cif", STRUCTURES) == "a_b.cif"
    assert len(plain("\U00020000" * 500 + ".pdb.gz", STRUCTURES).encode()) <= 255
    assert plain("l.sdf", LIGANDS) == "l.sdf"
    for name in ("", ".pdb.exe", "index.csv", "x.sdf"):
        with pytest.raises(Refused, match="unknown kind"):
            plain(name, STRUCTURES)


def test_uploads_go_when_they_are_old_or_many(tmp_path: Path) -> None:
    async def chunks(n: int) -> AsyncIterator[bytes]:
        for _ in range(n):
            yield b"x" * 10

    root = tmp_path / "uploads"
    root.mkdir()
    uploads = Uploads(root, largest=30, most=3)
    tokens = [uploads.new() for _ in range(6)]
    assert len(list(root.iterdir())) == 3
    newest = tokens[-1]
    assert asyncio.run(uploads.store(newest, "a.pdb", chunks(3))) == "a.pdb"
    assert uploads.checked("/x/b.pdb", STRUCTURES, 30) == "b.pdb"
    with pytest.raises(Refused, match="larger"):
        uploads.checked("b.pdb", STRUCTURES, 31)
    for n, status in ((4, 413), (0, 400)):
        with pytest.raises(Refused) as refused:
            asyncio.run(uploads.store(newest, "b.pdb", chunks(n)))
        assert refused.value.status == status
        assert not (root / newest / "b.pdb").exists()
    for token in ("", "../" + newest, "x" * 32):
        with pytest.raises(Refused, match="no longer"):
            uploads.folder(token)
    aged = Uploads(root, largest=30, keep=-1.0)
    aged.clean()
    assert not list(root.iterdir())
