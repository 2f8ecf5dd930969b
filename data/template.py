"""Bond orders and charges of a ligand from the molecule it is known to be."""

from collections.abc import Mapping, Sequence

import numpy as np
from rdkit import Chem

from data.elements import is_metal

MAX_ATOMS = 150  # of a ligand whose symmetric or partial matches are searched for
MAX_CHECKS = 50_000  # atom comparisons of one search, which could take exponential time
MAX_MATCHES = 64
MAX_LENGTH = 2.6  # Å; a bond of the template between atoms further apart is broken in the structure


def bonds_from_template(
    template: Chem.Mol, numbers: Sequence[int], lengths: Mapping[tuple[int, int], float], coords: np.ndarray
) -> Chem.RWMol | None:
    """A molecule with the atoms of a structure and the bonds of a template; None: the template does not fit.

    The structure may lack atoms of the template. Where symmetry leaves a choice, double bonds go where they are short.

    Args:
        template: without hydrogens. numbers: [atoms] atomic numbers. lengths: found bonds -> Å. coords: [atoms, 3] Å.
    """
    kekulized = Chem.RWMol(template)
    if Chem.SanitizeMol(Chem.Mol(kekulized), catchErrors=True) == Chem.SanitizeFlags.SANITIZE_NONE:
        Chem.SanitizeMol(kekulized)
        Chem.Kekulize(kekulized, clearAromaticFlags=True)
    found = _skeleton(numbers, lengths)
    known_numbers = [atom.GetAtomicNum() for atom in kekulized.GetAtoms()]
    known = _skeleton(known_numbers, [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in kekulized.GetBonds()])
    if len(numbers) > len(known_numbers) or set(numbers) - set(known_numbers):
        return None
    candidates = _searched(found, known) if len(numbers) <= MAX_ATOMS else []
    if not candidates and (ranked := _same_by_rank(found, known)):
        candidates = [ranked]
    molecules = [_transfer(kekulized, match, numbers, coords) for match in candidates]
    return min(molecules, key=lambda m: _double_bond_length(m, coords), default=None)


def _skeleton(numbers: Sequence[int], bonds: "Mapping[tuple[int, int], float] | list[tuple[int, int]]") -> Chem.Mol:
    """Elements and connections only, without bonds to metals."""
    molecule = Chem.RWMol()
    for number in numbers:
        atom = Chem.Atom(number)
        atom.SetNoImplicit(True)
        molecule.AddAtom(atom)
    for i, j in bonds:
        if not is_metal(numbers[i]) and not is_metal(numbers[j]):
            molecule.AddBond(i, j, Chem.BondType.SINGLE)
    molecule.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(molecule)
    return molecule


def _same_by_rank(found: Chem.Mol, known: Chem.Mol) -> list[int]:
    """Template atom of every atom of an equal graph, from canonical ranks; empty when the graphs differ."""
    if found.GetNumAtoms() != known.GetNumAtoms() or found.GetNumBonds() != known.GetNumBonds():
        return []
    by_rank = {rank: atom for atom, rank in enumerate(Chem.CanonicalRankAtoms(known))}
    match = [by_rank[rank] for rank in Chem.CanonicalRankAtoms(found)]
    same = all(a.GetAtomicNum() == known.GetAtomWithIdx(match[a.GetIdx()]).GetAtomicNum() for a in found.GetAtoms())
    ends = ((match[b.GetBeginAtomIdx()], match[b.GetEndAtomIdx()]) for b in found.GetBonds())
    return match if same and all(known.GetBondBetweenAtoms(i, j) for i, j in ends) else []


def _searched(found: Chem.Mol, known: Chem.Mol) -> list[Sequence[int]]:
    """Template atoms of all atoms, for the first ways in which the structure is part of the template."""
    checks = 0

    def within_budget(query_atom: Chem.Atom, atom: Chem.Atom) -> bool:
        nonlocal checks
        checks += 1
        return checks <= MAX_CHECKS and query_atom.GetDegree() <= atom.GetDegree()

    parameters = Chem.SubstructMatchParameters()
    parameters.uniquify = False  # type: ignore[assignment]  # RDKit's stubs are wrong here
    parameters.maxMatches = MAX_MATCHES  # type: ignore[assignment]
    parameters.setExtraAtomCheckFunc(within_budget)
    return list(known.GetSubstructMatches(found, parameters))


def _transfer(template: Chem.Mol, match: Sequence[int], numbers: Sequence[int], coords: np.ndarray) -> Chem.RWMol:
    """Copy charges and bonds of the matched part of a kekulized template."""
    molecule = Chem.RWMol()
    place = {known: i for i, known in enumerate(match)}
    for number, known in zip(numbers, match):
        source = template.GetAtomWithIdx(known)
        atom = Chem.Atom(number)
        complete = all(n.GetIdx() in place for n in source.GetNeighbors())
        atom.SetFormalCharge(source.GetFormalCharge() if complete or source.GetFormalCharge() > 0 else 0)
        if complete:
            atom.SetNumExplicitHs(source.GetNumExplicitHs())
            atom.SetNoImplicit(source.GetNoImplicit())
        molecule.AddAtom(atom)
    for bond in template.GetBonds():
        i, j = place.get(bond.GetBeginAtomIdx()), place.get(bond.GetEndAtomIdx())
        if i is not None and j is not None and np.linalg.norm(coords[i] - coords[j]) < MAX_LENGTH:
            molecule.AddBond(i, j, bond.GetBondType())
    return molecule


def _double_bond_length(molecule: Chem.Mol, coords: np.ndarray) -> float:
    """Sum of the lengths of all double and triple bonds, Å."""
    ends = [
        (b.GetBeginAtomIdx(), b.GetEndAtomIdx())
        for b in molecule.GetBonds()
        if b.GetBondType() in (Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)
    ]
    i, j = np.array(ends, int).reshape(-1, 2).T
    return float(np.linalg.norm(coords[i] - coords[j], axis=1).sum())
