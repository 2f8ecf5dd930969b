"""Turning or shifting a complex changes no embedding, vectors turn with it, a mirror acts on each parity as it must."""

import pytest
import torch
from complexes import as_double, joined, moved, rotation, small_config, some_complexes
from torch import Tensor

from models import DenoisePretrainModel
from models.layers.irreps import space_of_layer

MIRROR = torch.diag(torch.tensor([1.0, -1, 1], dtype=torch.float64))
CASES = {
    "rotation": (rotation(1), (0.0, 0.0, 0.0)),
    "translation": (torch.eye(3, dtype=torch.float64), (7.0, -3.0, 2.0)),
    "both": (rotation(2), (-1.0, 2.0, 3.0)),
}
PRECISIONS = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
SCALARS = ("unit_repr", "block_repr", "graph_repr", "masked_logits", "translation_scale", "atom_scale", "pred_torsion")
VECTORS = ("pred_translation", "pred_rotation", "pred_atom")


@pytest.fixture(scope="module")
def model() -> DenoisePretrainModel:
    torch.manual_seed(0)
    return DenoisePretrainModel(small_config(dropout=0.1)).eval()


def close(found: Tensor, expected: Tensor) -> None:
    # relative to the largest entry: norms make features of about one
    tolerance = (1e-9 if found.dtype == torch.float64 else 2e-4) * (1 + float(expected.detach().abs().max()))
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@PRECISIONS
@pytest.mark.parametrize("case", CASES)
def test_scalars_stay_and_vectors_turn(model: DenoisePretrainModel, case: str, dtype: torch.dtype) -> None:
    turn, shift = CASES[case]
    batch = as_double(joined(some_complexes(3)))
    model = model.to(dtype)
    before, after = model.infer(batch), model.infer(moved(batch, turn, shift))
    for name in SCALARS:
        close(getattr(after, name), getattr(before, name))
    for name in VECTORS:
        close(getattr(after, name), getattr(before, name) @ turn.to(dtype).T)


@PRECISIONS
@pytest.mark.parametrize("turn", [MIRROR, rotation(3) @ MIRROR], ids=["reflection", "reflection and rotation"])
def test_a_mirror_acts_on_each_parity(model: DenoisePretrainModel, turn: Tensor, dtype: torch.dtype) -> None:
    """Scalars (0e) stay, pseudoscalars (0o) change sign, vectors (1o) turn, axial ones (1e) turn and change sign."""
    batch = as_double(joined(some_complexes(3)))
    model = model.to(dtype)
    before, after = (model.infer(b).representation.atoms.features for b in (batch, moved(batch, turn)))
    space = space_of_layer(model.config.atom_hidden_size, model.config.n_layers)
    for number, block in enumerate(space.blocks):
        old, new = space.block_of(before, number), space.block_of(after, number)
        assert old.abs().max() > 1e-3
        if block.l == 0:
            close(new, old * block.p)
        if block.l == 1:
            close(new, -block.p * torch.einsum("ij,njc->nic", turn.to(dtype), old))


def test_the_prediction_of_a_mirrored_complex_differs(model: DenoisePretrainModel) -> None:
    """Torsion predictions tell left from right: they are no plain scalars."""
    batch = as_double(joined(some_complexes(2)))
    model = model.double()
    before, after = model.infer(batch), model.infer(moved(batch, MIRROR))
    assert (after.pred_torsion - before.pred_torsion).abs().max() > 1e-3


def test_order_of_atoms_inside_a_block_does_not_matter(model: DenoisePretrainModel) -> None:
    batch = as_double(some_complexes(1)[0])
    sizes = batch["block_lengths"].tolist()
    order = torch.cat([torch.arange(n).flip(0) + sum(sizes[:i]) for i, n in enumerate(sizes)])
    other = batch | {"X": batch["X"][order], "A": batch["A"][order]}
    model = model.double()
    before, after = model.encode(batch), model.encode(other)
    close(after.unit_repr, before.unit_repr[order])
    close(after.graph_repr, before.graph_repr)
