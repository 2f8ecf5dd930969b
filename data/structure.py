"""Structure files (PDB or mmCIF, plain or gzip) and Biopython structures -> heavy atoms and residues.

gemmi reads the files. What it would let pass (a coordinate that is no number becomes 0) is looked for in the text, and
lines that it refuses are repaired and read again.
"""

import codecs
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from configs.errors import StructureError
from configs.limits import check_limit
from configs.reading import read_bytes, unpacked
from data.atoms import Residues, clean
from data.pdb_text import AtomLines, repair_pdb
from data.raw_atoms import RawAtoms
from data.vocab import ATOMIC_NUMBER

log = logging.getLogger(__name__)
PLACE = ["Cartn_x", "Cartn_y", "Cartn_z"]
DEUTERIUM = 119  # gemmi's number for it
NO_NUMBER = -(2**31)  # gemmi's residue number where there is none
MOST_ASCII = 127
LONGEST_NAME = 7  # of chains, residues and atoms in gemmi's flat arrays
LONGEST_NUMBER = 9  # digits of a number that gemmi reads without an overflow
CIF_START = re.compile(rb"(?:\s|#[^\n]*\n)*data_", re.I)
PDB_RECORD = re.compile(rb"^(?:ATOM|HETATM|HEADER|CRYST1|MODEL |REMARK|TITLE |COMPND|SEQRES|EXPDTA|TER|END)", re.M)
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Structure(Residues):
    """The heavy atoms of one model of a structure, without water, one position an atom, grouped into residues.

    Attributes:
        path: where it comes from. Residues and atoms: see `Residues`.
    """

    path: str

    def chains(self) -> list[str]:
        """Chain ids (author's), in file order."""
        return list(dict.fromkeys(self.chain.tolist()))

    def place(self, residue: int) -> str:
        """A residue in words for messages: chain A residue 12B MET."""
        number = f"{self.resid[residue]}{self.icode[residue]}"
        return f"chain {self.chain[residue] or '(blank)'} residue {number} {self.resname[residue]}"


def read_structure(source: Any, model: int = 0) -> Structure:
    """Read one model of a structure.

    Args:
        source: path of a PDB or mmCIF file (the content decides which, and whether it is gzip), or a Biopython
            `Structure`.
        model: which model, counted from 0; all chains come from it.

    Raises:
        StructureError: the file can't be read, is cut off, holds no atoms, lacks the model, or has a coordinate that
            is no number or absurd; names file and atom.
    """
    if hasattr(source, "get_models"):
        path = str(getattr(source, "id", "")) or "structure"
        raw = _from_biopython(source, model, path)
    else:
        path = str(source)
        raw = _from_file(Path(source), model)
    return Structure(**vars(clean(raw, path)), path=path)


def _from_file(path: Path, model: int) -> RawAtoms:
    content = plain_text(unpacked(read_bytes(path, StructureError), path, StructureError), path)
    if not content.strip():
        raise StructureError("is empty", path)
    if CIF_START.match(content):
        return _from_mmcif(content, path, model)
    if not PDB_RECORD.search(content):
        raise StructureError("is neither PDB nor mmCIF", path)
    return _from_pdb(content, path, model)


def plain_text(content: bytes, path: str | Path) -> bytes:
    """Text without a byte order mark and with line ends of one kind.

    Raises:
        StructureError: it is binary.
    """
    if content[:2] in UTF16:
        content = content.decode("utf-16", errors="replace").encode()
    content = content.removeprefix(codecs.BOM_UTF8).rstrip(b"\0")  # some writers fill up their last block
    if b"\0" in content or content[:1] in (b"\x83", b"\x84", b"\x85", b"\xde"):
        raise StructureError("is binary", path, hint="text is read; convert BinaryCIF first")
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in content else content


def _from_mmcif(content: bytes, path: Path, model: int) -> RawAtoms:
    try:
        document = gemmi.cif.read_string(content)
        blocks = [b for b in document if len(b.find("_atom_site.", PLACE))]
        if not blocks:
            what = "holds no table of atoms (_atom_site) with their places"
            raise StructureError(what, path, hint="a coordinate file is needed")
        block, *others = blocks
        if others:
            log.warning("%s: %d more blocks of data with atoms are left out", path, len(others))
        _check_numbers(block, path)
        elements = len(block.find("_atom_site.", ["type_symbol"])) > 0
        _fill_in(block, path)
        read = gemmi.make_structure_from_block(block)
        parents = _parents(read)
        for name, parent in block.find("_chem_comp.", ["id", "mon_nstd_parent_comp_id"]):
            if parent not in (".", "?", "") and "," not in parent:
                parents.setdefault(gemmi.cif.as_string(name), gemmi.cif.as_string(parent))
    except (ValueError, RuntimeError, IndexError) as error:
        raise StructureError(f"is not valid mmCIF: {_one_line(error)}", path) from error
    return _from_gemmi(read, path, model, parents, set() if elements else None)


