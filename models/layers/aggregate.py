"""The convolution in its fast exact form: aggregate over edges first, then project once a node.

The weight network is linear in its last layer, w = W h, and messages are averaged over the edges e of a node. With the
coupled features z_e (features times harmonics, see `paths`) the sum over edges is

    out[v, c] = sum_e sum_u (W h_e)[u, v] z_e[u, c] = sum_{u, m} W[u, v, m] A[c, u, m],   A = sum_e z_e h_e^T:

two matrix products a node, and no tensor of [edges x weights]. It is done for a few nodes at a time, so that A stays
in cache; the backward pass makes each A again instead of storing it.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.layers.paths import TensorProductPaths
from models.layers.slots import Slots

CHUNK_BYTES = {"cpu": 8 << 20, "cuda": 1 << 30}
"""Size of the temporaries of one chunk: about the second-level caches, or a share of a GPU's memory."""


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


Part = Literal["edge", "receiver", "sender"]


class Chunk(NamedTuple):
    """A few receivers with equally many slots each."""

    nodes: slice
    edges: slice
    n: int
    degree: int


def chunks(slots: Slots, paths: TensorProductPaths, like: Tensor, hidden: int) -> Iterator[Chunk]:
    """Cut the receivers into chunks whose temporaries fit the cache."""
    components = [block.dim * fan for block, fan in zip(paths.space_out.blocks, paths.fan_in, strict=True)]
    node_bytes = max(components) * (hidden + 1) * like.element_size()
    edge_bytes = (2 * sum(components) + hidden) * like.element_size()
    budget = CHUNK_BYTES.get(like.device.type, CHUNK_BYTES["cuda"])
    for first_node, n, degree, first_edge in slots.buckets:
        size = max(1, min(n, budget // (node_bytes + degree * edge_bytes)))
        for start in range(0, n, size):
            count = min(size, n - start)
            node, edge = first_node + start, first_edge + start * degree
            yield Chunk(slice(node, node + count), slice(edge, edge + count * degree), count, degree)


class _Work:
    """What forward and backward compute alike for one chunk."""

    def __init__(self, paths: TensorProductPaths, slots: Slots, order: tuple[Part, ...], inputs: Inputs) -> None:
        self.paths, self.slots, self.order, self.inputs = paths, slots, order, inputs
        self.tables = paths.tables(inputs.x)

    def known(self, chunk: Chunk) -> Tensor:
        """[edges, e + r + s] input of the weight network, its parts in the order of the published weights."""
        receiver = self.inputs.receiver[self.slots.nodes[chunk.nodes]]
        parts = {
            "edge": self.inputs.edge[chunk.edges],
            "receiver": receiver[:, None].expand(-1, chunk.degree, -1).flatten(0, 1),
            "sender": self.inputs.sender[self.slots.sender[chunk.edges]],
        }
        return torch.cat([parts[name] for name in self.order], 1)

    def hidden(self, chunk: Chunk, before: Tensor) -> Tensor:
        """[edges, hidden + 1] hidden layer of the weight network, with a one for the bias; zero in empty slots.

        Args:
            before: [edges, hidden] the same before the ReLU.
        """
        h = before.new_empty(len(before), before.shape[1] + 1)
        values = h[:, :-1]
        values.copy_(before).clamp_(min=0)
        h[:, -1] = 1
        if self.inputs.keep is not None:
            values.mul_(self.inputs.keep[chunk.edges])
        if self.slots.filled is not None:
            h.mul_(self.slots.filled[chunk.edges, None])
        return h

    def before(self, known: Tensor) -> Tensor:
        """[edges, hidden] hidden layer before the ReLU."""
        return torch.addmm(self.inputs.first_bias, known, self.inputs.first.T)

    def slope(self, chunk: Chunk, before: Tensor) -> Tensor:
        """[edges, hidden] derivative of `hidden`.

        A unit that is zero up to the unit roundoff has the slope from above: its sign depends on the order of a sum.
        The side, and where the band ends, were chosen to agree with recorded gradients of the published program.
        """
        slope = (before > -torch.finfo(before.dtype).eps / 2).to(before.dtype)
        if self.inputs.keep is not None:
            slope.mul_(self.inputs.keep[chunk.edges])
        if self.slots.filled is not None:
            slope.mul_(self.slots.filled[chunk.edges, None])
        return slope

    def couplings(self, chunk: Chunk) -> dict[int, Tensor]:
        """Degree -> [edges, rows, 2l+1] matrices that couple features with filters."""
        filters = self.inputs.filters[chunk.edges]
        return {l1: (filters @ t).unflatten(1, (-1, 2 * l1 + 1)) for l1, t in self.tables.items()}

    def features(self, chunk: Chunk) -> dict[int, Tensor]:
        """Degree -> [edges, 2l+1, channels] features of the senders."""
        rows = self.inputs.x[self.slots.sender[chunk.edges]]
        return {l1: self.paths.space_in.groups[l1].of(rows) for l1 in self.tables}

    def coupled(self, couplings: dict[int, Tensor], features: dict[int, Tensor]) -> list[Tensor]:
        """For each output [edges, 2 l3 + 1, n]."""
        z = {l1: torch.bmm(couplings[l1], features[l1]) for l1 in couplings}
        return [torch.cat([z[p.l][:, p.rows, p.channels] for p in pieces], 2) for pieces in self.paths.pieces]

    def uncoupled(self, gradients: list[Tensor], features: dict[int, Tensor]) -> dict[int, Tensor]:
        """The transpose of taking the pieces: degree -> [edges, rows, channels]."""
        out = {l1: f.new_zeros(len(f), self.paths.rows[l1], f.shape[2]) for l1, f in features.items()}
        for pieces, gradient in zip(self.paths.pieces, gradients, strict=True):
            first = 0
            for p in pieces:
                out[p.l][:, p.rows, p.channels] = gradient[:, :, first : first + p.size]
                first += p.size
        return out


def aggregate(z: Tensor, h: Tensor, chunk: Chunk) -> Tensor:
    """[nodes, components * n, hidden + 1] sum over the edges of each node of z h^T."""
    z = z.flatten(1).unflatten(0, (chunk.n, chunk.degree))
    return torch.bmm(z.transpose(1, 2), h.unflatten(0, (chunk.n, chunk.degree)))


class AggregateThenProject(torch.autograd.Function):
    """Mean message of every receiver, [receivers, width out]. First derivatives only."""

    @staticmethod
    def forward(
        ctx: Any, paths: TensorProductPaths, slots: Slots, order: tuple[Part, ...], *tensors: Tensor | None
    ) -> Tensor:
        inputs = Inputs(*tensors)  # type: ignore[arg-type]
        ctx.fixed = (paths, slots, order)
        ctx.save_for_backward(*tensors)
        work = _Work(paths, slots, order, inputs)
        packed = paths.pack(inputs.weight, inputs.bias)
        out = inputs.x.new_zeros(slots.n_receivers, paths.space_out.width)
        for chunk in chunks(slots, paths, inputs.x, inputs.weight.shape[1]):
            h = work.hidden(chunk, work.before(work.known(chunk)))
            outputs = work.coupled(work.couplings(chunk), work.features(chunk))
            rows = inputs.x.new_empty(chunk.n, paths.space_out.width)
            for number, (z, weight) in enumerate(zip(outputs, packed, strict=True)):
                dim = paths.space_out.blocks[number].dim
                total = aggregate(z, h, chunk).view(chunk.n * dim, -1)
                paths.space_out.block_of(rows, number).copy_((total @ weight).unflatten(0, (chunk.n, dim)))
            out.index_copy_(0, slots.nodes[chunk.nodes], rows * slots.inverse_count[chunk.nodes, None])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple:
        paths, slots, order = ctx.fixed
        work = _Work(paths, slots, order, Inputs(*ctx.saved_tensors))
        wanted = Inputs(*ctx.needs_input_grad[len(ctx.fixed) :])
        return None, None, None, *_backward(work, grad_out, for_filters=bool(wanted.filters)), None


def _backward(work: _Work, grad_out: Tensor, for_filters: bool) -> tuple[Tensor | None, ...]:
    """Gradients of all tensors of Inputs but `keep`, each chunk made again."""
    paths, slots, inputs = work.paths, work.slots, work.inputs
    packed = paths.pack(inputs.weight, inputs.bias)
    d_packed = [torch.zeros_like(weight) for weight in packed]
    d_x, d_edge, d_receiver, d_sender = (
        t.new_zeros(t.shape) for t in (inputs.x, inputs.edge, inputs.receiver, inputs.sender)
    )
    d_first, d_first_bias = torch.zeros_like(inputs.first), torch.zeros_like(inputs.first_bias)
    d_filters = torch.zeros_like(inputs.filters) if for_filters else None
    widths = [getattr(inputs, name).shape[1] for name in work.order]
    for chunk in chunks(slots, paths, inputs.x, inputs.weight.shape[1]):
        known, couplings, features = work.known(chunk), work.couplings(chunk), work.features(chunk)
        before = work.before(known)
        h = work.hidden(chunk, before)
        grad = grad_out[slots.nodes[chunk.nodes]] * slots.inverse_count[chunk.nodes, None]
        by_node = h.unflatten(0, (chunk.n, chunk.degree))
        d_h, d_outputs = torch.zeros_like(by_node), []
        for number, z in enumerate(work.coupled(couplings, features)):
            dim = paths.space_out.blocks[number].dim
            total = aggregate(z, h, chunk).view(chunk.n * dim, -1)
            g = paths.space_out.block_of(grad, number).reshape(chunk.n * dim, -1)
            d_packed[number].addmm_(total.T, g)
            d_total = torch.mm(g, packed[number].T, out=total).view(chunk.n, -1, h.shape[1])
            d_h.baddbmm_(z.flatten(1).unflatten(0, (chunk.n, chunk.degree)), d_total)
            d_outputs.append(torch.bmm(by_node, d_total.transpose(1, 2)).view_as(z))
        sender = slots.sender[chunk.edges]
        d_z = work.uncoupled(d_outputs, features)
        d_rows = torch.cat([torch.bmm(couplings[l1].transpose(1, 2), d).flatten(1) for l1, d in d_z.items()], 1)
        d_x.index_add_(0, sender, d_rows)
        d_before = d_h.flatten(0, 1)[:, :-1] * work.slope(chunk, before)
        d_first.addmm_(d_before.T, known)
        d_first_bias += d_before.sum(0)
        d_known = dict(zip(work.order, (d_before @ inputs.first).split(widths, 1), strict=True))
        d_edge[chunk.edges] = d_known["edge"]
        if "sender" in d_known:
            d_sender.index_add_(0, sender, d_known["sender"])
        if "receiver" in d_known:
            d_received = d_known["receiver"].unflatten(0, (chunk.n, chunk.degree)).sum(1)
            d_receiver.index_copy_(0, slots.nodes[chunk.nodes], d_received)
        if d_filters is not None:
            for l1, d in d_z.items():
                d_filters[chunk.edges] += torch.bmm(d, features[l1].transpose(1, 2)).flatten(1) @ work.tables[l1].T
    return d_x, d_filters, d_edge, d_receiver, d_sender, d_first, d_first_bias, *paths.unpack(d_packed)
