"""The process that does the work of the page: orders come in on stdin, a line of JSON each, answers go out.

The first answer is `{"about": ...}`, once the models are loaded. Then each order gets `{"done": ...}`, or `{"error":
text}` when the input is at fault. The process bounds its own memory and dies with the server; a file that crashes or
hangs it takes nothing else along (`scripts.page.pool`).
"""

import json
import os
import sys
from typing import Any, TextIO

from configs.command import in_words
from configs.errors import LigareError
from data.part_process import bound
from scripts.page.results import GONE


def main() -> None:
    settings, memory = json.loads(sys.argv[1]), float(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    if settings["device"] == "cpu":  # a GPU's driver asks for address space beyond any sensible bound
        bound(int(memory * 2**30))
    from scripts.page.work import Bench, Settings, analyse, look

    jobs = {"look": lambda bench, order: look(order["file"]), "analyse": analyse}
    try:
        several = {name: tuple(value) for name, value in settings.items() if isinstance(value, list)}
        bench = Bench(Settings(**settings | several))
    except (LigareError, OSError) as error:
        say(answers, {"error": in_words(error) if isinstance(error, OSError) else str(error)})
        return
    say(answers, {"about": bench.about()})
    for line in sys.stdin:
        order = json.loads(line)
        try:
            os.chdir(order["folder"])
        except FileNotFoundError:  # removed while the order waited
            say(answers, {"error": GONE})
            continue
        try:
            say(answers, {"done": jobs[order["job"]](bench, order)})
        except (LigareError, OSError) as error:
            say(answers, {"error": in_words(error) if isinstance(error, OSError) else str(error)})
        except MemoryError:
            say(answers, {"error": f"needs more memory than the {memory:g} GiB allowed (--memory)"})


def say(answers: TextIO, value: Any) -> None:
    answers.write(json.dumps(value, allow_nan=False) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
