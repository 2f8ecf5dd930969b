"""Rotatable bonds as flat arrays: which atoms each bond moves, and in which order bonds are turned."""

import numpy as np


def torsion_levels(bonds: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Depth of every rotatable bond: how many other bonds move it.

    Where the bonds form trees, the bonds that move a given one move nested sets of atoms, so this number is also one
    more than the depth of the deepest of them; bonds of equal depth move disjoint atoms.

    Args:
        bonds: [torsions, 2] atoms (p, q) of each bond. moved: [sum] atoms that the bonds move (q is not among its own).

    Returns:
        [torsions] uint8.
    """
    if not len(bonds):
        return np.zeros(0, np.uint8)
    movers = np.bincount(moved, minlength=int(np.max(bonds)) + 1)
    return movers[np.asarray(bonds)[:, 1]].astype(np.uint8)
