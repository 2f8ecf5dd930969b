"""Complexes beside their first sides: what a pair holds, and what the side must not know."""

import numpy as np
import pytest
import torch
from item_factory import random_item

from configs.errors import DataError
from configs.schema import from_flat
from data.collate import collate_items
from data.dataset import InterfaceDataset
from data.item import check_item
from data.loader import COLLATE, make_loader
from data.pairs import collate_pairs, one_segment
from data.sampler import BatchSampler
from data.vocab import GLOBAL
from models import create_model

SIZES = {"atom_hidden_size": 8, "block_hidden_size": 8, "edge_size": 6, "n_layers": 2, "k_neighbors": 3}


@pytest.mark.parametrize("segment", [0, 1])
def test_a_side_holds_its_own_blocks_only(segment: int) -> None:
    item = random_item(3, n_blocks=9, split=4)
    side = check_item(one_segment(item, segment))
    here = item.segment_ids == segment
    assert side.B.tolist() == item.B[here].tolist()
    assert side.X.tolist() == item.X[np.repeat(here, item.block_lengths)].tolist()
    assert side.segment_ids.tolist() == [0] * int(here.sum())
    assert side.modality == -1
    assert item.segment_ids.max() == 1


def test_a_segment_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match="has no block in segment 1"):
        one_segment(one_segment(random_item(0)), 1)
    with pytest.raises(DataError, match="0002_A_B: has one segment only"):
        collate_pairs([random_item(1), one_segment(random_item(2))])


def test_rows_of_both_parts_belong_together() -> None:
    items = [random_item(seed, n_blocks=5 + seed, split=3) for seed in range(3)]
    batch = collate_pairs(items)
    assert batch["id"] == [item.id for item in items]
    assert batch["cmplx_lengths"].tolist() == [item.n_blocks + 2 for item in items]
    assert batch["prot_lengths"].tolist() == [4, 4, 4]  # three blocks and one global
    assert (batch["prot_B"] == GLOBAL).sum() == 3
    whole = collate_items(items)
    assert torch.equal(batch["cmplx_X"], whole["X"])
    assert batch["prot_sizes"] != batch["cmplx_sizes"]


def test_the_global_node_of_a_side_does_not_tell_where_the_partner_is() -> None:
    item = random_item(5)
    there = np.repeat(item.segment_ids == 1, item.block_lengths)
    moved = item.with_(X=item.X + 7 * there[:, None].astype(np.float32))
    one, other = collate_pairs([item]), collate_pairs([moved])
    for name in (name for name in one.to_dict() if name.startswith("prot_") and torch.is_tensor(one[name])):
        torch.testing.assert_close(one[name], other[name], equal_nan=True)
    assert not torch.equal(one["cmplx_X"], other["cmplx_X"])


def test_a_side_alone_is_embedded_as_in_its_pair() -> None:
    torch.manual_seed(0)
    model = create_model("ProteinInterfaceModel", prot_model=SIZES | {"num_block_types": 40})
    items = [random_item(seed, n_blocks=6 + seed) for seed in range(3)]
    sides = [one_segment(item) for item in items]
    pairs, alone = model.infer(collate_pairs(items)), model.infer(collate_items(sides))
    torch.testing.assert_close(alone.pred, pairs.pred)
    torch.testing.assert_close(alone.graph_repr, pairs.graph_repr)
    assert alone.cmplx_pred is None and alone.loss is None
    assert not alone.pred.requires_grad
    torch.testing.assert_close(alone.pred.norm(dim=1), torch.ones(3))
    single = torch.cat([model.infer(collate_items([side])).pred for side in sides])
    torch.testing.assert_close(single, pairs.pred, atol=1e-5, rtol=1e-5)


def test_the_task_of_a_run_chooses_what_makes_a_batch() -> None:
    items = [random_item(seed) for seed in range(4)]
    dataset = InterfaceDataset(items)
    loader = make_loader(dataset, BatchSampler(dataset.counts, 2), collate=COLLATE["prot_interface"])
    assert [batch["id"] for batch in loader] == [["0000_A_B", "0001_A_B"], ["0002_A_B", "0003_A_B"]]
    assert all("prot_X" in batch for batch in loader)
    assert from_flat({}).task not in COLLATE
