"""Processes for the work of the page. Each has a time limit for every order; what exceeds it is killed and replaced."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from configs.errors import ConfigError, DataError
from data.line_process import LineProcess, ProcessEnded

START = 600.0  # seconds for a process to load its models
PATIENCE = 5.0  # seconds for a process that closed its answers to end


@dataclass(frozen=True)
class PoolOptions:
    """What the work may cost.

    Attributes:
        seconds: for one order. memory: of one process, GiB. workers: processes; others wait. waiting: orders that may
            wait, more are refused.
    """

    seconds: float = 120.0
    memory: float = 8.0
    workers: int = 1
    waiting: int = 20


class Refused(Exception):
    """An order that was not done: status (of HTTP) and reason for the user."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Worker:
    """A process of `scripts.page.worker`, replaced by another whenever it ends.

    Attributes:
        about: what it says of itself, once it is ready.
    """

    def __init__(self, settings: str, options: PoolOptions) -> None:
        self.settings, self.options = settings, options
        self.about: dict[str, Any] = {}
        self._process, self._closed = self._new(), False

    def _new(self) -> LineProcess:
        self._ready = False
        return LineProcess("scripts.page.worker", self.settings, str(self.options.memory))

    def ready(self) -> None:
        """Wait until the models are loaded; ConfigError or DataError when that fails."""
        if self._ready:
            return
        try:
            said = self._process.receive(time.monotonic() + START)
        except (ProcessEnded, TimeoutError) as silent:
            how = self._process.end(PATIENCE)
            raise DataError(
                f"the process that does the work did not start ({how})", hint="--memory too small?"
            ) from silent
        if "error" in said:
            raise ConfigError(said["error"])
        self.about, self._ready = said["about"], True

    def do(self, order: dict[str, Any]) -> Any:
        """Do an order.

        Raises:
            Refused: bad input, or it took too long, or ended the process.
        """
        try:
            self.ready()
        except (ConfigError, DataError) as broken:
            raise Refused(500, str(broken)) from broken
        try:
            self._process.send(json.dumps(order))
            said = self._process.receive(time.monotonic() + self.options.seconds)
        except TimeoutError:
            self._replace()
            raise Refused(504, f"took longer than {self.options.seconds:g} s and was given up (--seconds)") from None
        except ProcessEnded:
            how = self._replace(PATIENCE)
            raise Refused(500, f"ended the process that worked on it ({how}); is it too large?") from None
        if "error" in said:
            raise Refused(400, said["error"])
        return said["done"]

    def _replace(self, patience: float = 0.0) -> str:
        how = self._process.end(patience)
        if not self._closed:
            self._process = self._new()
        return how

    def close(self) -> None:
        self._closed = True
        self._process.kill()
        self._process.end(PATIENCE)


class Pool:
    """Workers, and the orders that wait for one, first come, first served.

    Attributes:
        under_way: orders that wait or are worked on.
    """

    def __init__(self, settings: str, options: PoolOptions) -> None:
        self.options, self.under_way = options, 0
        self.workers = [Worker(settings, options) for _ in range(options.workers)]
        self._idle: asyncio.Queue[Worker] = asyncio.Queue()

    def start(self) -> dict[str, Any]:
        """Wait until all are ready; what they say of themselves."""
        for worker in self.workers:
            worker.ready()
            self._idle.put_nowait(worker)
        return self.workers[0].about

    async def do(self, order: dict[str, Any]) -> Any:
        """Wait for a worker and let it do an order; Refused."""
        async with self._borrowed() as worker:
            return await asyncio.to_thread(worker.do, order)

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[Worker]:
        if self.under_way >= self.options.waiting + len(self.workers):
            raise Refused(503, f"{self.under_way} others are waiting; try again in a minute")
        self.under_way += 1
        try:
            worker = await self._idle.get()
            try:
                yield worker
            finally:
                self._idle.put_nowait(worker)
        finally:
            self.under_way -= 1

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
