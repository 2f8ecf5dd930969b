"""The errors a user can meet: what went wrong, where (file, row, residue, option) and what to do about it."""

from pathlib import Path


class LigareError(Exception):
    """Base of all errors that are the input's fault rather than ours.

    Args:
        what: what is wrong, in one clause.
        where: file, row, residue or option that it is about; several are joined.
        hint: what the user can do about it.
    """

    def __init__(self, what: str, *where: str | Path, hint: str = "") -> None:
        self.what, self.where, self.hint = what, tuple(str(w) for w in where if str(w)), hint
        message = ": ".join([", ".join(self.where), what] if self.where else [what])
        super().__init__(f"{message} ({hint})" if hint else message)

    def at(self, *where: str | Path) -> "LigareError":
        """The same error with an outer place put in front (a reader knows the residue, its caller the file)."""
        return type(self)(self.what, *where, *self.where, hint=self.hint)

    def __reduce__(self):  # errors cross process boundaries in the preparation pool
        return _rebuild, (type(self), self.what, self.where, self.hint)


def _rebuild(kind: type["LigareError"], what: str, where: tuple[str, ...], hint: str) -> "LigareError":
    return kind(what, *where, hint=hint)


class StructureError(LigareError):
    """A structure or ligand file that can't be read, or that lacks what was asked for (chain, residue)."""


class InterfaceError(LigareError):
    """Two partners that make no usable interface."""


class DataError(LigareError):
    """An item, shard folder or index file that breaks the documented format."""


class CheckpointError(LigareError):
    """A checkpoint that can't be read, is damaged, or does not fit the model."""


class ConfigError(LigareError, ValueError):
    """An option with a value that makes no sense, or an unknown option."""


class StorageError(LigareError):
    """What a program made can't be stored: the disk is full, or can't be written to."""


class ClusterError(LigareError):
    """A cluster that went away while it worked. What it made until then is kept; the same command continues."""


class LoaderLost(Exception):
    """A loader process was killed, by the system say, for want of memory. The newest stored state stays."""


class Preempted(Exception):
    """Nobody's fault: a signal asked the program to stop, and it did so in order; the same command continues."""


class BrokenDown(Exception):
    """Training can't go on, on any rank: too many bad steps in a row, or ranks that came apart."""
