"""The process that makes parts for `data.supervise`: orders come in on stdin, a line of JSON each, answers go out.

Answers are lines of JSON, too: `{"file": 3}` before the fourth file of a part (-1: it is being written), then `{"done":
failures, "last": whether it ends now}`, or `{"error": [type, arguments]}` when the disk is full or the input is at
fault. The process bounds its own memory and dies with the one that gives it orders, so whatever a file does to it stays
in here.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from configs.errors import LigareError
from configs.limits import adopt_limits, given_limits
from data.index import Row
from data.parts import make_part
from data.prepare import PrepareOptions, Task

PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux
SHARE = 0.5  # of the memory allowed; a process that holds more after a part gives way to a fresh one


def order_of(chunk: Iterable[Task], root: Path, folder: Path, key: str, options: PrepareOptions) -> str:
    """A part to make, as text."""
    tasks = [(t.number, t.path, t.rows and [_values(row) for row in t.rows]) for t in chunk]
    limits = given_limits()  # the process may have been started before they were set
    order = {"tasks": tasks, "root": str(root), "folder": str(folder), "key": key, "options": vars(options)}
    return json.dumps(order | {"limits": limits})


def _values(row: Row) -> list[Any]:
    return [getattr(row, name) for name in Row.__dataclass_fields__]


def obey(order: dict[str, Any], refused: dict[str, str], tell: Callable[[int], Any]) -> list[Any]:
    """Make the part of an order; return its failures."""
    chunk = [Task(number, path, rows and tuple(map(_row, rows))) for number, path, rows in order["tasks"]]
    reasons = {int(number): reason for number, reason in refused.items()}
    options = PrepareOptions(**order["options"])
    adopt_limits(order["limits"])
    return make_part(chunk, Path(order["root"]), Path(order["folder"]), order["key"], options, reasons, tell)


def _row(values: list[Any]) -> Row:
    found = Row(*values)
    return found if isinstance(found.targets, tuple) else Row(*values[:-1], targets=tuple(values[-1]))


def main() -> None:
    """Obey until stdin ends."""
    memory = int(float(sys.argv[1]) * 2**30)
    bound(memory)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        text = json.loads(line)
        try:
            failures = obey(text["order"], text["refused"], lambda number: _say(answers, {"file": number}))
        except LigareError as error:
            _say(answers, {"error": [type(error).__name__, [str(error)]]})
        except OSError as error:
            _say(answers, {"error": ["OSError", [error.errno, error.strerror, error.filename]]})
        else:
            full = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > SHARE * memory
            _say(answers, {"done": failures, "last": full})
            if full:
                return


def _say(answers: TextIO, value: Any) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def bound(memory: int) -> None:
    """Bound the memory of this process in bytes, let it be the first that a machine without memory ends, and let it end
    with its parent, where the system can do that."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800")
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)


if __name__ == "__main__":
    main()
