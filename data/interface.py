"""Two partners -> the item of their interface: the blocks of either side with a heavy atom near the other side."""

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree

from configs.errors import InterfaceError, StructureError
from data.blocks import Blocks, drop_torsions, join_blocks, molecule_blocks, residue_blocks, take_blocks
from data.elements import NON_METALS
from data.item import Item, check_item
from data.structure import Structure
from data.vocab import MODALITIES, Vocabulary

CUTOFF = 8.0  # Å
BOND, SULFUR_BOND = 1.95, 2.3  # Å, upper bounds of covalent bonds (to sulfur)
SULFUR = 16
SAME_PLACE = 0.5  # Å; no two atoms are that close
MOST_COINCIDING = 3  # atoms of two molecules that are refined into one place, as ions are


@dataclass(frozen=True)
class Partner:
    """One side of an interface.

    Attributes:
        name: for messages. residues: indices into a structure, ascending.
        molecules: residues that are split as one molecule each (ligands, glycans); other residues without a standard
            one they count as are molecules by themselves.
        smiles: bonds of the molecules, where known.
        blocks: a ligand from a file of its own, instead of residues.
    """

    name: str
    residues: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    molecules: tuple[np.ndarray, ...] = ()
    smiles: str | None = None
    blocks: Blocks | None = None

    def coordinates(self, structure: Structure) -> np.ndarray:
        """[atoms, 3] of all its heavy atoms, residue after residue."""
        return self.blocks.X if self.blocks is not None else structure.X[structure.atoms_of(self.residues)]


def make_interface(
    structure: Structure,
    partners: tuple[Partner, Partner],
    vocabulary: Vocabulary,
    cutoff: float = CUTOFF,
    *,
    id: str = "",
    modality: str = "other",
    label: float = float("nan"),
    group: str = "",
) -> Item:
    """The interface of two partners: all blocks with a heavy atom within `cutoff` (Å) of a heavy atom of the other.

    Raises:
        InterfaceError: no atoms of the partners are that close (names the smallest distance), or they share a residue.
        StructureError: a partner without atoms, or a SMILES that can't be parsed.
    """
    first, second = partners
    X1, X2 = (partner.coordinates(structure) for partner in partners)
    for partner, X in zip(partners, (X1, X2)):
        if not len(X):
            raise StructureError(f"{partner.name} has no heavy atoms", structure.path)
    if np.intersect1d(first.residues, second.residues).size:
        raise InterfaceError(f"{first.name} and {second.name} share residues", structure.path, hint="name two partners")
    sides = [
        near_blocks(structure, first, X1, X2, vocabulary, cutoff),
        near_blocks(structure, second, X2, X1, vocabulary, cutoff),
    ]
    if sides[0] is None or sides[1] is None:
        closest = float(cKDTree(X2).query(X1)[0].min())
        what = f"no heavy atom of {first.name} is within {cutoff:g} Å of {second.name}"
        raise InterfaceError(f"{what}; the closest are {closest:.1f} Å apart", structure.path)
    check_apart(sides[0].X, sides[1].X, f"{first.name} and {second.name}", structure.path)
    blocks = join_blocks([sides[0], sides[1]])
    blocks = drop_torsions(blocks, torn_bonds(blocks))
    segments = np.repeat(np.arange(2, dtype=np.uint8), [sides[0].n_blocks, sides[1].n_blocks])
    return check_item(item_of(blocks, segments, id=id, modality=modality, label=label, group=group))


