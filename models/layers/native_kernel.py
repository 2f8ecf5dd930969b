"""The sums of the convolution by the compiled functions (CPU, float32)."""

import ctypes

import torch
from torch import Tensor

from models.layers import native
from models.layers.chunks import Chunk, Inputs
from models.layers.paths import TensorProductPaths
from models.layers.slots import Slots
from models.layers.workspace import Workspace

BLOCK = 8
"""Nodes that share a piece of the weights while it is in the nearest caches."""
CHUNK_EDGES = 4096
"""Edges whose hidden layers are held at a time."""


def padded(size: int) -> int:
    """The next multiple of the vector width."""
    return -(-size // native.VECTOR) * native.VECTOR


class NativeWeights:
    """The weights of a layer as the compiled functions read them, and the plan that describes them."""

    def __init__(self, paths: TensorProductPaths, weight: Tensor, bias: Tensor, transposed: bool) -> None:
        self.paths, self.hidden = paths, weight.shape[1] + 1
        self.padded_hidden = padded(self.hidden)
        self.packed = self.new_packed(weight)
        for place, each in zip(self.views(self.packed), paths.pack(weight, bias), strict=True):
            place.copy_(each.unflatten(0, (-1, self.hidden)))
        self.transposed = self._transposed() if transposed else None
        self.plan = self._plan()

    def new_packed(self, like: Tensor) -> Tensor:
        """Zeros of the layout of the packed weights."""
        return like.new_zeros(sum(self._sizes()))

    def _sizes(self) -> list[int]:
        blocks = zip(self.paths.space_out.blocks, self.paths.fan_in, strict=True)
        return [fan * self.padded_hidden * padded(block.channels) for block, fan in blocks]

    def whole(self, packed: Tensor) -> list[Tensor]:
        """For each output [n, padded hidden, padded channels]."""
        parts = zip(packed.split(self._sizes()), self.paths.fan_in, strict=True)
        return [part.view(fan, self.padded_hidden, -1) for part, fan in parts]

    def views(self, packed: Tensor) -> list[Tensor]:
        """For each output [n, hidden + 1, channels]."""
        parts = zip(self.whole(packed), self.paths.space_out.blocks, strict=True)
        return [part[:, : self.hidden, : block.channels] for part, block in parts]

    def _transposed(self) -> Tensor:
        return torch.cat([part.transpose(1, 2).flatten() for part in self.whole(self.packed)])

    def _plan(self) -> native.Plan:
        paths, space = self.paths, self.paths.space_out
        starts, n_couplings = {}, 0
        for degree, rows in paths.rows.items():
            starts[degree] = n_couplings
            n_couplings += rows * (2 * degree + 1)
        pieces: list[native.Piece] = []
        outputs: list[native.Output] = []
        offset = 0
        for number, (block, size) in enumerate(zip(space.blocks, self._sizes(), strict=True)):
            group = space.groups[block.l]
            first = group.start + space.channel_starts[number]
            taken = (len(pieces), len(paths.pieces[number]))
            sizes = (block.dim, block.channels, padded(block.channels))
            outputs.append(native.Output(*sizes, first, group.channels, *taken, offset))
            offset += size
            for p in paths.pieces[number]:
                source, dim = paths.space_in.groups[p.l], 2 * p.l + 1
                place = (source.start, source.channels, p.channels.start, p.size)
                pieces.append(native.Piece(dim, *place, starts[p.l] + p.rows.start * dim))
        self._held = ((native.Output * len(outputs))(*outputs), (native.Piece * len(pieces))(*pieces))
        return native.Plan(
            *(len(outputs), paths.space_in.width, space.width, n_couplings, self.hidden, self.padded_hidden),
            *self._held,
            self.packed.data_ptr(),
            None if self.transposed is None else self.transposed.data_ptr(),
        )


class NativeKernel:
    """Sums over the edges of each node of a chunk, and their gradients. One thread uses it at a time."""

    def __init__(self, slots: Slots, inputs: Inputs, weights: NativeWeights, for_weights: bool) -> None:
        loaded = native.library()
        assert loaded is not None
        self.library, self.slots, self.inputs, self.weights = loaded, slots, inputs, weights
        self.tables = torch.cat(list(weights.paths.tables(inputs.x).values()), 1)
        self.x, self.memory = inputs.x.contiguous(), Workspace()
        self.hidden_width = weights.padded_hidden
        self.d_packed = weights.new_packed(inputs.weight) if for_weights else None

    @staticmethod
    def most(degree: int) -> int:
        """Receivers of this degree in a chunk."""
        return max(1, CHUNK_EDGES // degree)

    def _common(self, chunk: Chunk, h: Tensor) -> tuple:
        self.coupling = self.inputs.filters[chunk.edges] @ self.tables
        self.sender = self.slots.sender[chunk.edges].contiguous()
        pointers = (self.x, self.sender, self.coupling, h)
        sizes = (chunk.n, chunk.degree, BLOCK)
        return ctypes.byref(self.weights.plan), *sizes, *(t.data_ptr() for t in pointers)

    def forward(self, chunk: Chunk, h: Tensor) -> Tensor:
        """[nodes, width out].

        Args:
            h: [edges, hidden_width] hidden layer of the weight network, one for the bias, zeros.
        """
        out = self.memory.take("out", (chunk.n, self.weights.paths.space_out.width), self.x)
        _check(self.library.forward(*self._common(chunk, h), out.data_ptr()))
        return out

    def backward(self, chunk: Chunk, h: Tensor, grad: Tensor, d_x: Tensor, d_filters: Tensor | None) -> Tensor:
        """Gradient [edges, hidden_width] of h; adds to those of x and the weights.

        Args:
            grad: [nodes, width out] contiguous. d_filters: [slots, filter width] gets rows of this chunk's edges.
        """
        d_h = self.memory.take("d_hidden", tuple(h.shape), self.x)
        common = self._common(chunk, h)
        d_coupling = None if d_filters is None else self.memory.take("coupling", tuple(self.coupling.shape), self.x)
        outs = (grad, self.d_packed, d_x, d_h, d_coupling)
        _check(self.library.backward(*common, *(None if t is None else t.data_ptr() for t in outs)))
        if d_filters is not None:
            assert d_coupling is not None
            d_filters[chunk.edges] = d_coupling @ self.tables.T
        return d_h

    def weight_gradients(self) -> list[Tensor]:
        """Sums for `pack`ed weights over the chunks so far."""
        if self.d_packed is None:
            return []
        return [each.flatten(0, 1) for each in self.weights.views(self.d_packed)]


def _check(failed: int) -> None:
    if failed:
        raise MemoryError("no memory for a block of nodes")
