"""Losses on numbers worked out by hand."""

import math

import pytest
import torch

from models.losses import atom_loss, masked_base, masked_loss, squared_error, torsion_loss


def test_torsion_loss_averages_inside_graphs_first() -> None:
    prediction, target = torch.tensor([1.0, 3.0, 2.0]), torch.tensor([0.0, 0.0, 0.0])
    graph = torch.tensor([0, 0, 1])
    assert torsion_loss(prediction, target, graph, 2).item() == pytest.approx(((1 + 9) / 2 + 4) / 2)


def test_a_graph_without_bonds_counts_as_zero_unless_none_follows() -> None:
    prediction, target = torch.tensor([2.0, 2.0]), torch.zeros(2)
    between = torsion_loss(prediction, target, torch.tensor([0, 2]), 3)
    behind = torsion_loss(prediction, target, torch.tensor([0, 1]), 3)
    assert between.item() == pytest.approx((4 + 0 + 4) / 3)
    assert behind.item() == pytest.approx((4 + 4) / 2)


def test_no_bonds_give_zero() -> None:
    assert torsion_loss(torch.zeros(0), torch.zeros(0), torch.zeros(0, dtype=torch.long), 3).item() == 0


def test_atom_loss_sums_components_and_averages_noised_atoms() -> None:
    prediction = torch.tensor([[1.0, 2, 2], [0, 0, 3], [9, 9, 9]])
    noised, graph = torch.tensor([True, True, False]), torch.tensor([0, 0, 0])
    assert atom_loss(prediction, torch.zeros(3, 3), noised, graph, 1).item() == pytest.approx((9 + 9) / 2)


def test_masked_loss_and_its_base() -> None:
    logits, labels = torch.zeros(2, 4), torch.tensor([1, 3])
    assert masked_loss(logits, labels).item() == pytest.approx(math.log(4))
    assert masked_base(logits).item() == pytest.approx(math.log(4))
    assert masked_loss(logits[:0], labels[:0]).item() == 0
    assert masked_base(logits[:0]).item() == 0


def test_squared_error_of_nothing_is_zero() -> None:
    assert squared_error(torch.zeros(0, 3), torch.zeros(0, 3)).item() == 0
    assert squared_error(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]])).item() == pytest.approx(2.5)
