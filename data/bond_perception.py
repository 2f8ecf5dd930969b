"""Bonds and bond orders from elements and heavy-atom coordinates alone.

RDKit's own perception needs hydrogens, which crystal structures lack. Here bond lengths, angles and planarity tell
which atoms are unsaturated; a maximum-weight matching then pairs them up, as a Kekulé structure must.
"""

from collections.abc import Sequence

import networkx as nx
import numpy as np
from rdkit import Chem
from scipy.spatial import cKDTree

from data.elements import is_metal

TOLERANCE = 0.45  # Å beyond the sum of covalent radii
SHORTEST = 0.8  # Å; closer atoms are two positions of one atom, not a bond
MAX_MATCHED = 400  # unsaturated atoms; matching takes cubic time

# Most heavy-atom neighbours of an element; those without an entry have no limit.
MAX_NEIGHBOURS = {6: 4, 7: 4, 8: 2, 9: 1, 35: 1, 53: 1}
VALENCE = {5: 3, 6: 4, 7: 3, 8: 2, 14: 4, 15: 3, 16: 2, 34: 2}
# Below this length (Å) a bond of two unsaturated atoms may be double; tables of bond lengths, single bonds between
# sp2 atoms excluded where they are clearly longer.
DOUBLE = {(6, 6): 1.46, (6, 7): 1.40, (6, 8): 1.30, (7, 7): 1.38, (7, 8): 1.28, (6, 16): 1.69, (7, 16): 1.60}
DOUBLE_IN_RING = {(6, 6): 1.48, (6, 7): 1.43, (7, 7): 1.42, (6, 16): 1.69}
TERMINAL_NITROGEN = 1.31
TRIPLE = {(6, 6): 1.25, (6, 7): 1.22, (7, 7): 1.16}

Bonds = dict[tuple[int, int], int]


def find_bonds(numbers: Sequence[int], coords: np.ndarray) -> dict[tuple[int, int], float]:
    """Bonds (i < j) with their lengths in Å: atoms closer than the sum of their covalent radii and a tolerance.

    Metals get no bonds. An atom with more neighbours than its element allows keeps the nearest.
    """
    table = Chem.GetPeriodicTable()
    radius = np.array([table.GetRcovalent(n) if n else 0.77 for n in numbers])
    pairs = cKDTree(coords).query_pairs(2 * radius.max() + TOLERANCE, output_type="ndarray")
    length = np.linalg.norm(coords[pairs[:, 0]] - coords[pairs[:, 1]], axis=1)
    metal = np.array([is_metal(n) for n in numbers])
    near = (length > SHORTEST) & (length < radius[pairs].sum(axis=1) + TOLERANCE) & ~metal[pairs].any(axis=1)
    neighbours = [0] * len(numbers)
    bonds = {}
    for k in np.flatnonzero(near)[np.argsort(length[near], kind="stable")]:
        i, j = sorted(map(int, pairs[k]))
        if all(neighbours[a] < MAX_NEIGHBOURS.get(numbers[a], 12) for a in (i, j)):
            bonds[i, j] = float(length[k])
            neighbours[i] += 1
            neighbours[j] += 1
    return bonds


def find_orders(
    numbers: Sequence[int], coords: np.ndarray, lengths: dict[tuple[int, int], float]
) -> tuple[Bonds, dict]:
    """Bond orders 1, 2 or 3 of bonds, and formal charges of the atoms that need one (atom -> charge)."""
    neighbours: list[list[int]] = [[] for _ in numbers]
    for i, j in lengths:
        neighbours[i].append(j)
        neighbours[j].append(i)
    flat = _ring_atoms_in_plane(coords, lengths, len(numbers))
    orders: Bonds = dict.fromkeys(lengths, 1)
    charges: dict[int, int] = {}
    free = [max(VALENCE.get(n, 0) - len(near), 0) for n, near in zip(numbers, neighbours)]
    _mark_oxo_groups(numbers, neighbours, lengths, orders, charges, free)
    unsaturated = (i for i in range(len(numbers)) if free[i] and _unsaturated(i, coords, neighbours, flat))
    graph = nx.Graph()
    graph.add_nodes_from(unsaturated)
    for i, j in sorted(lengths, key=lambda bond: (lengths[bond], bond)):
        if i in graph and j in graph:
            _consider(i, j, lengths[i, j], numbers, neighbours, flat, free, orders, graph)
    for part in nx.connected_components(graph):
        if len(part) <= MAX_MATCHED:
            for i, j in nx.max_weight_matching(graph.subgraph(sorted(part))):
                orders[min(i, j), max(i, j)] = 2
    return orders, charges


