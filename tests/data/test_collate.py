"""A batch is its items one after another, with a global block at the start of every segment."""

import numpy as np
import pytest
import torch
from item_factory import random_item

from configs.errors import DataError
from configs.schema import NoiseOptions
from data.collate import collate_items
from data.noise import PretrainTransform
from data.vocab import ATOM_GLOBAL, GLOBAL

NOISE = NoiseOptions(
    atom_noise=0.3, translation_noise=1, rotation_noise=0.25, torsion_noise=0.5, max_rotation=0.5, mask_proportion=0.1
)
ATOM_KEYS = {"X", "A", "atom_positions", "atom_score"}
BLOCK_KEYS = {"B", "block_lengths", "segment_ids", "masked_blocks", "block_embeddings"}
GRAPH_KEYS = {"lengths", "label", "modality", "noisy_segment", "tr_eps", "tr_score", "rot_score", "atom_eps"}
OTHER_KEYS = {"tor_edges", "tor_score", "tor_batch", "masked_labels"}


def noised(seed, n_blocks=12, split=None):
    embeddings = np.random.default_rng(seed).normal(size=(n_blocks, 5)).astype(np.float32)
    item = random_item(seed, n_blocks, split, block_embeddings=embeddings)
    return PretrainTransform(NOISE)(item, np.random.default_rng(seed))


ITEMS = [noised(0), noised(1, 5, 5), noised(2, 9), noised(3, 3, 0), noised(4, 30)]


def test_all_documented_keys_are_there_with_their_types():
    batch = collate_items(ITEMS)
    assert set(batch.keys()) == ATOM_KEYS | BLOCK_KEYS | GRAPH_KEYS | OTHER_KEYS | {"id", "sizes"}
    floats = {
        "X",
        "label",
        "tr_eps",
        "tr_score",
        "rot_score",
        "atom_eps",
        "atom_score",
        "tor_score",
        "block_embeddings",
    }
    for name in set(batch.keys()) - {"id", "sizes"}:
        expected = torch.float32 if name in floats else torch.bool if name == "masked_blocks" else torch.int64
        assert batch[name].dtype == expected, name
    assert batch.id == [item.id for item in ITEMS]


def test_a_batch_is_its_singles_one_after_another():
    batch, singles = collate_items(ITEMS), [collate_items([item]) for item in ITEMS]
    for name in ATOM_KEYS | BLOCK_KEYS | GRAPH_KEYS | {"tor_score", "masked_labels"}:
        torch.testing.assert_close(batch[name], torch.cat([single[name] for single in singles]), rtol=0, atol=0)
    first_atom = np.cumsum([0] + [len(single.A) for single in singles])
    shifted = [single.tor_edges + int(first) for single, first in zip(singles, first_atom)]
    torch.testing.assert_close(batch.tor_edges, torch.cat(shifted, 1))
    graphs = [torch.full_like(single.tor_batch, g) for g, single in enumerate(singles)]
    torch.testing.assert_close(batch.tor_batch, torch.cat(graphs))


def test_every_segment_starts_with_a_global_block_at_its_mean():
    batch = collate_items(ITEMS)
    graph = np.repeat(np.arange(len(ITEMS)), batch.lengths)
    block_of_atom = np.repeat(np.arange(len(batch.B)), batch.block_lengths)
    segment = 2 * graph + batch.segment_ids.numpy()
    first = np.flatnonzero(np.diff(segment, prepend=-1))
    assert np.flatnonzero(batch.B == GLOBAL).tolist() == first.tolist()
    assert len(first) == 8  # two of the five items have one segment
    for block in first:
        atoms = segment[block_of_atom] == segment[block]
        ordinary = atoms & (batch.A.numpy() != ATOM_GLOBAL)
        at = np.flatnonzero(atoms & (batch.A.numpy() == ATOM_GLOBAL))
        assert block_of_atom[at].tolist() == [block]
        np.testing.assert_allclose(batch.X[at[0]], batch.X.numpy()[ordinary].mean(0), atol=1e-4)
        np.testing.assert_allclose(batch.atom_score[at[0]], batch.atom_score.numpy()[ordinary].mean(0), atol=1e-5)
    assert not batch.masked_blocks[first].any()
    assert not batch.block_embeddings[first].any()


def test_without_global_nodes_the_items_are_found_back():
    batch = collate_items(ITEMS)
    ordinary = batch.A.numpy() != ATOM_GLOBAL
    np.testing.assert_array_equal(batch.X.numpy()[ordinary], np.concatenate([item.X for item in ITEMS]))
    np.testing.assert_array_equal(batch.A.numpy()[ordinary], np.concatenate([item.A for item in ITEMS]))
    blocks = batch.B.numpy() != GLOBAL
    for name in ("B", "block_lengths", "segment_ids", "masked_blocks", "block_embeddings"):
        joined = np.concatenate([getattr(item, name) for item in ITEMS])
        np.testing.assert_array_equal(batch[name].numpy()[blocks], joined)
    assert batch.lengths.tolist() == [14, 6, 11, 4, 32]


def test_torsion_edges_point_at_the_same_atoms_as_in_the_items():
    batch = collate_items(ITEMS)
    expected = np.concatenate([item.X[item.tor_bonds] for item in ITEMS])
    np.testing.assert_array_equal(batch.X[batch.tor_edges.T].numpy(), expected)


def test_a_batch_without_torsions_has_empty_torsion_keys():
    items = [PretrainTransform(NOISE)(random_item(s, torsions=False), np.random.default_rng(s)) for s in (1, 2)]
    batch = collate_items(items)
    assert batch.tor_edges.shape == (2, 0)
    assert batch.tor_score.shape == batch.tor_batch.shape == (0,)


def test_items_without_noise_give_no_noise_keys():
    batch = collate_items([random_item(1), random_item(2)])
    assert set(batch.keys()) == (ATOM_KEYS | BLOCK_KEYS | {"lengths", "label", "modality", "id", "sizes"}) - {
        "atom_score",
        "masked_blocks",
        "block_embeddings",
    }


def test_unknown_labels_and_absent_positions_have_their_documented_values():
    batch = collate_items([random_item(1, label=float("nan"), modality=-1, atom_positions=None), random_item(2)])
    assert batch.label.isnan().tolist() == [True, False]
    assert batch.modality[0] == -1
    assert not batch.atom_positions.any()


def test_items_that_differ_in_what_they_carry_are_refused():
    items = [random_item(1, block_embeddings=np.zeros((12, 3), np.float32)), random_item(2)]
    with pytest.raises(DataError, match="0002_A_B: has no block_embeddings, but other items of the batch do"):
        collate_items(items)


def test_embeddings_of_different_width_are_refused():
    items = [random_item(s, block_embeddings=np.zeros((12, 3 + s), np.float32)) for s in (1, 2)]
    with pytest.raises(DataError, match="0001_A_B, 0002_A_B: block_embeddings has different widths in one batch"):
        collate_items(items)


def test_an_empty_batch_is_refused():
    with pytest.raises(DataError, match="a batch needs at least one item"):
        collate_items([])
