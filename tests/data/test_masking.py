"""Masked blocks lose their atoms and types; what points at atoms follows; bonds inside them leave the loss."""

import numpy as np
import pytest
from item_factory import random_item

from data.crop import block_centres
from data.masking import apply_mask, mask_blocks
from data.noise import shake, twist
from data.vocab import ATOM_MASK, FIRST_MASKABLE, MASK, UNKNOWN


def rng(seed=0):
    return np.random.default_rng(seed)


def masked_blocks(n, *chosen):
    masked = np.zeros(n, bool)
    masked[list(chosen)] = True
    return masked


@pytest.mark.parametrize(("n_blocks", "expected"), [(55, 5), (20, 2), (19, 1), (4, 1), (1, 1)])
def test_a_share_of_the_blocks_is_masked_and_at_least_one(n_blocks, expected):
    item = mask_blocks(random_item(1, n_blocks), 0.1, rng())
    assert item.masked_blocks.sum() == expected == len(item.masked_labels)


def test_only_maskable_blocks_are_masked_in_both_segments():
    item = random_item(2, 30)
    B = item.B.copy()
    B[::2] = UNKNOWN
    chosen = sum(mask_blocks(item.with_(B=B), 0.2, rng(i)).masked_blocks for i in range(40))
    assert not chosen[::2].any()
    assert chosen[1::2].all()


def test_an_item_without_maskable_blocks_stays_as_it_is():
    item = random_item(2)
    item = item.with_(B=np.full_like(item.B, UNKNOWN))
    masked = mask_blocks(item, 0.1, rng())
    np.testing.assert_array_equal(masked.X, item.X)
    assert not masked.masked_blocks.any()
    assert masked.masked_labels.shape == (0,)


def test_a_masked_block_is_one_masked_atom_at_its_centre():
    item = random_item(3, 8)
    masked = apply_mask(item, masked_blocks(8, 0, 3, 7))
    assert masked.masked_labels.tolist() == [int(item.B[b]) - FIRST_MASKABLE for b in (0, 3, 7)]
    assert (masked.B[[0, 3, 7]] == MASK).all()
    assert (masked.block_lengths[[0, 3, 7]] == 1).all()
    atoms = np.flatnonzero(np.isin(masked.block_of_atom, (0, 3, 7)))
    assert (masked.A[atoms] == ATOM_MASK).all()
    np.testing.assert_allclose(masked.X[atoms], block_centres(item)[[0, 3, 7]], atol=1e-5)


def test_the_other_blocks_stay_bit_for_bit():
    item = random_item(3, 8)
    masked = apply_mask(item, masked_blocks(8, 0, 3, 7))
    before, after = ~np.isin(item.block_of_atom, (0, 3, 7)), ~np.isin(masked.block_of_atom, (0, 3, 7))
    for name in ("X", "A", "atom_positions"):
        np.testing.assert_array_equal(getattr(masked, name)[after], getattr(item, name)[before])
    others = ~masked_blocks(8, 0, 3, 7)
    np.testing.assert_array_equal(masked.B[others], item.B[others])


def test_torsion_bonds_in_masked_blocks_leave_the_loss_and_the_others_keep_their_atoms_and_targets():
    item = twist(random_item(4, 8), 0, 0.5, rng())
    masked = apply_mask(item, masked_blocks(8, 1, 6))
    outside = item.block_of_atom[item.tor_bonds[:, 0]] != 1
    assert 0 < outside.sum() < len(outside)
    np.testing.assert_array_equal(masked.tor_score, item.tor_score[outside])
    np.testing.assert_array_equal(masked.X[masked.tor_bonds], item.X[item.tor_bonds[outside]])


def test_a_bond_between_a_masked_block_and_another_stays():
    item = random_item(5, 4)
    end = int(item.block_lengths[0])
    item = item.with_(
        tor_bonds=np.array([[end - 1, end]], np.int32),
        tor_score=np.ones(1, np.float32),
        tor_depth=None,
        tor_moved=None,
        tor_moved_lengths=None,
    )
    masked = apply_mask(item, masked_blocks(4, 1))
    assert masked.tor_bonds.tolist() == [[end - 1, end]]
    assert masked.A[end] == ATOM_MASK


def test_the_atom_noise_of_a_masked_block_is_the_mean_of_its_atoms():
    item = shake(random_item(6, 8), 0, 0.5, rng())
    masked = apply_mask(item, masked_blocks(8, 2))
    of_block = item.atom_score[item.block_of_atom == 2]
    np.testing.assert_allclose(masked.atom_score[masked.block_of_atom == 2][0], of_block.mean(0), atol=1e-6)


def test_masking_without_torsion_noise_drops_the_torsions():
    masked = apply_mask(random_item(7), masked_blocks(12, 2))
    assert masked.tor_bonds is None
    assert masked.tor_moved is None


def test_external_vectors_of_masked_blocks_do_not_tell_their_type():
    vectors = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    item = mask_blocks(random_item(3, 12, block_embeddings=vectors), 0.3, rng(1))
    assert (item.block_embeddings[item.masked_blocks] == 0).all()
    np.testing.assert_array_equal(item.block_embeddings[~item.masked_blocks], vectors[~item.masked_blocks])
