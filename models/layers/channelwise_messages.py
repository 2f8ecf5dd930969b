"""Mean messages of the channelwise convolution, in the fast form.

The sum over the edges of a node is part of a matrix product: for each path, couplings [2 l3 + 1, edges * (2 l1 + 1)]
times (features * weights) [edges * (2 l1 + 1), channels]. It is done for a few nodes at a time, and the backward pass
makes the weights again, so no tensor of [edges x weights] exists.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.layers.channelwise_paths import ChannelwisePaths, flat_couplings
from models.layers.slots import Slots

CHUNK_BYTES = {"cpu": 8 << 20, "cuda": 1 << 30}
"""Size of the temporaries of one chunk: about the second-level caches, or a share of a GPU's memory."""


class MessageInputs(NamedTuple):
    """Tensors that mean messages are made of.

    x: [senders, width] features. filters: [slots, filter width] harmonics. edge: [slots, e], receiver: [receivers, r]
    and sender: [senders, s] parts of the weight network's input, any of them empty. first: [hidden, e + r + s] and
    first_bias: [hidden] its first layer; weight: [weights, hidden] and bias: [weights] its second. keep: [slots,
    hidden] dropout factors, or None.
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
    """A few receivers with equally many slots each: their numbers, shares and slots."""

    nodes: Tensor
    share: Tensor  # [n, 1] 1 / number of edges
    edges: slice
    sender: Tensor
    n: int
    degree: int


class _Work:
    """What forward and backward compute alike for one chunk."""

    def __init__(self, paths: ChannelwisePaths, slots: Slots, order: tuple[str, ...], inputs: MessageInputs) -> None:
        self.paths, self.slots, self.order, self.inputs = paths, slots, order, inputs
        self.tables = flat_couplings(paths, inputs.x.dtype, inputs.x.device)

    def chunks(self) -> Iterator[Chunk]:
        """Cut the receivers into chunks whose temporaries fit the cache."""
        inputs, slots = self.inputs, self.slots
        numbers = 2 * (inputs.x.shape[1] + inputs.weight.shape[0]) + 3 * len(inputs.first)
        numbers += sum(table.shape[1] for table in self.tables.values())
        budget = CHUNK_BYTES.get(inputs.x.device.type, CHUNK_BYTES["cuda"]) // (numbers * inputs.x.element_size())
        for first_node, n, degree, first_edge in slots.buckets:
            size = max(1, budget // degree)
            for start in range(0, n, size):
                count = min(size, n - start)
                node, edge = first_node + start, first_edge + start * degree
                nodes, edges = slice(node, node + count), slice(edge, edge + count * degree)
                share = slots.inverse_count[nodes, None]
                yield Chunk(slots.nodes[nodes], share, edges, slots.sender[edges], count, degree)

    def known(self, chunk: Chunk) -> Tensor:
        """[edges, e + r + s] input of the weight network."""
        received = self.inputs.receiver[chunk.nodes]
        parts = {
            "edge": self.inputs.edge[chunk.edges],
            "receiver": received[:, None].expand(-1, chunk.degree, -1).flatten(0, 1),
            "sender": self.inputs.sender[chunk.sender],
        }
        return torch.cat([parts[name] for name in self.order], 1)

    def hidden(self, chunk: Chunk, known: Tensor) -> Tensor:
        """[edges, hidden] hidden layer of the weight network."""
        h = torch.addmm(self.inputs.first_bias, known, self.inputs.first.T).clamp_(min=0)
        return h if self.inputs.keep is None else h.mul_(self.inputs.keep[chunk.edges])

    def weights(self, h: Tensor) -> Tensor:
        """[edges, weights]."""
        return torch.addmm(self.inputs.bias, h, self.inputs.weight.T)

    def couplings(self, chunk: Chunk) -> dict[int, Tensor]:
        """l1 -> [nodes, degree * (2 l1 + 1), rows]; zero in empty slots."""
        filters = filled_only(self.inputs.filters[chunk.edges], self.slots, chunk.edges)
        return {
            l1: (filters @ table).view(chunk.n, chunk.degree * (2 * l1 + 1), -1) for l1, table in self.tables.items()
        }

    def features(self, chunk: Chunk) -> dict[int, Tensor]:
        """l1 -> [edges, 2 l1 + 1, channels] of the senders."""
        rows = self.inputs.x[chunk.sender]
        return {l1: self.paths.space_in.groups[l1].of(rows) for l1 in self.tables}


def filled_only(values: Tensor, slots: Slots, edges: slice = slice(None)) -> Tensor:
    """Rows of slots, zero where a slot is empty."""
    return values if slots.filled is None else values * slots.filled[edges, None]


class MeanMessages(torch.autograd.Function):
    """Mean message of every receiver, [receivers, width of the messages]. First derivatives only."""

    @staticmethod
    def forward(ctx: Any, paths: ChannelwisePaths, slots: Slots, order: tuple[str, ...], *tensors: Any) -> Tensor:
        ctx.fixed = (paths, slots, order)
        ctx.save_for_backward(*tensors)
        work = _Work(paths, slots, order, MessageInputs(*tensors))
        out = work.inputs.x.new_zeros(slots.n_receivers, paths.width)
        for chunk in work.chunks():
            weights = work.weights(work.hidden(chunk, work.known(chunk)))
            couplings, features = work.couplings(chunk), work.features(chunk)
            rows = out.new_empty(chunk.n, paths.width)
            for p in paths.paths:
                weighted = features[p.l1][..., p.channels] * weights[:, None, p.weights]
                coupling = couplings[p.l1][..., p.rows].transpose(1, 2)
                rows[:, p.out] = torch.bmm(coupling, weighted.view(chunk.n, -1, p.size)).flatten(1)
            out.index_copy_(0, chunk.nodes, rows.mul_(chunk.share))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        paths, slots, order = ctx.fixed
        work = _Work(paths, slots, order, MessageInputs(*ctx.saved_tensors))
        wanted = MessageInputs(*ctx.needs_input_grad[len(ctx.fixed) :])
        return None, None, None, *_backward(work, grad_out, for_filters=bool(wanted.filters)), None


def _backward(work: _Work, grad_out: Tensor, for_filters: bool) -> tuple[Tensor | None, ...]:
    """Gradients of all tensors of MessageInputs but `keep`."""
    inputs = work.inputs
    d_x, d_edge, d_receiver, d_sender = (
        t.new_zeros(t.shape) for t in (inputs.x, inputs.edge, inputs.receiver, inputs.sender)
    )
    d_first, d_first_bias, d_weight, d_bias = (
        t.new_zeros(t.shape) for t in (inputs.first, inputs.first_bias, inputs.weight, inputs.bias)
    )
    d_filters = torch.zeros_like(inputs.filters) if for_filters else None
    widths = [getattr(inputs, name).shape[1] for name in work.order]
    for chunk in work.chunks():
        known = work.known(chunk)
        h = work.hidden(chunk, known)
        grad = grad_out[chunk.nodes] * chunk.share
        d_weights, d_features, d_couplings = _product_backward(work, chunk, grad, work.weights(h), for_filters)
        d_x.index_add_(0, chunk.sender, d_features)
        d_weight.addmm_(d_weights.T, h)
        d_bias += d_weights.sum(0)
        d_h = (d_weights @ inputs.weight).mul_(h > 0)
        if inputs.keep is not None:
            d_h.mul_(inputs.keep[chunk.edges])
        d_first.addmm_(d_h.T, known)
        d_first_bias += d_h.sum(0)
        d_known = dict(zip(work.order, (d_h @ inputs.first).split(widths, 1), strict=True))
        d_edge[chunk.edges] = d_known["edge"]
        if "sender" in d_known:
            d_sender.index_add_(0, chunk.sender, d_known["sender"])
        if "receiver" in d_known:
            d_receiver.index_copy_(0, chunk.nodes, d_known["receiver"].unflatten(0, (chunk.n, -1)).sum(1))
        if d_filters is not None:
            d_rows = sum(d.view(len(h), -1) @ work.tables[l1].T for l1, d in d_couplings.items())
            d_filters[chunk.edges] = filled_only(cast(Tensor, d_rows), work.slots, chunk.edges)
    return d_x, d_filters, d_edge, d_receiver, d_sender, d_first, d_first_bias, d_weight, d_bias


def _product_backward(
    work: _Work, chunk: Chunk, grad: Tensor, weights: Tensor, for_filters: bool
) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
    """Gradients of one chunk's weights [edges, weights], features [edges, width] and couplings."""
    couplings, features = work.couplings(chunk), work.features(chunk)
    d_weights = torch.empty_like(weights)
    d_rows = weights.new_zeros(len(weights), work.paths.space_in.width)
    d_features = {l1: work.paths.space_in.groups[l1].of(d_rows) for l1 in features}
    d_couplings = {l1: torch.zeros_like(c) for l1, c in couplings.items()} if for_filters else {}
    for p in work.paths.paths:
        g = grad[:, p.out].view(chunk.n, 2 * p.l3 + 1, p.size)
        f, w = features[p.l1][..., p.channels], weights[:, None, p.weights]
        if for_filters:
            d_couplings[p.l1][..., p.rows] += torch.bmm((f * w).view(chunk.n, -1, p.size), g.transpose(1, 2))
        d = torch.bmm(couplings[p.l1][..., p.rows], g).view(f.shape)
        d_features[p.l1][..., p.channels].addcmul_(d, w)
        torch.sum(d.mul_(f), 1, out=d_weights[:, p.weights])
    return d_weights, d_rows, d_couplings
