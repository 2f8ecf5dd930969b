"""Descriptors of an interface: what chemists count in one, as plain numbers for small regressors.

Everything comes from the atoms and blocks of an item, so it is the same from shards and from structure files. An item
holds the blocks near the other side only (8 Å by default): the buried surface, contacts and their kinds need no more,
what the rest of the molecules looks like can't be told. Both sides count alike: the larger one (by atoms) comes first.

Sources: contacts of residues by class within 5.5 Å, Vangone and Bonvin, eLife 2015;4:e07454 (whose linear model also
uses the surface outside the interface); buried surface, Chen, Sawyer and Regan, Protein Sci 2013;22:510; points on
spheres, Shrake and Rupley, J Mol Biol 1973;79:351, radii of Bondi, J Phys Chem 1964;68:441; hydropathy, Kyte and
Doolittle, J Mol Biol 1982;157:105; rotatable bonds and sizes of ligands as in Böhm, J Comput Aided Mol Des 1994;8:243.
"""

from collections.abc import Iterable

import networkx
import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from data.buried_surface import PROBE, buried_surface, radii_of
from data.item import Item
from data.vocab import AMINO_ACIDS, FIRST_MASKABLE, NUCLEOTIDES, atom_index

CLASSES = ("apolar", "charged", "polar", "nucleotide", "other")
CHARGED, POLAR = frozenset("GLU ASP HIS LYS ARG".split()), frozenset("ASN GLN SER THR".split())
CHARGE = {"ARG": 1, "LYS": 1, "ASP": -1, "GLU": -1}
AROMATIC = frozenset("PHE TYR TRP HIS".split())
HYDROPATHY = dict(
    zip(
        "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL".split(),
        (
            1.8,
            -4.5,
            -3.5,
            -3.5,
            2.5,
            -3.5,
            -3.5,
            -0.4,
            -3.2,
            4.5,
            3.8,
            -3.9,
            1.9,
            2.8,
            -1.6,
            -0.8,
            -0.7,
            -0.9,
            -1.3,
            4.2,
        ),
    )
)
REACHES, MAIN_REACH = (4.0, 5.5, 8.0), 5.5  # Å between heavy atoms of blocks in contact
ATOM_REACHES, HYDROGEN_BOND = (4.5, 6.0), 3.5  # Å between atoms
SCREENING, NEAREST_CHARGES = 10.0, 3.0  # Å
WELL_BURIED = 20.0  # Å² of a block
LONGEST_BOND, LONGEST_LIGHT_BOND = 2.3, 1.85  # Å; the latter between atoms up to fluorine
LAST_LIGHT = atom_index("F")
ELEMENTS = ("C", "N", "O", "S", "P", "F", "Cl", "Br")
ATOM_KINDS = ("apolar", "polar", "halogen", "other")
POLAR_ATOM = ATOM_KINDS.index("polar")

STANDARD = (*AMINO_ACIDS, *NUCLEOTIDES)
PAIRS = tuple((a, b) for place, a in enumerate(CLASSES[:3]) for b in CLASSES[place:3])
# By place in STANDARD; the last is what is not standard (place -1).
CLASS = np.array(
    [1 if name in CHARGED else 2 if name in POLAR else 0 for name in AMINO_ACIDS] + [3] * len(NUCLEOTIDES) + [4]
)
CHARGES = np.array([*(CHARGE.get(name, 0) for name in STANDARD), 0])
IS_AROMATIC = np.array([*(name in AROMATIC for name in STANDARD), False])
OILINESS = np.array([*(HYDROPATHY.get(name, 0.0) for name in STANDARD), 0.0])
# By atom type.
KIND_OF_ATOM = np.full(256, ATOM_KINDS.index("other"))
for _kind, _symbols in (("apolar", ("C", "S")), ("polar", ("N", "O", "P")), ("halogen", ("F", "Cl", "Br", "I"))):
    KIND_OF_ATOM[[atom_index(_symbol) for _symbol in _symbols]] = ATOM_KINDS.index(_kind)


