"""Make parts in processes that may hang, crash or be killed: every file has a time limit and a number of tries.

`make_safely` runs wherever parts are made: in this program, or on a worker of a Dask or Ray cluster. It imports no
reader of structures, so that a worker stays small; the work is done by `data.part_process`, whose processes are kept
for the next part.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from configs.errors import ConfigError, DataError
from data.line_process import LineProcess, ProcessEnded

TRIES = 3
PATIENCE = 5.0  # seconds for a process that closed its answers to end


@dataclass(frozen=True)
class Limits:
    """What a file may cost.

    Attributes:
        seconds: for one structure file with all its rows. memory: of a process, GiB. tries: after this many processes
            that died of a file, it is refused.
    """

    seconds: float = 600.0
    memory: float = 4.0
    tries: int = TRIES

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ConfigError(f"must be a number of seconds above 0, got {self.seconds}", "--seconds_per_file")
        if not self.memory >= 0.5:
            raise ConfigError(f"must be at least 0.5 GiB, got {self.memory}", "--memory_per_process")


class Order(NamedTuple):
    """A part to make: its number, its text for `data.part_process`, and its first and last file for messages."""

    number: int
    text: str
    files: tuple[str, ...]


class Made(NamedTuple):
    """A part that was made: its number and its failures (the fields of `Failure`)."""

    number: int
    failures: list[list[str]]


class Stopped(Exception):
    """The work was given up."""


class _Process(LineProcess):
    """A process of `data.part_process`."""

    def __init__(self, memory: float) -> None:
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # there is a process for each core
        super().__init__("data.part_process", str(memory), defaults=threads)
        self.memory, self.unwanted = memory, False


_idle: list[_Process] = []
_busy: set[_Process] = set()
_lock = threading.Lock()


@contextmanager
def _borrowed(memory: float) -> Iterator[_Process]:
    """A process, idle until now or new, which is kept for others unless something goes wrong."""
    with _lock:
        while _idle:
            process = _idle.pop()
            if process.memory == memory and process.alive():
                break
            process.end()
        else:
            process = _Process(memory)
        _busy.add(process)
    try:
        yield process
    except BaseException:
        process.end()
        raise
    else:
        with _lock:
            if process.alive():
                _idle.append(process)
    finally:
        with _lock:  # `end_processes` may be looking through them
            _busy.discard(process)


def end_processes() -> None:
    """End the processes of `make_safely` in this program; calls that are waiting for one raise Stopped."""
    with _lock:
        for process in _busy:
            process.unwanted = True
            process.kill()
        while _idle:
            _idle.pop().end()


def make_safely(order: Order, limits: Limits) -> Made:
    """Make a part, in a process of its own; a file that takes too long or kills its process `limits.tries` times is
    refused with that reason, and the part made without it.

    Raises:
        DataError and other LigareErrors: input that no part can be made of. OSError: a full disk, say.
        Stopped: `end_processes` was called.
    """
    refused: dict[int, str] = {}
    tries: Counter[int] = Counter()
    while True:
        with _borrowed(limits.memory) as process:
            file = -1
            try:
                process.send(f'{{"order": {order.text}, "refused": {json.dumps(refused)}}}')
                until = None
                while "done" not in (answer := process.receive(until)):
                    if "error" in answer:
                        _raise(*answer["error"])
                    file = answer["file"]
                    until = time.monotonic() + limits.seconds if file >= 0 else None
                if answer["last"]:
                    process.end(PATIENCE)
                return Made(order.number, answer["done"])
            except TimeoutError:
                process.end()
                refused[file] = f"took longer than {limits.seconds:g} s (--seconds_per_file)"
            except ProcessEnded:
                how = process.end(PATIENCE)
                if process.unwanted:
                    raise Stopped from None
                tries[file] += 1
                if tries[file] >= limits.tries:
                    refused[file] = _blame(order, file, tries[file], how)


def _blame(order: Order, file: int, tries: int, how: str) -> str:
    if file >= 0:
        return f"ended its process {tries} times ({how}); more memory or a crash of a reader"
    hint = "its own message is above; the same command continues"
    raise DataError(
        f"a process that makes interfaces ended {tries} times ({how})", *dict.fromkeys(order.files), hint=hint
    )


def _raise(kind: str, arguments: list[Any]) -> NoReturn:
    """Raise here what a process said."""
    if kind == "OSError":
        raise OSError(*arguments)
    raise DataError(arguments[0])
