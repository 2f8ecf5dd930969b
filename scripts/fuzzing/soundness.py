"""What a sound result looks like, judged without the code that made it: an empty list means nothing is wrong."""

import re
from collections.abc import Iterator

import numpy as np

from data.index import Row
from data.item import FIELDS, Item
from data.structure import Structure
from data.vocab import ELEMENTS, MODALITIES, Vocabulary

ROUNDING = 2e-3  # Å
FARTHEST = 1e4
TOKEN = re.compile(rb"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?|[-+]?\.\d+")
RECORDS = (b"ATOM", b"HETA")


def structure_faults(structure: Structure, content: bytes) -> Iterator[str]:
    """What is wrong with a structure, given the (unpacked) text that it was read from."""
    n, atoms = structure.n_residues, len(structure.X)
    if not n or structure.starts[0] != 0 or structure.starts[-1] != atoms or (np.diff(structure.starts) < 1).any():
        yield "residues do not share out the atoms"
        return
    if not np.isfinite(structure.X).all() or (np.abs(structure.X) > FARTHEST).any():
        yield "coordinates that are no numbers or absurd"
    if (structure.element == 1).any() or (structure.element > len(ELEMENTS)).any():
        yield "hydrogens or unknown elements among the heavy atoms"
    if len({len(getattr(structure, name)) for name in ("chain", "resid", "icode", "resname", "kind", "polymer")}) != 1:
        yield "columns of residues of different length"
    text = plain(content)
    if b"_atom_site" in text:
        known = numbers_of(text)
        if not known_coordinates(structure.X, known):
            yield "a coordinate that the file does not hold"
    else:
        yield from _unlike_lines(structure, text)


def plain(content: bytes) -> bytes:
    """Text with line ends of one kind and without marks of its encoding, as simply as can be."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        content = content.decode("utf-16", "replace").encode()
    return content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def numbers_of(text: bytes) -> np.ndarray:
    """All numbers in a text, sorted, to three decimals."""
    found = [float(token) for token in TOKEN.findall(text) if len(token) < 30]
    return np.unique(np.round([f for f in found if abs(f) < FARTHEST], 3))


def known_coordinates(X: np.ndarray, known: np.ndarray) -> bool:
    """Whether all coordinates are among sorted numbers."""
    if not len(known):
        return not len(X)
    place = np.clip(np.searchsorted(known, X.ravel()), 1, len(known) - 1) if len(known) > 1 else np.zeros(X.size, int)
    nearest = np.minimum(np.abs(known[place] - X.ravel()), np.abs(known[place - 1] - X.ravel()))
    return bool((nearest < ROUNDING).all())


def _unlike_lines(structure: Structure, text: bytes) -> Iterator[str]:
    """Atoms that no line of a PDB file describes: chain, residue, name and place in their columns."""
    lines = set()
    for line in text.split(b"\n"):
        if line[:4].upper() in RECORDS:
            residue, name = line[17:20].strip(), line[12:16].strip()
            try:
                place = tuple(round(float(line[i : i + 8]), 2) + 0.0 for i in (30, 38, 46))
            except ValueError:
                continue
            lines |= {(name, residue, place), (name, line[17:21].strip(), place)}
    owner = np.repeat(np.arange(structure.n_residues), np.diff(structure.starts))
    for i, (name, x) in enumerate(zip(structure.name.tolist(), structure.X)):
        residue = str(structure.resname[owner[i]]).encode("latin-1")
        if (name, residue, tuple(round(float(v), 2) + 0.0 for v in x)) not in lines:
            yield f"atom {name!r} of {structure.place(int(owner[i]))} at {x.tolist()} is in no line"
            return


def item_faults(item: Item, vocabulary: Vocabulary, cutoff: float) -> Iterator[str]:
    """What is wrong with an interface."""
    counts = item.counts()
    for name, field in FIELDS.items():
        value = getattr(item, name)
        if value is not None and field.level != "item" and len(value) != counts[field.level]:
            yield f"{name} has {len(value)} entries for {counts[field.level]} {field.level}s"
            return
    if item.n_blocks < 2 or (item.block_lengths < 1).any() or int(item.block_lengths.sum()) != item.n_atoms:
        yield "blocks do not share out the atoms"
        return
    if item.segment_ids.tolist() != sorted(item.segment_ids.tolist()) or set(item.segment_ids.tolist()) != {0, 1}:
        yield "segments are not 0 and then 1"
        return
    if not np.isfinite(item.X).all():
        yield "coordinates that are no numbers"
        return
    if int(item.B.max()) >= vocabulary.size or int(item.A.max()) > len(ELEMENTS) + 2:
        yield "types outside the vocabulary"
    if not 0 <= item.modality < len(MODALITIES):
        yield "no kind of complex"
    yield from _far_blocks(item, cutoff)
    yield from _wrong_torsions(item)


def _far_blocks(item: Item, cutoff: float) -> Iterator[str]:
    sides = [item.segment_of_atom == side for side in (0, 1)]
    owner = item.block_of_atom
    for one, other in (sides, sides[::-1]):
        there = item.X[other].astype(float)
        nearest = np.full(item.n_blocks, np.inf)
        for block, x in zip(owner[one], item.X[one].astype(float)):
            nearest[block] = min(nearest[block], np.sqrt(((there - x) ** 2).sum(axis=1)).min())
        if (nearest[np.unique(owner[one])] > cutoff + ROUNDING).any():
            yield "a block that is far from the other side"


def _wrong_torsions(item: Item) -> Iterator[str]:
    if item.tor_bonds is None or not len(item.tor_bonds):
        return
    assert item.tor_moved_lengths is not None and item.tor_moved is not None
    if item.tor_bonds.min() < 0 or item.tor_bonds.max() >= item.n_atoms or (item.tor_moved_lengths < 1).any():
        yield "rotatable bonds outside the item"
    elif item.tor_moved.min() < 0 or item.tor_moved.max() >= item.n_atoms:
        yield "bonds that turn atoms outside the item"
    elif (np.diff(item.segment_of_atom[item.tor_bonds].astype(int), axis=1) != 0).any():
        yield "a rotatable bond between the sides"


def index_faults(rows: list[Row], text: str) -> Iterator[str]:
    """What is wrong with the rows of an index."""
    lines = text.count("\n") + text.count("\r") + 1
    if len({row.pdb_id for row in rows}) != len(rows):
        yield "rows of one name"
    numbers = [row.line for row in rows]
    if numbers != sorted(set(numbers)) or not rows or numbers[0] < 2 or numbers[-1] > lines:
        yield "line numbers that can't be"
    if any(value and value.strip() not in text for row in rows for value in (row.chain1, row.lig_code, row.pdb_path)):
        yield "a value that the file does not hold"
