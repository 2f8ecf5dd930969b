"""Norm of equivariant features (parity SPEC 4.6)."""

import torch
from torch import Tensor, nn

from models.layers.irreps import Block, FeatureSpace


class EquivariantNorm(nn.Module):
    """Scale each block of a feature to mean square 1, times one weight a channel.

        r = (mean over channels and components of x^2 + eps)^(-1/2);  x <- x r weight[channel]

    True scalars (0e) lose their mean over channels first and get a bias afterwards.
    """

    def __init__(self, space: FeatureSpace, eps: float = 1e-5) -> None:
        super().__init__()
        self.space, self.eps = space, eps
        self.affine_weight = nn.Parameter(torch.ones(sum(block.channels for block in space.blocks)))
        n_bias = sum(block.channels for block in space.blocks if block.is_scalar)
        # An empty bias gets no gradient; distributed training must not wait for one.
        self.affine_bias = nn.Parameter(torch.zeros(n_bias), requires_grad=n_bias > 0)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, width] -> [rows, width]."""
        weights = self.affine_weight.split([block.channels for block in self.space.blocks])
        groups: dict[int, list[Tensor]] = {degree: [] for degree in self.space.groups}
        for number, (block, weight) in enumerate(zip(self.space.blocks, weights, strict=True)):
            part = self.space.block_of(x, number)
            groups[block.l].append(normalized_block(part, block, weight, self.affine_bias, self.eps))
        return torch.cat([torch.cat(parts, 2).flatten(1) for parts in groups.values()], 1)


def normalized_block(part: Tensor, block: Block, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """The norm of one block, part [rows, 2l+1, channels], of a space; weight: [channels], bias: [0e channels]."""
    if block.is_scalar:
        part = part - part.mean(2, keepdim=True)
    part = part * ((part.square().mean((1, 2), keepdim=True) + eps).rsqrt() * weight)
    return part + bias if block.is_scalar else part
