"""The paths of a channelwise tensor product: what couples with what, and where its numbers lie."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import groupby

import torch
from torch import Tensor

from models.layers.irreps import Block, FeatureSpace
from models.layers.wigner import wigner_3j


@dataclass(frozen=True)
class Path:
    """l1 x filter -> l3 for input blocks that stand side by side."""

    l1: int
    filter: int
    l3: int
    channels: slice  # of the group of degree l1
    rows: slice  # of the couplings of degree l1
    weights: slice  # of an edge's weights
    out: slice  # of the messages; there a matrix [2 l3 + 1, channels]
    blocks: tuple[tuple[int, int], ...]  # channels of each input block and the parity it gets

    @property
    def size(self) -> int:
        """Channels, and weights."""
        return self.channels.stop - self.channels.start

    def start_at(self, weight: int, out: int) -> "Path":
        """The same path elsewhere in weights and messages."""
        weights, rows = slice(weight, weight + self.size), slice(out, out + self.size * (2 * self.l3 + 1))
        return Path(self.l1, self.filter, self.l3, self.channels, self.rows, weights, rows, self.blocks)


@dataclass(frozen=True)
class ChannelwisePaths:
    """Paths from one space to the degrees and parities of another, in order of l1, filter and l3.

    Raises:
        ValueError: no path reaches a block of the output.
    """

    space_in: FeatureSpace
    filters: tuple[tuple[int, int], ...]
    space_out: FeatureSpace

    def __post_init__(self) -> None:
        for block, fan_in in zip(self.space_out.blocks, self.fan_in, strict=True):
            if not fan_in:
                raise ValueError(f"no path of the tensor product reaches the output block {block}")

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        paths: list[Path] = []
        weight = out = 0
        for l1 in self.space_in.groups:
            for path in self._from_degree(l1):
                paths.append(path.start_at(weight, out))
                weight, out = paths[-1].weights.stop, paths[-1].out.stop
        return tuple(paths)

    def _from_degree(self, l1: int) -> Iterator[Path]:
        """Paths of one input degree, their rows one after another; where weights and messages lie is left open."""
        wanted = {(block.l, block.p) for block in self.space_out.blocks}
        blocks = [(b, s) for b, s in zip(self.space_in.blocks, self.space_in.channel_starts, strict=True) if b.l == l1]
        row, nowhere = 0, slice(0)
        for number, (l2, p2) in enumerate(self.filters):
            for l3 in range(abs(l1 - l2), l1 + l2 + 1):

                def reaches(pair: tuple[Block, int], l3: int = l3, p2: int = p2) -> bool:
                    return (l3, pair[0].p * p2) in wanted

                runs = [list(run) for good, run in groupby(blocks, reaches) if good]
                for run in runs:
                    channels = slice(run[0][1], run[-1][1] + run[-1][0].channels)
                    parities = tuple((block.channels, block.p * p2) for block, _ in run)
                    yield Path(l1, number, l3, channels, slice(row, row + 2 * l3 + 1), nowhere, nowhere, parities)
                row += (2 * l3 + 1) * bool(runs)

    @property
    def weight_numel(self) -> int:
        """Weights of an edge."""
        return self.paths[-1].weights.stop

    @property
    def width(self) -> int:
        """Numbers in a message."""
        return self.paths[-1].out.stop

    @property
    def filter_starts(self) -> list[int]:
        """First column of each filter, and where the last one ends."""
        return [sum(2 * degree + 1 for degree, _ in self.filters[:f]) for f in range(len(self.filters) + 1)]

    @cached_property
    def fan_in(self) -> tuple[int, ...]:
        """For each output block the channels of the messages of its degree and parity."""
        return tuple(
            sum(size for p in self.paths if p.l3 == block.l for size, parity in p.blocks if parity == block.p)
            for block in self.space_out.blocks
        )

    @cached_property
    def couplings(self) -> dict[int, Tensor]:
        """l1 -> [filter width, 2 l1 + 1, rows] couplings sqrt(2 l3 + 1) C, float64."""
        starts = self.filter_starts
        tables: dict[int, Tensor] = {}
        for l1 in sorted({p.l1 for p in self.paths}):
            mine = [p for p in self.paths if p.l1 == l1]
            n_rows = max(p.rows.stop for p in mine)
            tables[l1] = torch.zeros(starts[-1], 2 * l1 + 1, n_rows, dtype=torch.float64)
            for p in mine:
                symbol = math.sqrt(2 * p.l3 + 1) * wigner_3j(l1, self.filters[p.filter][0], p.l3)
                tables[l1][starts[p.filter] : starts[p.filter + 1], :, p.rows] = symbol.transpose(0, 1)
        return tables

    def by_irrep(self, messages: Tensor) -> dict[tuple[int, int], Tensor]:
        """Messages [receivers, width] by degree and parity, each [receivers, 2l+1, channels]."""
        found: dict[tuple[int, int], list[Tensor]] = {}
        # split, not slices: the gradient of a slice is a tensor of full size
        parts = messages.split([p.out.stop - p.out.start for p in self.paths], 1)
        for path, part in zip(self.paths, parts, strict=True):
            matrix = part.unflatten(1, (2 * path.l3 + 1, path.size))
            for (_, parity), block in zip(path.blocks, matrix.split([size for size, _ in path.blocks], 2), strict=True):
                found.setdefault((path.l3, parity), []).append(block)
        return {irrep: torch.cat(blocks, 2) for irrep, blocks in found.items()}


@cache
def flat_couplings(paths: ChannelwisePaths, dtype: torch.dtype, device: torch.device) -> dict[int, Tensor]:
    """l1 -> [filter width, (2 l1 + 1) * rows]."""
    return {l1: table.to(device, dtype).flatten(1) for l1, table in paths.couplings.items()}


def messages_by_edge(
    paths: ChannelwisePaths, x: Tensor, filters: Tensor, weights: Tensor, sender: Tensor, receiver: Tensor, n: int
) -> Tensor:
    """[n, width of the messages] sum of the messages of each receiver: the formula as it stands, edge by edge.

    Args:
        x: [senders, width] features. filters: [edges, filter width]. weights: [edges, weights].
        sender, receiver: [edges] ends.
    """
    rows, parts = x[sender], []
    for p in paths.paths:
        f = paths.space_in.groups[p.l1].of(rows)[..., p.channels] * weights[:, None, p.weights]
        table = paths.couplings[p.l1][..., p.rows].to(x.device, x.dtype)
        parts.append(torch.einsum("eiu,ej,jic->ecu", f, filters, table).flatten(1))
    return x.new_zeros(n, paths.width).index_add(0, receiver, torch.cat(parts, 1))
