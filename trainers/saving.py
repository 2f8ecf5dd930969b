"""Storing what a run must not lose on disks that may be full: failures are told and counted, and some end the run."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from configs.command import in_words
from configs.errors import StorageError
from trainers import resume
from trainers.distributed import from_main, is_main, say
from trainers.training_state import write_state

if TYPE_CHECKING:
    from trainers.abs_trainer import Trainer

MOST_FAILURES = 3
HINT = "make room, or choose another --save_dir; the same command with --restart auto goes on from the last state"


class Saving:
    """The saves of a run. One that fails costs a warning and the run goes on; the last good state stays as it is.

    The run ends with a StorageError, on all ranks, after `MOST_FAILURES` in a row, and when the save was the first one
    or the last one: a run that can store nothing, or loses its result, must not look like one that went well.

    Attributes:
        failed: saves that failed. in_a_row: those since the last one that went well. stored: whether one ever did.
    """

    def __init__(self, stored: bool) -> None:
        self.failed = self.in_a_row = 0
        self.stored = stored

    def attempt(self, what: str, write: Callable[[], object], last: bool = False) -> bool:
        """Let the main rank store something; whether it is stored. A collective call.

        Args:
            what: is stored, for messages. write: raises OSError when it can't be. last: there will be no other try.

        Raises:
            StorageError: see above.
        """
        reason = None
        if is_main():
            try:
                write()
            except OSError as error:
                reason = in_words(error)
        reason, last = from_main((reason, last))
        if reason is None:
            if self.in_a_row:
                say(f"{what} is stored again, after {self.in_a_row} failures in a row")
            self.in_a_row, self.stored = 0, True
            return True
        self.failed, self.in_a_row = self.failed + 1, self.in_a_row + 1
        message = f"{what} could not be stored: {reason}"
        if last or not self.stored or self.in_a_row >= MOST_FAILURES:
            times = f" ({self.in_a_row} failures in a row)" if self.in_a_row > 1 else ""
            raise StorageError(message + times, hint=HINT)
        say(f"WARNING: {message}; going on with the one before ({self.in_a_row} of {MOST_FAILURES} failures in a row)")
        return False

    def state(self, trainer: "Trainer") -> bool:
        """Store a trainer's state; whether it is stored. A collective call."""
        state = resume.collect(trainer)

        def write() -> None:
            trainer.launches.flush()
            state.values |= resume.log_positions(trainer)
            write_state(trainer.save_dir, state)

        ends = trainer.told_to_stop or trainer.epoch >= trainer.max_epoch or (not trainer.batch and trainer.finished)
        return self.attempt(f"the state before batch {trainer.batch} of epoch {trainer.epoch}", write, last=ends)
