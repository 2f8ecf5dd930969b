"""Feature spaces: which scalars, vectors and tensors a feature holds, and where they lie in memory.

Memory layout of a feature of a space: blocks of equal degree l stand together, l = 0 first; inside such a group the
component runs slowest and the channel fastest, [2l+1, channels of all blocks with this l]. So a group is a small matrix
that tensor products can multiply as a whole, and the first channels are the true scalars in every space.
"""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor


@dataclass(frozen=True)
class Block:
    """`channels` copies of the irreducible representation of degree l and parity p (+1 even, -1 odd)."""

    channels: int
    l: int
    p: int

    @property
    def dim(self) -> int:
        return 2 * self.l + 1

    @property
    def is_scalar(self) -> bool:
        """True scalars (0e), which alone can take a bias."""
        return self.l == 0 and self.p == 1


@dataclass(frozen=True)
class Group:
    """All channels of one degree: where the matrix [2l+1, channels] lies in a feature."""

    l: int
    channels: int
    start: int

    @property
    def dim(self) -> int:
        return 2 * self.l + 1

    @property
    def stop(self) -> int:
        return self.start + self.dim * self.channels

    def of(self, x: Tensor) -> Tensor:
        """[rows, 2l+1, channels] view of this group in x [rows, width]."""
        return x[:, self.start : self.stop].unflatten(1, (self.dim, self.channels))


@dataclass(frozen=True)
class FeatureSpace:
    """A list of blocks; their order is that of the published weights (parity SPEC 4.1)."""

    blocks: tuple[Block, ...]

    @cached_property
    def width(self) -> int:
        """Numbers in one feature."""
        return sum(block.channels * block.dim for block in self.blocks)

    @cached_property
    def groups(self) -> dict[int, Group]:
        """Degree -> group, in order of l."""
        groups, start = {}, 0
        for degree in sorted({block.l for block in self.blocks}):
            channels = sum(block.channels for block in self.blocks if block.l == degree)
            groups[degree] = Group(degree, channels, start)
            start = groups[degree].stop
        return groups

    @cached_property
    def channel_starts(self) -> tuple[int, ...]:
        """First channel of each block inside its group."""
        filled: dict[int, int] = {}
        starts = []
        for block in self.blocks:
            starts.append(filled.get(block.l, 0))
            filled[block.l] = starts[-1] + block.channels
        return tuple(starts)

    def block_of(self, x: Tensor, number: int) -> Tensor:
        """[rows, 2l+1, channels] view of one block in x [rows, width]."""
        block, start = self.blocks[number], self.channel_starts[number]
        return self.groups[block.l].of(x)[..., start : start + block.channels]


def space_of_layer(hidden: int, layer: int) -> FeatureSpace:
    """Features after `layer` message-passing layers (parity SPEC 4.1).

    Args:
        hidden: channels of the scalars, even; other degrees have half as many.
    """
    half = hidden // 2
    steps = [
        (Block(hidden, 0, 1),),
        (Block(half, 1, -1), Block(half, 2, 1)),
        (Block(half, 1, 1), Block(half, 2, -1)),
        (Block(hidden, 0, -1),),
    ]
    return FeatureSpace(tuple(block for step in steps[: min(layer, 3) + 1] for block in step))
