"""Structure files (PDB or mmCIF, plain or gzip) and Biopython structures -> heavy atoms and residues.

gemmi reads the files. What it would let pass (a coordinate that is no number becomes 0) is looked for in the text, and
lines that it refuses are repaired and read again.
"""

import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from configs.errors import StructureError
from data.atoms import RawAtoms, Residues, clean
from data.pdb_text import AtomLines, repair_pdb
from data.vocab import ATOMIC_NUMBER

MAX_BYTES = 2**31  # of text; larger files are refused rather than unpacked
MOST_PACKED = 1032  # bytes of text in a byte of gzip data, at most
DEUTERIUM = 119  # gemmi's number for it
CIF_START = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s|#[^\n]*\n)*data_", re.I)
PDB_RECORD = re.compile(rb"^(?:ATOM  |HETATM|HEADER|CRYST1|MODEL |REMARK|TITLE |COMPND|SEQRES|EXPDTA|TER|END)", re.M)


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


def read_bytes(path: Path) -> bytes:
    """Content of a file, unpacked where it is gzip by content.

    Raises:
        StructureError: no such file, damaged or oversized gzip data.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else f"can't be read: {error.strerror}"
        raise StructureError(what, path) from error
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        if len(content) * MOST_PACKED <= MAX_BYTES:
            return gzip.decompress(content)
        with gzip.open(path) as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise StructureError(f"is damaged gzip data: {error}", path, hint="cut off? copy it again") from error
    if len(content) > MAX_BYTES:
        raise StructureError(f"unpacks to more than {MAX_BYTES} bytes", path)
    return content


def _from_file(path: Path, model: int) -> RawAtoms:
    content = read_bytes(path)
    if not content.strip():
        raise StructureError("is empty", path)
    if b"\0" in content[:4096] or content[0] in b"\x83\x84\x85\xde":
        raise StructureError("is binary", path, hint="PDB or mmCIF text is read; convert BinaryCIF first")
    if CIF_START.match(content):
        return _from_mmcif(content, path, model)
    if not PDB_RECORD.search(content):
        raise StructureError("is neither PDB nor mmCIF", path)
    return _from_pdb(content, path, model)


def _from_mmcif(content: bytes, path: Path, model: int) -> RawAtoms:
    try:
        document = gemmi.cif.read_string(content)
        block = next((b for b in document if len(b.find("_atom_site.", ["Cartn_x"]))), None)
        if block is None:
            raise StructureError("holds no table of atoms (_atom_site)", path, hint="a coordinate file is needed")
        read = gemmi.make_structure_from_block(block)
    except (ValueError, RuntimeError, IndexError) as error:
        raise StructureError(f"is not valid mmCIF: {_one_line(error)}", path) from error
    parents = _parents(read)
    for name, parent in block.find("_chem_comp.", ["id", "mon_nstd_parent_comp_id"]):
        if parent not in (".", "?", "") and "," not in parent:
            parents.setdefault(gemmi.cif.as_string(name), gemmi.cif.as_string(parent))
    if not len(block.find("_atom_site.", ["type_symbol"])):
        return _from_gemmi(read, path, model, parents, None)
    return _from_gemmi(read, path, model, parents, set())


def _from_pdb(content: bytes, path: Path, model: int) -> RawAtoms:
    lines = AtomLines(content)
    lines.check(path)
    try:
        read = gemmi.read_pdb_string(content)
    except (ValueError, RuntimeError) as refused:
        try:
            read = gemmi.read_pdb_string(repair_pdb(content))
        except (ValueError, RuntimeError):
            raise StructureError(f"is not valid PDB: {_one_line(refused)}", path) from refused
    return _from_gemmi(read, path, model, _parents(read), lines.without_element())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _parents(read: gemmi.Structure) -> dict[str, str]:
    parents: dict[str, set[str]] = {}
    for modified in read.mod_residues:
        parents.setdefault(modified.res_id.name, set()).add(modified.parent_comp_id)
    return {name: found.pop() for name, found in parents.items() if len(found) == 1 and name not in found}


def _from_gemmi(
    read: gemmi.Structure, path: Path, model: int, parents: dict[str, str], lacking: set[tuple[bytes, bytes]] | None
) -> RawAtoms:
    """Flat arrays of one model. `lacking`: (residue, atom) names without an element in the file; None: all of them."""
    flat = gemmi.FlatStructure(read)
    numbers = flat.model_num
    _, starts = np.unique(numbers, return_index=True)
    if not len(starts):
        raise StructureError("holds no atoms", path)
    mask = numbers == _model_number(numbers[np.sort(starts)], model, path)

    def text(array: Any) -> np.ndarray:
        return np.ascontiguousarray(array[mask]).view("S8")[:, 0]

    resname, name = text(flat.residue_names), text(flat.atom_names)
    unknown = np.full(len(name), lacking is None)
    if lacking:
        unknown = np.array([pair in lacking for pair in zip(resname.tolist(), name.tolist())])
    return RawAtoms(
        chain=text(flat.chain_ids),
        resid=flat.resnums[mask],
        icode=np.where(flat.icodes[mask] == 32, 0, flat.icodes[mask]).astype(np.uint8),
        resname=resname,
        name=name,
        altloc=flat.altlocs[mask].astype(np.uint8),
        occupancy=flat.occ[mask],
        element=np.where(flat.elements[mask] == DEUTERIUM, 1, flat.elements[mask]).astype(np.uint8),
        X=flat.pos[mask],
        hetero=flat.het_flags[mask] == ord("H"),
        element_lacking=unknown,
        parents=parents,
    )


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
