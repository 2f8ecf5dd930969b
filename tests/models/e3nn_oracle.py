"""Stock e3nn on one side, our layout on the other: what the convolution tests compare with."""

import torch
from e3nn import o3
from torch import Tensor

from benchmarks.plain_layers import Convolution as PlainConvolution
from models.layers.convolution import Convolution
from models.layers.irreps import FeatureSpace


def irreps(space: FeatureSpace) -> o3.Irreps:
    return o3.Irreps([(block.channels, (block.l, block.p)) for block in space.blocks])


def to_e3nn(x: Tensor, space: FeatureSpace) -> Tensor:
    """Features from our layout (degree, component, channel) to e3nn's (block, channel, component)."""
    return torch.cat([space.block_of(x, i).transpose(1, 2).flatten(1) for i in range(len(space.blocks))], 1)


def from_e3nn(x: Tensor, space: FeatureSpace) -> Tensor:
    """The inverse of `to_e3nn`."""
    out, start = x.new_zeros(len(x), space.width), 0
    for i, block in enumerate(space.blocks):
        stop = start + block.channels * block.dim
        space.block_of(out, i).copy_(x[:, start:stop].unflatten(1, (block.channels, block.dim)).transpose(1, 2))
        start = stop
    return out


def plain_convolution(ours: Convolution) -> PlainConvolution:
    """The same convolution with a weight tensor for every edge, sharing no memory."""
    paths = ours.paths
    filters = o3.Irreps([(1, f) for f in paths.filters])
    width = sum(size for _, size in ours.parts)
    plain = PlainConvolution(irreps(paths.space_in), filters, irreps(paths.space_out), width)
    plain.load_state_dict(ours.state_dict(), strict=False)
    return plain
