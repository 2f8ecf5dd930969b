"""A child process that takes orders and gives answers, each a line of JSON, and that can be given up at any time."""

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from signal import Signals
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class ProcessEnded(Exception):
    """The process is no more."""


class LineProcess:
    """A Python module of this program, run as a process: orders go to its stdin, answers come from its stdout.

    Args:
        module: its name. arguments: its command line. defaults: variables of its environment, where they are not set.
    """

    def __init__(self, module: str, *arguments: str, defaults: Mapping[str, str] | None = None) -> None:
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._read = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**(defaults or {}), **os.environ, "PYTHONPATH": path},
        )
        assert self._process.stdout is not None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)

    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, text: str) -> None:
        """Send a line; ProcessEnded when there is nobody to read it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(text.encode() + b"\n")
            self._process.stdin.flush()
        except OSError as broken:
            raise ProcessEnded from broken

    def receive(self, until: float | None) -> Any:
        """The next answer.

        Args:
            until: on the clock of `time.monotonic`.

        Raises:
            TimeoutError: there is none at that time. ProcessEnded: there will be none.
        """
        assert self._process.stdout is not None
        while b"\n" not in self._read:
            rest = None if until is None else max(0.0, until - time.monotonic())
            if not self._selector.select(rest):
                raise TimeoutError
            more = os.read(self._process.stdout.fileno(), 2**16)
            if not more:
                raise ProcessEnded
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    def kill(self) -> None:
        self._process.kill()

    def end(self, patience: float = 0.0) -> str:
        """Wait for its end, kill it after `patience` seconds; say how it ended."""
        try:
            status = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._selector.close()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # of what was still to be sent
                pipe.close()  # type: ignore[union-attr]
        return Signals(-status).name if status < 0 else f"exit status {status}"
