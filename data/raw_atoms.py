"""The atoms of a structure as its file lists them, and what about them no structure can have."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from configs.errors import StructureError
from data.residues import Meaning

LARGEST = 9990.0  # Å; 9999 is what programs write for atoms that have no place
ANOTHER_RESIDUE = 3.0  # Å from an atom to its repetition, from which on it is that of another residue
CUBE, MOST_IN_CUBE = 2.0, 200  # Å, atoms; denser places make every search for neighbours endless


class RawAtoms(NamedTuple):
    """[atoms] arrays as a file lists them. Names are S8; icode and altloc are character codes, 0 for none.

    `element` is the atomic number (0: unknown), `element_lacking` where the file leaves it out and it was guessed.
    `parents`: residue name -> the standard residue it modifies, by the file's own dictionary.
    """

    chain: np.ndarray
    resid: np.ndarray
    icode: np.ndarray
    resname: np.ndarray
    name: np.ndarray
    altloc: np.ndarray
    occupancy: np.ndarray
    element: np.ndarray
    X: np.ndarray
    hetero: np.ndarray
    element_lacking: np.ndarray
    parents: dict[str, str]

    def take(self, index: np.ndarray) -> "RawAtoms":
        """The atoms with these indices (or this mask)."""
        return self._replace(**{name: getattr(self, name)[index] for name in self._fields[:-1]})


def starts_of(residue: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.diff(residue, prepend=-1))


def text_of(array: np.ndarray) -> list[str]:
    return [value.decode("latin-1") for value in array.tolist()]


def place_of(raw: RawAtoms, i: int) -> str:
    """The residue of an atom in words."""
    chain, resname = text_of(np.array([raw.chain[i], raw.resname[i]]))
    number = f"{raw.resid[i]}{chr(raw.icode[i]) if raw.icode[i] else ''}"
    return f"chain {chain or '(blank)'} residue {number} {resname}"


def _cells(X: np.ndarray, size: float) -> np.ndarray:
    """[atoms] i64 number of the cube of this edge (Å, at least 0.01) that an atom is nearest to."""
    x, y, z = np.rint(X / size).astype(np.int64).T
    return ((x * 2**21) + y) * 2**21 + z


def check_places(raw: RawAtoms, path: str) -> None:
    """Refuse coordinates that are no numbers or absurd, and crowds of atoms; names the atom."""
    sound = np.abs(raw.X) < LARGEST  # False for NaN too
    if not sound.all():
        i = int(np.flatnonzero(~sound.all(axis=1))[0])
        values = ", ".join(f"{x:g}" for x in raw.X[i])
        what = "has a coordinate that is no number" if np.isnan(raw.X[i]).any() else "is absurdly far away"
        raise StructureError(f"atom {text_of(raw.name[i : i + 1])[0]} {what}: ({values})", path, place_of(raw, i))
    _check_crowds(raw.X, path)


def _check_crowds(X: np.ndarray, *where: str | Path) -> None:
    if len(X) > MOST_IN_CUBE:
        number = int(np.unique(_cells(X, CUBE), return_counts=True)[1].max())
        if number > MOST_IN_CUBE:
            what = f"{number} atoms lie within {CUBE:g} Å of each other"
            raise StructureError(what, *where, hint="are its coordinates real?")


def check_cloud(X: np.ndarray, *where: str | Path) -> None:
    """Refuse the coordinates [atoms, 3] of a molecule that are no numbers, absurd, crowded, or those of two atoms."""
    if not (np.abs(X) < LARGEST).all():
        i = int(np.flatnonzero(~(np.abs(X) < LARGEST).all(axis=1))[0])
        values = ", ".join(f"{x:g}" for x in X[i])
        raise StructureError(f"atom {i + 1} is absurdly far away: ({values})", *where)
    _check_crowds(X, *where)
    cells = _cells(X, 0.01)
    order = np.argsort(cells, kind="stable")
    same = np.flatnonzero(np.diff(cells[order]) == 0)
    if len(same):
        i, j = order[same[0]] + 1, order[same[0] + 1] + 1
        raise StructureError(f"atoms {i} and {j} are at the same place", *where, hint="are its coordinates real?")


def check_distinct(raw: RawAtoms, residue: np.ndarray, path: str) -> None:
    """Refuse atoms of one residue, or three atoms of any, at the same place, and two at the origin.

    Real entries do hold two molecules at one place that are there in turn; programs that know no coordinates write
    zeros or repeat some.
    """
    cells = _cells(raw.X, 0.01)
    order = np.argsort(cells, kind="stable")
    same = np.flatnonzero(np.diff(cells[order]) == 0)
    if not len(same):
        return
    a, b = order[same], order[same + 1]
    thrice = np.diff(same, prepend=-2) == 1
    wrong = (residue[a] == residue[b]) | thrice | (cells[a] == 0)
    if wrong.any():
        k = int(np.argmax(wrong))
        first, second = text_of(raw.name[[a[k], b[k]]])
        what = f"atom {first} is at the place of atom {second} of {place_of(raw, int(b[k]))}"
        raise StructureError(what, path, place_of(raw, int(a[k])), hint="are its coordinates real?")


def check_repeats(raw: RawAtoms, residue: np.ndarray, meanings: list[Meaning], path: str) -> None:
    """Refuse a residue that is there again elsewhere under the same name: one of the two would get lost."""
    named = np.flatnonzero(np.array([bool(m.standard) for m in meanings], bool)[residue])
    order = named[np.lexsort((named, raw.name[named].view(np.int64), residue[named]))]
    same = (np.diff(residue[order]) == 0) & (raw.name[order][1:] == raw.name[order][:-1])
    a, b = order[:-1][same], order[1:][same]
    if not len(a):
        return
    distance = np.linalg.norm(raw.X[a] - raw.X[b], axis=1)
    apart = np.bincount(residue[a][distance > ANOTHER_RESIDUE], minlength=len(meanings))
    atoms = np.bincount(residue[order], minlength=len(meanings)) - np.bincount(residue[a], minlength=len(meanings))
    if (again := (2 * apart >= atoms) & (apart > 0)).any():
        i = int(a[residue[a] == np.argmax(again)][0])
        what = f"is there twice, {distance[residue[a] == residue[i]].max():.1f} Å apart"
        hint = "molecules need chain names of their own, models the records MODEL and ENDMDL"
        raise StructureError(what, path, place_of(raw, i), hint=hint)
