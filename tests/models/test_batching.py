"""A complex gets the same numbers alone and in any batch, and no gradient runs from one complex to another."""

import pytest
import torch
from complexes import joined, small_config, some_complexes

from configs.errors import DataError
from models import DenoisePretrainModel

SETTINGS = [
    {},
    {"global_message_passing": False},
    {"bottom_global_message_passing": True},
    {"n_layers": 1},
    {"unknown_blocks": "global"},
]


def make(padding: str, **changes) -> DenoisePretrainModel:
    torch.manual_seed(0)
    return DenoisePretrainModel(small_config(padding=padding, **changes)).double().eval()


@pytest.mark.parametrize("padding", ["masked", "own"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_batch_equals_its_complexes_one_by_one(padding: str, settings: dict) -> None:
    graphs = some_complexes(4)
    graphs[1]["B"][2] = 2  # a block of unknown type
    model = make(padding, **settings)
    together, alone = model.infer(joined(graphs)), [model.infer(graph) for graph in graphs]
    names = ("unit_repr", "block_repr", "graph_repr", "pred_translation", "pred_rotation", "pred_torsion", "pred_atom")
    for name in (*names, "masked_logits"):
        expected = torch.cat([getattr(output, name) for output in alone])
        torch.testing.assert_close(getattr(together, name), expected, atol=1e-9, rtol=0)
    for name in ("translation_loss", "rotation_loss", "torsion_loss", "atom_loss", "masked_loss"):
        mean = torch.stack([output.terms[name] for output in alone]).mean()
        torch.testing.assert_close(together.terms[name], mean)


def test_with_padding_over_the_batch_mates_matter() -> None:
    graphs = some_complexes(3)
    model = make("batch")
    together = model.infer(joined(graphs)).graph_repr
    alone = torch.cat([model.infer(graph).graph_repr for graph in graphs])
    assert (together - alone).abs().max() > 1e-4


def test_the_three_kinds_of_padding_differ() -> None:
    batch = joined(some_complexes(3))
    masked, own, whole = (make(padding).infer(batch).graph_repr for padding in ("masked", "own", "batch"))
    assert min((masked - own).abs().max(), (own - whole).abs().max(), (masked - whole).abs().max()) > 1e-4


def test_no_gradient_runs_between_complexes() -> None:
    graphs = some_complexes(3)
    batch = joined(graphs)
    batch["X"] = batch["X"].double().requires_grad_()
    output = make("masked")(batch)
    output.graph_repr[1].sum().backward()
    gradient = batch["X"].grad
    first, second = len(graphs[0]["A"]), len(graphs[0]["A"]) + len(graphs[1]["A"])
    assert gradient[first:second].abs().max() > 0
    assert gradient[:first].abs().max() == 0
    assert gradient[second:].abs().max() == 0


def test_coordinates_get_the_gradients_of_finite_differences() -> None:
    """Edges are piecewise constant in the coordinates; everything else follows them."""
    graph = some_complexes(1)[0]
    model = make("masked", n_layers=2)
    weights = torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(5))

    def energy(X: torch.Tensor) -> torch.Tensor:
        return (model.encode(graph | {"X": X}).graph_repr * weights).sum()

    X = graph["X"].double().requires_grad_()
    assert torch.autograd.gradcheck(energy, (X,), fast_mode=True)


def test_mixed_precision_of_torch_changes_no_embedding() -> None:
    model, batch = make("own").float(), some_complexes(1)[0]
    exact = model.encode(batch)
    with torch.autocast("cpu", torch.bfloat16):
        encoded, output = model.encode(batch), model(batch)
    assert torch.equal(encoded.graph_repr, exact.graph_repr)
    assert torch.equal(output.graph_repr, exact.graph_repr)
    assert output.pred_torsion.dtype == torch.float32


def test_a_batch_that_fails_leaves_the_mode_as_it_was() -> None:
    model = make("own").train()
    with pytest.raises(DataError):
        model.infer({})
    assert model.training
