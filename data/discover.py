"""The interfaces of a structure, found without an index: pairs of chains, and ligands, ions and glycans with the chains
around them.

What counts as an interface follows the tables that the project trains on: polymer pairs need 20 atom contacts within
4.5 Å and 4 residues on each side (3 on that of a peptide or an RNA), ligands 3 residues in contact, ions 2 (3.5 Å).
Common crystallisation additives are no partners, and copies of an interface count once; both are options.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from data.interface import Partner, in_box
from data.partners import find_modality, molecules, partner_kind, select_chains
from data.residues import is_additive
from data.structure import Structure

CONTACT, ION_CONTACT = 4.5, 3.5  # Å
POLYMER_CONTACTS, POLYMER_RESIDUES, SMALL_POLYMER_RESIDUES = 20, 4, 3
LIGAND_RESIDUES, ION_RESIDUES = 3, 2
SAME_CONTACTS = 0.8  # Jaccard index of the residues in contact from which on two interfaces are copies


class Found(NamedTuple):
    """An interface that was found: a name, its partners and its kind."""

    name: str
    partners: tuple[Partner, Partner]
    modality: str


def discover(structure: Structure, additives: bool = False, copies: bool = False) -> list[Found]:
    """All interfaces of a structure, in file order.

    Args:
        additives: also those of crystallisation additives. copies: also repetitions of the same interface.
    """
    found: list[Found] = []
    seen: dict[tuple, list[set]] = {}
    candidates = [*_polymer_pairs(structure), *_ligands(structure, additives)]
    if not structure.polymer.any():
        candidates = list(_molecule_pairs(structure))
    for partners, contacts in candidates:
        if not copies and _is_copy(structure, partners, contacts, seen):
            continue
        name = "_".join(_short_name(structure, partner) for partner in partners)
        found.append(Found(name, partners, find_modality(structure, partners)))
    return found


class Contacts(NamedTuple):
    """Residues in contact on either side, and the number of atom pairs."""

    first: np.ndarray
    second: np.ndarray
    pairs: int


def _contacts(structure: Structure, first: Partner, second: Partner, cutoff: float) -> Contacts:
    a, b = structure.atoms_of(first.residues), structure.atoms_of(second.residues)
    X1, X2 = structure.X[a], structure.X[b]
    a, b = a[in_box(X1, X2, cutoff)], b[in_box(X2, X1, cutoff)]
    if not len(a) or not len(b):
        return Contacts(a, b, 0)
    matrix = cKDTree(structure.X[a]).sparse_distance_matrix(cKDTree(structure.X[b]), cutoff, output_type="ndarray")
    owner = np.searchsorted(structure.starts, np.arange(len(structure.X)), side="right") - 1
    return Contacts(np.unique(owner[a[matrix["i"]]]), np.unique(owner[b[matrix["j"]]]), len(matrix))


def _chains(structure: Structure) -> list[Partner]:
    names = dict.fromkeys(structure.chain[structure.polymer].tolist())
    return [
        Partner(f"chain {name or '(blank)'}", np.flatnonzero(structure.polymer & (structure.chain == name)))
        for name in names
    ]


def _polymer_pairs(structure: Structure) -> Iterator[tuple[tuple[Partner, Partner], Contacts]]:
    chains = _chains(structure)
    # A peptide, RNA or DNA is the second partner of a protein.
    rank = {"protein": 0, "DNA": 1, "RNA": 2}
    for one, other in combinations(chains, 2):
        kinds = [partner_kind(structure, one), partner_kind(structure, other)]
        key = [(rank.get(kind, 3), -len(p.residues)) for kind, p in zip(kinds, (one, other))]
        swap = key[1][0] < key[0][0] or (key[0][0] == key[1][0] and len(one.residues) <= 30 < len(other.residues))
        first, second = (other, one) if swap else (one, other)
        contacts = _contacts(structure, first, second, CONTACT)
        small = "RNA" in kinds or len(second.residues) <= 30
        least = (POLYMER_RESIDUES, SMALL_POLYMER_RESIDUES if small else POLYMER_RESIDUES)
        if contacts.pairs >= POLYMER_CONTACTS and len(contacts.first) >= least[0] and len(contacts.second) >= least[1]:
            yield (first, second), contacts


def _ligands(structure: Structure, additives: bool) -> Iterator[tuple[tuple[Partner, Partner], Contacts]]:
    others = np.flatnonzero(~structure.polymer)
    chains = _chains(structure)
    if not len(others) or not chains:
        return
    for molecule in molecules(structure, others):
        names = structure.resname[molecule].tolist()
        if not additives and all(is_additive(name) for name in names):
            continue
        r = int(molecule[0])
        number = f"{structure.resid[r]}{structure.icode[r]}"
        ligand = Partner(f"ligand {'-'.join(names)} {number}", molecule, (molecule,))
        ion = len(structure.atoms_of(molecule)) == 1
        around = Partner("the polymer", np.flatnonzero(structure.polymer))
        near = _contacts(structure, around, ligand, ION_CONTACT if ion else CONTACT)
        if len(near.first) < (ION_RESIDUES if ion else LIGAND_RESIDUES):
            continue
        touching = list(dict.fromkeys(structure.chain[near.first].tolist()))
        residues = np.flatnonzero(structure.polymer & np.isin(structure.chain, touching))
        yield (Partner(f"chain {'_'.join(touching)}", residues), ligand), near


def _molecule_pairs(structure: Structure) -> Iterator[tuple[tuple[Partner, Partner], Contacts]]:
    """Pairs of chains of small molecules (a crystal packing)."""
    partners = [select_chains(structure, name) for name in structure.chains() if name]
    for first, second in combinations(partners, 2):
        contacts = _contacts(structure, first, second, CONTACT)
        if contacts.pairs:
            yield (first, second), contacts


def _is_copy(
    structure: Structure, partners: tuple[Partner, Partner], contacts: Contacts, seen: dict[tuple, list[set]]
) -> bool:
    """Whether the same sequences were found touching with the same residues before; remembers these."""
    sides = []
    for partner, residues in zip(partners, contacts[:2]):
        sequence = tuple(structure.resname[partner.residues].tolist())
        touched = {(int(structure.resid[r]), str(structure.icode[r]), str(structure.resname[r])) for r in residues}
        if partner.molecules:  # copies of a ligand have numbers of their own
            touched = {(0, "", name) for _, _, name in touched}
        sides.append((sequence, touched))
    symmetric = [sides] if sides[0][0] != sides[1][0] else [sides, sides[::-1]]
    key = (sides[0][0], sides[1][0])
    for (_, first), (_, second) in symmetric:
        marked = {(0, *t) for t in first} | {(1, *t) for t in second}
        if any(len(marked & old) >= SAME_CONTACTS * len(marked | old) for old in seen.get(key, [])):
            return True
    seen.setdefault(key, []).append({(0, *t) for t in sides[0][1]} | {(1, *t) for t in sides[1][1]})
    return False


def _short_name(structure: Structure, partner: Partner) -> str:
    if not partner.molecules:
        return "".join(dict.fromkeys(structure.chain[partner.residues].tolist())) or "blank"
    r = int(partner.residues[0])
    names = "-".join(structure.resname[partner.residues].tolist())
    return f"{structure.chain[r]}{structure.resid[r]}{structure.icode[r]}-{names}"
