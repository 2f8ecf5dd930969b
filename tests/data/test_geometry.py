"""Rotations are rotations, superposition finds them back, and turning bonds keeps lengths and angles."""

import numpy as np
import pytest

from data.geometry import rotation_matrices, superposed, turn_bonds

rng = np.random.default_rng(0)


def test_a_quarter_turn_about_z():
    turn = rotation_matrices(np.array([[0, 0, 2.0]]), np.array([np.pi / 2]))[0]
    np.testing.assert_allclose(turn @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(turn @ [0, 1, 5], [-1, 0, 5], atol=1e-12)


def test_matrices_are_rotations_by_the_angle():
    axes, angles = rng.normal(size=(20, 3)), rng.uniform(0, np.pi, 20)
    turns = rotation_matrices(axes, angles)
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (20, 3, 3)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turns), 1, atol=1e-12)
    np.testing.assert_allclose(np.arccos((np.trace(turns, axis1=1, axis2=2) - 1) / 2), angles, atol=1e-6)
    np.testing.assert_allclose(np.einsum("nij,nj->ni", turns, axes), axes, atol=1e-12)


def test_no_axis_turns_nothing():
    np.testing.assert_array_equal(rotation_matrices(np.zeros((1, 3)), np.ones(1))[0], np.eye(3))


@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_superposition_undoes_a_rotation_and_a_shift(n):
    fixed = rng.normal(size=(n, 3))
    turn = rotation_matrices(rng.normal(size=(1, 3)), np.array([2.0]))[0]
    np.testing.assert_allclose(superposed(fixed @ turn.T + 7, fixed), fixed, atol=1e-9)


def test_superposition_never_reflects():
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3.0]])
    mirrored = points * [1, 1, -1]
    moved = superposed(mirrored, points)
    assert np.linalg.det((moved - moved[0])[1:]) == pytest.approx(np.linalg.det((mirrored - mirrored[0])[1:]))


# A branched molecule: 0-1-2-3-4 with 5 on 2 and 6-7 on 3. Bonds 1-2, 2-3 and 3-6 are rotatable.
EDGES = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [2, 5], [3, 6], [6, 7]])
BONDS = np.array([[3, 6], [1, 2], [2, 3]])
DEPTH = np.array([2, 0, 1], np.uint8)
MOVED = [[7], [3, 4, 5, 6, 7], [4, 6, 7]]
POSITIONS = np.array(
    [[0, 0, 0], [1.5, 0, 0], [2, 1.4, 0], [3.5, 1.4, 0.3], [4, 2, 1.5], [1.2, 2.2, 1], [4, 0, 0], [5, 0, 1]]
)


def turned(angles):
    lengths = np.array([len(m) for m in MOVED])
    return turn_bonds(POSITIONS, BONDS, DEPTH, lengths, np.concatenate(MOVED), np.asarray(angles, float))


def dihedral(X, a, b, c, d):
    axis = (X[c] - X[b]) / np.linalg.norm(X[c] - X[b])
    left, right = np.cross(X[a] - X[b], axis), np.cross(X[d] - X[c], axis)
    return np.arctan2(np.cross(left, right) @ axis, left @ right)


def test_turning_keeps_bond_lengths_and_angles():
    X = turned([1.0, -2.0, 0.7])
    lengths = lambda Y: np.linalg.norm(Y[EDGES[:, 0]] - Y[EDGES[:, 1]], axis=1)  # noqa: E731
    np.testing.assert_allclose(lengths(X), lengths(POSITIONS), atol=1e-12)
    neighbours = {i: {*EDGES[EDGES[:, 0] == i, 1], *EDGES[EDGES[:, 1] == i, 0]} for i in range(8)}
    for centre, around in neighbours.items():
        for a in around:
            for b in around - {a}:
                assert np.linalg.norm(X[a] - X[b]) == pytest.approx(np.linalg.norm(POSITIONS[a] - POSITIONS[b])), centre
    assert np.abs(X - POSITIONS).max() > 0.5


def test_each_dihedral_changes_by_its_angle():
    X = turned([1.0, -2.0, 0.7])
    for atoms, angle in (((2, 3, 6, 7), 1.0), ((0, 1, 2, 3), -2.0), ((1, 2, 3, 4), 0.7)):
        change = dihedral(X, *atoms) - dihedral(POSITIONS, *atoms)
        assert np.remainder(change - angle + np.pi, 2 * np.pi) - np.pi == pytest.approx(0, abs=1e-9)


def test_one_step_a_depth_equals_bond_by_bond():
    expected = POSITIONS.copy()
    for i, angle in ((1, -2.0), (2, 0.7), (0, 1.0)):
        p, q = expected[BONDS[i]]
        turn = rotation_matrices((q - p)[None], np.array([angle]))[0]
        expected[MOVED[i]] = (expected[MOVED[i]] - p) @ turn.T + p
    np.testing.assert_allclose(turned([1.0, -2.0, 0.7]), expected, atol=1e-12)


def test_the_given_positions_stay():
    before = POSITIONS.copy()
    turned([1, 1, 1])
    np.testing.assert_array_equal(POSITIONS, before)
