"""The built-in data: complexes of peptides and drug-like molecules that RDKit makes, for trying things out.

Two partners are built, turned at random, pushed together until they touch, and minimised with MMFF94; the pose with
most contacts of several is kept. The label is the MMFF94 interaction energy in vacuum, E(complex) - E(a) - E(b) in
kcal/mol. These are computed toys: they have the form of real data, not its meaning.
"""

from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from rdkit import Chem, rdBase
from rdkit.Chem import rdForceFieldHelpers
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from data.drug_like import build_molecule, random_molecule, scaffold_of
from data.item import Item, check_item
from data.ligand import split_ligand
from data.ligand_torsions import ligand_torsions
from data.peptides import BACKBONE, CONFORMATIONS, build_peptide
from data.torsions import torsion_levels
from data.vocab import MODALITIES, Vocabulary, atom_index, load_vocabulary, position_code

ITEMS_A_GROUP = 3  # other conformations and poses of the same partners
POSES = 32
CLOSEST = 3.0  # Å between heavy atoms before minimisation
CONTACT = 4.5  # Å
MINIMISE_STEPS = 40
AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"


class Complex(NamedTuple):
    """Two docked molecules with hydrogens.

    Attributes:
        energy: MMFF94 interaction energy, kcal/mol. group: partners that must stay on one side of a split.
    """

    first: Chem.Mol
    second: Chem.Mol
    energy: float
    modality: str
    group: str


class Segment(NamedTuple):
    """One partner in the layout of `Item`: the fields that are joined."""

    X: np.ndarray
    A: np.ndarray
    atom_positions: np.ndarray
    B: np.ndarray
    block_lengths: np.ndarray
    block_resid: np.ndarray
    block_resname: list[str]
    tor_bonds: np.ndarray
    tor_depth: np.ndarray
    tor_moved_lengths: np.ndarray
    tor_moved: np.ndarray


def make_items(
    n: int, seed: int = 0, n_jobs: int = 1, vocabulary: Vocabulary | None = None, progress: bool = False
) -> list[Item]:
    """Make n complexes: a third each peptide-peptide, peptide-molecule and molecule-molecule.

    Item i depends on (seed, i) alone: not on n, on the number of processes, or on the other items.

    Args:
        vocabulary: of the blocks (default PS_300). progress: show a progress bar.
    """
    chosen = vocabulary or load_vocabulary("PS_300")
    jobs = Parallel(n_jobs=n_jobs, return_as="generator", batch_size=4)(
        delayed(make_item)(index, seed, chosen) for index in range(n)
    )
    return list(tqdm(jobs, total=n, desc="complexes", unit="", disable=not progress))


def make_item(index: int, seed: int, vocabulary: Vocabulary) -> Item:
    """Item number `index` of the built-in data of this seed."""
    return item_of(make_complex(index, seed), f"synthetic_{seed}_{index:05d}", vocabulary)


def make_complex(index: int, seed: int) -> Complex:
    """Build and dock the partners of item number `index`."""
    kind = index % 3
    group_number = index // 3 // ITEMS_A_GROUP
    partners = np.random.default_rng([seed, kind, group_number])
    rng = np.random.default_rng([seed, kind, group_number, index])
    if kind == 0:
        sequences = random_sequence(partners), random_sequence(partners)
        first, second = (_peptide(sequence, rng) for sequence in sequences)
        modality, group = "Ppeptide", f"peptide {sequences[0]}"
    elif kind == 1:
        sequence, smiles = random_sequence(partners), random_molecule(partners)
        first, second = _peptide(sequence, rng), build_molecule(smiles, int(rng.integers(2**31)))
        modality, group = "PL", f"peptide {sequence}"
    else:
        smiles, other = random_molecule(partners), random_molecule(partners)
        first, second = (build_molecule(s, int(rng.integers(2**31))) for s in (smiles, other))
        modality, group = "CSD", f"scaffold {scaffold_of(smiles)}"
    docked_first, docked_second, energy = dock(first, second, rng)
    return Complex(docked_first, docked_second, energy, modality, group)


def random_sequence(rng: np.random.Generator) -> str:
    """A peptide of 6 to 12 residues."""
    return "".join(AMINO_ACIDS[i] for i in rng.integers(len(AMINO_ACIDS), size=int(rng.integers(6, 13))))


def _peptide(sequence: str, rng: np.random.Generator) -> Chem.Mol:
    return build_peptide(sequence, tuple(CONFORMATIONS)[int(rng.integers(len(CONFORMATIONS)))], rng)


def dock(first: Chem.Mol, second: Chem.Mol, rng: np.random.Generator) -> tuple[Chem.Mol, Chem.Mol, float]:
    """Bring two molecules into contact; returns both in their new places and the interaction energy, kcal/mol."""
    coords = [m.GetConformer().GetPositions() for m in (first, second)]
    heavy = [np.array([a.GetAtomicNum() > 1 for a in m.GetAtoms()]) for m in (first, second)]
    fixed, moving = (x - x[h].mean(axis=0) for x, h in zip(coords, heavy))
    poses = [push_together(fixed, moving, heavy[0], heavy[1], rng)[0] for _ in range(POSES)]
    contacts = [np.count_nonzero(cdist(fixed[heavy[0]], pose[heavy[1]]) < CONTACT) for pose in poses]
    both = Chem.CombineMols(placed(first, fixed), placed(second, poses[int(np.argmax(contacts))]))
    with rdBase.BlockLogs():
        _force_field(both).Minimize(maxIts=MINIMISE_STEPS)
        relaxed = both.GetConformer().GetPositions()
        parts = placed(first, relaxed[: len(fixed)]), placed(second, relaxed[len(fixed) :])
        energy = _force_field(both).CalcEnergy() - sum(_force_field(part).CalcEnergy() for part in parts)
    return *parts, float(energy)


