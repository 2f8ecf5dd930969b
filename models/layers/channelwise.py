"""The channelwise convolution: each channel meets the harmonics on its own, then a linear map mixes the channels.

The fully connected product has a weight for every pair of channels and every edge; this one has a weight for every
channel ("uvu" in e3nn), and the weights that mix channels are shared by all edges. With paths p = (l1, l2, l3), a
message is

    m_p[u, c] = w_p[u] sqrt(2 l3 + 1) sum_ij C[l1, l2, l3][i, j, c] f[u, i] Y[j],

and an output block is the mean over edges of the n messages of its degree and parity, times a matrix [n, channels] /
sqrt(n). This is e3nn's component and path normalisation: features, weights and matrices of unit variance give outputs
of unit variance.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn

from configs.options import Kernels
from models.layers.accelerators import checked_kernel
from models.layers.channelwise_messages import MeanMessages, filled_only
from models.layers.channelwise_paths import ChannelwisePaths
from models.layers.convolution import Parts
from models.layers.irreps import FeatureSpace
from models.layers.mlp import two_layers
from models.layers.norm import EquivariantNorm
from models.layers.slots import Slots


class ChannelwiseConvolution(nn.Module):
    """norm(mix(mean over edges of the channelwise product of x_sender and filter, weighted by a network)).

    Takes what `Convolution` takes. Its parameters mean other things and have other names.

    Args:
        space_in, filters, space_out: what the tensor product couples.
        parts: of the weight network's input.
        dropout: between the two layers of the weight network.
        kernels: library for the product (models.layers.accelerators).
    """

    def __init__(
        self,
        space_in: FeatureSpace,
        filters: tuple[tuple[int, int], ...],
        space_out: FeatureSpace,
        parts: Parts,
        dropout: float = 0.0,
        kernels: Kernels = "torch",
    ) -> None:
        super().__init__()
        self.paths = ChannelwisePaths(space_in, filters, space_out)
        self.parts, self.dropout, self.kernels = parts, dropout, kernels
        width = sum(size for _, size in parts)
        self.weight_network = two_layers(width, width, self.paths.weight_numel, dropout)
        self.mix = nn.ParameterList(
            torch.randn(fan_in, block.channels) for fan_in, block in zip(self.paths.fan_in, space_out.blocks)
        )
        self.norm = EquivariantNorm(space_out)
        for layer, gain in zip(self.network, (2.0, 1.0)):  # inputs of unit variance give weights of unit variance
            nn.init.normal_(layer.weight, std=math.sqrt(gain / width))
            nn.init.zeros_(layer.bias)

    @property
    def network(self) -> tuple[nn.Linear, nn.Linear]:
        """The two layers of the weight network."""
        return cast(nn.Linear, self.weight_network[0]), cast(nn.Linear, self.weight_network[3])

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
        receiver = x.new_zeros(slots.n_receivers, 0) if receiver is None else receiver
        sender = x.new_zeros(len(x), 0) if sender is None else sender
        return self.norm(self.mixed(self.messages(x, slots, filters, attributes, receiver, sender)))

    def messages(
        self, x: Tensor, slots: Slots, filters: Tensor, attributes: Tensor, receiver: Tensor, sender: Tensor
    ) -> Tensor:
        """[receivers, width of the messages] mean messages; arguments as of `forward`."""
        kernel = checked_kernel(self.kernels, self.paths, x.dtype, x.device)
        if kernel is not None:
            parts = {"edge": attributes, "receiver": receiver[slots.receiver], "sender": sender[slots.sender]}
            weights = self.weight_network(torch.cat([parts[name] for name, _ in self.parts], 1)).to(x.dtype)
            total = kernel(x, filled_only(filters, slots), weights, slots.sender, slots.receiver, slots.n_receivers)
            share = x.new_zeros(slots.n_receivers, 1).index_copy(0, slots.nodes, slots.inverse_count[:, None])
            return total * share
        first, second = self.network
        keep = None
        if self.dropout and self.training:
            keep = x.new_empty(len(attributes), len(first.bias)).bernoulli_(1 - self.dropout).div_(1 - self.dropout)
        out: Tensor = MeanMessages.apply(
            *(self.paths, slots, tuple(name for name, _ in self.parts), x, filters, attributes, receiver, sender),
            *(first.weight, first.bias, second.weight, second.bias, keep),
        )
        return out

    def mixed(self, messages: Tensor) -> Tensor:
        """[receivers, width of the messages] -> [receivers, width of space_out]."""
        space, parts = self.paths.space_out, self.paths.by_irrep(messages)
        groups: dict[int, list[Tensor]] = {degree: [] for degree in space.groups}
        for block, fan_in, matrix in zip(space.blocks, self.paths.fan_in, self.mix, strict=True):
            groups[block.l].append(parts[block.l, block.p] @ (matrix / math.sqrt(fan_in)))
        return torch.cat([torch.cat(blocks, 2).flatten(1) for blocks in groups.values()], 1)


def use_kernels(model: nn.Module, kernels: Kernels) -> None:
    """Choose the library for the products of a model that is there already (a loaded checkpoint, say)."""
    for module in model.modules():
        if isinstance(module, ChannelwiseConvolution):
            module.kernels = kernels
