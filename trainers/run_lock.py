"""One process at a time trains in a run folder: its main rank holds a lock on a file there for as long as it lives.

The lock is a record lock of the system: it goes with the process, however that ends, and loader processes don't inherit
it. So ranks that outlived their launcher and a new start of the same command never write side by side.
"""

import errno
import json
import os
import socket
import time
import weakref
from pathlib import Path
from typing import TextIO

from configs.errors import ConfigError
from trainers.distributed import say

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
WAIT = 60.0  # seconds for the ranks of a killed launcher to store their state and end
TAKEN = (errno.EACCES, errno.EAGAIN)
_held: dict[Path, tuple[TextIO, int]] = {}  # the file of each folder that this process holds, and its number of owners


def hold(folder: Path, owner: object, wait: float = WAIT) -> None:
    """Take the lock of a run folder until `owner` is gone; the same process may take it several times.

    Where the file system has no locks, says so and goes on without.

    Raises:
        ConfigError: another process still holds it after `wait` seconds; tells which.
    """
    folder = folder.resolve()
    if folder in _held:
        file, owners = _held[folder]
        _held[folder] = file, owners + 1
    elif (taken := _take(folder, wait)) is not None:
        _held[folder] = taken, 1
    else:
        return
    weakref.finalize(owner, _let_go, folder)


def holder(folder: Path) -> str:
    """Who holds the lock of a folder, as it wrote there itself."""
    try:
        told = json.loads((folder / LOCK).read_text(encoding="utf-8"))
        return f"process {told['process']} on {told['host']}"
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return "another process"


def _take(folder: Path, wait: float) -> TextIO | None:
    """The locked file; None where there are no locks."""
    if fcntl is None:
        return None
    file = open(folder / LOCK, "a+", encoding="utf-8")  # noqa: SIM115 (open for as long as the lock is held)
    end, told = time.monotonic() + wait, False
    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno not in TAKEN:
                file.close()
                say(f"{folder} can't be locked ({error.strerror}): see to it that one run at a time trains there")
                return None
            if time.monotonic() >= end:
                file.close()
                hint = "wait for it, end it, or choose another --save_dir"
                raise ConfigError(f"{holder(folder)} trains in this folder", folder, hint=hint) from error
        if not told:
            say(f"waiting for {holder(folder)}, which trains in {folder}")
            told = True
        time.sleep(min(0.2, wait))
    _sign(file)
    return file


def _sign(file: TextIO) -> None:
    """Write who holds the lock; on a full disk nobody learns it, and the lock holds all the same."""
    try:
        file.seek(0)
        file.truncate()
        json.dump({"process": os.getpid(), "host": socket.gethostname()}, file)
        file.flush()
    except OSError:
        pass


def _let_go(folder: Path) -> None:
    file, owners = _held[folder]
    if owners > 1:
        _held[folder] = file, owners - 1
        return
    del _held[folder]
    file.close()
