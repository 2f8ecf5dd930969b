"""Blocks of one side of an interface: residues and nucleotides by table, everything else as ligand fragments."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.ligand import LigandBlocks, ligand_from_atoms, split_ligand
from data.residue_torsions import STANDARD, find_residue_torsions
from data.structure import Structure
from data.torsions import torsion_levels
from data.vocab import ATOM_MASK, ELEMENTS, Vocabulary, position_code

LIGAND_NAME = "LIG"  # residue name of a ligand from a file of its own


@dataclass(frozen=True)
class Blocks:
    """Blocks in the layout of `data.item.Item`, and what only their making needs.

    Attributes:
        unit: [blocks] number of the residue or molecule a block is a part of (equal numbers: bonded inside).
        others: see `Item`.
    """

    X: np.ndarray
    A: np.ndarray
    atom_positions: np.ndarray
    B: np.ndarray
    block_lengths: np.ndarray
    chain: np.ndarray
    resid: np.ndarray
    icode: np.ndarray
    resname: np.ndarray
    unit: np.ndarray
    tor_bonds: np.ndarray
    tor_moved_lengths: np.ndarray
    tor_moved: np.ndarray

    @property
    def n_blocks(self) -> int:
        return len(self.B)

    @property
    def tor_depth(self) -> np.ndarray:
        """[torsions] in which order bonds are turned."""
        return torsion_levels(self.tor_bonds, self.tor_moved)


def residue_blocks(structure: Structure, residues: np.ndarray, vocabulary: Vocabulary) -> Blocks:
    """Standard residues, one block each."""
    atoms = structure.atoms_of(residues)
    lengths = np.diff(structure.starts)[residues].astype(np.int32)
    index = {name: i for i, name in enumerate(STANDARD)}
    standard = np.array([index[name] for name in structure.standard[residues].tolist()], np.int64)
    types = np.array([vocabulary.residue(name) for name in STANDARD], np.uint16)
    names = structure.name[atoms]
    torsions = find_residue_torsions(standard, lengths, names)
    return Blocks(
        X=structure.X[atoms],
        A=_atom_types(structure.element[atoms]),
        atom_positions=_positions(names),
        B=types[standard],
        block_lengths=lengths,
        chain=structure.chain[residues],
        resid=structure.resid[residues],
        icode=structure.icode[residues],
        resname=structure.resname[residues],
        unit=np.asarray(residues, np.int64),
        tor_bonds=torsions.bonds,
        tor_moved_lengths=torsions.moved_lengths,
        tor_moved=torsions.moved,
    )


def _atom_types(element: np.ndarray) -> np.ndarray:
    return np.where(element > 0, element + 2, ATOM_MASK).astype(np.uint8)


def _positions(names: np.ndarray) -> np.ndarray:
    words, word = np.unique(names.view(np.int64), return_inverse=True)
    codes = [position_code(name.decode("latin-1")) for name in words.view("S8").tolist()]
    return np.array(codes, np.uint8)[word]


def molecule_blocks(
    structure: Structure, residues: np.ndarray, vocabulary: Vocabulary, smiles: str | None = None
) -> Blocks:
    """Fragments of a molecule made of one or several residues (a ligand, an ion, a glycan, a modified residue).

    Raises:
        StructureError: the SMILES can't be parsed.
    """
    atoms = structure.atoms_of(residues)
    symbols = [ELEMENTS[number - 1] if number else "X" for number in structure.element[atoms].tolist()]
    molecule = ligand_from_atoms(
        symbols,
        structure.X[atoms],
        names=[name.decode("latin-1") for name in structure.name[atoms].tolist()],
        smiles=smiles,
        residue_name=str(structure.resname[residues[0]]),
        where=(structure.path, structure.place(int(residues[0]))),
    )
    ligand = split_ligand(molecule, vocabulary)
    of_atom = np.repeat(residues, np.diff(structure.starts)[residues])[ligand.order]
    of_block = of_atom[np.cumsum(ligand.block_lengths) - ligand.block_lengths]
    return _from_ligand(
        ligand,
        chain=structure.chain[of_block],
        resid=structure.resid[of_block],
        icode=structure.icode[of_block],
        resname=structure.resname[of_block],
        unit=int(residues[0]),
    )


def ligand_file_blocks(ligand: LigandBlocks) -> Blocks:
    """Fragments of a ligand from a file of its own: no chain, residue number 1, residue name LIG."""
    n = len(ligand.B)
    none = np.full(n, "")
    return _from_ligand(ligand, none, np.ones(n, np.int32), none, np.full(n, LIGAND_NAME), unit=-1)


def _from_ligand(
    ligand: LigandBlocks, chain: np.ndarray, resid: np.ndarray, icode: np.ndarray, resname: np.ndarray, unit: int
) -> Blocks:
    return Blocks(
        X=ligand.X.astype(np.float64),
        A=ligand.A,
        atom_positions=ligand.atom_positions,
        B=ligand.B,
        block_lengths=ligand.block_lengths,
        chain=chain,
        resid=resid,
        icode=icode,
        resname=resname,
        unit=np.full(len(ligand.B), unit, np.int64),
        tor_bonds=ligand.tor_bonds,
        tor_moved_lengths=ligand.tor_moved_lengths,
        tor_moved=ligand.tor_moved,
    )


def join_blocks(parts: Sequence[Blocks]) -> Blocks:
    """Blocks one part after another."""
    shifts = np.cumsum([0, *(len(part.A) for part in parts)])[:-1]
    values = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Blocks.__dataclass_fields__}
    for name in ("tor_bonds", "tor_moved"):
        values[name] = np.concatenate([getattr(part, name) + shift for part, shift in zip(parts, shifts)])
        values[name] = values[name].astype(np.int32)
    return Blocks(**values)


def take_blocks(blocks: Blocks, index: np.ndarray) -> Blocks:
    """The blocks with these indices, in this order. Torsions that lose an end go; the others move what is left."""
    ends = np.cumsum(blocks.block_lengths)
    lengths = blocks.block_lengths[index]
    first = np.repeat(ends[index] - lengths, lengths)
    atoms = first + np.arange(len(first)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    new = np.full(len(blocks.A), -1)
    new[atoms] = np.arange(len(atoms))
    bonds, moved = new[blocks.tor_bonds], new[blocks.tor_moved]
    bond_of = np.repeat(np.arange(len(bonds)), blocks.tor_moved_lengths)
    left = np.bincount(bond_of[moved >= 0], minlength=len(bonds))
    kept = (bonds >= 0).all(axis=1) & (left > 0)
    changes = {
        **{name: getattr(blocks, name)[atoms] for name in ("X", "A", "atom_positions")},
        **{name: getattr(blocks, name)[index] for name in ("B", "chain", "resid", "icode", "resname", "unit")},
    }
    return Blocks(
        **changes,
        block_lengths=lengths,
        tor_bonds=bonds[kept].astype(np.int32).reshape(-1, 2),
        tor_moved_lengths=left[kept].astype(np.int32),
        tor_moved=moved[(moved >= 0) & kept[bond_of]].astype(np.int32),
    )


def drop_torsions(blocks: Blocks, dropped: np.ndarray) -> Blocks:
    """Blocks without the torsions of a mask [torsions]."""
    values = {name: getattr(blocks, name) for name in Blocks.__dataclass_fields__}
    of_atom = np.repeat(dropped, blocks.tor_moved_lengths)
    values["tor_bonds"] = blocks.tor_bonds[~dropped]
    values["tor_moved_lengths"] = blocks.tor_moved_lengths[~dropped]
    values["tor_moved"] = blocks.tor_moved[~of_atom]
    return Blocks(**values)
