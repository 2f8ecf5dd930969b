"""From the atoms as a file lists them to clean residues: elements told apart, one position an atom, polymers known."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from configs.errors import StructureError
from data.raw_atoms import RawAtoms, check_distinct, check_places, check_repeats, starts_of, text_of
from data.residues import (
    AMINO,
    DNA,
    RNA,
    Meaning,
    element_in_polymer,
    element_of_name,
    is_water,
    meaning_of,
)

SAME_PLACE = 0.1  # Å between two records of one atom
SAME_SITE = 1.0  # Å between the nearest atoms of two alternative residues
PEPTIDE_BOND, PHOSPHODIESTER_BOND = 1.9, 2.1  # Å, upper bounds
ALPHA_CARBONS = 2.7, 4.2  # Å between those of neighbours in a chain: 2.9 across a cis peptide bond, else 3.8
UNKNOWN = b"UNK"
CARBON = 6


@dataclass(frozen=True)
class Residues:
    """Residues and their heavy atoms.

    Attributes:
        chain, resid, icode, resname: [residues] author's numbering; text is str.
        starts: [residues + 1] first atom of each residue.
        kind: [residues] OTHER, AMINO, DNA or RNA. standard: [residues] the residue of the vocabulary it is ("": none).
        modified: [residues] has atoms of its own beside those of the standard residue.
        polymer: [residues] is a part of a chain molecule; the others are ligands and ions.
        name: [atoms] S8. element: [atoms] atomic number, 0 where unknown. X: [atoms, 3] float64, Å.
    """

    chain: np.ndarray
    resid: np.ndarray
    icode: np.ndarray
    resname: np.ndarray
    starts: np.ndarray
    kind: np.ndarray
    standard: np.ndarray
    modified: np.ndarray
    polymer: np.ndarray
    name: np.ndarray
    element: np.ndarray
    X: np.ndarray

    @property
    def n_residues(self) -> int:
        return len(self.resid)

    def atoms_of(self, residues: np.ndarray) -> np.ndarray:
        """Atom indices of some residues, residue after residue."""
        first, length = self.starts[residues], np.diff(self.starts)[residues]
        ends = np.cumsum(length)
        return np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(first - (ends - length), length)


def clean(raw: RawAtoms, path: str) -> Residues:
    """Sort atoms into residues; drop water, hydrogens, all but one position of each atom and repeated records.

    Raises:
        StructureError: nothing is left, or a coordinate is no number or absurd.
    """
    check_places(raw, path)
    raw = raw._replace(occupancy=np.nan_to_num(raw.occupancy, posinf=0.0, neginf=0.0))
    raw, residue, meanings = _group(raw)
    raw = raw._replace(element=_elements(raw, residue, meanings))
    dry = np.array([not is_water(name) for name in text_of(raw.resname[starts_of(residue)])])
    raw = raw.take(keep := (raw.element != 1) & dry[residue])
    residue = residue[keep]
    raw = raw.take(keep := one_residue(raw, residue, meanings))
    residue = residue[keep]
    if raw.altloc.any():
        raw = raw.take(keep := _one_position(raw, residue))
        residue = residue[keep]
    check_repeats(raw, residue, meanings, path)
    keep = _first_records(raw, residue, meanings)
    raw, residue = raw.take(keep), residue[keep]
    if not len(residue):
        raise StructureError("holds no heavy atoms beside water", path)
    check_distinct(raw, residue, path)
    present, residue = np.unique(residue, return_inverse=True)
    return _finish(raw, residue, [meanings[i] for i in present])


def _group(raw: RawAtoms) -> tuple[RawAtoms, np.ndarray, list[Meaning]]:
    """Atoms in residue order, [atoms] residue number, and what each residue is. Scattered residues are joined."""
    new = np.ones(len(raw.resid), bool)
    new[1:] = (
        (np.diff(raw.resid) != 0)
        | (np.diff(raw.icode.astype(int)) != 0)
        | (raw.chain[1:] != raw.chain[:-1])
        | (raw.resname[1:] != raw.resname[:-1])
    )
    first = np.flatnonzero(new)
    keys = zip(*(values[first].tolist() for values in (raw.chain, raw.resid, raw.icode, raw.resname)))
    number: dict[tuple, int] = {}
    run = np.array([number.setdefault(key, len(number)) for key in keys])
    residue = run[np.cumsum(new) - 1]
    if len(number) < len(first):
        order = np.argsort(residue, kind="stable")
        raw, residue = raw.take(order), residue[order]
    names = [key[3].decode("latin-1") for key in number]
    return raw, residue, [meaning_of(name, raw.parents.get(name, "")) for name in names]


def _elements(raw: RawAtoms, residue: np.ndarray, meanings: list[Meaning]) -> np.ndarray:
    """Atomic numbers: by the atom's name in standard residues, as given elsewhere, guessed where nothing is given."""
    element = raw.element.copy()
    plain = np.array([bool(m.standard) and not m.modified for m in meanings])[residue]
    names, place = np.unique(raw.name.view(np.int64), return_inverse=True)
    by_name = np.array([element_in_polymer(name) for name in text_of(names.view("S8"))], np.uint8)[place]
    element = np.where(plain & (by_name > 0), by_name, element)
    size = np.bincount(residue)
    for i in np.flatnonzero(~plain & (raw.element_lacking | (element == 0))):
        name, resname = text_of(np.array([raw.name[i], raw.resname[i]]))
        if meanings[residue[i]].standard and by_name[i]:
            element[i] = by_name[i]
        else:
            element[i] = element_of_name(name, resname, alone=size[residue[i]] == 1)
    return element


