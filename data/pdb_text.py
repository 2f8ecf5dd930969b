"""The text of PDB files: what readers let pass silently is found here, and what they refuse is repaired."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from configs.errors import StructureError
from data.residues import WATERS

COORDINATES = slice(30, 54)  # three numbers of eight columns
NAMES = slice(12, 27)  # of atom, conformation, residue and chain, with the number of the residue
RESIDUE, NUMBER, ICODE = slice(17, 20), slice(22, 26), 26
ELEMENT = slice(76, 78)
RECORD, POINT = 6, 4  # length of a record's name; place of the point in a coordinate of three decimals
LINE = 80  # columns
ANOTHER = re.compile(rb"(?:ATOM  |HETATM)[ 0-9]{5}")
NEWLINE, SPACE = b"\n "
UPPER = 0xDF  # what makes a letter upper case
END = re.compile(rb"END *$", re.M)
HYBRID_NUMBER = re.compile(rb"[A-Z][0-9A-Z]{3}")  # residue numbers above 9999


def _table(characters: bytes) -> np.ndarray:
    table = np.zeros(256, bool)
    table[list(characters)] = True
    return table


_DIGIT, _SIGN, _DOT, _BLANK = _table(b"0123456789"), _table(b"+-"), _table(b"."), _table(b" \t")
_ALPHA = _table(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_PRINTABLE = _table(bytes(range(32, 127)))
_IN_NUMBERS = _DIGIT | _SIGN | _DOT


def are_numbers(fields: np.ndarray, point: bool) -> np.ndarray:
    """Which fields [..., width] of characters are one number, with a decimal point or without one."""
    letters = np.ascontiguousarray(np.moveaxis(fields, -1, 0))  # sums over a first axis are faster
    blank, width = letters == SPACE, len(letters)
    first = np.argmin(blank, axis=0)
    last = width - 1 - np.argmin(blank[::-1], axis=0)
    sign, dot, digit = _SIGN[letters], _DOT[letters], _DIGIT[letters]
    at_start = np.take_along_axis(sign, first[None], axis=0)[0]
    return (
        (blank | sign | dot | digit).all(axis=0)
        & ((~blank).sum(axis=0) == last - first + 1)
        & (sign.sum(axis=0) == at_start)
        & (dot.sum(axis=0) == int(point))
        & digit.any(axis=0)
    )


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
        record = (self._columns(starts, slice(0, 4)) & UPPER).view("S4")[:, 0]
        atom = (record == b"ATOM") | (record == b"HETA")  # what gemmi takes for one
        self.starts, self.ends = starts[atom], ends[atom]

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
        """Refuse lines whose columns don't hold what they should (readers make some number of it all the same).

        Raises:
            StructureError: naming file, line and atom.
        """
        record = self._columns(self.starts, slice(0, RECORD))
        serial = _DIGIT[record] | _BLANK[record]  # serial numbers above 99999 run into the record's name
        hetatm = record.view("S6")[:, 0] == b"HETATM"
        atom = (record[:, :4].copy().view("S4")[:, 0] == b"ATOM") & serial[:, 4:].all(axis=1)
        self._refuse(~hetatm & ~atom, "begins with no name of a record", path)
        self._refuse(self.ends - self.starts < COORDINATES.stop, "is cut off before its coordinates end", path)
        longer = np.flatnonzero(self.ends - self.starts > 2 * LINE)
        several = np.zeros(len(self.starts), bool)
        several[[i for i in longer.tolist() if ANOTHER.search(self.line(i), COORDINATES.stop)]] = True
        self._refuse(several, "shares its line with another: the file has no ends of lines", path)
        self._refuse(~_PRINTABLE[self._columns(self.starts, NAMES)].all(axis=1), "is no plain text", path)
        self._check_coordinates(path)
        self._check_residues(path)

    def _check_coordinates(self, path: Path) -> None:
        fields = self._columns(self.starts, COORDINATES).reshape(-1, 3, 8)
        self._refuse((fields == SPACE).all(axis=2).any(axis=1), "lacks a coordinate", path)
        self._refuse(~are_numbers(fields, point=True).all(axis=1), "has a coordinate that is no number", path)
        # Numbers may touch each other only where each has its three decimals; else the columns are shifted.
        full = (fields[:, :, POINT] == ord(".")) & (fields[:, :, -1] != SPACE)
        before = self._columns(self.starts, slice(29, 30))[:, 0]
        behind = np.full(len(fields), SPACE, np.uint8)
        longer = self.ends - self.starts > COORDINATES.stop
        behind[longer] = self.text[self.starts[longer] + COORDINATES.stop]
        touching = np.concatenate([before[:, None], fields[:, :, -1], behind[:, None]], axis=1)
        following = np.concatenate([fields[:, :, 0], behind[:, None]], axis=1)
        joined = _IN_NUMBERS[touching[:, :4]] & _IN_NUMBERS[following]
        shifted = (joined[:, 0]) | (joined[:, 1:] & ~full).any(axis=1)
        self._refuse(shifted, "has shifted columns: a number runs over the end of its column", path)

    def _check_residues(self, path: Path) -> None:
        numbers = self._columns(self.starts, NUMBER)
        unusual = ~are_numbers(numbers, point=False)
        for i in np.flatnonzero(unusual).tolist():  # MD programs write **** for waters above 9999
            name = self.line(i)[RESIDUE.start : RESIDUE.stop + 1].strip().decode("latin-1").upper()
            unusual[i] = not HYBRID_NUMBER.fullmatch(numbers[i].tobytes()) and name not in WATERS
        self._refuse(unusual, "has no valid residue number", path)
        icode = self._columns(self.starts, slice(ICODE, ICODE + 1))[:, 0]
        fifth = _DIGIT[icode] & (numbers[:, -1] != SPACE)  # of a residue number above 9999
        wrong = (icode != SPACE) & ~_ALPHA[icode] & ~fifth
        self._refuse(wrong, "has an insertion code that is no letter", path)

    def _refuse(self, bad: Any, what: str, path: Path) -> None:
        if bad.any():
            first = int(np.argmax(bad))
            line = self.line(first).decode("latin-1")
            number = self.content.count(b"\n", 0, int(self.starts[first])) + 1
            raise StructureError(f"atom {line[12:27].strip()!r} {what}", path, f"line {number}")

    def behind_end(self) -> int:
        """Number of atom lines behind the first END record, where readers stop."""
        at = 0 if END.match(self.content) else self.content.find(b"\nEND") + 1
        while at and not END.match(self.content, at):
            at = self.content.find(b"\nEND", at) + 1
        return int((self.starts > at).sum()) if at or END.match(self.content) else 0

    def without_element(self) -> set[tuple[bytes, bytes]]:
        """(residue name, atom name) of the atoms whose line leaves the element out, or has no letters in its place."""
        short = self.ends - self.starts < ELEMENT.stop
        lacking = short.copy()
        lacking[~short] = ~_ALPHA[self._columns(self.starts[~short], ELEMENT)].any(axis=1)
        one_letter = short & (self.ends - self.starts == ELEMENT.stop - 1)  # a C at the end of a stripped line
        lacking[one_letter] = ~_ALPHA[self.text[self.ends[one_letter] - 1]]
        lines = (self.line(i) for i in np.flatnonzero(lacking).tolist())
        return {(line[RESIDUE].strip(), line[12:16].strip()) for line in lines}


def repair_pdb(content: bytes) -> bytes:
    """The lines of a PDB file that say where atoms are, without what some programs write into the last columns.

    Columns 67-76 and the charge (79-80) may hold anything; occupancy and temperature factor become 1 and 0 where they
    are no numbers. Models are numbered anew and end where the next begins.
    """
    lines, models, inside = [], 0, False
    for line in content.splitlines():
        record = line[:RECORD].rstrip()
        if record[:4] == b"ATOM" or record == b"HETATM":
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
