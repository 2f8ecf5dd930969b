"""Rotations of point sets: by axis and angle, about rotatable bonds, and the best superposition."""

import numpy as np

# LEVI_CIVITA @ k is the matrix of the cross product k x .
LEVI_CIVITA = np.zeros((3, 3, 3))
LEVI_CIVITA[[0, 1, 2], [2, 0, 1], [1, 2, 0]] = 1
LEVI_CIVITA[[0, 2, 1], [1, 0, 2], [2, 1, 0]] = -1
SKEW_OF_AXIS = LEVI_CIVITA.transpose(2, 0, 1).reshape(3, 9)
IDENTITY = np.eye(3).reshape(9)


def rotation_matrices(axes: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Matrices [n, 3, 3] that turn column vectors about axes [n, 3] (any length) by angles [n], radians.

    Rodrigues: R = cos(a) I + sin(a) [k]x + (1 - cos(a)) k k^T with the unit axis k. A zero axis gives the identity.
    """
    length = np.sqrt(np.einsum("ij,ij->i", axes, axes))
    k = axes / np.maximum(length, 1e-12)[:, None]
    angles = np.where(length > 1e-6, angles, 0.0)
    cosine, sine = np.cos(angles)[:, None], np.sin(angles)[:, None]
    outer = (k[:, :, None] * k[:, None, :]).reshape(-1, 9)
    return (cosine * IDENTITY + sine * (k @ SKEW_OF_AXIS) + (1 - cosine) * outer).reshape(-1, 3, 3)


def superposed(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """`moving` [n, 3] rotated and shifted onto `fixed` [n, 3] with the least squared distance (Kabsch 1976)."""
    centre, target = moving.mean(0), fixed.mean(0)
    u, _, vt = np.linalg.svd((moving - centre).T @ (fixed - target))
    u[:, -1] *= np.sign(np.linalg.det(u @ vt))
    return (moving - centre) @ u @ vt + target


def turn_bonds(
    X: np.ndarray,
    bonds: np.ndarray,
    depth: np.ndarray,
    moved_lengths: np.ndarray,
    moved: np.ndarray,
    angles: np.ndarray,
) -> np.ndarray:
    """Coordinates [n, 3] after turning the moved atoms of every bond about its axis p -> q.

    Bonds of one depth move disjoint atoms and are turned in one step, the depths one after another: the result is that
    of turning the bonds one by one in order of depth.

    Args:
        X: [n, 3] coordinates, Å. bonds: [t, 2] atoms p, q. depth, moved_lengths: [t]. moved: [sum of moved_lengths].
            See `data.item.Item`.
        angles: [t] radians, right-handed about p -> q.
    """
    X = np.array(X, np.float64)
    order = np.argsort(depth, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    bond_of_moved = np.repeat(rank, moved_lengths)
    moved_order = np.argsort(bond_of_moved, kind="stable")
    moved, bond_of_moved = moved[moved_order], bond_of_moved[moved_order]
    bonds, angles = bonds[order], angles[order]
    ends = np.cumsum(np.bincount(depth))
    moved_ends = np.searchsorted(bond_of_moved, ends)
    start = moved_start = 0
    for end, moved_end in zip(ends.tolist(), moved_ends.tolist()):
        p, q = X[bonds[start:end, 0]], X[bonds[start:end, 1]]
        turn = rotation_matrices(q - p, angles[start:end])
        bond, atoms = bond_of_moved[moved_start:moved_end] - start, moved[moved_start:moved_end]
        origin = p[bond]
        X[atoms] = origin + np.einsum("nij,nj->ni", turn[bond], X[atoms] - origin)
        start, moved_start = end, moved_end
    return X