def _consider(i, j, length, numbers, neighbours, flat, free, orders, graph) -> None:  # type: ignore[no-untyped-def]
    """Settle a bond that must be triple or a carbonyl; make one that may be double a candidate for the matching.

    The weight makes the matching leave out nitrogen rather than carbon, and long bonds rather than short ones.
    """
    pair = (min(numbers[i], numbers[j]), max(numbers[i], numbers[j]))
    end = min(i, j, key=lambda atom: len(neighbours[atom]))
    terminal_nitrogen = numbers[end] == 7 and len(neighbours[end]) == 1
    table = DOUBLE_IN_RING if flat.get(i, frozenset()) & flat.get(j, frozenset()) else DOUBLE
    longest = TERMINAL_NITROGEN if terminal_nitrogen else table.get(pair, 0.0)
    if min(free[i], free[j]) >= 2 and length < TRIPLE.get(pair, 0.0):
        orders[i, j] = 3
        graph.remove_nodes_from((i, j))
    elif pair == (6, 8) and length < longest and len(neighbours[end]) == 1:
        orders[i, j] = 2
        graph.remove_nodes_from((i, j))
    elif length < longest:
        graph.add_edge(i, j, weight=0.1 + (numbers[i] == 6) + (numbers[j] == 6) + (longest - length) * 3)


def _mark_oxo_groups(numbers, neighbours, lengths, orders, charges, free) -> None:  # type: ignore[no-untyped-def]
    """Double bonds of sulfoxides, sulfones, phosphates and nitro groups; charges of nitrogen with four bonds."""
    for i, number in enumerate(numbers):
        if number == 7 and len(neighbours[i]) == 4:
            charges[i] = 1
        if number not in (7, 15, 16):
            continue
        ends = [j for j in neighbours[i] if numbers[j] == 8 and len(neighbours[j]) == 1]
        ends.sort(key=lambda j: lengths[min(i, j), max(i, j)])
        wanted = {16: max(len(neighbours[i]) - 2, 0), 15: int(len(neighbours[i]) == 4), 7: 0}[number]
        if number == 7 and len(neighbours[i]) == 3 and len(ends) == 2:
            charges[i], charges[ends[1]], wanted = 1, -1, 1
        for j in ends[:wanted]:
            orders[min(i, j), max(i, j)] = 2
        if ends and wanted:
            for j in (*ends, i):
                free[j] = 0


def _unsaturated(i: int, coords: np.ndarray, neighbours, flat) -> bool:  # type: ignore[no-untyped-def]
    """Whether the geometry at an atom allows a double bond: ends of a chain always, else planar or linear."""
    near = neighbours[i]
    if len(near) < 2 or i in flat:
        return True
    unit = coords[near] - coords[i]
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    if len(near) == 2:
        return bool(unit[0] @ unit[1] < np.cos(np.radians(115)))
    # Distance of the centre from the plane of its three neighbours' directions: 0 for sp2, 1/3 for sp3.
    normal = np.cross(unit[1] - unit[0], unit[2] - unit[0])
    return bool(len(near) == 3 and abs(unit[0] @ normal) < 0.17 * np.linalg.norm(normal))


def _ring_atoms_in_plane(coords: np.ndarray, lengths, n_atoms: int) -> dict[int, frozenset[int]]:  # type: ignore[no-untyped-def]
    """Atoms of flat rings of five or six atoms -> numbers of those rings."""
    molecule = Chem.RWMol()
    for _ in range(n_atoms):
        molecule.AddAtom(Chem.Atom(6))
    for i, j in lengths:
        molecule.AddBond(i, j, Chem.BondType.SINGLE)
    molecule.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(molecule) if len(lengths) > 2 * n_atoms else Chem.GetSymmSSSR(molecule)
    found: dict[int, frozenset[int]] = {}
    for number, ring in enumerate(molecule.GetRingInfo().AtomRings()):
        if len(ring) in (5, 6):
            centred = coords[list(ring)] - coords[list(ring)].mean(axis=0)
            if np.linalg.svd(centred, compute_uv=False)[2] / np.sqrt(len(ring)) < 0.06:
                for atom in ring:
                    found[atom] = found.get(atom, frozenset()) | {number}
    return found
