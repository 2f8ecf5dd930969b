"""Rotatable bonds of residues and nucleotides, for all residues of a selection at once."""

from functools import cache
from typing import NamedTuple

import numpy as np

from data.residues import residue_torsions
from data.vocab import AMINO_ACIDS, NUCLEOTIDES

STANDARD = (*AMINO_ACIDS, *NUCLEOTIDES)


class Torsions(NamedTuple):
    """Rotatable bonds, as in `data.item.Item`: bonds [n, 2], moved_lengths [n], moved [sum] (atom indices)."""

    bonds: np.ndarray
    moved_lengths: np.ndarray
    moved: np.ndarray


class Table(NamedTuple):
    """Torsions of all standard residues by slot (the place of an atom name in its residue's list).

    Attributes:
        slots: per residue, atom name -> slot. first: [residues + 1] rows of each residue in the arrays below.
        p, q: [rows] slots of the bond. moved: [rows, slots] bool.
    """

    slots: tuple[dict[bytes, int], ...]
    first: np.ndarray
    p: np.ndarray
    q: np.ndarray
    moved: np.ndarray


@cache
def _table() -> Table:
    slots, rows, first = [], [], [0]
    width = max(len(residue_torsions(name)[0]) for name in STANDARD)
    for name in STANDARD:
        atoms, torsions = residue_torsions(name)
        slot = {atom.encode(): i for i, atom in enumerate(atoms)}
        slots.append(slot)
        for t in torsions:
            mask = np.zeros(width, bool)
            mask[[slot[atom.encode()] for atom in t.moved]] = True
            rows.append((slot[t.p.encode()], slot[t.q.encode()], mask))
        first.append(len(rows))
    p, q, moved = zip(*rows)
    return Table(tuple(slots), np.array(first), np.array(p), np.array(q), np.array(moved))


def find_residue_torsions(standard: np.ndarray, block_lengths: np.ndarray, names: np.ndarray) -> Torsions:
    """Rotatable bonds of standard residues.

    Bonds with a missing end, and bonds that would move nothing, are left out. A residue with an atom that its table
    doesn't know (a modification) has none, because nobody knows what that atom hangs on.

    Args:
        standard: [blocks] index into `STANDARD`. block_lengths: [blocks]. names: [atoms] S8 atom names.
    """
    table = _table()
    block = np.repeat(np.arange(len(standard)), block_lengths)
    slot = _slots(table, standard[block], names)
    place = np.full((len(standard), table.moved.shape[1]), -1)
    known = slot >= 0
    place[block[known], slot[known]] = np.flatnonzero(known)
    plain = np.bincount(block[~known], minlength=len(standard)) == 0

    counts = np.where(plain, np.diff(table.first)[standard], 0)
    owner = np.repeat(np.arange(len(standard)), counts)
    row = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts) + table.first[standard[owner]]
    bonds = np.stack([place[owner, table.p[row]], place[owner, table.q[row]]], axis=1)
    moved = np.where(table.moved[row], place[owner], -1)
    lengths = (moved >= 0).sum(axis=1)
    sound = (bonds >= 0).all(axis=1) & (lengths > 0)
    moved = moved[sound]
    return Torsions(bonds[sound].astype(np.int32), lengths[sound].astype(np.int32), moved[moved >= 0].astype(np.int32))


def _slots(table: Table, standard: np.ndarray, names: np.ndarray) -> np.ndarray:
    """[atoms] slot of every atom; -1 for names that the table doesn't know."""
    words, word = np.unique(names.view(np.int64), return_inverse=True)
    pairs, pair = np.unique(standard * len(words) + word, return_inverse=True)
    spelled = [name.replace(b"*", b"'") for name in words.view("S8").tolist()]
    known = [table.slots[i // len(words)].get(spelled[i % len(words)], -1) for i in pairs.tolist()]
    return np.array(known, np.int64)[pair] if len(pairs) else np.zeros(0, np.int64)