def push_together(
    fixed: np.ndarray, moving: np.ndarray, fixed_heavy: np.ndarray, moving_heavy: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Turn `moving` at random and shift it along a random line, from outside, until heavy atoms touch.

    Returns:
        Its coordinates, and the direction of the line, outwards.
    """
    turned = moving @ Rotation.random(rng=rng).as_matrix().T
    direction = rng.standard_normal(3)
    direction /= np.linalg.norm(direction)
    # Atom pairs whose lines of approach pass closer than the contact distance meet at a known shift.
    gap = turned[moving_heavy][None] - fixed[fixed_heavy][:, None]
    along = gap @ direction
    aside = np.einsum("ijk,ijk->ij", gap, gap) - along**2
    meeting = np.where(aside < CLOSEST**2, np.sqrt(np.maximum(CLOSEST**2 - aside, 0)) - along, -np.inf)
    return turned + max(float(meeting.max()), 0.0) * direction, direction


def placed(molecule: Chem.Mol, coords: np.ndarray) -> Chem.Mol:
    """A copy of a molecule at other coordinates."""
    copy = Chem.Mol(molecule)
    copy.GetConformer().SetPositions(np.ascontiguousarray(coords, np.float64))
    return copy


def _force_field(molecule: Chem.Mol):  # type: ignore[no-untyped-def]
    molecule.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(molecule)
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(molecule)
    field = rdForceFieldHelpers.MMFFGetMoleculeForceField(
        molecule, properties, nonBondedThresh=1e3, ignoreInterfragInteractions=False
    )
    field.Initialize()
    return field


def item_of(pair: Complex, identifier: str, vocabulary: Vocabulary) -> Item:
    """The item of a complex: both partners as blocks, all of them."""
    segments = [_segment(Chem.RemoveAllHs(molecule), vocabulary) for molecule in pair[:2]]
    shift = np.array([0, len(segments[0].A)])
    moved = [segment.tor_moved + start for segment, start in zip(segments, shift)]
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(segment, name) for segment in segments])
        for name in Segment._fields
        if name not in ("block_resname", "tor_bonds", "tor_moved")
    }
    sizes = [len(segment.B) for segment in segments]
    item = Item(
        id=identifier,
        modality=MODALITIES.index(pair.modality),
        label=pair.energy,
        group=pair.group,
        segment_ids=np.repeat(np.array([0, 1], np.uint8), sizes),
        block_chain=["A"] * sizes[0] + ["B"] * sizes[1],
        block_icode=[""] * sum(sizes),
        block_resname=segments[0].block_resname + segments[1].block_resname,
        tor_bonds=np.concatenate([s.tor_bonds + start for s, start in zip(segments, shift)]).astype(np.int32),
        tor_moved=np.concatenate(moved).astype(np.int32),
        **joined,
    )
    return check_item(item)


def _segment(molecule: Chem.Mol, vocabulary: Vocabulary) -> Segment:
    if molecule.GetAtomWithIdx(0).GetPDBResidueInfo():
        return _peptide_segment(molecule, vocabulary)
    blocks = split_ligand(molecule, vocabulary)
    resid = np.ones(len(blocks.B), np.int32)
    shared = {name: getattr(blocks, name) for name in Segment._fields if name != "block_resid"}
    return Segment(block_resid=resid, **shared)


def _peptide_segment(molecule: Chem.Mol, vocabulary: Vocabulary) -> Segment:
    """Residues as blocks, side-chain bonds as torsions."""
    infos = [atom.GetPDBResidueInfo() for atom in molecule.GetAtoms()]
    numbers = np.array([info.GetResidueNumber() for info in infos])
    order = np.argsort(numbers, kind="stable")
    _, starts, lengths = np.unique(numbers[order], return_index=True, return_counts=True)
    infos = [infos[i] for i in order]
    atom_names = [info.GetName().strip() for info in infos]
    names = [infos[i].GetResidueName() for i in starts]
    molecule = Chem.RenumberAtoms(molecule, order.tolist())
    bonds, _, moved_lengths, moved = ligand_torsions(molecule)
    main_chain = np.array([name in BACKBONE and name != "CA" for name in atom_names])
    kept = ~main_chain[bonds].any(axis=1)
    moved = moved[np.repeat(kept, moved_lengths)]
    return Segment(
        X=np.asarray(molecule.GetConformer().GetPositions(), np.float32),
        A=np.array([atom_index(atom.GetSymbol()) for atom in molecule.GetAtoms()], np.uint8),
        atom_positions=np.array([position_code(name) for name in atom_names], np.uint8),
        B=np.array([vocabulary.residue(name) for name in names], np.uint16),
        block_lengths=lengths.astype(np.int32),
        block_resid=numbers[order][starts].astype(np.int32),
        block_resname=names,
        tor_bonds=bonds[kept],
        tor_depth=torsion_levels(bonds[kept], moved),
        tor_moved_lengths=moved_lengths[kept],
        tor_moved=moved,
    )
