"""Ligands: from files or from atoms of a structure to molecules with bonds, and from molecules to blocks.

RDKit is used here, in the neighbouring chemistry files and in the synthetic data, and nowhere else.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from rdkit import Chem, rdBase

from data.fragments import FragmentTable, split_molecule
from data.ligand_files import ligand_from_file
from data.ligand_torsions import ligand_torsions
from data.molecule import BOND_SOURCE, FROM_FILE, ligand_from_atoms
from data.vocab import ATOM_MASK, ATOMIC_NUMBER, SMALL_MOLECULE_POSITION, Vocabulary, atom_index

__all__ = ["LigandBlocks", "ligand_from_atoms", "ligand_from_file", "split_ligand"]


@dataclass(frozen=True)
class LigandBlocks:
    """A ligand as blocks, in the layout of `data.item.Item`. All atom indices but `order` are in the new order.

    Attributes:
        B: [blocks] u16 block types. block_lengths: [blocks] i32. block_resname: fragment SMILES or element.
        order: [atoms] input atom at each place. A, atom_positions: [atoms] u8. X: [atoms, 3] f32, Å.
        tor_bonds, tor_depth, tor_moved_lengths, tor_moved: rotatable bonds as in `Item`.
        smiles: canonical SMILES. bonds_from: file, template, perceived or connectivity.
    """

    B: np.ndarray
    block_lengths: np.ndarray
    block_resname: list[str]
    order: np.ndarray
    A: np.ndarray
    atom_positions: np.ndarray
    X: np.ndarray
    tor_bonds: np.ndarray
    tor_depth: np.ndarray
    tor_moved_lengths: np.ndarray
    tor_moved: np.ndarray
    smiles: str
    bonds_from: str


def split_ligand(molecule: Chem.Mol, vocabulary: Vocabulary) -> LigandBlocks:
    """Split a molecule of heavy atoms with coordinates into the blocks of a vocabulary.

    Without fragments in the vocabulary every atom is a block. Atoms that are no element are unknown blocks.
    """
    fragments = split_molecule(molecule, _table(vocabulary))
    order = np.array([atom for fragment in fragments for atom in fragment.atoms], np.int32)
    blocks = [vocabulary.fragment(f.smiles) if len(f.atoms) > 1 else vocabulary.element(f.smiles) for f in fragments]
    symbols = [molecule.GetAtomWithIdx(int(i)).GetSymbol() for i in order]
    ordered = Chem.RenumberAtoms(molecule, order.tolist())
    tor_bonds, tor_depth, tor_moved_lengths, tor_moved = ligand_torsions(ordered)
    return LigandBlocks(
        B=np.array(blocks, np.uint16),
        block_lengths=np.array([len(f.atoms) for f in fragments], np.int32),
        block_resname=[f.smiles for f in fragments],
        order=order,
        A=np.array([atom_index(s) if s.upper() in ATOMIC_NUMBER else ATOM_MASK for s in symbols], np.uint8),
        atom_positions=np.full(len(order), SMALL_MOLECULE_POSITION, np.uint8),
        X=np.asarray(ordered.GetConformer().GetPositions(), np.float32),
        tor_bonds=tor_bonds,
        tor_depth=tor_depth,
        tor_moved_lengths=tor_moved_lengths,
        tor_moved=tor_moved,
        smiles=safe_smiles(molecule),
        bonds_from=molecule.GetProp(BOND_SOURCE) if molecule.HasProp(BOND_SOURCE) else FROM_FILE,
    )


@lru_cache(maxsize=8)
def _table(vocabulary: Vocabulary) -> FragmentTable:
    return FragmentTable({smiles: vocabulary.frequency.get(smiles, 1) for smiles in vocabulary.fragment_smiles})


def safe_smiles(molecule: Chem.Mol) -> str:
    """Canonical SMILES."""
    with rdBase.BlockLogs():
        return Chem.MolToSmiles(molecule)