def one_residue(raw: RawAtoms, residue: np.ndarray, meanings: list[Meaning]) -> np.ndarray:
    """[atoms] which to keep so that no two standard residues of one number overlap: the one with the higher occupancy.

    Files may give alternative residues letters (those are told apart later), or only one of them, or none.
    """
    keep = np.ones(len(residue), bool)
    first = starts_of(residue)
    ends = np.append(first[1:], len(residue))
    sites: dict[tuple, list[int]] = {}
    for run, i in enumerate(first.tolist()):
        if meanings[residue[i]].standard:
            sites.setdefault((raw.chain[i], raw.resid[i], raw.icode[i]), []).append(run)
    for runs in sites.values():
        if len(runs) > 1 and not all((raw.altloc[first[r] : ends[r]] > 0).all() for r in runs):
            best, *others = sorted(runs, key=lambda r: -_highest(raw, slice(first[r], ends[r])))
            tree = cKDTree(raw.X[first[best] : ends[best]])
            for r in others:
                if tree.query(raw.X[first[r] : ends[r]])[0].min() < SAME_SITE:
                    keep[first[r] : ends[r]] = False
    return keep


def _highest(raw: RawAtoms, span: slice) -> float:
    """Mean occupancy of the best conformation of a residue."""
    letters, occupancy = raw.altloc[span], raw.occupancy[span]
    lettered = [float(occupancy[letters == letter].mean()) for letter in np.unique(letters[letters > 0])]
    return max(lettered, default=float(occupancy.mean()))


