"""The text of ligand files: what RDKit lets pass silently (1.2.3 as 1.2, an unknown element as no atom) is refused."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from configs.errors import StructureError
from data.vocab import ATOMIC_NUMBER

NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?")
# What files write for no atom in particular; such entries are left out.
DUMMIES = frozenset("* A Q X R R# L LP DU XX D T M".split())
V3000_ATOM = re.compile(r"^M  V30 +\d+ +(\S+) +(\S+) +(\S+) +(\S+)", re.M)
V3000 = "M  V30 "  # begins a line
MOL2_ATOMS = "@<TRIPOS>ATOM"


class AtomText(NamedTuple):
    """An atom of a record: its line in it (from 1), its element and coordinates as text."""

    line: int
    element: str
    coordinates: tuple[str, ...]


def check_sdf(record: str, *where: str) -> str:
    """A record of an SDF file, elements in their usual spelling.

    Raises:
        StructureError: a coordinate that is no number, or an unknown element; names the line.
    """
    lines = record.split("\n")
    atoms = list(_v3000_atoms(lines) if "V3000" in "".join(lines[3:4]) else _v2000_atoms(lines))
    for atom in atoms:
        _check_coordinates(atom, *where)
        symbol = atom.element.upper()
        known = symbol in ATOMIC_NUMBER or symbol in DUMMIES or (symbol[:1] == "R" and symbol[1:].isdecimal())
        if not (known or atom.element.startswith(("[", "NOT", '"'))):
            raise StructureError(f"has the unknown element {atom.element!r}", *where, f"line {atom.line}")
        if symbol in ATOMIC_NUMBER and atom.element != symbol.capitalize():
            line = lines[atom.line - 1]
            start = line.find(atom.element, 30 if line[:6] != "M  V30" else 7)
            if start >= 0:  # else on a line that goes on from it; RDKit refuses it there
                lines[atom.line - 1] = line[:start] + symbol.capitalize() + line[start + len(symbol) :]
    return "\n".join(lines)


def _v2000_atoms(lines: list[str]) -> Iterator[AtomText]:
    count = lines[3][:3].strip() if len(lines) > 3 else ""
    for number in range(4, 4 + (int(count) if count.isdecimal() else 0)):
        line = lines[number] if number < len(lines) else ""
        if len(line) >= 32:  # shorter lines are refused by RDKit
            yield AtomText(number + 1, line[31:34].strip(), (line[:10], line[10:20], line[20:30]))


def _v3000_atoms(lines: list[str]) -> Iterator[AtomText]:
    inside, begun, first = False, "", 0
    for number, line in enumerate(lines, 1):
        if begun:
            line = begun + line.removeprefix(V3000)
        else:
            first = number
        begun = line[:-1] if line.startswith(V3000) and line.endswith("-") else ""  # the next line goes on
        if begun:
            continue
        if line.startswith(("M  V30 BEGIN", "M  V30 END")):
            inside = line.split()[2:4] == ["BEGIN", "ATOM"]
        elif inside and (found := V3000_ATOM.match(line)):
            yield AtomText(first, found[1], found.groups()[1:])


def check_mol2(record: str, *where: str) -> None:
    """Refuse coordinates of a MOL2 record that are no numbers, naming the line (StructureError)."""
    before, mark, behind = record.partition(MOL2_ATOMS)
    first = before.count("\n") + 1
    for number, line in enumerate(behind.partition("@<TRIPOS>")[0].split("\n")):
        words = line.split()
        if mark and len(words) > 5:
            _check_coordinates(AtomText(first + number, words[5], tuple(words[2:5])), *where)


def _check_coordinates(atom: AtomText, *where: str) -> None:
    for text in atom.coordinates:
        if not NUMBER.fullmatch(text.strip()):
            raise StructureError(f"has the coordinate {text!r}, which is no number", *where, f"line {atom.line}")
