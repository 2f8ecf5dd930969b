"""What every command does when its input can't be used: one line that says what and where, and an exit status."""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps

from configs.errors import BrokenDown, ConfigError, LigareError, Preempted, StorageError

Main = Callable[..., int]
FAULT, BROKEN_DOWN, PREEMPTED, INTERRUPTED = 2, 70, 75, 130  # exit status; 75 is EX_TEMPFAIL, "try again later"
UNSTORED = 74  # EX_IOERR: the disk is full, say
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
PLAIN_WORDS: dict[type[OSError], str] = {
    FileExistsError: "is a file; a folder is needed here",
    NotADirectoryError: "can't be made or read: part of this path is a file",
    IsADirectoryError: "is a folder; a file is needed here",
    FileNotFoundError: "no such file or folder",
    PermissionError: "permission denied",
}


def command(name: str, interrupted: str = "interrupted") -> Callable[[Main], Main]:
    """Decorate the main function of a command: errors that are the input's fault become one line on stderr.

    Args:
        name: of the command, in front of the line. interrupted: what to say after Ctrl-C.

    Returns:
        A main function that gives the exit status: 2 for a LigareError or a file that can't be read or written, 70
        when training broke down, 75 when a signal asked it to stop, 130 when interrupted. Anything else is a fault of
        ours and shows its traceback.
    """

    def decorate(main: Main) -> Main:
        @wraps(main)
        def run(argv: Sequence[str] | None = None) -> int:
            try:
                return main(argv)
            except StorageError as error:
                return _say(name, str(error), UNSTORED)
            except LigareError as error:
                return _say(name, str(error), FAULT)
            except OSError as error:
                return _say(name, in_words(error), UNSTORED if error.errno in FULL else FAULT)
            except BrokenDown as reason:
                return _say(name, str(reason), BROKEN_DOWN)
            except Preempted as told:
                return _say(name, str(told), PREEMPTED)
            except KeyboardInterrupt:
                return _say(name, interrupted, INTERRUPTED)

        return run

    return decorate


def check_processes(n_jobs: int) -> None:
    """Refuse a number of processes that is neither positive nor -1 (all cores); ConfigError."""
    if n_jobs < 1 and n_jobs != -1:
        raise ConfigError(f"must be a number of processes, or -1 for all cores, got {n_jobs}", "--n_jobs")


def in_words(error: OSError) -> str:
    """An error of the file system in the manner of ours: the path, then what is wrong with it."""
    what = PLAIN_WORDS.get(type(error)) or (error.strerror or str(error)).lower()
    path = error.filename2 or error.filename  # of a failed renaming, the second is what the user knows
    return f"{path}: {what}" if path else what


def _say(name: str, message: str, status: int) -> int:
    if int(os.environ.get("RANK", 0)) == 0:  # several processes of one run say it once
        print(f"{name}: {message}", file=sys.stderr)
    return status
