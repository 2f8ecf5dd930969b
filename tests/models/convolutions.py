"""Single convolutions on random graphs, for comparing the ways to compute them."""

import pytest
import torch

from models.layers.convolution import Convolution
from models.layers.harmonics import EDGE_FILTER, AxisFilter
from models.layers.irreps import Block, FeatureSpace, space_of_layer
from models.layers.slots import slots_from_edges

HIDDEN, EDGE = 8, 6
PARTS = (("edge", EDGE), ("receiver", HIDDEN), ("sender", HIDDEN))
SPACES = [
    pytest.param(space_of_layer(HIDDEN, n), EDGE_FILTER, space_of_layer(HIDDEN, n + 1), id=f"layer {n}")
    for n in range(4)
] + [
    pytest.param(space_of_layer(HIDDEN, 3), EDGE_FILTER, FeatureSpace((Block(2, 1, -1), Block(2, 1, 1))), id="segment"),
    pytest.param(
        space_of_layer(HIDDEN, 3),
        AxisFilter.irreps,
        FeatureSpace((Block(HIDDEN, 0, -1), Block(HIDDEN, 0, 1))),
        id="torsion",
    ),
]


def problem(space_in, filters, space_out, n=23, seed=0):
    """A convolution and inputs whose receivers have 0 to 40 edges."""
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    layer = Convolution(space_in, filters, space_out, PARTS)
    degree = torch.randint(0, 6, (n,), generator=g)
    degree[3], degree[4] = 40, 17
    receiver = torch.arange(n).repeat_interleave(degree)
    slots = slots_from_edges(receiver, torch.randint(0, n, receiver.shape, generator=g), n)
    width, edges = sum(2 * l + 1 for l, _ in filters), len(slots.sender)
    shapes = [(n, space_in.width), (edges, width), (edges, EDGE), (n, HIDDEN), (n, HIDDEN)]
    x, harmonics, attributes, at, of = (torch.randn(*shape, generator=g).requires_grad_() for shape in shapes)
    return layer, slots, [x, harmonics, attributes, at, of]


def results(layer: Convolution, slots, values: list[torch.Tensor]) -> list[torch.Tensor]:
    """Output and all gradients, of values that need one."""
    torch.manual_seed(5)
    x, *others = values
    out = layer(x, slots, *others)
    probe = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    wanted = [each for each in (*values, *layer.parameters()) if each.requires_grad]
    return [out, *torch.autograd.grad((out * probe).sum(), wanted)]


def assert_close(found: list[torch.Tensor], wanted: list[torch.Tensor], relative: float = 2e-6) -> None:
    for mine, theirs in zip(found, wanted, strict=True):
        assert (mine - theirs).norm() <= relative * theirs.norm() + 1e-9
