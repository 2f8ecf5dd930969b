"""Time and memory on a CPU or a GPU."""

import resource
import time
from collections.abc import Callable
from typing import Any

import torch


class Clock:
    """Times work on a device, and tells the peak of its memory.

    Args:
        device: where the work runs.
        backend: what a GPU is asked for: synchronize, max_memory_allocated, reset_peak_memory_stats (tests give
            another).
    """

    def __init__(self, device: str | torch.device = "cpu", backend: Any = torch.cuda) -> None:
        self.device = torch.device(device)
        self.backend = None if self.device.type == "cpu" else backend

    def now(self) -> float:
        """Seconds, after all work that was asked for is done."""
        if self.backend is not None:
            self.backend.synchronize()
        return time.perf_counter()

    def reset_peak(self) -> None:
        """Forget the peak of a GPU's memory; that of a process can't be forgotten."""
        if self.backend is not None:
            self.backend.reset_peak_memory_stats()

    def peak_gib(self) -> float:
        """Peak of the GPU's memory in tensors, or of this process as a whole."""
        if self.backend is not None:
            return self.backend.max_memory_allocated() / 2**30
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def seconds_of(work: Callable[[], Any], clock: Clock, repeat: int, budget: float = 60.0) -> list[float]:
    """Seconds of each of up to `repeat` calls; no further call once `budget` seconds are used up."""
    times: list[float] = []
    while not times or (len(times) < repeat and sum(times) < budget):
        start = clock.now()
        work()
        times.append(clock.now() - start)
    return times
