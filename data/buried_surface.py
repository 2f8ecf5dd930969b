"""The surface that two molecules bury between them.

Points of Shrake and Rupley, J Mol Biol 1973;79:351; radii of Bondi, J Phys Chem 1964;68:441. It is written here, over
all points at once, because readers of structures (Biopython) are kept out of what works from shards.
"""

from functools import cache

import numpy as np
from scipy.spatial import cKDTree

from data.vocab import ATOMIC_NUMBER

PROBE = 1.4  # Å, a water
RADII = {"H": 1.2, "C": 1.7, "N": 1.55, "O": 1.52, "F": 1.47, "P": 1.8, "S": 1.8, "CL": 1.75, "BR": 1.85, "I": 1.98}
OTHER_RADIUS = 1.7  # Å
POINTS = 100  # of a sphere
TOUCHING = 1e-6  # Å; a point of an atom lies on its own sphere, not inside

_RADIUS = np.full(256, OTHER_RADIUS)
for _symbol, _value in RADII.items():
    _RADIUS[ATOMIC_NUMBER[_symbol] + 2] = _value


def radii_of(A: np.ndarray) -> np.ndarray:
    """[atoms] van der Waals radii, Å, of atom types."""
    return _RADIUS[np.asarray(A, int)]


def buried_surface(X: np.ndarray, A: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """[atoms] accessible surface, Å², that each atom loses to the other segment.

    A point that the other side covers has its atoms within 2 (r + 1.4 Å) of it, so that atoms farther than 6.8 Å from
    the other side change nothing: the interface of an item (8 Å) buries what the whole molecules do. Points are laid
    along the principal axes of the atoms, so that the result turns with them (up to rounding).

    Args:
        X: [atoms, 3], Å. A: [atoms] atom types. segment: [atoms] 0 or 1.
    """
    X = np.asarray(X, np.float64)
    reach = radii_of(A) + PROBE
    area = np.zeros(len(X))
    if len(np.unique(segment)) < 2:
        return area
    directions = sphere() @ axes_of(X).T
    for side in (0, 1):
        own, other = np.flatnonzero(segment == side), np.flatnonzero(segment != side)
        gap, _ = cKDTree(X[other]).query(X[own])
        near = own[gap < reach[own] + reach[other].max()]
        points = (X[near, None] + reach[near, None, None] * directions).reshape(-1, 3)
        covered = np.flatnonzero(_inside(points, X[other], reach[other]))
        lost = covered[~_inside(points[covered], X[own], reach[own])]
        share = np.bincount(lost // POINTS, minlength=len(near)) / POINTS
        area[near] = 4 * np.pi * reach[near] ** 2 * share
    return area


def _inside(points: np.ndarray, centres: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """[points] whether a point lies inside of a sphere."""
    found = np.zeros(len(points), bool)
    for radius in np.unique(reach):
        left = np.flatnonzero(~found)
        tree = cKDTree(centres[reach == radius])
        distance, _ = tree.query(points[left], distance_upper_bound=radius)
        found[left] = distance < radius - TOUCHING
    return found


@cache
def sphere() -> np.ndarray:
    """[points, 3] evenly on a unit sphere, along a spiral."""
    place = np.arange(POINTS) + 0.5
    height, turn = 1 - 2 * place / POINTS, np.pi * (1 + 5**0.5) * place
    width = np.sqrt(1 - height**2)
    return np.stack([width * np.cos(turn), width * np.sin(turn), height], 1)


def axes_of(X: np.ndarray) -> np.ndarray:
    """[3, 3] principal axes of points, as columns, a right-handed frame that turns with the points."""
    centred = X - X.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1]
    skew = ((centred @ axes) ** 3).sum(axis=0)
    axes = axes * np.where(skew < 0, -1.0, 1.0)
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
    return axes
