"""torchrun whose exit status tells of a pre-emption: python -m trainers.launch [options of torchrun] train.py ...

torchrun hands SIGTERM on to the ranks, dies of SIGUSR1, and ends with 1 however they ended. This one hands on both and
ends with 75 when a signal, to itself or to a rank, stopped the ranks in order, and with 70 when training broke down.
"""

import os
import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from configs.command import BROKEN_DOWN, INTERRUPTED, PREEMPTED, UNSTORED
from trainers.orphans import LAUNCHER
from trainers.preemption import SIGNALS

HANDLED = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"  # torchrun's own, and ours


def main(argv: Sequence[str] | None = None) -> int:
    """Start the ranks and wait for them; returns the exit status."""
    os.environ.setdefault("TORCHELASTIC_SIGNALS_TO_HANDLE", HANDLED)
    os.environ[LAUNCHER] = str(os.getpid())
    try:
        torchrun(None if argv is None else list(argv))
    except SignalException as told:
        return PREEMPTED if told.sigval in SIGNALS else INTERRUPTED
    except ChildFailedError as failed:
        _, first = failed.get_first_failure()
        if first.exitcode in (BROKEN_DOWN, PREEMPTED, UNSTORED):
            return first.exitcode
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
