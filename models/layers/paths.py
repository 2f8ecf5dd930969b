"""The paths of a fully connected tensor product, and how its weights and couplings are laid out for matrix products."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.layers.irreps import FeatureSpace
from models.layers.wigner import wigner_3j


@dataclass(frozen=True)
class Piece:
    """One path a x f -> o: which rows and channels of the coupled features of degree `l` it takes."""

    l: int
    rows: slice
    channels: slice
    weights: slice  # in the flat weight vector, row-major [channels in, channels out]

    @property
    def size(self) -> int:
        return self.channels.stop - self.channels.start


class TensorProductPaths:
    """Tensor product of features with filters into an output space (parity SPEC 4.5).

    Paths run over input blocks (outer), filter parts, output blocks (inner), kept where parities multiply and
    |l1 - l2| <= l3 <= l1 + l2. The flat weights are in this order; path p adds to its output

        sqrt((2 l3 + 1) / n) * sum_{u,i,j} w[u, v] C[l1, l2, l3][i, j, c] f[u, i] Y[j],

    n the number of input channels that reach the output over all paths.

    The work is done in two steps. `coupling` makes a small matrix an edge and degree, [rows, 2 l1 + 1], that turns the
    input group [2 l1 + 1, channels] into coupled features [rows, channels]; rows are the components of all (filter,
    l3). An output then takes `pieces` of them side by side: [2 l3 + 1, n], to be multiplied with weights
    [n, channels out].
    """

    def __init__(self, space_in: FeatureSpace, filters: Sequence[tuple[int, int]], space_out: FeatureSpace) -> None:
        self.space_in, self.filters, self.space_out = space_in, tuple(filters), space_out
        combined: dict[tuple[int, int, int], slice] = {}  # (l1, filter, l3) -> rows among those of l1
        self.rows: dict[int, int] = dict.fromkeys(space_in.groups, 0)
        pieces: list[list[Piece]] = [[] for _ in space_out.blocks]
        start = 0
        for a, start_a in zip(space_in.blocks, space_in.channel_starts, strict=True):
            for f, (l2, p2) in enumerate(self.filters):
                for number, o in enumerate(space_out.blocks):
                    if a.p * p2 != o.p or not abs(a.l - l2) <= o.l <= a.l + l2:
                        continue
                    key = (a.l, f, o.l)
                    if key not in combined:
                        combined[key] = slice(self.rows[a.l], self.rows[a.l] + o.dim)
                        self.rows[a.l] += o.dim
                    stop = start + a.channels * o.channels
                    channels = slice(start_a, start_a + a.channels)
                    pieces[number].append(Piece(a.l, combined[key], channels, slice(start, stop)))
                    start = stop
        for block, found in zip(space_out.blocks, pieces, strict=True):
            if not found:
                raise ValueError(f"no path of the tensor product reaches the output block {block}")
        self.pieces = tuple(tuple(p) for p in pieces)
        self.weight_numel = start
        self.fan_in = tuple(sum(piece.size for piece in p) for p in pieces)
        self.filter_width = sum(2 * degree + 1 for degree, _ in self.filters)
        self._exact = {l1: self._coupling_table(l1, combined) for l1 in space_in.groups if self.rows[l1]}
        self._tables: dict[tuple, dict[int, Tensor]] = {}

    def couplings(self) -> Iterator[tuple[tuple[int, int, int], float]]:
        """(l1, l2, l3) and factor of every path, in order."""
        for a in self.space_in.blocks:
            for l2, p2 in self.filters:
                for number, o in enumerate(self.space_out.blocks):
                    if a.p * p2 == o.p and abs(a.l - l2) <= o.l <= a.l + l2:
                        yield (a.l, l2, o.l), self.scale(number)

    def _coupling_table(self, l1: int, combined: dict[tuple[int, int, int], slice]) -> Tensor:
        table = torch.zeros(self.filter_width, self.rows[l1], 2 * l1 + 1, dtype=torch.float64)
        offsets = [sum(2 * degree + 1 for degree, _ in self.filters[:f]) for f in range(len(self.filters))]
        for (first, f, l3), rows in combined.items():
            if first == l1:
                l2 = self.filters[f][0]
                table[offsets[f] : offsets[f] + 2 * l2 + 1, rows] = wigner_3j(l1, l2, l3).permute(1, 2, 0)
        return table

    def covers(self, degree: int) -> bool:
        """Whether every coupled feature of a degree has a path, so that gradients need no zeros between."""
        rows = self.rows[degree] * self.space_in.groups[degree].channels
        sizes = [(p.rows.stop - p.rows.start) * p.size for pieces in self.pieces for p in pieces if p.l == degree]
        return sum(sizes) == rows

    def tables(self, like: Tensor) -> dict[int, Tensor]:
        """Degree -> [filter width, rows * (2 l1 + 1)], in the precision and on the device of `like`."""
        key = (like.dtype, like.device)
        if key not in self._tables:
            self._tables[key] = {l1: t.to(like.device, like.dtype).flatten(1) for l1, t in self._exact.items()}
        return self._tables[key]

    def pack(self, weight: Tensor, bias: Tensor) -> list[Tensor]:
        """For each output [n * (hidden + 1), channels] weights, from those of the weight network's last layer.

        Rows run over (input channel, hidden unit); the bias is one more hidden unit. Scales are multiplied in.

        Args:
            weight: [weight_numel, hidden]. bias: [weight_numel].
        """
        packed = []
        hidden = weight.shape[1]
        for number, block in enumerate(self.space_out.blocks):
            out = weight.new_empty(self.fan_in[number], hidden + 1, block.channels)
            first = 0
            for piece in self.pieces[number]:
                rows = out[first : first + piece.size]
                shape = (piece.size, block.channels)
                rows[:, :hidden] = weight[piece.weights].unflatten(0, shape).transpose(1, 2)
                rows[:, hidden] = bias[piece.weights].unflatten(0, shape)
                first += piece.size
            packed.append(out.mul_(self.scale(number)).flatten(0, 1))
        return packed

    def unpack(self, packed: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The transpose of `pack`: gradients of the packed weights -> gradients of weight and bias."""
        width = packed[0].shape[0] // self.fan_in[0]
        weight = packed[0].new_empty(self.weight_numel, width - 1)
        bias = packed[0].new_empty(self.weight_numel)
        for number, block in enumerate(self.space_out.blocks):
            gradient = packed[number].unflatten(0, (self.fan_in[number], width)) * self.scale(number)
            first = 0
            for piece in self.pieces[number]:
                rows = gradient[first : first + piece.size]
                shape = (piece.size, block.channels)
                weight[piece.weights].unflatten(0, shape).copy_(rows[:, :-1].transpose(1, 2))
                bias[piece.weights].unflatten(0, shape).copy_(rows[:, -1])
                first += piece.size
        return weight, bias

    def scale(self, number: int) -> float:
        """Factor of all paths of an output."""
        return math.sqrt(self.space_out.blocks[number].dim / self.fan_in[number])