def check_apart(X1: np.ndarray, X2: np.ndarray, names: str, path: str) -> None:
    """Refuse partners that lie on top of each other: a molecule twice, or one placed without regard to the other.

    Raises:
        InterfaceError: most atoms near the other side of the smaller partner are within 0.5 Å of one of the other's.
    """
    small, large = sorted((X1, X2), key=len)
    if len(small) > MOST_COINCIDING:
        on_top = int((cKDTree(large).query(small, distance_upper_bound=SAME_PLACE)[0] < SAME_PLACE).sum())
        if on_top > max(MOST_COINCIDING, len(small) // 2):
            what = f"{names} lie on top of each other: {on_top} of {len(small)} atoms"
            raise InterfaceError(what, path, hint="alternatives of one molecule, or a copy of it?")


def item_of(blocks: Blocks, segments: np.ndarray, *, id: str, modality: str, label: float, group: str) -> Item:
    """The item of some blocks. segments: [blocks] u8."""
    return Item(
        id=id,
        X=blocks.X.astype(np.float32),
        A=blocks.A,
        B=blocks.B,
        block_lengths=blocks.block_lengths.astype(np.int32),
        segment_ids=segments,
        atom_positions=blocks.atom_positions,
        modality=MODALITIES.index(modality),
        label=label,
        group=group,
        block_chain=blocks.chain.tolist(),
        block_resid=blocks.resid.astype(np.int32),
        block_icode=blocks.icode.tolist(),
        block_resname=blocks.resname.tolist(),
        tor_bonds=blocks.tor_bonds,
        tor_depth=blocks.tor_depth,
        tor_moved_lengths=blocks.tor_moved_lengths,
        tor_moved=blocks.tor_moved,
    )


def in_box(X: np.ndarray, other: np.ndarray, margin: float) -> np.ndarray:
    """[atoms] which of the points X lie in the box around `other`, widened by `margin`."""
    above = other.min(axis=0) - margin <= X
    return (above & (other.max(axis=0) + margin >= X)).all(axis=1)


def near(X: np.ndarray, other: np.ndarray, cutoff: float) -> np.ndarray:
    """[atoms] which of the points X have one of `other` within `cutoff`."""
    mask = in_box(X, other, cutoff)  # spares most atoms of large partners their search
    if mask.any():
        there = other[in_box(other, X[mask], cutoff)]  # an atom of it may be missing, but none that is near
        tree = cKDTree(there, balanced_tree=False)
        distance, _ = tree.query(X[mask], distance_upper_bound=np.nextafter(cutoff, np.inf))
        mask[mask] = distance <= cutoff
    return mask


def near_blocks(
    structure: Structure, partner: Partner, X: np.ndarray, other: np.ndarray, vocabulary: Vocabulary, cutoff: float
) -> Blocks | None:
    """Blocks of a partner (with atoms X) near the points `other`, in file order; None: there are none."""
    if partner.blocks is not None:
        return _near_only(partner.blocks, other, cutoff)
    residues = partner.residues
    lengths = np.diff(structure.starts)[residues]
    ends = np.cumsum(lengths)
    in_contact = np.add.reduceat(near(X, other, cutoff), ends - lengths) > 0
    if not in_contact.any():
        return None
    touching = set(residues[in_contact].tolist())
    together = {int(r): molecule for molecule in partner.molecules for r in molecule}
    standard = structure.polymer[residues] & (structure.standard[residues] != "")
    standard &= ~np.isin(residues, list(together))
    parts = [residue_blocks(structure, residues[in_contact & standard], vocabulary)]
    done: set[int] = set()
    for r in residues[in_contact & ~standard].tolist():
        molecule = together.get(r, np.array([r]))
        if int(molecule[0]) not in done and touching.intersection(molecule.tolist()):
            done.add(int(molecule[0]))
            found = _near_only(molecule_blocks(structure, molecule, vocabulary, partner.smiles), other, cutoff)
            parts += [found] if found is not None else []
    blocks = join_blocks(parts)
    return take_blocks(blocks, np.argsort(blocks.unit, kind="stable")) if len(parts) > 1 else blocks


def _near_only(blocks: Blocks, other: np.ndarray, cutoff: float) -> Blocks | None:
    ends = np.cumsum(blocks.block_lengths)
    touched = np.add.reduceat(near(blocks.X, other, cutoff), ends - blocks.block_lengths) > 0
    if touched.all():
        return blocks
    return take_blocks(blocks, np.flatnonzero(touched)) if touched.any() else None


def torn_bonds(blocks: Blocks) -> np.ndarray:
    """[torsions] whose turning would tear a covalent bond to another residue or molecule (disulfides, glycosylated
    side chains, covalent ligands)."""
    torn = np.zeros(len(blocks.tor_bonds), bool)
    if not len(torn):
        return torn
    unit = np.repeat(blocks.unit, blocks.block_lengths)
    a, b = cKDTree(blocks.X).query_pairs(SULFUR_BOND, output_type="ndarray").T
    a, b = a[unit[a] != unit[b]], b[unit[a] != unit[b]]
    number = blocks.A.astype(int) - 2
    length = np.linalg.norm(blocks.X[a] - blocks.X[b], axis=1)
    sulfur = (number[a] == SULFUR) | (number[b] == SULFUR)
    covalent = np.isin(number, list(NON_METALS))
    bonded = np.where(sulfur, length < SULFUR_BOND, length < BOND) & covalent[a] & covalent[b]
    fixed = np.zeros(len(blocks.A), bool)
    fixed[a[bonded]] = fixed[b[bonded]] = True
    of_atom = np.repeat(np.arange(len(torn)), blocks.tor_moved_lengths)
    torn[of_atom[fixed[blocks.tor_moved]]] = True
    return torn
