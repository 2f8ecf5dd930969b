"""Runs a function as several ranks in real processes, within a time limit: a test that hangs fails."""

import faulthandler
import gc
import os
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any


def run_ranks(
    target: Callable[..., Any],
    *arguments: Any,
    log: Path,
    timeout: float = 400.0,
    grace: float = 30.0,
    world: int = 2,
) -> list[int | None]:
    """Exit codes of the ranks; None for one that had to be killed. What they say is in `log`.

    Args:
        timeout: seconds until the first of them must have ended. grace: seconds from then on for the others.

    The ranks are forked from a server without threads that has loaded the libraries once.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    context = get_context("forkserver")
    context.set_forkserver_preload(["stand_ins", "trainers"])
    ranks = [
        context.Process(target=_as_rank, args=(rank, world, port, log, target, arguments)) for rank in range(world)
    ]
    for process in ranks:
        process.start()
    wait([process.sentinel for process in ranks], timeout)
    end = time.monotonic() + grace
    for process in ranks:
        process.join(max(end - time.monotonic(), 0))
    codes = [process.exitcode for process in ranks]
    for process in ranks:
        process.kill()
        process.join()
    return codes


def _as_rank(
    rank: int, world: int, port: int, log: Path, target: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    with open(f"{log}{rank}", "w", encoding="utf-8") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    faulthandler.dump_traceback_later(60)  # where it is when it takes that long
    import torch

    torch.set_num_threads(1)
    gc.freeze()  # every fault collects garbage, which takes long among the objects of all libraries
    sys.exit(target(*arguments))