def _named() -> list[tuple[str, list[str]]]:
    """Kind and names of descriptors, in the order that they are made."""
    by_class = []
    for reach in REACHES:
        by_class += [f"contacts {a}-{b} {reach:g}" for a, b in PAIRS]
        by_class += [f"contacts {reach:g}", f"blocks in contact {reach:g}", f"contacts of other blocks {reach:g}"]
    pairs = [f"atoms {a}-{b} {reach:g}" for reach in ATOM_REACHES for a in ATOM_KINDS for b in ATOM_KINDS]
    surface = [f"buried {what}" for what in ("area", "apolar", "polar", "of larger side", "of smaller side", "share")]
    sides = [f"{what} of {side} side" for side in ("larger", "smaller") for what in ("atoms", "blocks")]
    sides += [f"{symbol} of smaller side" for symbol in ELEMENTS]
    sides += [f"{what} of smaller side" for what in ("rings", "rotatable bonds", "polar share")]
    charges = ["opposite charges", "equal charges", "aromatic in contact", "hydropathy in contact", "screened charges"]
    return [
        ("residues by class", by_class),
        ("residues by name", [f"contacts of {name}" for name in AMINO_ACIDS]),
        ("chemistry and shape", charges),
        ("atoms", pairs),
        ("chemistry and shape", ["polar atoms 3.5"]),
        ("surface", [*surface, "buried blocks"]),
        ("chemistry and shape", ["thickness", "width", "length", "gap"]),
        ("sides", sides),
    ]


NAMES = tuple(name for _, names in _named() for name in names)
"""Names of the descriptors, in the order of `descriptors`."""
KINDS = tuple(kind for kind, names in _named() for _ in names)
"""The kind of each descriptor: those of a kind tell much the same, whatever their number."""


def describe(items: Iterable[Item]) -> np.ndarray:
    """[items, descriptors] the descriptors of some items; see `descriptors`."""
    return np.array([descriptors(item) for item in items]).reshape(-1, len(NAMES))


def descriptors(item: Item) -> np.ndarray:
    """[descriptors] numbers that describe an interface, float64, in the order of `NAMES`.

    Counts are counts, areas Å², lengths Å. An item of a single segment has no contacts: what compares sides is 0.
    """
    segment = item.segment_of_atom
    sides = sorted((np.flatnonzero(segment == side) for side in (0, 1)), key=len, reverse=True)
    if not len(sides[1]):
        return np.zeros(len(NAMES))
    X, A = np.asarray(item.X, np.float64), np.asarray(item.A)
    row = [*_residues(X, item, sides), *_atoms(X, A, sides), *_surface(X, item, sides), *_sizes(X, item, sides)]
    return np.array(row, np.float64)


def _standard(item: Item) -> np.ndarray:
    """[blocks] place in STANDARD, -1 for fragments, elements and what is unknown."""
    place = np.asarray(item.B, int) - FIRST_MASKABLE
    return np.where((place >= 0) & (place < len(STANDARD)), place, -1)


def _residues(X: np.ndarray, item: Item, sides: list[np.ndarray]) -> list[float]:
    """Contacts between blocks, by their classes and names."""
    owner, named = item.block_of_atom, _standard(item)
    trees = [cKDTree(X[atoms]) for atoms in sides]
    found = trees[0].sparse_distance_matrix(trees[1], max(REACHES), output_type="ndarray")
    blocks = np.stack([owner[sides[0][found["i"]]], owner[sides[1][found["j"]]]], 1)
    pairs = {reach: np.unique(blocks[found["v"] <= reach], axis=0) for reach in REACHES}
    row: list[float] = []
    for some in pairs.values():
        low, high = np.sort(CLASS[named[some]], axis=1).T
        row += [float(((low == CLASSES.index(a)) & (high == CLASSES.index(b))).sum()) for a, b in PAIRS]
        row += [float(len(some)), float(len(np.unique(some))), float((high > CLASSES.index("polar")).sum())]
    some = pairs[MAIN_REACH]
    names = named[some]
    row += np.bincount(names[names >= 0], minlength=len(STANDARD))[: len(AMINO_ACIDS)].astype(float).tolist()
    charges = CHARGES[names].prod(axis=1)
    row += [float((charges < 0).sum()), float((charges > 0).sum()), float(IS_AROMATIC[names].sum())]
    row += [float(OILINESS[named[np.unique(some)]].sum()), _screened(X, owner, named, sides)]
    return row