def _check_numbers(block: gemmi.cif.Block, path: Path) -> None:
    """Refuse more atoms than the limit, and numbers of residues and models that gemmi would cut off."""
    check_limit("holds {} atoms", len(block.find("_atom_site.", ["Cartn_x"])), "max_atoms", StructureError, path)
    for name in ("auth_seq_id", "label_seq_id", "pdbx_PDB_model_num"):
        for value in set(block.find_values(f"_atom_site.{name}")):
            if len(value) > LONGEST_NUMBER:
                raise StructureError(f"has the {name} {value[:40]!r}", path, hint="no number of a residue or model")


def _fill_in(block: gemmi.cif.Block, path: Path) -> None:
    """Fill in columns that gemmi needs and atoms can do without; of the names of chains one is enough."""
    if not any(block.find_values(f"_atom_site.{name}") for name in ("auth_asym_id", "label_asym_id")):
        raise StructureError("has no names of chains (_atom_site.auth_asym_id or label_asym_id)", path)
    loop = block.find_values("_atom_site.Cartn_x").get_loop()
    for name in ("label_asym_id", "id", "type_symbol", "label_alt_id"):
        if loop is not None and not block.find_values(f"_atom_site.{name}"):
            loop.add_columns([f"_atom_site.{name}"], "?")


