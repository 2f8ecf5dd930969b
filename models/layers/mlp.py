"""Small networks: distance features and perceptrons, with the layer numbers of the published weights."""

import itertools

import torch
from torch import Tensor, nn


class GaussianBasis(nn.Module):
    """Gaussians at evenly spaced distances: g_m(d) = exp(-(d - c_m)^2 / (2 s^2)), s the spacing (parity SPEC 4.3)."""

    offset: Tensor

    def __init__(self, stop: float, size: int) -> None:
        super().__init__()
        self.scale = -0.5 * ((size - 1) / stop) ** 2
        self.register_buffer("offset", torch.linspace(0, stop, size))

    def forward(self, distance: Tensor) -> Tensor:
        """Distances [n], Å -> [n, size]."""
        return torch.exp(self.scale * (distance[:, None] - self.offset).square())


def distance_embedder(stop: float, size: int, dropout: float) -> nn.Sequential:
    """Distances [n], Å -> [n, size] features; blind beyond about `stop` + 1 Å."""
    return nn.Sequential(
        GaussianBasis(stop, size), nn.Linear(size, size), nn.ReLU(), nn.Dropout(dropout), nn.Linear(size, size)
    )


def two_layers(width: int, middle: int, out: int, dropout: float) -> nn.Sequential:
    """Linear, ReLU, Linear (keys 0 and 3)."""
    return nn.Sequential(nn.Linear(width, middle), nn.ReLU(), nn.Dropout(dropout), nn.Linear(middle, out))


def scale_ffn(width: int, dropout: float) -> nn.Sequential:
    """From a representation to one factor (keys 2 and 5)."""
    return nn.Sequential(
        *(nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width)),
        *(nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 1, bias=False)),
    )


def masked_ffn(width: int, classes: int, dropout: float) -> nn.Sequential:
    """From a block to the logits of its type (keys 1, 4 and 7)."""
    return nn.Sequential(
        *(nn.ReLU(), nn.Linear(width, width), nn.Dropout(dropout)),
        *(nn.ReLU(), nn.Linear(width, classes), nn.Dropout(dropout)),
        *(nn.ReLU(), nn.Linear(classes, classes), nn.Dropout(dropout)),
    )


def relu_linear(*widths: int) -> nn.Sequential:
    """ReLU and Linear between each two widths (keys 1, 3, 5, ...)."""
    parts: list[nn.Module] = []
    for into, to in itertools.pairwise(widths):
        parts += [nn.ReLU(), nn.Linear(into, to)]
    return nn.Sequential(*parts)


NONLINEARITIES: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "elu": nn.ELU}


def mlp(layers: int, width: int, middle: int, out: int, dropout: float, nonlinearity: str = "relu") -> nn.Sequential:
    """`layers` linear layers, each behind a nonlinearity and dropout (keys 2, 5, 8, ...; parity SPEC 7)."""
    parts: list[nn.Module] = []
    for number in range(layers):
        into, to = width if number == 0 else middle, out if number == layers - 1 else middle
        parts += [NONLINEARITIES[nonlinearity](), nn.Dropout(dropout), nn.Linear(into, to)]
    return nn.Sequential(*parts)
