"""Processes of a trial, found again by a mark in their environment, whoever their parent is by now (Linux)."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

MARK = "LIGARE_SOAK_MARK"


class Marked(NamedTuple):
    """A process of the trial."""

    number: int
    parent: int


def marked(mark: str) -> list[Marked]:
    """Running processes that were started with this mark, those that only wait to be buried left out."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if wanted not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):  # it ended meanwhile, or belongs to somebody else
            continue
        if state not in "ZX":
            found.append(Marked(int(folder.name), int(parent)))
    return found


def kill(number: int) -> None:
    """kill -9, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)


def kill_marked(mark: str, last: int | None = None) -> int:
    """kill -9 of all processes with a mark, `last` after the others; returns how many there were."""
    processes = [one.number for one in marked(mark)]
    for number in sorted(processes, key=lambda number: number == last):
        kill(number)
    return len(processes)


def wait_until_gone(mark: str, seconds: float) -> float | None:
    """How long it took until no process with the mark ran any more; None when some still do after `seconds`."""
    return wait_for(lambda: not marked(mark), seconds)


def wait_for(condition: Callable[[], bool], seconds: float, pause: float = 0.05) -> float | None:
    """How long it took until a condition held; None when it doesn't after `seconds`."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            return None
        time.sleep(pause)
    return time.monotonic() - start