def _from_pdb(content: bytes, path: Path, model: int) -> RawAtoms:
    lines = AtomLines(content)
    check_limit("holds {} atoms", len(lines.starts), "max_atoms", StructureError, path)
    lines.check(path)
    if lines.behind_end():
        log.warning("%s: %d atoms behind the END record are left out", path, lines.behind_end())
    try:
        read = gemmi.read_pdb_string(content)
    except (ValueError, RuntimeError) as refused:
        try:
            read = gemmi.read_pdb_string(repair_pdb(content))
        except (ValueError, RuntimeError):
            raise StructureError(f"is not valid PDB: {_one_line(refused)}", path) from refused
    raw = _from_gemmi(read, path, model, _parents(read), lines.without_element())
    # A residue number of five digits runs into the column of the insertion code.
    digit = np.where((raw.icode >= ord("0")) & (raw.icode <= ord("9")), raw.icode.astype(np.int32) - ord("0"), -1)
    longer = raw.resid * 10 + np.where(raw.resid < 0, -digit, digit)
    return raw._replace(
        resid=np.where(digit >= 0, longer, raw.resid), icode=np.where(digit >= 0, 0, raw.icode).astype(np.uint8)
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _parents(read: gemmi.Structure) -> dict[str, str]:
    parents: dict[str, set[str]] = {}
    try:
        for modified in read.mod_residues:
            parents.setdefault(modified.res_id.name, set()).add(modified.parent_comp_id)
    except UnicodeDecodeError:  # names that are no text belong to no residue
        return {}
    return {name: found.pop() for name, found in parents.items() if len(found) == 1 and name not in found}


def _from_gemmi(
    read: gemmi.Structure, path: Path, model: int, parents: dict[str, str], lacking: set[tuple[bytes, bytes]] | None
) -> RawAtoms:
    """Flat arrays of one model. `lacking`: (residue, atom) names without an element in the file; None: all of them."""
    flat, long_names = _flat(read, path)
    numbers = flat.model_num
    _, starts = np.unique(numbers, return_index=True)
    if not len(starts):
        raise StructureError("holds no atoms", path)
    mask = numbers == _model_number(numbers[np.sort(starts)], model, path)

    def text(array: Any) -> np.ndarray:
        chosen = np.ascontiguousarray(array[mask])
        if (chosen.view(np.uint8) > MOST_ASCII).any():
            raise StructureError("has names that are no plain text", path)
        return chosen.view("S8")[:, 0]

    resname, name = text(flat.residue_names), text(flat.atom_names)
    unknown = np.full(len(name), lacking is None)
    if lacking:
        unknown = np.array([pair in lacking for pair in zip(resname.tolist(), name.tolist())])
    if (flat.resnums[mask] == NO_NUMBER).any():
        atom = int(np.argmax(flat.resnums[mask] == NO_NUMBER))
        raise StructureError("has no residue number", path, f"atom {atom + 1}, {resname[atom].decode('latin-1')}")
    chain = text(flat.chain_ids)
    if not chain.any():
        chain = _segments([m for m in read if m.count_atom_sites()][model], chain)
    return RawAtoms(
        chain=long_names(chain),
        resid=flat.resnums[mask],
        icode=np.where(flat.icodes[mask] == 32, 0, flat.icodes[mask]).astype(np.uint8),
        resname=long_names(resname),
        name=name,
        altloc=flat.altlocs[mask].astype(np.uint8),
        occupancy=flat.occ[mask],
        element=np.where(flat.elements[mask] == DEUTERIUM, 1, flat.elements[mask]).astype(np.uint8),
        X=flat.pos[mask],
        hetero=flat.het_flags[mask] == ord("H"),
        element_lacking=unknown,
        parents=parents,
    )


def _segments(model: gemmi.Model, chain: np.ndarray) -> np.ndarray:
    """[atoms] Chain names of a model whose chains have none: its segments where every atom is in one of several (as
    CHARMM, NAMD and their like write files), else none."""
    residues = [residue for one in model for residue in one]
    try:
        segments = [residue.segment.strip() for residue in residues]
    except UnicodeDecodeError:  # damaged, or no names
        return chain
    if "" in segments or len(set(segments)) < 2:
        return chain
    return np.repeat(np.array(segments).astype("S8"), [len(residue) for residue in residues])


def _flat(read: gemmi.Structure, path: Path) -> tuple[gemmi.FlatStructure, Callable[[np.ndarray], np.ndarray]]:
    """Flat arrays, which hold names of up to seven letters, and a function that puts longer ones back."""
    try:
        return gemmi.FlatStructure(read), lambda names: names
    except UnicodeDecodeError as error:
        raise StructureError("has names that are no plain text", path) from error
    except RuntimeError:
        pass
    by_name: dict[str, str] = {}

    def short(name: str) -> str:
        if len(name.encode()) <= LONGEST_NAME:
            return name
        return by_name.setdefault(name, f"\x01{len(by_name)}")

    for model in read:
        for chain in model:
            chain.name = short(chain.name)
            for residue in chain:
                residue.name, residue.subchain = short(residue.name), ""
    stand_ins = {stand_in: name.encode() for name, stand_in in by_name.items()}
    try:
        flat = gemmi.FlatStructure(read)
    except (RuntimeError, UnicodeDecodeError) as error:
        raise StructureError(f"has names that are too long: {_one_line(error)}", path) from error
    return flat, lambda names: np.array([stand_ins.get(n.decode("latin-1"), n) for n in names.tolist()])


def _model_number(models: np.ndarray, model: int, path: str | Path) -> int:
    if not 0 <= model < len(models):
        raise StructureError(f"has no model {model}, only {len(models)} (counted from 0)", path)
    return int(models[model])


def _from_biopython(source: Any, model: int, path: str) -> RawAtoms:
    models = list(source.get_models())
    if not models:
        raise StructureError("holds no atoms", path)
    _model_number(np.arange(len(models)), model, path)
    rows = []
    for chain in models[model]:
        for residue in chain.get_unpacked_list():
            hetero, number, icode = residue.id
            for atom in residue.get_unpacked_list():
                rows.append((chain.id, number, icode, residue.get_resname(), atom, hetero.strip() != ""))
    if not rows:
        raise StructureError("holds no atoms", path)
    chains, resids, icodes, resnames, atoms, heteros = zip(*rows)
    elements = [
        ATOMIC_NUMBER.get({"D": "H"}.get(e, e), 0) for e in (str(a.element or "").strip().upper() for a in atoms)
    ]
    occupancies = [a.get_occupancy() for a in atoms]
    return RawAtoms(
        chain=np.char.strip(np.array(chains)).astype("S8"),
        resid=np.array(resids, np.int32),
        icode=np.array([ord(i) if i.strip() else 0 for i in icodes], np.uint8),
        resname=np.char.strip(np.array(resnames)).astype("S8"),
        name=np.array([a.get_name().strip() for a in atoms], "S8"),
        altloc=np.array([ord(a.get_altloc()) if a.get_altloc().strip() else 0 for a in atoms], np.uint8),
        occupancy=np.array([1.0 if o is None else o for o in occupancies], np.float32),
        element=np.array(elements, np.uint8),
        X=np.array([a.get_coord() for a in atoms], np.float64),
        hetero=np.array(heteros),
        element_lacking=np.array(elements) == 0,
        parents={},
    )
