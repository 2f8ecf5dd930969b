"""Layers of the plain model: stock e3nn tensor products with a weight tensor for every edge."""

import torch
from e3nn import o3
from torch import Tensor, nn

SPHERICAL = o3.Irreps("1x0e + 1x1o + 1x2e")


def feature_space(hidden: int, layer: int) -> o3.Irreps:
    """The features after `layer` layers (parity SPEC 4.1)."""
    half = hidden // 2
    spaces = [
        f"{hidden}x0e",
        f"{hidden}x0e + {half}x1o + {half}x2e",
        f"{hidden}x0e + {half}x1o + {half}x2e + {half}x1e + {half}x2o",
        f"{hidden}x0e + {half}x1o + {half}x2e + {half}x1e + {half}x2o + {hidden}x0o",
    ]
    return o3.Irreps(spaces[min(layer, 3)])


def harmonics(vectors: Tensor) -> Tensor:
    """[edges, 9] spherical harmonics up to l = 2, component normalisation."""
    return o3.spherical_harmonics(SPHERICAL, vectors, normalize=True, normalization="component")


class Basis(nn.Module):
    """Gaussians at evenly spaced distances."""

    offset: Tensor

    def __init__(self, stop: float, size: int) -> None:
        super().__init__()
        offset = torch.linspace(0, stop, size)
        self.coefficient = -0.5 / float(offset[1] - offset[0]) ** 2
        self.register_buffer("offset", offset)

    def forward(self, distance: Tensor) -> Tensor:
        return torch.exp(self.coefficient * (distance[:, None] - self.offset) ** 2)


def distance_embedder(stop: float, size: int) -> nn.Sequential:
    return nn.Sequential(Basis(stop, size), nn.Linear(size, size), nn.ReLU(), nn.Dropout(0.0), nn.Linear(size, size))


class EquivariantNorm(nn.Module):
    """Norm of every block of irreps on its own (parity SPEC 4.6)."""

    def __init__(self, irreps: o3.Irreps, eps: float = 1e-5) -> None:
        super().__init__()
        self.irreps, self.eps = irreps, eps
        self.affine_weight = nn.Parameter(torch.ones(sum(mul for mul, _ in irreps)))
        self.affine_bias = nn.Parameter(torch.zeros(sum(mul for mul, ir in irreps if ir.l == 0 and ir.p == 1)))

    def forward(self, x: Tensor) -> Tensor:
        out, start, channel = [], 0, 0
        for mul, ir in self.irreps:
            block = x[:, start : start + mul * ir.dim].reshape(-1, mul, ir.dim)
            scalar = ir.l == 0 and ir.p == 1
            if scalar:
                block = block - block.mean(1, keepdim=True)
            block = block * (block.pow(2).mean((1, 2), keepdim=True) + self.eps).rsqrt()
            block = block * self.affine_weight[channel : channel + mul, None]
            if scalar:
                block = block + self.affine_bias[:, None]
            out.append(block.reshape(-1, mul * ir.dim))
            start, channel = start + mul * ir.dim, channel + mul
        return torch.cat(out, 1)


def mean_over(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Mean of the rows of `values` that share an index; zero where there are none."""
    total = values.new_zeros(size, values.shape[1]).index_add_(0, index, values)
    count = values.new_zeros(size).index_add_(0, index, values.new_ones(len(index)))
    return total / count.clamp(min=1)[:, None]


class Convolution(nn.Module):
    """One message-passing step: a network makes the weights of the tensor product, edge by edge."""

    def __init__(self, irreps_in: o3.Irreps, filters: o3.Irreps, irreps_out: o3.Irreps, edge_features: int) -> None:
        super().__init__()
        self.tp = o3.FullyConnectedTensorProduct(
            irreps_in, filters, irreps_out, internal_weights=False, shared_weights=False
        )
        width = edge_features
        self.fc = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.0), nn.Linear(width, self.tp.weight_numel)
        )
        self.norm_layer = EquivariantNorm(irreps_out)

    def forward(self, x: Tensor, edges: Tensor, filters: Tensor, edge_features: Tensor, size: int) -> Tensor:
        messages = self.tp(x[edges[1]], filters, self.fc(edge_features))
        return self.norm_layer(mean_over(messages, edges[0], size))
