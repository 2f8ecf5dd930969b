"""Noise does what its targets say, to one segment, and is a pure function of the item and the random numbers."""

import numpy as np
import pytest
from item_factory import assert_same_item, random_item

from configs.errors import ConfigError
from configs.schema import NoiseOptions
from data.geometry import superposed
from data.igso3 import angle_grid
from data.noise import PretrainTransform, choose_segment, is_ligand, rotate, segment_atoms, shake, translate, twist
from data.vocab import FIRST_ELEMENT, load_vocabulary
from data.wrapped_normal import score

ALL = NoiseOptions(
    atom_noise=0.3,
    translation_noise=1,
    rotation_noise=0.25,
    torsion_noise=0.5,
    max_rotation=0.5,
    mask_proportion=0.1,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def split(item, segment):
    atoms = segment_atoms(item, segment)
    other = np.ones(item.n_atoms, bool)
    other[atoms] = False
    return atoms, other


@pytest.mark.parametrize("segment", [0, 1])
@pytest.mark.parametrize("noise", ["rotate", "translate", "twist", "shake"])
def test_the_other_segment_stays_where_it_is(noise, segment):
    item = random_item(1)
    options = {
        "rotate": (rotate, 0.25, 0.5),
        "translate": (translate, 1.0),
        "twist": (twist, 0.5),
        "shake": (shake, 0.3),
    }
    apply, *arguments = options[noise]
    noised = apply(item, segment, *arguments, rng())
    atoms, other = split(item, segment)
    np.testing.assert_array_equal(noised.X[other], item.X[other])
    assert np.abs(noised.X[atoms] - item.X[atoms]).max() > 1e-3
    assert noised.noisy_segment == segment
    assert noised.X.dtype == np.float32


def test_rotation_turns_about_the_mean_by_the_angle_of_its_score():
    item = random_item(2)
    for seed in range(20):
        noised = rotate(item, 1, 0.25, 0.5, rng(seed))
        atoms, _ = split(item, 1)
        before, after = item.X[atoms].astype(float), noised.X[atoms].astype(float)
        np.testing.assert_allclose(after.mean(0), before.mean(0), atol=1e-4)
        u, _, vt = np.linalg.svd((before - before.mean(0)).T @ (after - after.mean(0)))
        turn = (u @ vt).T
        angle = np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))
        axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / (
            2 * np.sin(angle)
        )
        grid = angle_grid(0.25, 0.5)
        expected = grid.scores[np.argmin(np.abs(grid.angles - angle))] * axis
        np.testing.assert_allclose(noised.rot_score, expected, atol=0.02)


def test_translation_shifts_by_eps_times_its_score():
    item = random_item(3)
    noised = translate(item, 0, 1.0, rng())
    atoms, _ = split(item, 0)
    shift = noised.X[atoms] - item.X[atoms]
    np.testing.assert_allclose(shift, np.broadcast_to(noised.tr_eps * noised.tr_score, shift.shape), atol=1e-5)
    assert 0.1 <= noised.tr_eps <= 1
    assert noised.tr_score.dtype == np.float32


def test_scales_are_uniform_from_a_tenth_and_never_above_the_option():
    item = random_item(3, 2)
    scales = [translate(item, 0, 1.0, rng(i)).tr_eps for i in range(400)]
    assert np.mean(scales) == pytest.approx(0.55, abs=0.04)
    assert max(translate(item, 0, 0.05, rng(i)).tr_eps for i in range(50)) <= 0.05


def test_atom_noise_shifts_each_atom_by_eps_times_its_score():
    item = random_item(4)
    noised = shake(item, 1, 0.5, rng())
    atoms, other = split(item, 1)
    np.testing.assert_allclose(noised.X - item.X, noised.atom_eps * noised.atom_score, atol=1e-5)
    assert not noised.atom_score[other].any()
    assert noised.atom_score[atoms].std() == pytest.approx(1, abs=0.15)


def test_torsion_noise_keeps_bond_lengths_and_angles():
    item = random_item(5)
    noised = twist(item, 0, 0.5, rng())
    block = item.block_of_atom
    for step in (1, 2):  # in the chains of the factory: bonded atoms, and the two ends of an angle
        a = np.flatnonzero(block[step:] == block[:-step])
        b = a + step
        before = np.linalg.norm(item.X[a] - item.X[b], axis=1)
        np.testing.assert_allclose(np.linalg.norm(noised.X[a] - noised.X[b], axis=1), before, atol=1e-4)


