"""Which residues an index row means: chains, ligands by code and number, glycans; and what kind of complex it is."""

import re

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from configs.errors import DataError, StructureError
from data.elements import NON_METALS
from data.interface import BOND, CUTOFF, Partner
from data.residues import AMINO, DNA, OTHER, RNA, is_sugar
from data.structure import Structure
from data.vocab import MODALITIES

PEPTIDE = range(3, 31)  # residues of a peptide beside a longer protein
RESIDUE_NUMBER = re.compile(r"(-?\d+)(?:\.0)?([A-Za-z]?)")  # 301, -4, 52A; 301.0 as spreadsheets write it

# Names of complexes as data sets spell them -> ours.
SPELLINGS = {
    **{name.lower(): name for name in MODALITIES},
    "protein-protein": "PP",
    "protein-ligand": "PL",
    "protein-ion": "Pion",
    "protein-peptide": "Ppeptide",
    "protein-rna": "PRNA",
    "protein-dna": "PDNA",
    "protein-glycan": "Pglycan",
    "rna-ligand": "RNAL",
    "dna-ligand": "DNAL",
    "rna-ion": "RNAion",
    "dna-ion": "DNAion",
}
KIND_NAMES = {AMINO: "protein", DNA: "DNA", RNA: "RNA"}
COMPLEXES: dict[frozenset[str], str] = {
    frozenset(pair.split()): name
    for pair, name in {
        "protein": "PP",
        "peptide": "PP",
        "protein peptide": "Ppeptide",
        "ligand": "CSD",
        "DNA": "NANA",
        "RNA": "NANA",
        "DNA RNA": "NANA",
        "RNA ligand": "RNAL",
        "DNA ligand": "DNAL",
        "RNA ion": "RNAion",
        "DNA ion": "DNAion",
        "RNA glycan": "RNAL",
        "DNA glycan": "DNAL",
        **{f"{protein} RNA": "PRNA" for protein in ("protein", "peptide")},
        **{f"{protein} DNA": "PDNA" for protein in ("protein", "peptide")},
        **{f"{protein} ligand": "PL" for protein in ("protein", "peptide")},
        **{f"{protein} ion": "Pion" for protein in ("protein", "peptide")},
        **{f"{protein} glycan": "Pglycan" for protein in ("protein", "peptide")},
    }.items()
}


def select_chains(structure: Structure, names: str, smiles: str | None = None) -> Partner:
    """The polymer residues of chains (joined by `_` or `,`; empty: all chains); of chains without any, all residues.

    Raises:
        StructureError: no such chain (lists those there are), or no polymer in the file.
    """
    chains = structure.chains()
    wanted = [names] if names and names in chains else [name for name in re.split("[_,]", names) if name]
    for name in wanted:
        if name not in chains:
            hint = f"its chains: {listed(chains)}"
            hint += " by the author's ids, auth_asym_id" * (".cif" in structure.path.lower())
            if set(name) <= set(chains):  # HL
                hint += f"; several chains are joined by _: {'_'.join(name)}"
            raise StructureError(f"has no chain {name!r}", structure.path, hint=hint)
    if not wanted:
        residues = np.flatnonzero(structure.polymer)
        if not len(residues):
            raise StructureError("has no polymer chain", structure.path, hint="name chains in chain1 and chain2")
        return Partner("the polymer", residues)
    found = []
    for name in dict.fromkeys(wanted):
        inside = structure.chain == name
        polymer = inside & structure.polymer
        found.append(np.flatnonzero(polymer if polymer.any() else inside))
    residues = np.sort(np.concatenate(found))
    return Partner(f"chain {'_'.join(wanted)}", residues, smiles=smiles)


def select_ligand(structure: Structure, code: str, number: str = "", chain: str = "", smiles: str = "") -> Partner:
    """The residues of a ligand.

    Args:
        code: residue name; joined by `-` (without a number): all sugars of the chain, a glycan.
        number: residue number with insertion code; empty: all residues of that name, but those of polymers where a
            standard residue has it. chain: empty: any.
        smiles: of the ligand; empty: its bonds are worked out from the coordinates.

    Raises:
        StructureError: no such residue (lists the ligands there are) or chain.
        DataError: a number that is none.
    """
    if chain and chain not in structure.chains():
        hint = f"its chains: {listed(structure.chains())}"
        raise StructureError(f"has no chain {chain!r}", structure.path, hint=hint)
    mask = structure.chain == chain if chain else np.ones(structure.n_residues, bool)
    codes = code.split("-")
    if len(codes) > 1 and not number:
        names = set(codes) | {name for name in set(structure.resname.tolist()) if is_sugar(name)}
        residues = np.flatnonzero(mask & np.isin(structure.resname, list(names)) & ~structure.polymer)
    else:
        mask = mask & (structure.resname == code)
        if number:
            value, icode = residue_number(number)
            mask = mask & (structure.resid == value) & (structure.icode == icode)
        residues = np.flatnonzero(mask & ~structure.polymer)
        if not len(residues):  # one that the file has as a part of the chain, but never all its aspartates
            residues = np.flatnonzero(mask if number else mask & (structure.kind == OTHER))
    what = " ".join(filter(None, ("ligand", code, number, f"in chain {chain}" if chain else "")))
    if not len(residues):
        raise StructureError(f"has no {what}", structure.path, hint=f"its ligands: {listed(ligand_names(structure))}")
    return Partner(what, residues, molecules(structure, residues), smiles or None)


