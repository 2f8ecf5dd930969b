"""One message-passing convolution: a network makes the weights of a tensor product from what an edge knows."""

from typing import cast

import torch
from torch import Tensor, nn

from models.layers.aggregate import AggregateThenProject, Fixed
from models.layers.chunks import Part
from models.layers.irreps import FeatureSpace
from models.layers.mlp import two_layers
from models.layers.norm import EquivariantNorm
from models.layers.paths import TensorProductPaths
from models.layers.slots import Slots

Parts = tuple[tuple[Part, int], ...]
"""Name and width of each part of the weight network's input."""


class Convolution(nn.Module):
    """norm(mean over edges of TP(x_sender, filter; fc(edge | receiver | sender))) (parity SPEC 4.4 to 4.6).

    Args:
        space_in, filters, space_out: what the tensor product couples.
        parts: of the weight network's input, in the order of the published weights.
        dropout: between the two layers of the weight network.
        products: precision of the large products; that of the features when left out.
    """

    def __init__(
        self,
        space_in: FeatureSpace,
        filters: tuple[tuple[int, int], ...],
        space_out: FeatureSpace,
        parts: Parts,
        dropout: float = 0.0,
        products: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.paths = TensorProductPaths(space_in, filters, space_out)
        self.parts, self.dropout, self.products = parts, dropout, products
        width = sum(size for _, size in parts)
        self.fc = two_layers(width, width, self.paths.weight_numel, dropout)
        self.norm_layer = EquivariantNorm(space_out)

    def forward(
        self,
        x: Tensor,
        slots: Slots,
        filters: Tensor,
        attributes: Tensor,
        receiver: Tensor | None = None,
        sender: Tensor | None = None,
    ) -> Tensor:
        """[receivers, width of space_out].

        Args:
            x: [senders, width of space_in] features.
            filters: [slots, filter width] harmonics. attributes: [slots, edge part] of the weight network's input.
            receiver: [receivers, receiver part]. sender: [senders, sender part].
        """
        first, second = cast(nn.Linear, self.fc[0]), cast(nn.Linear, self.fc[3])
        keep = None
        if self.dropout and self.training:
            keep = x.new_empty(len(attributes), len(first.bias)).bernoulli_(1 - self.dropout).div_(1 - self.dropout)
        order = tuple(name for name, _ in self.parts)
        mean: Tensor = AggregateThenProject.apply(
            *(Fixed(self.paths, slots, order, self.products or x.dtype), x, filters, attributes),
            x.new_zeros(slots.n_receivers, 0) if receiver is None else receiver,
            x.new_zeros(len(x), 0) if sender is None else sender,
            *(first.weight, first.bias, second.weight, second.bias, keep),
        )
        return self.norm_layer(mean)
