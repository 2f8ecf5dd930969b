"""Options of what ranks do together: when they give up, and what they share out."""

from dataclasses import dataclass
from typing import Literal

Shard = Literal["none", "optimizer"]


@dataclass(frozen=True)
class RankOptions:
    """Part of `TrainOptions`, which checks the values."""

    max_bad_steps: int = 10
    """Stop after this many steps in a row that could not be used: not finite, or out of memory (0: never)."""
    rank_timeout: float = 30.0
    """Minutes that a rank waits for the others before it takes them for dead and ends."""
    shard: Shard = "none"
    """optimizer: every rank keeps its share of the optimiser's state (docs/scaling.md)."""
