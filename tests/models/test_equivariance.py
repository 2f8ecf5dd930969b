"""Turning, shifting or mirroring a complex changes no embedding; vectors turn with it."""

import pytest
import torch
from complexes import as_double, joined, moved, rotation, small_config, some_complexes
from torch import Tensor

from models import DenoisePretrainModel

MIRROR = torch.diag(torch.tensor([1.0, -1, 1], dtype=torch.float64))
CASES = {
    "rotation": (rotation(1), (0.0, 0.0, 0.0)),
    "translation": (torch.eye(3, dtype=torch.float64), (7.0, -3.0, 2.0)),
    "reflection": (MIRROR, (0.0, 0.0, 0.0)),
    "rotation, reflection and translation": (rotation(2) @ MIRROR, (-1.0, 2.0, 3.0)),
}


@pytest.fixture(scope="module")
def model() -> DenoisePretrainModel:
    torch.manual_seed(0)
    return DenoisePretrainModel(small_config(dropout=0.1)).eval()


def close(found: Tensor, expected: Tensor) -> None:
    # relative to the largest entry: norms make features of about one
    tolerance = (1e-9 if found.dtype == torch.float64 else 2e-4) * (1 + float(expected.abs().max()))
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_scalars_stay_and_vectors_turn(model: DenoisePretrainModel, case: str, dtype: torch.dtype) -> None:
    turn, shift = CASES[case]
    batch = as_double(joined(some_complexes(3)))
    model = model.to(dtype)
    before, after = model.infer(batch), model.infer(moved(batch, turn, shift))
    proper = float(torch.linalg.det(turn))
    turn = turn.to(dtype)
    for name in ("unit_repr", "block_repr", "graph_repr", "masked_logits", "translation_scale", "atom_scale"):
        close(getattr(after, name), getattr(before, name))
    if proper > 0:  # a mirror swaps the true vectors (1o) and the axial ones (1e) of the sum
        for name in ("pred_translation", "pred_rotation", "pred_atom"):
            close(getattr(after, name), getattr(before, name) @ turn.T)
        close(after.pred_torsion, before.pred_torsion)


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
