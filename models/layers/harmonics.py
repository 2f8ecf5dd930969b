"""Real spherical harmonics up to l = 2, and their products for torsion bonds (parity SPEC 4.2 and 5)."""

import math

import torch
from torch import Tensor, nn

from models.layers.wigner import wigner_3j

EDGE_FILTER = ((0, 1), (1, -1), (2, 1))
"""Degree and parity of each part of `spherical_harmonics`."""


def unit(vectors: Tensor) -> Tensor:
    """Vectors [n, 3] of length 1; a zero vector stays zero, and has a zero gradient."""
    squared = vectors.square().sum(1, keepdim=True)
    tiny = squared < 1e-24
    length = torch.where(tiny, torch.ones_like(squared), squared).sqrt()
    return torch.where(tiny, vectors * 1e12, vectors / length)


def distance(vectors: Tensor) -> Tensor:
    """Lengths [n] of vectors [n, 3]; a zero vector has a zero gradient."""
    squared = vectors.square().sum(1)
    none = squared == 0
    return torch.where(none, torch.ones_like(squared), squared).sqrt().masked_fill(none, 0)


def spherical_harmonics(vectors: Tensor) -> Tensor:
    """[n, 9] harmonics of the directions of vectors [n, 3]: 1 of l = 0, 3 of l = 1, 5 of l = 2.

    Component normalisation: each part of a unit vector has squared norm 2l+1. The polar axis is y.
    """
    x, y, z = unit(vectors).unbind(1)
    s3, s5, s15 = math.sqrt(3), math.sqrt(5), math.sqrt(15)
    parts = [
        torch.ones_like(x),
        *(s3 * x, s3 * y, s3 * z),
        *(s15 * x * z, s15 * x * y, s5 * (y * y - (x * x + z * z) / 2), s15 * y * z, s15 / 2 * (z * z - x * x)),
    ]
    return torch.stack(parts, 1)


class AxisFilter(nn.Module):
    """Product of the harmonics of an edge with the l = 2 harmonics of a bond axis (parity SPEC 5, torsion).

    The parts, in order, are those of `PARTS` (degree of the edge's factor; degree and parity of the product). Each is

        sqrt(2l+1) * sum_ij C[a, 2, l][i, j, c] Y_a[i] Y_2[j].
    """

    PARTS = ((2, 0, 1), (1, 1, -1), (2, 1, 1), (1, 2, -1), (0, 2, 1), (2, 2, 1), (1, 3, -1), (2, 3, 1), (2, 4, 1))
    irreps = tuple((l3, p) for _, l3, p in PARTS)

    def __init__(self) -> None:
        super().__init__()
        offset = {0: 0, 1: 1, 2: 4}
        columns = []
        for a, l3, _ in self.PARTS:
            part = torch.zeros(9, 5, 2 * l3 + 1, dtype=torch.float64)
            part[offset[a] : offset[a] + 2 * a + 1] = math.sqrt(2 * l3 + 1) * wigner_3j(a, 2, l3)
            columns.append(part)
        self.exact = torch.cat(columns, 2)  # [9, 5, 45]; not a buffer: casting the module must not round it

    def forward(self, edge: Tensor, axis: Tensor) -> Tensor:
        """[n, 45] filters.

        Args:
            edge: [n, 3] vectors from the middle of the bond to the atom.
            axis: [n, 3] vectors along the bond; zero gives zero.
        """
        table = self.exact.to(edge.device, edge.dtype).flatten(0, 1)
        product = spherical_harmonics(edge)[:, :, None] * spherical_harmonics(axis)[:, None, 4:]
        return product.flatten(1) @ table
