"""Signals that ask a run to stop: noted when they come, obeyed by all ranks together where a state can be stored."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from configs.errors import Preempted
from trainers.distributed import sum_over_ranks
from trainers.orphans import orphaned

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
CONTINUES = "the same command with --restart auto continues"
_noted: list[signal.Signals] = []  # a process has one set of signal handlers, and so one list


@contextmanager
def heeding_signals() -> Iterator[None]:
    """Note `SIGNALS` instead of dying of them. Does nothing in a thread, where signals never arrive.

    After a Preempted they stay noted: the process is about to end with its own status, and whoever started it may send
    one more meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _noted.clear()
    before = {one: signal.signal(one, _note) for one in SIGNALS}
    ending = False
    try:
        yield
    except Preempted:
        ending = True
        raise
    finally:
        for one, handler in before.items():
            if not ending:
                signal.signal(one, handler)


def _note(number: int, _: Any) -> None:
    _noted.append(signal.Signals(number))


def told_to_stop() -> bool:
    """Whether this rank has been sent one of the signals, or its launcher is gone and nobody waits for it any more."""
    return bool(_noted) or orphaned()


def stopped(what: str) -> Preempted:
    """What to raise, on all ranks, once that is done which `what` tells."""
    name = _noted[0].name if _noted else "the end of its launcher" if orphaned() else "a signal to another rank"
    return Preempted(f"stopped by {name}, {what}; {CONTINUES}")


def stop_together(what: str) -> None:
    """Raise Preempted on all ranks when one of them has been told to stop. A collective call."""
    if sum_over_ranks([told_to_stop()])[0]:
        raise stopped(what)
