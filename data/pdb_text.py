"""The text of PDB files: what readers let pass silently is found here, and what they refuse is repaired."""

import re
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from configs.errors import StructureError

COORDINATES = slice(30, 54)  # three numbers of eight columns
ELEMENT = slice(76, 78)
RECORD = 6
NEWLINE, CARRIAGE_RETURN, SPACE = b"\n\r "
_IN_NUMBERS = np.zeros(256, bool)
_IN_NUMBERS[list(b"0123456789+-. ")] = True


class AtomLines:
    """The ATOM and HETATM lines of a PDB file.

    Attributes:
        content: the file. starts, ends: [lines] where each line begins and ends (without the line break).
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.text = np.frombuffer(content, np.uint8)
        breaks = np.flatnonzero(self.text == NEWLINE)
        starts = np.concatenate([[0], breaks + 1])
        ends = np.append(breaks, len(content))
        long_enough = ends - starts >= RECORD
        starts, ends = starts[long_enough], ends[long_enough]
        record = self._columns(starts, slice(0, RECORD)).view(f"S{RECORD}")[:, 0]
        atom = (record == b"ATOM  ") | (record == b"HETATM")
        self.starts, self.ends = starts[atom], ends[atom]
        self.ends = self.ends - (self.text[self.ends - 1] == CARRIAGE_RETURN)

    def _columns(self, starts: np.ndarray, columns: slice) -> np.ndarray:
        """[lines, columns] characters; all lines must reach to the last column."""
        width = columns.stop - columns.start
        if not len(starts):
            return np.zeros((0, width), np.uint8)
        return sliding_window_view(self.text, width)[starts + columns.start]

    def line(self, number: int) -> bytes:
        """Atom line `number`, counted from 0."""
        return self.content[self.starts[number] : self.ends[number]]

    def check(self, path: Path) -> None:
        """Refuse coordinates that are cut off, blank or no numbers (readers take them for 0).

        Raises:
            StructureError: naming file, line and atom.
        """
        cut = self.ends - self.starts < COORDINATES.stop
        self._refuse(cut, "is cut off before its coordinates end", path)
        fields = self._columns(self.starts, COORDINATES).reshape(-1, 3, 8)
        self._refuse((fields == SPACE).all(axis=2).any(axis=1), "lacks a coordinate", path)
        self._refuse(~_IN_NUMBERS[fields].all(axis=(1, 2)), "has a coordinate that is no number", path)

    def _refuse(self, bad: np.ndarray, what: str, path: Path) -> None:
        if bad.any():
            first = int(np.argmax(bad))
            line = self.line(first).decode("latin-1")
            number = self.content.count(b"\n", 0, int(self.starts[first])) + 1
            raise StructureError(f"atom {line[12:27].strip()!r} {what}", path, f"line {number}")

    def without_element(self) -> set[tuple[bytes, bytes]]:
        """(residue name, atom name) of the atoms whose line leaves the element out."""
        short = self.ends - self.starts < ELEMENT.stop
        blank = short.copy()
        blank[~short] = (self._columns(self.starts[~short], ELEMENT) == SPACE).all(axis=1)
        one_letter = short & (self.ends - self.starts == ELEMENT.stop - 1)  # a C at the end of a stripped line
        blank[one_letter] = self.text[self.ends[one_letter] - 1] == SPACE
        lines = (self.line(i) for i in np.flatnonzero(blank).tolist())
        return {(line[17:20].strip(), line[12:16].strip()) for line in lines}


def repair_pdb(content: bytes) -> bytes:
    """The lines of a PDB file that say where atoms are, without what some programs write into the last columns.

    Columns 67-76 and the charge (79-80) may hold anything; occupancy and temperature factor become 1 and 0 where they
    are no numbers. Models are numbered anew and end where the next begins.
    """
    lines, models, inside = [], 0, False
    for line in content.splitlines():
        record = line[:RECORD].rstrip()
        if record in (b"ATOM", b"HETATM"):
            lines.append(_repair_atom(line.ljust(80)))
        elif record == b"MODEL":
            models += 1
            lines += [*([b"ENDMDL"] if inside else []), b"MODEL %8d" % models]
            inside = True
        elif record == b"ENDMDL" and inside:
            lines.append(record)
            inside = False
        elif record in (b"TER", b"MODRES"):
            lines.append(line)
    lines += [b"ENDMDL"] if inside else []
    return b"\n".join(lines) + b"\n"


def _repair_atom(line: bytes) -> bytes:
    occupancy = line[54:60] if re.fullmatch(rb"\s*[-+]?\d*\.?\d+\s*", line[54:60]) else b"  1.00"
    element = line[ELEMENT] if line[ELEMENT].strip().isalpha() else b"  "
    return line[:54] + occupancy + b"  0.00".ljust(16) + element + b"  "