def check_one_site(structure: Structure, first: Partner, ligand: Partner) -> None:
    """Refuse copies of a ligand that lie at several places of the first partner; a glycan may be in parts.

    Raises:
        DataError: copies near the partner are farther apart than an interface reaches (lists them).
    """
    if len(ligand.molecules) < 2 or all(is_sugar(name) for name in structure.resname[ligand.residues].tolist()):
        return
    tree = cKDTree(first.coordinates(structure))
    near = [m for m in ligand.molecules if (tree.query(structure.X[structure.atoms_of(m)])[0] <= CUTOFF).any()]
    atoms = [structure.atoms_of(molecule) for molecule in near]
    if len(near) < 2:
        return
    owner = np.repeat(np.arange(len(near)), [len(one) for one in atoms])
    if joined_groups(structure.X[np.concatenate(atoms)], owner, len(near), CUTOFF).any():
        copies = [ligand_names(structure, molecule)[0] for molecule in near]
        what = f"has {len(copies)} copies of {ligand.name} at several places of {first.name}"
        raise DataError(what, structure.path, "lig_resi", hint=f"name one by lig_resi and chain2: {listed(copies)}")


def residue_number(text: str) -> tuple[int, str]:
    """Number and insertion code of a residue; DataError when the text is neither."""
    match = RESIDUE_NUMBER.fullmatch(text.strip())
    if match is None:
        raise DataError(f"{text!r} is no residue number", "lig_resi", hint="a number with an insertion code, say 52A")
    return int(match[1]), match[2]


def ligand_names(structure: Structure, residues: np.ndarray | None = None) -> list[str]:
    """Residues (all that are no polymer) in words: STI 301 in chain A."""
    return [
        f"{structure.resname[r]} {structure.resid[r]}{structure.icode[r]} in chain {structure.chain[r] or '(blank)'}"
        for r in (np.flatnonzero(~structure.polymer) if residues is None else residues)
    ]


def listed(names: list[str], most: int = 12) -> str:
    """Names for a message, shortened."""
    shown = ", ".join(name or "(blank)" for name in names[:most]) or "none"
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def molecules(structure: Structure, residues: np.ndarray) -> tuple[np.ndarray, ...]:
    """Residues grouped by covalent bonds between them."""
    if len(residues) == 1:
        return (residues,)
    atoms = structure.atoms_of(residues)
    owner = np.repeat(np.arange(len(residues)), np.diff(structure.starts)[residues])
    labels = bonded_groups(structure.X[atoms], structure.element[atoms], owner, len(residues))
    return tuple(residues[labels == label] for label in range(labels.max() + 1))


def bonded_groups(X: np.ndarray, element: np.ndarray, owner: np.ndarray, n: int) -> np.ndarray:
    """[n] group of every owner: joined where non-metal atoms of theirs are within a bond length."""
    covalent = np.flatnonzero(np.isin(element, list(NON_METALS)))
    return joined_groups(X[covalent], owner[covalent], n, BOND)


def joined_groups(X: np.ndarray, owner: np.ndarray, n: int, distance: float) -> np.ndarray:
    """[n] group of every owner: joined where atoms of theirs are within a distance (Å)."""
    pairs = owner[cKDTree(X).query_pairs(distance, output_type="ndarray")] if len(X) > 1 else []
    i, j = np.asarray(pairs, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(i)), (i, j)), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def name_modality(text: str) -> str:
    """Our name of a kind of complex; DataError lists the known ones."""
    key = text.strip().lower().replace("_", "-")
    if key not in SPELLINGS:
        raise DataError(f"unknown modality {text!r}", "modality", hint=f"known: {', '.join(SPELLINGS)}")
    return SPELLINGS[key]


def find_modality(structure: Structure, partners: tuple[Partner, Partner]) -> str:
    """Kind of complex by what the partners are."""
    kinds = [partner_kind(structure, partner) for partner in partners]
    sizes = [int(structure.polymer[partner.residues].sum()) for partner in partners]
    if kinds == ["protein", "protein"]:
        small = int(np.argmin(sizes))
        if sizes[small] in PEPTIDE and max(sizes) > PEPTIDE[-1]:
            kinds[small] = "peptide"
    return COMPLEXES.get(frozenset(kinds), "other")


def partner_kind(structure: Structure, partner: Partner) -> str:
    """protein, DNA, RNA (what most of its residues are), glycan, ion or ligand."""
    if partner.blocks is not None:
        return "ligand" if len(partner.blocks.A) > 1 else "ion"
    residues = partner.residues
    polymer = residues[structure.polymer[residues] & (structure.kind[residues] != OTHER)]
    if len(polymer) and not partner.molecules:
        return KIND_NAMES[int(np.bincount(structure.kind[polymer]).argmax())]
    if 2 * sum(is_sugar(name) for name in structure.resname[residues].tolist()) > len(residues):
        return "glycan"
    return "ion" if (np.diff(structure.starts)[residues] == 1).all() else "ligand"
