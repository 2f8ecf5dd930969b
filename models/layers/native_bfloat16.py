"""The whole convolution by compiled functions with bfloat16 factors and float32 sums (CPUs with avx512_bf16).

The hidden layer of the weight network is made by the same functions. Its first layer is linear too: the shares of
receiver and sender are made once a node, and only the edges' own attributes are multiplied for each edge. That is
float32, so that units are active as with float32 products.
"""

import ctypes
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.layers.chunks import Inputs, Part, cut
from models.layers.native import bfloat16 as native
from models.layers.paths import TensorProductPaths
from models.layers.slots import Slots
from models.layers.workers import run_parts

BLOCK_SLOTS = 256
"""Edges that are worked on at a time: as many nodes share a piece of the weights while it is in the nearest caches."""
PADDING = 32


def padded(size: int, to: int = PADDING) -> int:
    """The next multiple."""
    return -(-size // to) * to


def in_pairs(matrix: Tensor) -> Tensor:
    """[rows / 2, columns, 2] pairs of rows in bfloat16, of a matrix with both sizes padded."""
    rows, columns = matrix.shape
    whole = matrix.new_zeros(padded(rows), padded(columns), dtype=torch.bfloat16)
    whole[:rows, :columns] = matrix
    return whole.unflatten(0, (-1, 2)).transpose(1, 2).contiguous()


class Gradients(NamedTuple):
    """Of a convolution's inputs, in their order; filters and dropout get none."""

    x: Tensor
    filters: None
    edge: Tensor
    receiver: Tensor
    sender: Tensor
    first: Tensor
    first_bias: Tensor
    weight: Tensor | None
    bias: Tensor | None
    keep: None


class BfloatConvolution:
    """One convolution of one batch: forward and, if asked for, backward.

    Args:
        order: of the parts of the weight network's input.
        training: whether `backward` may be called.
    """

    def __init__(
        self, paths: TensorProductPaths, slots: Slots, order: tuple[Part, ...], inputs: Inputs, training: bool
    ) -> None:
        loaded = native.library()
        assert loaded is not None
        self.library, self.paths, self.slots, self.order, self.inputs = loaded, paths, slots, order, inputs
        self.hidden, self.edge_width = inputs.weight.shape[1], inputs.edge.shape[1]
        widths = [getattr(inputs, name).shape[1] for name in order]
        self.first = dict(zip(order, inputs.first.split(widths, 1), strict=True))
        self.first |= {name: inputs.first[:, :0] for name in ("edge", "receiver", "sender") if name not in self.first}
        self.plan = self._plan(training)
        self.library.pack(ctypes.byref(self.plan), inputs.weight.contiguous().data_ptr())
        self.tensors = self._tensors()
        self.parts = torch.get_num_threads()
        self.chunks = list(cut(slots, lambda degree: slots.n_receivers, self.parts))

    @staticmethod
    def can(paths: TensorProductPaths) -> bool:
        """Whether the compiled functions hold for these degrees."""
        return all(block.dim <= native.MOST_COMPONENTS for block in paths.space_out.blocks)

    def forward(self) -> Tensor:
        """[receivers, width out] mean messages."""
        out = self.inputs.x.new_zeros(self.slots.n_receivers, self.paths.space_out.width)
        self.run(self.library.forward, lambda: {"out": out})
        return out

    def backward(self, grad: Tensor, for_weights: bool) -> Gradients:
        """Gradients from that of the messages."""
        inputs, hidden = self.inputs, padded(self.hidden)
        shared = {
            "grad": grad.contiguous(),
            "d_edge": inputs.x.new_zeros(len(inputs.edge), padded(self.edge_width)),
            "d_receiver": inputs.x.new_zeros(len(inputs.receiver), hidden),
        }
        sizes = {
            "d_x": inputs.x.shape,
            "d_sender": (len(inputs.x), hidden),
            "d_first": (padded(self.edge_width), hidden),
            **({"d_weight": (len(inputs.weight), hidden), "d_bias": inputs.bias.shape} if for_weights else {}),
        }
        found = self.run(
            self.library.backward,
            lambda: shared | {name: inputs.x.new_zeros(size) for name, size in sizes.items()},
        )
        total = {name: sum((each[name] for each in found[1:]), found[0][name]) for name in sizes}
        d_receiver, d_sender = shared["d_receiver"][:, : self.hidden], total["d_sender"][:, : self.hidden]
        d_first = {
            "edge": total["d_first"][: self.edge_width, : self.hidden].T,
            "receiver": d_receiver.T @ inputs.receiver,
            "sender": d_sender.T @ inputs.sender,
        }
        return Gradients(
            x=total["d_x"],
            filters=None,
            edge=shared["d_edge"][:, : self.edge_width],
            receiver=d_receiver @ self.first["receiver"],
            sender=d_sender @ self.first["sender"],
            first=torch.cat([d_first[name] for name in self.order], 1),
            first_bias=d_receiver.sum(0),
            weight=total["d_weight"][:, : self.hidden] if for_weights else None,
            bias=total["d_bias"] if for_weights else None,
            keep=None,
        )

    def run(self, function: Callable, tensors_of_part: Callable[[], dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Call a compiled function on all chunks, each part of the work with tensors of its own."""
        parts = max(1, min(self.parts, len(self.chunks)))

        def run_part(part: int) -> dict[str, Tensor]:
            tensors = tensors_of_part()
            pointers = {name: tensor.data_ptr() for name, tensor in (self.tensors | tensors).items()}
            for chunk in self.chunks[part::parts]:
                block = max(1, BLOCK_SLOTS // chunk.degree)
                failed = function(
                    *(ctypes.byref(self.plan), ctypes.byref(native.Tensors(**pointers))),
                    *(chunk.nodes.start, chunk.edges.start, chunk.n, chunk.degree, block),
                )
                if failed:
                    raise MemoryError("no memory for a block of nodes")
            return tensors

        return run_parts(run_part, parts)

    def _tensors(self) -> dict[str, Tensor]:
        """Inputs as the compiled functions read them."""
        inputs, slots, hidden = self.inputs, self.slots, padded(self.hidden)
        receiver = torch.addmm(inputs.first_bias, inputs.receiver, self.first["receiver"].T)
        sender = inputs.sender @ self.first["sender"].T
        found = {
            "nodes": slots.nodes,
            "sender": slots.sender,
            "inverse_count": slots.inverse_count.to(inputs.x.dtype),
            "filled": slots.filled,
            "x": inputs.x,
            "filters": inputs.filters,
            "edge": inputs.edge,
            "receiver": F.pad(receiver, (0, hidden - self.hidden)),
            "of_sender": F.pad(sender, (0, hidden - self.hidden)),
            "keep": inputs.keep,
        }
        return {name: tensor.contiguous() for name, tensor in found.items() if tensor is not None}

    def _plan(self, training: bool) -> native.Plan:
        paths, inputs = self.paths, self.inputs
        outputs, pieces, size = self._outputs_and_pieces()
        packed = inputs.weight.new_empty(size, dtype=torch.int32)
        held = {
            "tables": torch.cat(list(paths.tables(inputs.x).values()), 1).T.contiguous(),
            "weight": packed,
            "bias": inputs.bias.contiguous(),
            "first": F.pad(self.first["edge"].T, (0, padded(self.hidden) - self.hidden)).contiguous(),
        }
        if training:
            held["transposed"] = torch.empty_like(packed)
            held["bias_transposed"] = torch.empty_like(held["bias"])
            held["first_transposed"] = in_pairs(self.first["edge"])
        arrays = (native.Output * len(outputs))(*outputs), (native.Piece * len(pieces))(*pieces)
        self.held_by_plan = held, arrays
        return native.Plan(
            *(len(outputs), paths.space_in.width, paths.space_out.width, len(held["tables"]), paths.filter_width),
            *(self.hidden, padded(self.hidden), self.edge_width, padded(self.edge_width)),
            *arrays,
            **{name: tensor.data_ptr() for name, tensor in held.items()},
        )

    def _outputs_and_pieces(self) -> tuple[list[native.Output], list[native.Piece], int]:
        """Both, and the pairs of all packed weights."""
        paths, space = self.paths, self.paths.space_out
        outputs: list[native.Output] = []
        pieces: list[native.Piece] = []
        starts, n_couplings, size = {}, 0, 0
        for degree, rows in paths.rows.items():
            starts[degree] = n_couplings
            n_couplings += rows * (2 * degree + 1)
        for number, block in enumerate(space.blocks):
            group, wide = space.groups[block.l], padded(block.channels, native.VECTOR)
            first = group.start + space.channel_starts[number]
            taken = (len(pieces), len(paths.pieces[number]), paths.scale(number))
            outputs.append(native.Output(block.dim, block.channels, wide, first, group.channels, *taken))
            for p in paths.pieces[number]:
                source, dim = paths.space_in.groups[p.l], 2 * p.l + 1
                place = (dim, source.start, source.channels, p.channels.start, p.size)
                coupling = starts[p.l] + p.rows.start * dim
                pieces.append(native.Piece(*place, coupling, p.weights.start, size))
                size += padded(p.size, native.CHANNELS) * padded(self.hidden) // 2 * wide
        return outputs, pieces, size
