"""The scalars alone of a convolution's result, exactly as the whole gives them.

Outputs of a tensor product are computed block by block and normalised block by block, so the scalars need neither the
weights nor the sums of the others. In the last layer of a level, where only scalars go on into the embeddings, that is
nearly all of the work.
"""

from functools import cache
from typing import cast

import torch
from torch import Tensor, nn

from models.layers.aggregate import AggregateThenProject, Fixed
from models.layers.convolution import Convolution
from models.layers.irreps import FeatureSpace
from models.layers.norm import normalized_block
from models.layers.paths import TensorProductPaths
from models.layers.slots import Slots


def scalars_of(
    layer: Convolution,
    x: Tensor,
    slots: Slots,
    filters: Tensor,
    attributes: Tensor,
    receiver: Tensor,
    sender: Tensor,
) -> Tensor:
    """[receivers, channels of degree 0] the first columns of `layer(...)`, whose arguments these are (no dropout)."""
    paths, rows = scalar_paths(layer.paths.space_in, layer.paths.filters, layer.paths.space_out)
    first, second = cast(nn.Linear, layer.fc[0]), cast(nn.Linear, layer.fc[3])
    taken = rows.to(x.device)
    mean: Tensor = AggregateThenProject.apply(
        Fixed(paths, slots, tuple(name for name, _ in layer.parts), layer.products or x.dtype),
        *(x, filters, attributes, receiver, sender),
        *(first.weight, first.bias, second.weight[taken], second.bias[taken], None),
    )
    norm, parts, start, channel = layer.norm_layer, [], 0, 0
    for block in norm.space.blocks:
        if block.l == 0:
            part = mean[:, None, start : start + block.channels]
            weight = norm.affine_weight[channel : channel + block.channels]
            parts.append(normalized_block(part, block, weight, norm.affine_bias, norm.eps).flatten(1))
            start += block.channels
        channel += block.channels
    return torch.cat(parts, 1)


@cache
def scalar_paths(
    space_in: FeatureSpace, filters: tuple[tuple[int, int], ...], space_out: FeatureSpace
) -> tuple[TensorProductPaths, Tensor]:
    """The paths into the scalar blocks of a space, and where their weights stand among those of all paths."""
    whole = TensorProductPaths(space_in, filters, space_out)
    part = TensorProductPaths(space_in, filters, FeatureSpace(tuple(b for b in space_out.blocks if b.l == 0)))
    kept = [pieces for block, pieces in zip(space_out.blocks, whole.pieces, strict=True) if block.l == 0]
    rows = torch.empty(part.weight_numel, dtype=torch.long)
    for mine, theirs in zip(part.pieces, kept, strict=True):
        for new, old in zip(mine, theirs, strict=True):
            rows[new.weights] = torch.arange(old.weights.start, old.weights.stop)
    return part, rows