def _one_position(raw: RawAtoms, residue: np.ndarray) -> np.ndarray:
    """[atoms] which to keep so that every residue has one conformation: the one with the highest mean occupancy (the
    first of equals), with the atoms that have no alternative. Where alternatives are different residues, one stays."""
    keep = np.ones(len(residue), bool)
    first = starts_of(residue)
    ends = np.append(first[1:], len(residue))
    sites: dict[tuple, list[int]] = {}
    for i in np.unique(residue[raw.altloc > 0]):
        at = np.searchsorted(residue[first], i)
        key = (raw.chain[first[at]], raw.resid[first[at]], raw.icode[first[at]])
        sites.setdefault(key, []).append(int(at))
    for runs in sites.values():
        best: dict[tuple[int, int], float] = {}
        for r in runs:
            span = slice(first[r], ends[r])
            for letter in np.unique(raw.altloc[span][raw.altloc[span] > 0]):
                chosen = raw.altloc[span] == letter
                best[r, int(letter)] = float(raw.occupancy[span][chosen].mean())
        # Alternatives of one site: residues of several names that all carry letters.
        rivals = [r for r in runs if (raw.altloc[first[r] : ends[r]] > 0).all()]
        winner = max((k for k in best if k[0] in rivals), key=lambda k: best[k]) if len(rivals) > 1 else None
        for r in runs:
            span = slice(first[r], ends[r])
            if winner is not None and r in rivals and r != winner[0]:
                keep[span] = False
                continue
            letter = max((k for k in best if k[0] == r), key=lambda k: (best[k], -k[1]))[1]
            keep[span] = (raw.altloc[span] == 0) | (raw.altloc[span] == letter)
    return keep


def _first_records(raw: RawAtoms, residue: np.ndarray, meanings: list[Meaning]) -> np.ndarray:
    """[atoms] False for repeated records: of a name in a residue that has a dictionary, of a place elsewhere.

    The record with the higher occupancy stays, or the first. Ligands may name several atoms alike.
    """
    keep = np.ones(len(residue), bool)
    named = np.array([bool(m.standard) for m in meanings], bool)[residue]
    for i in _repeated(residue, raw.name.view(np.int64), raw.occupancy, named):
        keep[i] = False
    rest = np.flatnonzero(~named)
    if len(rest) > 1:
        for i, j in np.sort(cKDTree(raw.X[rest]).query_pairs(SAME_PLACE, output_type="ndarray"), axis=1):
            a, b = rest[i], rest[j]
            if residue[a] == residue[b] and raw.name[a] == raw.name[b] and keep[a] and keep[b]:
                keep[a if raw.occupancy[b] > raw.occupancy[a] else b] = False
    return keep


