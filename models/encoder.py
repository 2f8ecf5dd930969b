"""One level of message passing (parity SPEC 4): atoms, or blocks."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import EncoderConfig
from models.edges import Edges
from models.graph import Level
from models.layers.channelwise import ChannelwiseConvolution
from models.layers.convolution import Convolution, Parts
from models.layers.harmonics import EDGE_FILTER, distance, spherical_harmonics
from models.layers.irreps import FeatureSpace, space_of_layer
from models.layers.mlp import distance_embedder, two_layers
from models.layers.scalar_outputs import scalars_of
from models.layers.slots import Slots

EDGE_REACH = 5.0
"""Largest centre of the distance basis, Å."""


class Encoded(NamedTuple):
    """Result of a level.

    Attributes:
        out: [nodes, H] embeddings of length 1.
        features: [nodes, width] equivariant features after the last layer.
        scalars: [nodes, z] their scalars and, with three layers or more, pseudoscalars.
    """

    out: Tensor
    features: Tensor
    scalars: Tensor


class MessagePassing(nn.Module):
    """Distance features, layers of convolutions, output network. Parameter names are the published ones."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        hidden, edge, dropout = config.atom_hidden_size, config.edge_size, config.dropout
        self.hidden = hidden
        self.edge_embedder = distance_embedder(EDGE_REACH, edge, dropout)
        self.spaces = [space_of_layer(hidden, n) for n in range(config.n_layers + 1)]
        parts: Parts = (("edge", 2 * edge), ("receiver", hidden), ("sender", hidden))
        self.layers = nn.ModuleList(
            make_convolution(config, into, out, parts) for into, out in zip(self.spaces, self.spaces[1:])
        )
        width = 2 * hidden if config.n_layers >= 3 else hidden
        self.out_ffn = two_layers(width, width, hidden, dropout)

    def forward(
        self,
        x: Tensor,
        level: Level,
        edges: Edges,
        kinds: Tensor,
        features: bool = True,
        geometry: tuple[Tensor, Tensor] | None = None,
    ) -> Encoded:
        """Embed the nodes of a level.

        Args:
            x: [nodes, H] start features.
            kinds: [4, E] embedding of the edge types.
            features: False computes of the last layer only the scalars, which is all that `out` needs; it is several
                times faster there. `features` of the result are then those scalars.
            geometry: what the method of this name gives for the edges, where it is known already.
        """
        slots = edges.slots
        if geometry is None:
            vectors = level.positions[slots.sender] - level.positions[slots.receiver]
            geometry = self.geometry(vectors, edges.kind, kinds)
        filters, attributes = geometry
        for number in range(len(self.layers)):
            x = self.step(number, x, x, slots, filters, attributes, features)
        return self.finish(x)

    def geometry(self, vectors: Tensor, kind: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
        """[slots, 9] harmonics and [slots, 2E] distance features and types.

        Args:
            vectors: [slots, 3] from receiver to sender, Å. kind: [slots]. kinds: [4, E] embedding of the types.
        """
        attributes = torch.cat([self.edge_embedder(distance(vectors)), F.embedding(kind, kinds)], 1)
        return spherical_harmonics(vectors), attributes

    def step(
        self,
        number: int,
        receivers: Tensor,
        senders: Tensor,
        slots: Slots,
        filters: Tensor,
        attributes: Tensor,
        features: bool = True,
    ) -> Tensor:
        """One layer: [receivers, width] features after it (of the last layer only scalars, unless `features`).

        Args:
            receivers, senders: [any, width] features before it, of the nodes that the slots name.
        """
        layer, before, after = self.layers[number], self.spaces[number], self.spaces[number + 1]
        known = (slots, filters, attributes, receivers[:, : self.hidden], senders[:, : self.hidden])
        if features or self.training or number + 1 < len(self.layers) or not isinstance(layer, Convolution):
            return widened(receivers, before, after) + layer(senders, *known)
        change, width = scalars_of(layer, senders, *known), before.groups[0].channels
        return F.pad(receivers[:, :width], (0, change.shape[1] - width)) + change

    def finish(self, x: Tensor) -> Encoded:
        """The result, from features after the last layer."""
        z = x[:, : self.spaces[-1].groups[0].channels]
        return Encoded(F.normalize(self.out_ffn(z), dim=1, eps=1e-12), x, z)


def make_convolution(
    config: EncoderConfig, into: FeatureSpace, out: FeatureSpace, parts: Parts
) -> Convolution | ChannelwiseConvolution:
    """A layer of the kind that the configuration names.

    The noise heads stay `full` whatever it says: they have few outputs or few edges, so it costs them little.
    """
    if config.conv == "channelwise":
        return ChannelwiseConvolution(into, EDGE_FILTER, out, parts, config.dropout, config.kernels)
    products = torch.bfloat16 if config.projection == "bfloat16" else None
    return Convolution(into, EDGE_FILTER, out, parts, config.dropout, products)


def widened(x: Tensor, before: FeatureSpace, after: FeatureSpace) -> Tensor:
    """Features of one space in a larger one, zero in the new channels."""
    if before is after or before.blocks == after.blocks:
        return x
    parts = []
    for degree, group in after.groups.items():
        old = before.groups.get(degree)
        part = x.new_zeros(len(x), group.dim, 0) if old is None else old.of(x)
        parts.append(F.pad(part, (0, group.channels - part.shape[2])).flatten(1))
    return torch.cat(parts, 1)


def kept(net: MessagePassing, number: int, change: Tensor, width: int) -> Tensor:
    """A change of the features before a layer, as it stands after it where the messages stay the same.

    Args:
        change: [rows, any]. width: of the features after the layer (of the last there may be only scalars).
    """
    before, after = net.spaces[number], net.spaces[number + 1]
    if width == after.width:
        return widened(change, before, after)
    scalars = before.groups[0].channels
    return F.pad(change[:, :scalars], (0, width - scalars))


class Encoder(nn.Module):
    """Holds a level under the published name `encoder`."""

    def __init__(self, encoder: MessagePassing) -> None:
        super().__init__()
        self.encoder = encoder
