"""Threads that each run small matrix products on one core.

Splitting one small product over cores costs more in waiting than it saves. Here each thread works through pieces of
its own with single-threaded kernels instead. torch releases the interpreter's lock inside every operation.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Result = TypeVar("Result")

_pools: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()


def _forget_pools() -> None:
    """Threads don't survive a fork, and the lock may be held by one of them; the child makes its own."""
    global _lock
    _lock = threading.Lock()
    _pools.clear()


os.register_at_fork(after_in_child=_forget_pools)


def run_parts(work: Callable[[int], Result], parts: int) -> list[Result]:
    """[work(0), ..., work(parts - 1)], side by side, each on one core; without gradients.

    With one part it is called here, with all of torch's threads.
    """
    if parts == 1:
        with torch.no_grad():
            return [work(0)]
    inference = torch.is_inference_mode_enabled()

    def in_mode(part: int) -> Result:
        with torch.inference_mode(inference), torch.no_grad():
            return work(part)

    return list(_pool(parts).map(in_mode, range(parts)))


def _pool(size: int) -> ThreadPoolExecutor:
    with _lock:
        if size not in _pools:
            threads = torch.get_num_threads()
            ready = threading.Barrier(size)
            pool = ThreadPoolExecutor(size, "ligare-worker")
            list(pool.map(lambda _: _work_alone(ready), range(size)))
            # The number is kept for each thread, but a new thread starts with the one set last, anywhere.
            torch.set_num_threads(threads)
            _pools[size] = pool
        return _pools[size]


def _work_alone(ready: threading.Barrier) -> None:
    torch.get_num_threads()  # a thread takes the common number when it first asks: not after the next line
    torch.set_num_threads(1)
    ready.wait()
