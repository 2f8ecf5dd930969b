"""Rotatable bonds of ligands and the atoms they turn."""

import numpy as np
from rdkit import Chem

from data.torsions import torsion_levels

# Amide, ester, urea, amidine C-N and C-O bonds: partial double bonds that a crystal or dock pose does not turn freely.
# (N or O bonded once more, next to a carbon that is doubly bonded to O, N or S.)
_CONJUGATED = Chem.MolFromSmarts("[#6X3](=[O,N,S])-!@[NX3,NX2-,O]")
_TRIPLE_END = Chem.MolFromSmarts("*#*")


def ligand_torsions(molecule: Chem.Mol) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rotatable bonds of a molecule without hydrogens.

    A bond turns when it is single, in no ring, has a further heavy atom on both ends (so it is not terminal), is no
    C-N or C-O bond of an amide, ester, urea or amidine, and none of its ends is triply bonded or a metal. The side
    with fewer atoms moves (of equal sides, the second atom's).

    Returns:
        tor_bonds, tor_depth, tor_moved_lengths and tor_moved as in `data.item.Item`.
    """
    stiff = {frozenset((m[0], m[2])) for m in molecule.GetSubstructMatches(_CONJUGATED, maxMatches=100_000)}
    linear = {atom for match in molecule.GetSubstructMatches(_TRIPLE_END, maxMatches=100_000) for atom in match}
    neighbours = [
        [b.GetOtherAtomIdx(a.GetIdx()) for b in a.GetBonds() if b.GetBondType() != Chem.BondType.ZERO]
        for a in molecule.GetAtoms()
    ]
    ends: list[tuple[int, int]] = []
    moved: list[list[int]] = []
    for bond in molecule.GetBonds():
        p, q = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if bond.GetBondType() != Chem.BondType.SINGLE or bond.IsInRing() or frozenset((p, q)) in stiff:
            continue
        if min(len(neighbours[p]), len(neighbours[q])) < 2 or {p, q} & linear:
            continue
        behind_p, behind_q = _side(q, p, neighbours), _side(p, q, neighbours)
        if len(behind_p) < len(behind_q):
            p, q, behind_q = q, p, behind_p
        ends.append((p, q))
        moved.append(sorted(behind_q))
    bonds = np.array(ends, np.int32).reshape(-1, 2)
    flat = np.array([atom for atoms in moved for atom in atoms], np.int32)
    return bonds, torsion_levels(bonds, flat), np.array([len(atoms) for atoms in moved], np.int32), flat


def _side(p: int, q: int, neighbours: list[list[int]]) -> set[int]:
    """Atoms that hang on q when the bond p-q is cut, without q."""
    seen, waiting = {q}, [n for n in neighbours[q] if n != p]
    while waiting:
        atom = waiting.pop()
        if atom not in seen:
            seen.add(atom)
            waiting += neighbours[atom]
    return seen - {q}