def _repeated(residue: np.ndarray, name: np.ndarray, occupancy: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Indices of all but the best record of each (residue, name)."""
    index = np.flatnonzero(among)
    order = index[np.lexsort((index, -occupancy[index], name[index], residue[index]))]
    same = (np.diff(residue[order]) == 0) & (np.diff(name[order]) == 0)
    return order[1:][same]


def _finish(raw: RawAtoms, residue: np.ndarray, meanings: list[Meaning]) -> Residues:
    first = starts_of(residue)
    polymer = _polymer(raw, residue, meanings)
    kind = np.array([m.kind for m in meanings], np.uint8)
    unknown = _unknown_residues(raw, residue, polymer)
    polymer |= unknown
    kind[unknown] = AMINO
    standard = [m.standard for m in meanings]
    _tell_acids(raw, residue, meanings, kind, standard)
    return Residues(
        chain=np.array(text_of(raw.chain[first])),
        resid=raw.resid[first].astype(np.int32),
        icode=np.array([chr(code) if code else "" for code in raw.icode[first].tolist()]),
        resname=np.array(text_of(raw.resname[first])),
        starts=np.append(first, len(residue)),
        kind=kind,
        standard=np.array(standard),
        modified=np.array([m.modified for m in meanings]),
        polymer=polymer,
        name=raw.name,
        element=raw.element,
        X=raw.X,
    )


def _polymer(raw: RawAtoms, residue: np.ndarray, meanings: list[Meaning]) -> np.ndarray:
    """[residues] Standard residues in ATOM records and known modifications; others where bonded into a chain."""
    hetero = raw.hetero[starts_of(residue)]
    known = np.array([bool(m.standard) for m in meanings])
    modified = np.array([m.modified for m in meanings])
    polymer = (known & ~hetero) | (modified & np.array([m.kind == AMINO for m in meanings]))
    if polymer.all():
        return polymer
    for head, tail, longest in ((b"C", b"N", PEPTIDE_BOND), (b"O3'", b"P", PHOSPHODIESTER_BOND)):
        is_head = (raw.name == head) | (raw.name == head.replace(b"'", b"*"))
        heads, tails = np.flatnonzero(is_head), np.flatnonzero(raw.name == tail)
        if not len(heads) or not len(tails):
            continue
        distance, nearest = cKDTree(raw.X[tails]).query(raw.X[heads], distance_upper_bound=longest)
        bonded = np.isfinite(distance)
        a, b = heads[bonded], tails[nearest[bonded]]
        chained = (raw.chain[a] == raw.chain[b]) & (residue[a] != residue[b])
        polymer[residue[a[chained]]] = polymer[residue[b[chained]]] = True
    return polymer


def _unknown_residues(raw: RawAtoms, residue: np.ndarray, polymer: np.ndarray) -> np.ndarray:
    """[residues] Amino acids of unknown type (UNK), of which entries have whole chains; ligands may have that name too.

    Those are amino acids that are bonded into a chain, or have the backbone of one in ATOM records, or whose alpha
    carbon, often all there is, is as far from that of another residue of the chain as in a chain.
    """
    first = starts_of(residue)
    found = raw.resname[first] == UNKNOWN
    if not found.any():
        return found
    alpha = (raw.name == b"CA") & (raw.element == CARBON)
    has = {name: np.bincount(residue[raw.name == name], minlength=len(first)) > 0 for name in (b"N", b"C")}
    backbone = has[b"N"] & has[b"C"] & ~raw.hetero[first]
    atoms = np.flatnonzero(alpha)
    near = cKDTree(raw.X[atoms]).query_pairs(ALPHA_CARBONS[1], output_type="ndarray") if len(atoms) > 1 else None
    traced = np.zeros(len(first), bool)
    if near is not None and len(near):
        a, b = atoms[near].T
        apart = np.linalg.norm(raw.X[a] - raw.X[b], axis=1) > ALPHA_CARBONS[0]
        same = apart & (raw.chain[a] == raw.chain[b]) & (residue[a] != residue[b])
        traced[residue[a[same]]] = traced[residue[b[same]]] = True
    has_alpha = np.bincount(residue[alpha], minlength=len(first)) > 0
    return found & has_alpha & (polymer | backbone | traced)


def _tell_acids(
    raw: RawAtoms, residue: np.ndarray, meanings: list[Meaning], kind: np.ndarray, standard: list[str]
) -> None:
    """Tell DNA from RNA, in place, where the name leaves it open: by the sugar, else by the rest of the chain."""
    open_ones = [i for i, m in enumerate(meanings) if m.base]
    if not open_ones:
        return
    sugar = np.bincount(residue[np.isin(raw.name, (b"C2'", b"C2*"))], minlength=len(meanings)) > 0
    hydroxyl = np.bincount(residue[np.isin(raw.name, (b"O2'", b"O2*"))], minlength=len(meanings)) > 0
    chain = raw.chain[starts_of(residue)]
    undecided = {i for i in open_ones if meanings[i].base != "U" and not sugar[i] and not hydroxyl[i]}
    for i in open_ones:
        if i not in undecided:
            rna = meanings[i].base == "U" or hydroxyl[i]
            kind[i], standard[i] = _acid(meanings[i].base, rna)
    decided = np.array([i not in undecided for i in range(len(meanings))])
    deoxy = set(chain[decided & (kind == DNA)].tolist()) | {chain[i] for i in undecided if meanings[i].base == "T"}
    for i in undecided:
        kind[i], standard[i] = _acid(meanings[i].base, chain[i] not in deoxy)


def _acid(base: str, rna: bool) -> tuple[int, str]:
    if rna:
        return RNA, "R" + ("U" if base == "T" else base)
    return DNA, "D" + base