def _screened(X: np.ndarray, owner: np.ndarray, named: np.ndarray, sides: list[np.ndarray]) -> float:
    """Screened Coulomb sum over charged residues of the two sides: their centres, e² / Å, nothing nearer than 3 Å."""
    charge = CHARGES[named]
    sums = np.stack([np.bincount(owner, X[:, axis], len(named)) for axis in range(3)], 1)
    centres = sums / np.bincount(owner, minlength=len(named))[:, None]
    first, second = (np.flatnonzero(np.isin(np.arange(len(named)), owner[atoms]) & (charge != 0)) for atoms in sides)
    distance = cdist(centres[first], centres[second])
    product = charge[first][:, None] * charge[second]
    return float((product * np.exp(-distance / SCREENING) / np.maximum(distance, NEAREST_CHARGES)).sum())


def _atoms(X: np.ndarray, A: np.ndarray, sides: list[np.ndarray]) -> list[float]:
    """Contacts between atoms, by their kinds."""
    trees = [cKDTree(X[atoms]) for atoms in sides]
    found = trees[0].sparse_distance_matrix(trees[1], max(ATOM_REACHES), output_type="ndarray")
    first, second = (KIND_OF_ATOM[A[atoms[found[name]]]] for atoms, name in zip(sides, "ij"))
    row: list[float] = []
    for reach in ATOM_REACHES:
        counts = np.zeros((len(ATOM_KINDS), len(ATOM_KINDS)))
        near = found["v"] <= reach
        np.add.at(counts, (first[near], second[near]), 1)
        row += counts.ravel().tolist()
    bridges = (found["v"] <= HYDROGEN_BOND) & (first == POLAR_ATOM) & (second == POLAR_ATOM)
    return [*row, float(bridges.sum())]


def _surface(X: np.ndarray, item: Item, sides: list[np.ndarray]) -> list[float]:
    """Buried surface, and the shape of the atoms that bury it."""
    area = buried_surface(X, item.A, item.segment_of_atom)
    polar = KIND_OF_ATOM[item.A] == POLAR_ATOM
    of_block = np.bincount(item.block_of_atom, area, item.n_blocks)
    inside = X[area > 0]
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(inside.T)), 0)) if len(inside) > 1 else np.zeros(3)
    of_sides = [float(area[atoms].sum()) for atoms in sides]
    whole = 4 * np.pi * float(((radii_of(item.A[sides[1]]) + PROBE) ** 2).sum())
    closest = float(cKDTree(X[sides[0]]).query(X[sides[1]])[0].min())
    sums = [float(area.sum()), float(area[~polar].sum()), float(area[polar].sum()), *of_sides, of_sides[1] / whole]
    return [*sums, float((of_block > WELL_BURIED).sum()), *spread.tolist(), closest]


def _sizes(X: np.ndarray, item: Item, sides: list[np.ndarray]) -> list[float]:
    """How large the sides are, and what the smaller one, a ligand say, is made of."""
    owner, small = item.block_of_atom, sides[1]
    row = [float(n) for atoms in sides for n in (len(atoms), len(np.unique(owner[atoms])))]
    elements = [float((item.A[small] == atom_index(symbol)).sum()) for symbol in ELEMENTS]
    polar = float((KIND_OF_ATOM[item.A[small]] == POLAR_ATOM).mean())
    return [*row, *elements, *rings_and_rotors(X[small], np.asarray(item.A)[small]), polar]


def rings_and_rotors(X: np.ndarray, A: np.ndarray) -> tuple[float, float]:
    """Number of independent rings, and of rotatable bonds: those outside of rings with more on both ends.

    Bonds are heavy atoms within 1.85 Å, or 2.3 Å where one is beyond fluorine.
    """
    pairs = cKDTree(X).query_pairs(LONGEST_BOND, output_type="ndarray")
    light = (A[pairs] <= LAST_LIGHT).all(axis=1)
    length = np.linalg.norm(X[pairs[:, 0]] - X[pairs[:, 1]], axis=1)
    pairs = pairs[~light | (length <= LONGEST_LIGHT_BOND)]
    graph = networkx.Graph(pairs.tolist())
    bridges = list(networkx.bridges(graph))
    rings = graph.number_of_edges() - graph.number_of_nodes() + networkx.number_connected_components(graph)
    return float(rings), float(sum(graph.degree[a] > 1 and graph.degree[b] > 1 for a, b in bridges))
