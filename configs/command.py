"""What every command does when its input can't be used: one line that says what and where, and an exit status."""

import errno
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps

from configs.errors import BrokenDown, ClusterError, ConfigError, LigareError, LoaderLost, Preempted, StorageError

Main = Callable[..., int]
FAULT, BROKEN_DOWN, PREEMPTED, INTERRUPTED = 2, 70, 75, 130  # exit status; 75 is EX_TEMPFAIL, "try again later"
KILLED = 1  # as of any other process of a run that is killed
UNSTORED = 74  # EX_IOERR: the disk is full, say
UNHEARD = 141  # what a shell tells of a program that SIGPIPE ended: nobody reads its output any more
CONSOLE = "ligare "
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
        name: of the script, in front of the line (`ligare NAME` where it runs as a sub-command of the console).
        interrupted: what to say after Ctrl-C.

    Returns:
        A main function that gives the exit status: 2 for a LigareError or a file that can't be read or written, 70
        when training broke down, 75 when a signal asked it to stop or its cluster went away, 130 when interrupted, 141
        when what it prints is read no more (`| head`). Anything else is a fault of ours and shows its traceback.
    """

    def decorate(main: Main) -> Main:
        @wraps(main)
        def run(argv: Sequence[str] | None = None) -> int:
            try:
                return heard(lambda: main(argv))
            except BrokenPipeError as error:
                return UNHEARD if unheard() else _say(name, in_words(error), FAULT)
            except StorageError as error:
                return _say(name, str(error), UNSTORED)
            except ClusterError as error:
                return _say(name, str(error), PREEMPTED)
            except LigareError as error:
                return _say(name, str(error), FAULT)
            except OSError as error:
                return _say(name, in_words(error), UNSTORED if error.errno in FULL else FAULT)
            except LoaderLost as reason:
                print(f"{program(name)}: {reason}", file=sys.stderr)  # on whichever rank it was
                return KILLED
            except BrokenDown as reason:
                return _say(name, str(reason), BROKEN_DOWN)
            except Preempted as told:
                return _say(name, str(told), PREEMPTED)
            except KeyboardInterrupt:
                return _say(name, interrupted, INTERRUPTED)

        return run

    return decorate


def heard(main: Callable[[], int]) -> int:
    """What a main function gives, its output flushed: a pipe that nobody reads is noticed here, not as Python ends."""
    try:
        return main()
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()


def unheard() -> bool:
    """Whether nobody reads the output any more; then Python can end without a word about it."""
    broken = False
    for stream in (sys.stdout, sys.stderr):
        try:
            number = stream.fileno()
        except (AttributeError, OSError):  # none, or one that is not the system's
            continue
        ear = select.poll()
        ear.register(number, 0)
        if ear.poll(0):
            broken = True
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
    return broken


@contextmanager
def called_as(name: str) -> Iterator[None]:
    """Run a command under the name that the user knows, `ligare embed`: in its messages and its usage line."""
    before = sys.argv[0]
    sys.argv[0] = name
    try:
        yield
    finally:
        sys.argv[0] = before


def program(script: str) -> str:
    """The name of the running command: `ligare NAME` where the console called it, else that of its script."""
    return sys.argv[0] if sys.argv[0].startswith(CONSOLE) else script


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
        print(f"{program(name)}: {message}", file=sys.stderr)
    return status
