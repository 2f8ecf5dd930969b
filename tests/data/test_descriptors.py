"""Descriptors of an interface, and the surface that its sides bury."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data.buried_surface import PROBE, buried_surface
from data.descriptors import NAMES, descriptors, rings_and_rotors
from data.item import Item
from data.vocab import atom_index, load_vocabulary

C, N, O = (atom_index(symbol) for symbol in "CNO")


def pair(names: tuple[str, str], X: list[list[list[float]]], A: list[list[int]]) -> Item:
    """One residue on either side."""
    vocabulary = load_vocabulary()
    return Item(
        id="pair",
        X=np.array([x for side in X for x in side], np.float32),
        A=np.array([a for side in A for a in side], np.uint8),
        B=np.array([vocabulary.residue(name) for name in names], np.uint16),
        block_lengths=np.array([len(side) for side in X], np.int32),
        segment_ids=np.array([0, 1], np.uint8),
    )


def of(item: Item) -> dict[str, float]:
    return dict(zip(NAMES, descriptors(item)))


SALT_BRIDGE = pair(
    ("LYS", "ASP"), [[[0, 0, 0], [-1.5, 0, 0], [-3, 0, 0]], [[3, 0, 0], [4.2, 0, 0]]], [[N, C, C], [O, C]]
)


def test_two_spheres_bury_the_caps_that_the_other_covers() -> None:
    """Two carbons 4 Å apart: the cap of a sphere of 3.1 Å beyond the middle plane, 2 π R (R - d / 2)."""
    found = buried_surface(np.array([[0.0, 0, 0], [4, 0, 0]]), np.array([C, C]), np.array([0, 1]))
    radius = 1.7 + PROBE
    assert found == pytest.approx(2 * np.pi * radius * (radius - 2), rel=0.06)


def test_atoms_that_do_not_touch_bury_nothing() -> None:
    X = np.array([[0.0, 0, 0], [6.3, 0, 0]])
    assert buried_surface(X, np.array([C, C]), np.array([0, 1])).tolist() == [0, 0]
    assert buried_surface(X, np.array([C, C]), np.array([0, 0])).tolist() == [0, 0]


def test_what_the_own_side_covers_is_not_buried_by_the_other() -> None:
    X = np.array([[0.0, 0, 0], [1.5, 0, 0], [5, 0, 0]])
    alone = buried_surface(X[[0, 2]], np.array([C, C]), np.array([0, 1]))[0]
    behind = buried_surface(X, np.array([C, C, C]), np.array([0, 0, 1]))[0]
    assert behind < alone / 2


def test_a_salt_bridge_is_counted() -> None:
    found = of(SALT_BRIDGE)
    assert found["opposite charges"] == 1
    assert found["equal charges"] == 0
    assert found["screened charges"] < 0
    assert found["polar atoms 3.5"] == 1
    assert found["contacts charged-charged 4"] == found["contacts charged-charged 8"] == 1
    assert found["contacts of LYS"] == found["contacts of ASP"] == 1
    assert found["atoms polar-polar 4.5"] == 1
    assert found["atoms of larger side"] == 3
    assert found["gap"] == pytest.approx(3)
    assert found["hydropathy in contact"] == pytest.approx(-7.4)


def test_descriptors_neither_turn_nor_depend_on_the_order_of_sides() -> None:
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(6, 3)) * 2, rng.normal(size=(4, 3)) * 2 + [6, 0, 0]]
    item = pair(("TRP", "ARG"), [x.tolist() for x in X], [[C, C, N, O, C, C], [C, N, N, C]])
    turned = item.with_(X=(item.X @ Rotation.random(rng=1).as_matrix().T + [5, -3, 2]).astype(np.float32))
    swapped = pair(("ARG", "TRP"), [x.tolist() for x in X[::-1]], [[C, N, N, C], [C, C, N, O, C, C]])
    for other in (turned, swapped):
        assert descriptors(other) == pytest.approx(descriptors(item), rel=1e-3, abs=1e-3)


def test_one_segment_has_no_interface() -> None:
    one = SALT_BRIDGE.with_(segment_ids=np.zeros(2, np.uint8))
    assert not descriptors(one).any()
    assert len(descriptors(one)) == len(NAMES) == len(set(NAMES))


def test_rings_and_rotatable_bonds_come_from_distances() -> None:
    """Toluene's ring and methyl group; ethylbenzene has a bond that turns."""
    turn = np.arange(6) * np.pi / 3
    ring = np.stack([1.39 * np.cos(turn), 1.39 * np.sin(turn), 0 * turn], 1)
    methyl, ethyl = [2.89, 0, 0], [3.4, 1.42, 0]
    carbons = np.full(8, C)
    assert rings_and_rotors(np.vstack([ring, methyl]), carbons[:7]) == (1, 0)
    assert rings_and_rotors(np.vstack([ring, methyl, ethyl]), carbons) == (1, 1)
    assert rings_and_rotors(ring[:1], carbons[:1]) == (0, 0)