def test_torsion_scores_belong_to_the_angles_that_were_turned():
    item = random_item(6)
    noised = twist(item, 0, 0.5, rng())
    inside = item.segment_of_atom[item.tor_bonds[:, 0]] == 0
    np.testing.assert_array_equal(noised.tor_bonds, item.tor_bonds[inside])

    def dihedral(X, p):
        a, b, c, d = X[p - 1].astype(float), X[p].astype(float), X[p + 1].astype(float), X[p + 2].astype(float)
        axis = (c - b) / np.linalg.norm(c - b)
        left, right = np.cross(a - b, axis), np.cross(d - c, axis)
        return np.arctan2(np.cross(left, right) @ axis, left @ right)

    first = np.isin(noised.tor_bonds[:, 0], np.cumsum(item.block_lengths) - item.block_lengths)
    checked = 0
    for (p, _), found in zip(noised.tor_bonds[~first], noised.tor_score[~first]):
        angle = dihedral(noised.X, p) - dihedral(item.X, p)
        assert found == pytest.approx(score(np.array([angle]), 0.5)[0], abs=0.02)
        checked += 1
    assert checked > 3


def test_a_ligand_is_put_back_after_torsion_noise_a_protein_is_not():
    ligand = random_item(7).with_(B=np.full(12, FIRST_ELEMENT + 5, np.uint16))
    for item, aligned in ((ligand, True), (random_item(7), False)):
        noised = twist(item, 0, 0.5, rng())
        atoms, _ = split(item, 0)
        best = superposed(noised.X[atoms].astype(float), item.X[atoms].astype(float))
        assert np.allclose(noised.X[atoms], best, atol=1e-4) == aligned


@pytest.mark.parametrize(
    ("kind", "ligand"),
    [
        ("UNK", True),
        ("GLY", False),
        ("PRO", False),
        ("DA", False),
        ("RU", False),
        ("H", True),
        ("Og", True),
    ],
)
def test_what_counts_as_a_ligand(kind, ligand):
    item = random_item(7).with_(B=np.full(12, load_vocabulary().blocks.index(kind), np.uint16))
    assert is_ligand(item, 0) == ligand


@pytest.mark.parametrize("item", [random_item(8, torsions=False), random_item(8)])
def test_a_segment_without_torsions_has_empty_targets(item):
    if item.tor_bonds is not None:
        inside = item.segment_of_atom[item.tor_bonds[:, 0]] == 0
        moved = np.repeat(~inside, item.tor_moved_lengths)
        item = item.with_(
            tor_bonds=item.tor_bonds[~inside],
            tor_depth=item.tor_depth[~inside],
            tor_moved_lengths=item.tor_moved_lengths[~inside],
            tor_moved=item.tor_moved[moved],
        )
    noised = twist(item, 0, 0.5, rng())
    assert noised.tor_bonds.shape == (0, 2)
    assert noised.tor_score.shape == (0,)
    np.testing.assert_array_equal(noised.X, item.X)


def test_either_segment_is_noised_but_not_a_single_atom():
    item = random_item(9)
    assert {choose_segment(item, rng(i)) for i in range(20)} == {0, 1}
    ion = random_item(9, 4, split=3).with_(
        X=item.X[:10], A=item.A[:10], block_lengths=np.array([3, 3, 3, 1], np.int32), segment_ids=np.array([0, 0, 0, 1])
    )
    assert {choose_segment(ion, rng(i)) for i in range(20)} == {0}
    assert {choose_segment(random_item(9, 4, split=0), rng(i)) for i in range(5)} == {1}
    assert {choose_segment(random_item(9, 4, split=4), rng(i)) for i in range(5)} == {0}


def test_the_transform_is_a_pure_function_of_item_and_random_numbers():
    item = random_item(10, 20)
    before = random_item(10, 20)
    transform = PretrainTransform(ALL, max_blocks=15)
    first, again, other = transform(item, rng(1)), transform(item, rng(1)), transform(item, rng(2))
    assert_same_item(before, item)
    assert_same_item(first, again)
    assert not np.array_equal(first.X, other.X)


def test_the_transform_gives_all_targets_and_keeps_the_item_consistent():
    item = PretrainTransform(ALL, max_blocks=15)(random_item(11, 20), rng())
    assert item.n_blocks == 15
    for name in ("noisy_segment", "rot_score", "tr_eps", "tr_score", "tor_score", "atom_score", "masked_labels"):
        assert getattr(item, name) is not None, name
    assert len(item.tor_bonds) == len(item.tor_score)
    assert item.block_lengths.sum() == item.n_atoms == len(item.X) == len(item.atom_score)
    segments = item.segment_of_atom[item.tor_bonds]
    assert (segments == item.noisy_segment).all()


def test_noise_that_is_off_leaves_no_trace():
    item = random_item(12)
    assert_same_item(item, PretrainTransform(NoiseOptions())(item, rng()))


def test_read_only_items_can_be_noised():
    item = random_item(13)
    for array in (item.X, item.A, item.B, item.tor_bonds, item.tor_moved):
        array.flags.writeable = False
    PretrainTransform(ALL)(item, rng())


def test_a_budget_that_holds_no_contact_is_refused():
    with pytest.raises(ConfigError, match="--max_n_vertex_per_item: must hold a block of each segment"):
        PretrainTransform(ALL, max_blocks=1)
