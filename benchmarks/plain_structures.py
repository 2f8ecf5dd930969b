"""From a structure file to an interface the plain way, to measure against: Biopython, loops, all-pairs distances.

The work is that of `data.prepare.process_row` for two sides of chain molecules made of standard residues: heavy atoms,
one position an atom, no water; the residues with an atom within 8 Å of the other side; types of blocks and atoms,
position codes and rotatable bonds. Residues that need a fragmentation are refused.
"""

import gzip
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from Bio.PDB import MMCIFParser, PDBParser

from configs.errors import StructureError
from data.interface import CUTOFF
from data.residues import DNA, RNA, element_in_polymer, is_water, meaning_of, residue_torsions
from data.torsions import torsion_levels
from data.vocab import ATOMIC_NUMBER, Vocabulary, position_code


class PlainInterface(NamedTuple):
    """Lists in the layout of `data.item.Item`; chain, resid and icode of every block in `places`."""

    X: list[list[float]]
    A: list[int]
    atom_positions: list[int]
    B: list[int]
    block_lengths: list[int]
    segment_ids: list[int]
    places: list[tuple[str, int, str]]
    tor_bonds: list[list[int]]
    tor_depth: list[int]
    tor_moved: list[list[int]]


def plain_interface(path: Path, chains: tuple[str, str], vocabulary: Vocabulary) -> PlainInterface:
    """The interface of two sides (chain names joined by `_`).

    Raises:
        StructureError: a residue in the interface that is no standard one, a side without atoms, or no contact.
    """
    model = next(iter(read(path)))
    sides = [side_residues(model, names) for names in chains]
    if not all(sides):
        raise StructureError(f"has no residues in one of the chains {chains}", path)
    near = in_contact(sides[0], sides[1], CUTOFF)
    made = PlainInterface([], [], [], [], [], [], [], [], [], [])
    for segment, (residues, kept) in enumerate(zip(sides, near)):
        for residue, keep in zip(residues, kept):
            if keep:
                add_block(made, residue, segment, vocabulary, path)
    if set(made.segment_ids) != {0, 1}:
        raise StructureError("has no contact between these chains", path)
    moved = np.array([a for atoms in made.tor_moved for a in atoms], int)
    depth = torsion_levels(np.array(made.tor_bonds, int).reshape(-1, 2), moved)
    return made._replace(tor_depth=depth.tolist())


def read(path: Path) -> Any:
    """A Biopython structure."""
    name = path.name.removesuffix(".gz")
    parser = MMCIFParser(QUIET=True) if name.endswith((".cif", ".mmcif")) else PDBParser(QUIET=True)
    with gzip.open(path, "rt") if path.name.endswith(".gz") else path.open() as file:
        return parser.get_structure(name, file)


def side_residues(model: Any, chains: str) -> list[tuple[Any, list[tuple[str, int, list[float]]]]]:
    """Residues of the chains, in file order, each with its heavy atoms (name, atomic number, place)."""
    found = []
    wanted = chains.split("_")
    for chain in model:
        if chain.id not in wanted:
            continue
        for residue in chain:
            name = residue.get_resname().strip()
            hetero = residue.id[0].strip() != ""
            meaning = meaning_of(name)
            if is_water(name) or not meaning.standard or (hetero and not meaning.modified):
                continue
            atoms = []
            for atom in residue:
                element = element_in_polymer(atom.get_name())
                if meaning.modified or not element:
                    element = ATOMIC_NUMBER.get((atom.element or "").strip().upper(), 0)
                if element != 1:
                    atoms.append((atom.get_name().strip(), element, atom.get_coord().tolist()))
            if atoms:
                found.append((residue, atoms))
    return found


def in_contact(first: list, second: list, cutoff: float) -> tuple[list[bool], list[bool]]:
    """Which residues of each side have an atom near the other side, from all pairs of atoms."""
    coordinates = [np.array([place for _, atoms in side for *_, place in atoms]) for side in (first, second)]
    away = np.linalg.norm(coordinates[0][:, None] - coordinates[1][None], axis=-1)
    near = []
    for side, close in zip((first, second), (away <= cutoff, (away <= cutoff).T)):
        kept, start = [], 0
        for _, atoms in side:
            kept.append(bool(close[start : start + len(atoms)].any()))
            start += len(atoms)
        near.append(kept)
    return near[0], near[1]


def add_block(made: PlainInterface, found: tuple[Any, list], segment: int, vocabulary: Vocabulary, path: Path) -> None:
    """Append one residue."""
    residue, atoms = found
    name, (_, number, icode) = residue.get_resname().strip(), residue.id
    standard = standard_residue(name, [atom for atom, *_ in atoms])
    if not standard:
        raise StructureError(f"residue {name} {number} is no standard one", path)
    start = len(made.A)
    place = {atom.replace("*", "'"): start + i for i, (atom, *_) in enumerate(atoms)}
    names, torsions = residue_torsions(standard)
    if all(atom in names for atom in place):
        for torsion in torsions:
            moved = [place[atom] for atom in torsion.moved if atom in place]
            if torsion.p in place and torsion.q in place and moved:
                made.tor_bonds.append([place[torsion.p], place[torsion.q]])
                made.tor_moved.append(sorted(moved))
    for atom, element, coordinates in atoms:
        made.X.append(coordinates)
        made.A.append(element + 2 if element else 1)
        made.atom_positions.append(position_code(atom))
    made.B.append(vocabulary.residue(standard))
    made.block_lengths.append(len(atoms))
    made.segment_ids.append(segment)
    made.places.append((residue.get_parent().id, number, icode.strip()))


def standard_residue(name: str, atoms: list[str]) -> str:
    """The residue of the vocabulary; DNA told from RNA by the sugar where the name leaves it open."""
    meaning = meaning_of(name)
    if meaning.base and meaning.kind in (DNA, RNA):
        ribose = "O2'" in atoms or "O2*" in atoms or meaning.base == "U"
        return ("R" if ribose else "D") + ({"T": "U"}.get(meaning.base, meaning.base) if ribose else meaning.base)
    return meaning.standard
