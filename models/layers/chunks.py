"""A convolution's receivers, a few at a time, and the hidden layer of its weight network on their edges."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from models.layers.slots import Slots
from models.layers.workspace import Workspace

Part = Literal["edge", "receiver", "sender"]

DOUBTFUL = 1e-6
"""Hidden units nearer to zero than this may have the wrong sign from rounding alone."""


class Inputs(NamedTuple):
    """Tensors of one convolution.

    x: [senders, width] features. filters: [slots, filter width]. edge: [slots, e], receiver: [receivers, r] and sender:
    [senders, s] parts of the weight network's input, any of them empty. first: [hidden, e + r + s] and first_bias:
    [hidden] its first layer; weight: [weights, hidden] and bias: [weights] its second. keep: [slots, hidden] dropout
    factors, or None.
    """

    x: Tensor
    filters: Tensor
    edge: Tensor
    receiver: Tensor
    sender: Tensor
    first: Tensor
    first_bias: Tensor
    weight: Tensor
    bias: Tensor
    keep: Tensor | None


class Chunk(NamedTuple):
    """A few receivers with equally many slots each."""

    nodes: slice
    edges: slice
    n: int
    degree: int


def cut(slots: Slots, most: Callable[[int], int], parts: int) -> Iterator[Chunk]:
    """Cut the receivers into chunks, each bucket into `parts` at least.

    Args:
        most: degree -> receivers in a chunk.
    """
    for first_node, n, degree, first_edge in slots.buckets:
        size = max(1, min(-(-n // parts), most(degree)))
        for start in range(0, n, size):
            count = min(size, n - start)
            node, edge = first_node + start, first_edge + start * degree
            yield Chunk(slice(node, node + count), slice(edge, edge + count * degree), count, degree)


class HiddenLayer:
    """The hidden layer of the weight network on the edges of a chunk, and its gradients, which add up over chunks.

    Args:
        order: of the parts of the network's input, as in the published weights.
    """

    def __init__(self, slots: Slots, order: tuple[Part, ...], inputs: Inputs) -> None:
        self.slots, self.order, self.inputs = slots, order, inputs
        self.memory = Workspace()

    def known(self, chunk: Chunk) -> Tensor:
        """[edges, e + r + s] input of the weight network."""
        receiver = self.inputs.receiver[self.slots.nodes[chunk.nodes]]
        parts = {
            "edge": self.inputs.edge[chunk.edges],
            "receiver": receiver[:, None].expand(-1, chunk.degree, -1).flatten(0, 1),
            "sender": self.inputs.sender[self.slots.sender[chunk.edges]],
        }
        return torch.cat([parts[name] for name in self.order], 1)

    def before(self, known: Tensor) -> Tensor:
        """[edges, hidden] hidden layer before the ReLU."""
        return torch.addmm(self.inputs.first_bias, known, self.inputs.first.T)

    def after(self, chunk: Chunk, before: Tensor, width: int) -> Tensor:
        """[edges, width] hidden layer, a one for the bias, zeros up to the width; all zero in empty slots."""
        n, hidden = before.shape
        h = self.memory.take("hidden", (n, width), before)
        values = torch.clamp(before, min=0, out=h[:, :hidden])
        h[:, hidden] = 1
        h[:, hidden + 1 :] = 0
        if self.inputs.keep is not None:
            values.mul_(self.inputs.keep[chunk.edges])
        if self.slots.filled is not None:
            h.mul_(self.slots.filled[chunk.edges, None])
        return h

    def slope(self, chunk: Chunk, known: Tensor, before: Tensor) -> Tensor:
        """[edges, hidden] derivative of `after`.

        The sign of a unit that is zero up to rounding depends on the order of its sum. On the CPU such units are summed
        again in double precision, so that they get the slope of exact arithmetic as far as their inputs are exact.
        """
        slope = (before > 0).to(before.dtype)
        if sum_again(before):
            edge, unit = (before.abs() < DOUBTFUL).nonzero(as_tuple=True)
            exact = (known[edge].double() * self.inputs.first[unit].double()).sum(1) + self.inputs.first_bias[unit]
            slope[edge, unit] = (exact > 0).to(before.dtype)
        if self.inputs.keep is not None:
            slope.mul_(self.inputs.keep[chunk.edges])
        if self.slots.filled is not None:
            slope.mul_(self.slots.filled[chunk.edges, None])
        return slope


def sum_again(before: Tensor) -> bool:
    """Whether doubtful units are worth a second sum: a GPU would have to wait for their number."""
    return before.device.type == "cpu" and before.dtype == torch.float32


class HiddenGradients:
    """Gradients of what the weight network reads and of its first layer. Parts of the work write rows of their own."""

    def __init__(self, inputs: Inputs) -> None:
        self.edge = inputs.edge.new_zeros(inputs.edge.shape)
        self.receiver = inputs.receiver.new_zeros(inputs.receiver.shape)

    class Sums:
        """Those that are sums over all chunks of one part of the work: sender, first, first_bias."""

        def __init__(self, inputs: Inputs) -> None:
            self.sender = inputs.sender.new_zeros(inputs.sender.shape)
            self.first, self.first_bias = torch.zeros_like(inputs.first), torch.zeros_like(inputs.first_bias)

    def add(self, layer: HiddenLayer, sums: Sums, chunk: Chunk, known: Tensor, d_before: Tensor) -> None:
        """Add a chunk's share.

        Args:
            known: [edges, e + r + s]. d_before: [edges, hidden] gradient of the layer before the ReLU.
        """
        inputs, slots = layer.inputs, layer.slots
        widths = [getattr(inputs, name).shape[1] for name in layer.order]
        sums.first.addmm_(d_before.T, known)
        sums.first_bias += d_before.sum(0)
        d_known = dict(zip(layer.order, (d_before @ inputs.first).split(widths, 1), strict=True))
        self.edge[chunk.edges] = d_known["edge"]
        if "sender" in d_known:
            sums.sender.index_add_(0, slots.sender[chunk.edges], d_known["sender"])
        if "receiver" in d_known:
            d_received = d_known["receiver"].unflatten(0, (chunk.n, chunk.degree)).sum(1)
            self.receiver.index_copy_(0, slots.nodes[chunk.nodes], d_received)
