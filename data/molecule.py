"""Molecules of heavy atoms with bonds, from atoms of a structure: by a SMILES, by geometry, or all bonds single."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Geometry import Point3D

from configs.errors import StructureError
from data.bond_perception import find_bonds, find_orders
from data.elements import is_metal
from data.template import bonds_from_template
from data.vocab import ATOMIC_NUMBER

log = logging.getLogger(__name__)
# How the bonds of a molecule were obtained; kept as this property of the molecule.
BOND_SOURCE = "bonds_from"
FROM_FILE, FROM_TEMPLATE, PERCEIVED, CONNECTIVITY = "file", "template", "perceived", "connectivity"
MAX_PERCEIVED = 1000  # heavy atoms; larger molecules get single bonds


def ligand_from_atoms(
    elements: Sequence[str],
    coords: np.ndarray,
    names: Sequence[str] | None = None,
    smiles: str | None = None,
    residue_name: str = "",
    where: Sequence[str | Path] = (),
) -> Chem.Mol:
    """A molecule from the heavy atoms of a structure, in their order.

    Bonds come from the SMILES where it fits the atoms (a part of the SMILES will do: ligands are often partly
    resolved), else from the geometry, else all bonds are single. The property `bonds_from` tells which way, and a
    SMILES that does not fit is named in a warning of the log.

    Args:
        elements: [atoms] symbols, without hydrogens; unknown ones become dummy atoms.
        coords: [atoms, 3] Å.
        names: [atoms] atom names, kept as atom properties.
        smiles: what the ligand should be. residue_name: name of the molecule.
        where: file, chain and residue for messages.

    Raises:
        StructureError: no atoms, a coordinate that is no number, or a SMILES that can't be parsed.
    """
    coords = np.asarray(coords, np.float64).reshape(-1, 3)
    if not len(elements):
        raise StructureError("has no heavy atoms", *where, residue_name)
    if len(coords) != len(elements):
        raise StructureError(f"has {len(elements)} elements for {len(coords)} coordinates", *where, residue_name)
    if not np.isfinite(coords).all():
        row = int(np.flatnonzero(~np.isfinite(coords).all(axis=1))[0])
        label = names[row] if names is not None else str(row + 1)
        raise StructureError(f"atom {label} has a coordinate that is no number", *where, residue_name)
    numbers = [ATOMIC_NUMBER.get(str(e).strip().upper(), 0) for e in elements]
    with rdBase.BlockLogs():
        template = _parse_template(smiles, where)
        molecule, source = _with_bonds(numbers, coords, template)
    if template is not None and source != FROM_TEMPLATE:
        place = ", ".join(map(str, where)) or residue_name
        log.warning("%s: the SMILES %s does not fit its %d heavy atoms; bonds %s", place, smiles, len(numbers), source)
    molecule.SetProp(BOND_SOURCE, source)
    molecule.SetProp("_Name", residue_name)
    for atom, name in zip(molecule.GetAtoms(), names or ()):
        atom.SetProp("name", str(name))
    return molecule


def _parse_template(smiles: str | None, where: Sequence[str | Path]) -> Chem.Mol | None:
    if not smiles or not str(smiles).strip():
        return None
    template = Chem.MolFromSmiles(str(smiles).strip())
    if template is None:
        template = Chem.MolFromSmiles(str(smiles).strip(), sanitize=False)
    if template is None:
        raise StructureError(f"the SMILES {smiles!r} can't be parsed", *where, hint="correct or empty lig_smiles")
    return Chem.RemoveAllHs(template, sanitize=False)


def _with_bonds(numbers: list[int], coords: np.ndarray, template: Chem.Mol | None) -> tuple[Chem.Mol, str]:
    lengths = find_bonds(numbers, coords) if len(numbers) > 1 else {}
    if template is not None:
        molecule = bonds_from_template(template, numbers, lengths, coords)
        if molecule is not None and finish(molecule, coords):
            return molecule, FROM_TEMPLATE
    if len(numbers) <= MAX_PERCEIVED:
        molecule = build(numbers, *find_orders(numbers, coords, lengths))
        if finish(molecule, coords):
            return molecule, PERCEIVED
    molecule = build(numbers, dict.fromkeys(lengths, 1), {})
    finish(molecule, coords)
    return molecule, CONNECTIVITY


def build(numbers: Sequence[int], orders: dict[tuple[int, int], int], charges: dict[int, int]) -> Chem.RWMol:
    """A molecule from atomic numbers, bond orders and charges."""
    molecule = Chem.RWMol()
    for i, number in enumerate(numbers):
        atom = Chem.Atom(number)
        atom.SetFormalCharge(charges.get(i, 0))
        molecule.AddAtom(atom)
    kinds = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}
    for (i, j), order in orders.items():
        molecule.AddBond(i, j, kinds[order])
    return molecule


def finish(molecule: Chem.Mol, coords: np.ndarray) -> bool:
    """Give a molecule its coordinates, aromaticity and stereocentres, in place; tell whether its valences are sound.

    Bonds to metals become bonds of order zero, which count in no valence.
    """
    conformer = Chem.Conformer(len(coords))
    for i, (x, y, z) in enumerate(coords):
        conformer.SetAtomPosition(i, Point3D(float(x), float(y), float(z)))
    molecule.RemoveAllConformers()
    molecule.AddConformer(conformer, assignId=True)
    return sanitize(molecule)


def sanitize(molecule: Chem.Mol) -> bool:
    """Work out valences, aromaticity and stereocentres (from the coordinates), in place; False: valences are wrong,
    and only what needs no valences was done."""
    for bond in molecule.GetBonds():
        if is_metal(bond.GetBeginAtom().GetAtomicNum()) or is_metal(bond.GetEndAtom().GetAtomicNum()):
            bond.SetBondType(Chem.BondType.ZERO)
            bond.SetIsAromatic(False)
    for atom in molecule.GetAtoms():
        if is_metal(atom.GetAtomicNum()) or not atom.GetAtomicNum():
            atom.SetNoImplicit(True)
    sound = Chem.SanitizeMol(molecule, catchErrors=True) == Chem.SanitizeFlags.SANITIZE_NONE
    if not sound:
        molecule.UpdatePropertyCache(strict=False)
        Chem.FastFindRings(molecule)
    if molecule.GetNumConformers():
        Chem.AssignStereochemistryFrom3D(molecule, replaceExistingTags=True)
    return sound
