"""A crop keeps the blocks around a contact, in order, with everything that belongs to them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from item_factory import assert_same_item, random_item

from data.crop import block_centres, crop, keep_blocks
from data.item import check_item


def numbered(seed, n_blocks, split=None):
    """An item whose blocks carry their number in a type and an embedding."""
    numbers = np.arange(n_blocks)
    return random_item(seed, n_blocks, split).with_(
        B=(numbers + 4).astype(np.uint16), block_embeddings=numbers[:, None].astype(np.float32)
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 40), st.integers(2, 30))
def test_a_crop_has_the_budget_both_segments_and_the_order(seed, n_blocks, budget):
    item = numbered(seed, n_blocks, 1 + seed % (n_blocks - 1))
    cropped = check_item(crop(item, budget, np.random.default_rng(seed)))
    assert cropped.n_blocks == min(n_blocks, budget)
    assert set(cropped.segment_ids) == {0, 1}
    kept = cropped.B.astype(int) - 4
    assert (np.diff(kept) > 0).all()
    np.testing.assert_array_equal(cropped.block_embeddings[:, 0], kept)
    np.testing.assert_array_equal(cropped.block_resid, item.block_resid[kept])
    assert cropped.block_chain == [item.block_chain[b] for b in kept]
    np.testing.assert_array_equal(cropped.X, item.X[np.isin(item.block_of_atom, kept)])


def test_what_is_kept_lies_around_a_contact():
    item = numbered(1, 200)
    cropped = crop(item, 40, np.random.default_rng(0))
    centres = block_centres(item)
    kept = np.isin(np.arange(200), cropped.B.astype(int) - 4)
    spread = np.linalg.norm(centres[kept] - centres[kept].mean(0), axis=1)
    assert spread.max() < np.linalg.norm(centres[~kept] - centres[kept].mean(0), axis=1).mean()


def test_small_items_are_left_alone():
    item = random_item(2, 10)
    assert crop(item, 10, np.random.default_rng(0)) is item


def test_different_draws_give_different_contacts():
    item = numbered(3, 60)
    crops = {tuple(crop(item, 10, np.random.default_rng(i)).B.tolist()) for i in range(20)}
    assert len(crops) > 5


def test_a_single_segment_is_cropped_too():
    cropped = crop(random_item(4, 20, split=20), 5, np.random.default_rng(0))
    assert cropped.n_blocks == 5
    assert not cropped.segment_ids.any()


def test_torsions_follow_their_atoms():
    item = random_item(5, 6)
    keep = np.array([True, False, True, True, False, True])
    kept = check_item(keep_blocks(item, keep))
    whole = keep[item.block_of_atom[item.tor_bonds[:, 0]]]
    assert len(kept.tor_bonds) == whole.sum()
    np.testing.assert_array_equal(kept.X[kept.tor_bonds], item.X[item.tor_bonds[whole]])
    np.testing.assert_array_equal(kept.tor_depth, item.tor_depth[whole])
    moved = np.repeat(whole, item.tor_moved_lengths)
    np.testing.assert_array_equal(kept.X[kept.tor_moved], item.X[item.tor_moved[moved]])
    np.testing.assert_array_equal(kept.tor_moved_lengths, item.tor_moved_lengths[whole])


def test_a_bond_that_moves_atoms_outside_keeps_those_inside_or_goes():
    item = random_item(6, 3, torsions=False)
    first = np.cumsum(item.block_lengths) - item.block_lengths
    item = item.with_(
        tor_bonds=np.array([[0, 1], [1, 2]], np.int32),
        tor_depth=np.array([0, 1], np.uint8),
        tor_moved_lengths=np.array([2, 1], np.int32),
        tor_moved=np.array([2, first[1], first[1]], np.int32),
    )
    kept = keep_blocks(item, np.array([True, False, True]))
    assert kept.tor_bonds.tolist() == [[0, 1]]
    assert kept.tor_moved.tolist() == [2]
    assert kept.tor_moved_lengths.tolist() == [1]


def test_keeping_all_blocks_changes_nothing():
    item = random_item(7, 6)
    assert_same_item(item, keep_blocks(item, np.ones(6, bool)))
