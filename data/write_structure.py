"""Structure files whose B-factors are the scores of blocks, to be opened and coloured in any viewer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from scipy.spatial import cKDTree

from configs.errors import ConfigError, StructureError
from configs.files import atomic_write
from configs.reading import read_bytes, unpacked
from data.blocks import LIGAND_NAME
from data.item import Item
from data.pdb_text import repair_pdb
from data.structure import CIF_START, plain_text

FORMATS = {".cif": "mmCIF", ".pdb": "PDB"}
SAME_PLACE = 0.01
"""Å; atoms of an item are found again in their file by where they are."""
FULL = 100.0
TRACE = {"CA": 4.3, "P": 8.0}
"""Atoms that a chain's trace runs through, and the largest step between them, Å."""


def b_factors(score: np.ndarray, signed: bool) -> np.ndarray:
    """[blocks] scores as B-factors between 0 and 100.

    100 times the score over the largest one; of signed scores 50 (1 + score / largest size), so that 50 is no effect.
    """
    largest = float(np.abs(score).max(initial=0)) or 1.0
    return FULL / 2 * (1 + score / largest) if signed else FULL * np.clip(score / largest, 0, 1)


def scored_structure(item: Item, values: np.ndarray, rest: float, path: str = "", model: int = 0) -> gemmi.Structure:
    """The structure of an item, with a value for each of its blocks as the B-factor of the block's atoms.

    A residue takes the value of its block with all its atoms; in a ligand of several fragments each atom takes that of
    its own, hydrogens that of the nearest heavy atom. Other atoms get `rest`. A ligand that is not in the file is added
    as a chain of its own.

    Args:
        values: [blocks]. path: the structure file; "": the item's own atoms make the structure. model: counted from 0.
    """
    if path:
        structure = whole_file(Path(path))
        for number in range(len(structure) - 1, -1, -1):
            if number != model:
                del structure[number]
        blocks_left = _set_in_file(structure[0], item, values, rest)
    else:
        structure = gemmi.Structure()
        structure.add_model(gemmi.Model(1))
        blocks_left = np.arange(item.n_blocks)
    if len(blocks_left):
        _add_blocks(structure[0], item, values, blocks_left)
    structure.setup_entities()
    structure.assign_serial_numbers()
    return structure


def whole_file(path: Path) -> gemmi.Structure:
    """All that a structure file says of its atoms, water and alternative positions included; StructureError."""
    content = plain_text(unpacked(read_bytes(path, StructureError), path, StructureError), path)
    try:
        if CIF_START.match(content):
            document = gemmi.cif.read_string(content)
            return gemmi.make_structure_from_block(next(b for b in document if b.find_loop("_atom_site.Cartn_x")))
        try:
            return gemmi.read_pdb_string(content)
        except (ValueError, RuntimeError):
            return gemmi.read_pdb_string(repair_pdb(content))
    except (ValueError, RuntimeError, IndexError) as error:
        raise StructureError(f"can't be read again: {' '.join(str(error).split())[:200]}", path) from error


def _set_in_file(model: gemmi.Model, item: Item, values: np.ndarray, rest: float) -> np.ndarray:
    """Set the B-factors of all atoms of a model; returns the blocks that it does not hold."""
    tree, block = cKDTree(item.X), item.block_of_atom
    found = np.zeros(item.n_blocks, bool)
    for chain in model:
        for residue in chain:
            places = np.array([atom.pos.tolist() for atom in residue])
            away, nearest = tree.query(places)
            if not (away < SAME_PLACE).any():
                for atom in residue:
                    atom.b_iso = rest
                continue
            mine = np.unique(block[nearest[away < SAME_PLACE]])
            found[mine] = True
            atoms = np.flatnonzero(np.isin(block, mine))
            _, owner = cKDTree(item.X[atoms]).query(places)
            for atom, number in zip(residue, block[atoms][owner]):
                atom.b_iso = float(values[number])
    return np.flatnonzero(~found)


def _add_blocks(model: gemmi.Model, item: Item, values: np.ndarray, blocks: np.ndarray) -> None:
    """Residues of an item that no file holds, with made-up names of atoms (the element and a number)."""
    starts = np.cumsum(item.block_lengths) - item.block_lengths
    taken = {chain.name for chain in model}
    spare = next(name for name in "LXYZ" + "".join(map(chr, range(97, 123))) if name not in taken)
    chains: dict[str, gemmi.Chain] = {}
    residues: dict[tuple, gemmi.Residue] = {}
    for block in blocks.tolist():
        chain, name, number, icode = identity(item, block)
        chain = chain or spare
        residue = residues.get((chain, number, icode, name))
        if residue is None:
            residue = gemmi.Residue()
            residue.name, residue.seqid = name[:5] or "UNK", gemmi.SeqId(number, icode or " ")
            residue.het_flag = "H" if name == LIGAND_NAME else "A"
            residues[chain, number, icode, name] = residue
            chains.setdefault(chain, gemmi.Chain(chain))
        for place in range(starts[block], starts[block] + item.block_lengths[block]):
            atom = gemmi.Atom()
            atom.element = gemmi.Element(max(0, int(item.A[place]) - 2))
            same = sum(other.element == atom.element for other in residue)
            atom.name = f"{atom.element.name.upper()}{same + 1}"[:4]
            atom.pos = gemmi.Position(*map(float, item.X[place]))
            atom.b_iso, atom.occ = float(values[block]), 1.0
            residue.add_atom(atom)
    for (chain, *_), residue in residues.items():
        chains[chain].add_residue(residue)
    for added in chains.values():
        model.add_chain(added)


def identity(item: Item, block: int) -> tuple[str, str, int, str]:
    """Chain, residue name, number and insertion code of a block, as far as the item knows them."""
    known = [getattr(item, f"block_{name}") for name in ("chain", "resname", "resid", "icode")]
    chain, resname, resid, icode = (None if values is None else values[block] for values in known)
    return str(chain or ""), str(resname or ""), block + 1 if resid is None else int(resid), str(icode or "")


def write_structure(structure: gemmi.Structure, path: Path) -> None:
    """Write a structure in the format that the path's ending names, whole or not at all.

    Raises:
        ConfigError: another ending.
    """
    if path.suffix not in FORMATS:
        raise ConfigError(f"{path.name!r} has no known ending", "--structure_format", hint="cif or pdb")
    text = structure.make_pdb_string() if path.suffix == ".pdb" else structure.make_mmcif_document().as_string()
    atomic_write(path, text)


def chain_traces(structure: gemmi.Structure, item: Item) -> list[dict[str, Any]]:
    """The traces of the chains that take part, cut where residues are missing."""
    wanted = {} if item.block_chain is None else dict(zip(item.block_chain, item.segment_ids.tolist()))
    found: list[dict[str, Any]] = []
    for chain in structure[0]:
        if chain.name not in wanted:
            continue
        points: list[Sequence[float]] = []
        for residue in chain:
            atom = next((residue[name][0] for name in TRACE if name in residue and not residue.is_water()), None)
            reach = 0.0 if atom is None else TRACE.get(atom.name, 0.0)
            if points and (atom is None or np.linalg.norm(np.subtract(points[-1], atom.pos.tolist())) > reach):
                found.append({"segment": int(wanted[chain.name]), "points": points})
                points = []
            if atom is not None and atom.element.name != "Ca":
                points = [*points, [round(value, 2) for value in atom.pos.tolist()]]
        found.append({"segment": int(wanted[chain.name]), "points": points})
    return [trace for trace in found if len(trace["points"]) > 1]
