"""Ligand files: SDF (also a bare molfile) and MOL2, plain or gzip-compressed, to molecules of heavy atoms."""

import logging
import re
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase

from configs.errors import StructureError
from configs.reading import read_bytes, unpacked
from data.ligand_text import check_mol2, check_sdf
from data.molecule import BOND_SOURCE, FROM_FILE, ligand_from_atoms, sanitize
from data.raw_atoms import check_cloud
from data.structure import plain_text

log = logging.getLogger(__name__)

MOL2_START = "@<TRIPOS>MOLECULE"


def ligand_from_file(path: str | Path, index: int | None = None) -> Chem.Mol:
    """A molecule of heavy atoms with coordinates (Å) from an SDF or MOL2 file.

    Bonds are those of the file. Where they break the rules of valence, they are perceived from the coordinates; the
    property `bonds_from` tells.

    Args:
        path: SDF, MOL or MOL2, plain or gzip-compressed; both are told by content, not by name.
        index: which molecule of the file, counted from 0 (default: the first; others are told in a warning).

    Raises:
        StructureError: a file that can't be read, no such molecule, an unreadable record, or no 3D coordinates.
    """
    path = Path(path)
    content = unpacked(read_bytes(path, StructureError), path, StructureError)
    text = plain_text(content, path).decode("utf-8", errors="replace")
    if MOL2_START in text:
        records, parse, kind = [MOL2_START + part for part in text.split(MOL2_START)[1:]], _parse_mol2, "MOL2"
    else:
        records = [part for part in re.split(r"(?m)^\$\$\$\$.*\n?", text) if part.strip()]
        parse, kind = _parse_sdf, "SDF"
    if index is None and len(records) > 1:
        log.warning("%s: holds %d molecules, the first is taken", path, len(records))
    index = index or 0
    if not 0 <= index < len(records):
        raise StructureError(f"has {len(records)} molecules, number {index} was asked for", path)
    with rdBase.BlockLogs():
        molecule = parse(records[index], path)
        if molecule is None:
            raise StructureError(
                f"record {index} is not a readable {kind} molecule", path, hint="truncated or damaged?"
            )
        return _heavy_atoms(molecule, path)


def _parse_sdf(record: str, path: Path) -> Chem.Mol | None:
    record = check_sdf(record, str(path))
    return Chem.MolFromMolBlock(record, sanitize=False, removeHs=False, strictParsing=False)


def _parse_mol2(record: str, path: Path) -> Chem.Mol | None:
    check_mol2(record, str(path))
    molecule = Chem.MolFromMol2Block(record, sanitize=False, removeHs=False)
    if molecule is None:
        return _mol2_atoms(record, path)
    if not any(atom.GetAtomicNum() == 1 for atom in molecule.GetAtoms()):
        # RDKit takes the hydrogens of a MOL2 file as complete, so it makes ions and radicals where all are left out.
        for atom in molecule.GetAtoms():
            atom.SetNoImplicit(False)
            atom.SetNumRadicalElectrons(0)
            atom.SetFormalCharge(max(atom.GetFormalCharge(), 0))
    return molecule


def _mol2_atoms(record: str, path: Path) -> Chem.Mol | None:
    """Atoms of a MOL2 record whose atom types RDKit does not know; bonds are then perceived."""
    _, _, behind = record.partition("@<TRIPOS>ATOM")
    rows = [line.split() for line in behind.partition("@<TRIPOS>")[0].splitlines() if line.strip()]
    try:
        elements = [re.split(r"[.\d]", row[5])[0] for row in rows]
        coords = np.array([[float(x) for x in row[2:5]] for row in rows])
    except (IndexError, ValueError):
        return None
    if coords.shape != (len(rows), 3):
        return None
    heavy = [i for i, element in enumerate(elements) if element not in ("H", "D", "LP", "Du")]
    check_cloud(coords[heavy], path)
    return ligand_from_atoms([elements[i] for i in heavy], coords[heavy], where=(path,)) if heavy else None


def _heavy_atoms(molecule: Chem.Mol, path: Path) -> Chem.Mol:
    """Drop hydrogens and dummy atoms, check the coordinates, settle bonds."""
    name = molecule.GetProp("_Name") if molecule.HasProp("_Name") else ""
    coords = molecule.GetConformer().GetPositions() if molecule.GetNumConformers() else np.zeros((0, 3))
    if not len(coords):
        raise StructureError("has no atoms or no coordinates", path, name)
    if len(coords) > 1 and not coords.any():
        raise StructureError("has no coordinates: all are zero", path, name, hint="make a 3D conformer first")
    if len(coords) > 4 and not coords[:, 2].any() and not molecule.GetConformer().Is3D():
        raise StructureError("has 2D coordinates", path, name, hint="make a 3D conformer first")
    check_cloud(coords, path, name)
    if molecule.HasProp(BOND_SOURCE):
        return molecule
    sound = sanitize(molecule)
    heavy = Chem.RWMol(Chem.RemoveAllHs(molecule, sanitize=False))
    dummies = [atom.GetIdx() for atom in heavy.GetAtoms() if atom.GetAtomicNum() <= 1]
    for i in reversed(dummies):
        heavy.RemoveAtom(i)
    if not sound or not sanitize(heavy):
        symbols = [atom.GetSymbol() for atom in heavy.GetAtoms()]
        return ligand_from_atoms(symbols, heavy.GetConformer().GetPositions(), residue_name=name, where=(path,))
    if not heavy.GetNumAtoms():
        raise StructureError("has no heavy atoms", path, name)
    heavy.SetProp(BOND_SOURCE, FROM_FILE)
    return heavy.GetMol()
