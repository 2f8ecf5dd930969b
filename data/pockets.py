"""Pockets: the residues of a chain around a ligand or ion, without it; and patches of its surface where none is.

A pocket is an item of one segment. What it binds is its label, so nothing of the ligand goes into the item, and the
kind of complex is not told either.
"""

import math

import numpy as np
from scipy.spatial import cKDTree

from configs.errors import InterfaceError, StructureError
from data.blocks import drop_torsions
from data.interface import BOND, CUTOFF, Partner, item_of, near, near_blocks, torn_bonds
from data.item import Item, check_item
from data.partners import molecules, select_ligand
from data.structure import Structure
from data.vocab import Vocabulary

AWAY = 8.0  # Å that a decoy keeps from everything that is bound
EXPOSED = 2.5  # Å that a surface atom lies off the mean of the atoms around it
AROUND = 10.0  # Å, what is around an atom
STEP, FARTHEST = 0.5, 15.0  # Å: a copy of a ligand is moved out of the chain in these steps
CLOSEST = 2.5  # Å, copies come no closer to the chain, even where a metal does
TRIALS = 80
TOUCHING, MOST_TAKEN = 4.5, 0.25  # Å; share of a decoy's residues that may touch something bound


def residues_of_chain(structure: Structure, chain: str) -> np.ndarray:
    """The polymer residues of a chain; StructureError when it has none."""
    residues = np.flatnonzero(structure.polymer & (structure.chain == chain))
    if not len(residues):
        raise StructureError(f"has no polymer in chain {chain!r}", structure.path)
    return residues


def bound_group(structure: Structure, code: str, number: str, chain: str) -> np.ndarray:
    """[atoms, 3] of a ligand, ion or sugar that is a molecule by itself.

    Raises:
        StructureError: no such residue.
        InterfaceError: it is bonded to another residue (a part of a glycan, say, or of the chain).
    """
    residues = select_ligand(structure, code, number, chain).residues[:1]
    others = np.flatnonzero(~structure.polymer)
    alone = any(len(m) == 1 and m[0] == residues[0] for m in molecules(structure, others)) if len(others) > 1 else True
    X = structure.X[structure.atoms_of(residues)]
    polymer = structure.X[structure.atoms_of(np.flatnonzero(structure.polymer))]
    if len(X) > 1 and len(polymer) and cKDTree(polymer).query(X)[0].min() < BOND:
        alone = False
    if not alone:
        raise InterfaceError(f"{code} {number} is bonded to another residue", structure.path)
    return X


def residues_near(structure: Structure, residues: np.ndarray, points: np.ndarray, cutoff: float) -> np.ndarray:
    """Those of some residues with a heavy atom within `cutoff` (Å) of one of the points [n, 3]."""
    lengths = np.diff(structure.starts)[residues]
    touched = near(structure.X[structure.atoms_of(residues)], points, cutoff)
    return residues[np.add.reduceat(touched, np.cumsum(lengths) - lengths) > 0]


def pocket_item(
    structure: Structure, residues: np.ndarray, vocabulary: Vocabulary, *, id: str, label: float, group: str
) -> Item:
    """The item of some residues: one segment, no partner, kind of complex `other`.

    Raises:
        InterfaceError: no residues.
    """
    if not len(residues):
        raise InterfaceError(f"{id} has no residues", structure.path)
    X = structure.X[structure.atoms_of(residues)]
    blocks = near_blocks(structure, Partner(id, residues), X, X, vocabulary, cutoff=1.0)
    assert blocks is not None, "every residue is near itself"
    blocks = drop_torsions(blocks, torn_bonds(blocks))
    segments = np.zeros(blocks.n_blocks, np.uint8)
    return check_item(item_of(blocks, segments, id=id, modality="other", label=label, group=group))


def decoy_residues(
    structure: Structure, chain: np.ndarray, ligand: np.ndarray, rng: np.random.Generator, cutoff: float = CUTOFF
) -> np.ndarray | None:
    """The residues nearest to a copy of a ligand laid onto the chain's surface, as many as lie around the ligand.

    Their number being equal, size does not tell pocket from patch. A place is as close to the chain as the ligand is,
    touches no other chain, is 8 Å or more away from every ligand, ion, sugar and additive of the file, and at most a
    quarter of its residues touch one. That nothing was seen there doesn't prove that nothing binds.

    Args:
        chain: residues. ligand: [atoms, 3] where it is bound. cutoff: Å, what lies around.

    Returns:
        residues of the chain, ascending; None when no place was found in 80 trials.
    """
    tree = cKDTree(structure.X[structure.atoms_of(np.flatnonzero(structure.polymer))])
    all_bound = structure.X[structure.atoms_of(np.flatnonzero(~structure.polymer))]
    bound = cKDTree(all_bound)
    atoms = structure.X[structure.atoms_of(chain)]
    starts = np.concatenate([[0], np.cumsum(np.diff(structure.starts)[chain])])[:-1]
    gap = max(CLOSEST, float(tree.query(ligand)[0].min()))
    wanted = len(residues_near(structure, chain, ligand, cutoff))
    taken = residues_near(structure, chain, all_bound, TOUCHING)
    for start in rng.integers(len(atoms), size=TRIALS):
        placed = laid_on(tree, atoms[start], ligand, gap, rng)
        if placed is None or bound.query(placed)[0].min() < AWAY:
            continue
        distance = np.minimum.reduceat(cKDTree(placed).query(atoms)[0], starts)
        found = np.sort(chain[np.argsort(distance, kind="stable")[:wanted]])
        if np.isin(found, taken).mean() <= MOST_TAKEN:
            return found
    return None


def laid_on(
    tree: cKDTree, start: np.ndarray, ligand: np.ndarray, gap: float, rng: np.random.Generator
) -> np.ndarray | None:
    """A copy of a ligand, turned at random, moved from an atom out of the polymer until nothing is closer than `gap`.

    None: the atom lies inside, or there is no room on the way.
    """
    outward = start - tree.data[tree.query_ball_point(start, AROUND)].mean(0)
    length = float(np.linalg.norm(outward))
    if length < EXPOSED:
        return None
    turned = (ligand - ligand.mean(0)) @ random_rotation(rng).T + start
    for step in range(math.ceil(FARTHEST / STEP)):
        placed = turned + outward / length * (step * STEP)
        if tree.query(placed)[0].min() >= gap:
            return placed
    return None


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """[3, 3] a uniformly random rotation: the orthogonal factor of a Gaussian matrix, made proper."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(r.diagonal())
    return q * np.sign(np.linalg.det(q))
