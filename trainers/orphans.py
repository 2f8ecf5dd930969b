"""Ranks whose launcher was killed: nobody waits for them any more, and another start may be under way."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LAUNCHER = "LIGARE_LAUNCHER"
"""The process number of `trainers.launch`, in the environment of its ranks."""
EVERY = 1.0
_parent = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None


def orphaned() -> bool:
    """Whether the launcher that started this rank was killed, perhaps before this module was imported."""
    if _parent is None:
        return False
    return os.getppid() != _parent or (_parent == 1 and os.environ.get(LAUNCHER, "1") != "1")


@contextmanager
def ending_with_the_launcher() -> Iterator[None]:
    """End this process, should it lose its launcher meanwhile: for waits that nothing else breaks off.

    The store in which ranks meet is the launcher's. Without it they would try to reach it until their time is up.
    """
    done = threading.Event()
    threading.Thread(target=_watch, args=(done,), daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _watch(done: threading.Event) -> None:
    while not done.wait(EVERY):
        if orphaned():
            print("train: the launcher was killed before the ranks met", file=sys.stderr, flush=True)
            os._exit(1)
