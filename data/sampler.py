"""Which items make which batch on which rank: a pure function of (counts, options, seed, epoch).

One plan is made for all ranks; batch number b of it goes to rank b % world. So the batches of all ranks together are
those that a single rank would have, but for a few that are cut in two to give every rank the same number of steps.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from configs.errors import ConfigError, DataError

log = logging.getLogger(__name__)

ORDER_STREAM = 1_000_003  # keeps the random numbers of the order apart from those of the items' noise
MOST_CLASSES = 1000


class Plan(NamedTuple):
    """Batch b holds the items order[bounds[b] : bounds[b + 1]]."""

    order: np.ndarray
    bounds: np.ndarray


def classes_of(counts: Mapping[str, np.ndarray]) -> np.ndarray:
    """[items] class numbers for balanced sampling: the labels if they are whole numbers, otherwise the modalities."""
    labels = counts["label"]
    if len(labels) and np.isfinite(labels).all() and (labels == np.round(labels)).all():
        values, classes = np.unique(labels, return_inverse=True)
        if 1 < len(values) <= MOST_CLASSES:
            return classes
    return np.unique(counts["modality"], return_inverse=True)[1]


def balanced_order(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[items] item numbers in which every class occurs equally often (but for rounding), in random order.

    Inside a class items are used in turn: one occurs a second time only after all others of its class.
    """
    n_classes = int(classes.max()) + 1
    quotas = np.full(n_classes, len(classes) // n_classes)
    quotas[rng.permutation(n_classes)[: len(classes) % n_classes]] += 1
    drawn = []
    for number, quota in enumerate(quotas.tolist()):
        members = np.flatnonzero(classes == number)
        rounds = [rng.permutation(members) for _ in range(-(-quota // len(members)))]
        drawn.append(np.concatenate([*rounds, members[:0]])[:quota])
    return rng.permutation(np.concatenate(drawn))


def budget_bounds(sizes: np.ndarray, budget: int) -> np.ndarray:
    """Bounds of batches of consecutive items, each filled up to `budget` blocks; a larger item makes one of its own."""
    ends = np.cumsum(sizes, dtype=np.int64)
    full = ends.searchsorted(ends - sizes + budget, side="right")  # where a batch ends that begins at each item
    bounds = [0]
    while bounds[-1] < len(sizes):
        bounds.append(max(int(full[bounds[-1]]), bounds[-1] + 1))
    return np.array(bounds)


def even_bounds(bounds: np.ndarray, sizes: np.ndarray, world: int) -> np.ndarray:
    """Cut the largest batches in two until the number of batches is a multiple of `world`.

    When nothing can be cut (every batch is a single item), the smallest neighbours are joined beyond the budget.

    Raises:
        DataError: fewer items than ranks.
    """
    _check_ranks(len(sizes), world)
    ends = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    while missing := -(len(bounds) - 1) % world:
        n_items, blocks = np.diff(bounds), np.diff(ends[bounds])
        largest = np.argsort(np.where(n_items > 1, -blocks, 1), kind="stable")[:missing]
        cuts = [_middle(ends, int(bounds[b]), int(bounds[b + 1])) for b in largest.tolist() if n_items[b] > 1]
        if cuts:
            bounds = np.sort(np.concatenate([bounds, cuts]))
        else:
            excess = (len(bounds) - 1) % world
            pairs = np.argsort(blocks[1:] + blocks[:-1], kind="stable")
            return np.delete(bounds, 1 + pairs[:excess])
    return bounds


def _check_ranks(n_items: int, world: int) -> None:
    if n_items < world:
        raise DataError(f"{n_items} items can't be spread over {world} ranks", hint="use fewer ranks")


def _middle(ends: np.ndarray, start: int, stop: int) -> int:
    """The item at which to cut start..stop so that both parts hold about as many blocks."""
    half = (ends[start] + ends[stop]) / 2
    return int(np.clip(np.searchsorted(ends, half), start + 1, stop - 1))


def fixed_bounds(n_items: int, batch_size: int, world: int) -> np.ndarray:
    """Bounds of the parts of batches of `batch_size` items, each batch in `world` parts of equal size (to one item).

    A last batch too small to give every rank an item is joined with the one before; the two are shared out anew.
    """
    _check_ranks(n_items, world)
    starts = np.arange(0, n_items, batch_size)
    if n_items - starts[-1] < world and len(starts) > 1:
        half = (n_items - starts[-2]) // 2
        starts = np.append(starts[:-1], [starts[-2] + half] if half >= world else []).astype(np.int64)
    ends = np.append(starts[1:], n_items)
    parts = np.linspace(starts, ends, world + 1, axis=1)[:, :-1].round().astype(np.int64)
    return np.append(parts.ravel(), n_items)


class BatchSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, item number) for one rank; every rank has the same number of them.

    Without `balanced`, every item occurs exactly once an epoch over all ranks.

    Args:
        counts: arrays [items] n_blocks, label, modality (`InterfaceDataset.counts`).
        batch_size: items a step over all ranks. max_blocks: block budget of a batch on one rank; wins over batch_size.
        max_blocks_per_item: larger items count as this many, because they are cropped.
        shuffle: a new order each epoch. seed: of that order. balanced: classes or modalities equally often.
        rank, world: this process and the number of processes.

    Attributes:
        start_batch: batches that the next iteration leaves out (to go on inside an epoch); back to 0 after it started.
            The length stays that of the whole epoch.

    Raises:
        ConfigError: neither a batch size nor a budget, or a batch size below the number of ranks.
        DataError: fewer items than ranks.
    """

    def __init__(
        self,
        counts: Mapping[str, np.ndarray],
        batch_size: int | None = None,
        max_blocks: int | None = None,
        max_blocks_per_item: int | None = None,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        balanced: bool = False,
    ) -> None:
        if max_blocks is None and batch_size is None:
            raise ConfigError("give a number of items, or a block budget by --max_n_vertex_per_gpu", "--batch_size")
        if max_blocks is None and batch_size is not None and batch_size < world:
            raise ConfigError(f"must be at least the number of processes ({world}), got {batch_size}", "--batch_size")
        self.sizes = np.minimum(counts["n_blocks"], max_blocks_per_item or np.iinfo(np.int32).max)
        self.batch_size, self.max_blocks = batch_size, max_blocks
        self.shuffle, self.seed, self.rank, self.world = shuffle, seed, rank, world
        self.classes = classes_of(counts) if balanced else None
        self.epoch = self.start_batch = 0
        self._plan: tuple[int, Plan] | None = None
        self._begun: tuple[int, int, int] | None = None
        if max_blocks is not None and (too_large := int((self.sizes > max_blocks).sum())):
            log.warning(
                "%d items have more than %d blocks and make batches of their own; --max_n_vertex_per_item crops them",
                too_large,
                max_blocks,
            )
        self.plan()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration is for."""
        self.epoch = epoch

    def plan(self) -> Plan:
        """The batches of all ranks in this epoch."""
        if self._plan is None or self._plan[0] != self.epoch:
            self._plan = self.epoch, self._make_plan()
        return self._plan[1]

    def _make_plan(self) -> Plan:
        rng = np.random.default_rng((self.seed, self.epoch, ORDER_STREAM))
        if self.classes is not None:
            order = balanced_order(self.classes, rng)
        else:
            order = rng.permutation(len(self.sizes)) if self.shuffle else np.arange(len(self.sizes))
        bounds = self._bounds(order)
        if self._begun is not None and self._begun[0] == self.epoch:
            _, batch, used = self._begun
            place = batch * self.world
            if (
                place >= len(bounds) or bounds[place] != used
            ):  # other ranks began the epoch: the rest is shared out anew
                rest = self._bounds(order[used:]) if used < len(order) else np.zeros(1, np.int64)
                bounds = np.concatenate([np.zeros(place, np.int64), rest + used])
        return Plan(order, bounds)

    def _bounds(self, order: np.ndarray) -> np.ndarray:
        if self.max_blocks is None:
            return fixed_bounds(len(order), int(self.batch_size or 0), self.world)
        sizes = self.sizes[order]
        return even_bounds(budget_bounds(sizes, self.max_blocks), sizes, self.world)

    def items_before(self, batch: int) -> int:
        """How many items of this epoch's order all ranks have used before a batch."""
        return int(self.plan().bounds[batch * self.world])

    def go_on(self, epoch: int, batch: int, used: int) -> None:
        """Let an epoch go on at a batch, `used` items of its order being done with, by whatever number of ranks.

        Raises:
            DataError: fewer items are left than there are ranks.
        """
        self._plan, self._begun = None, (epoch, batch, used)
        self.set_epoch(epoch)
        self.plan()

    def __len__(self) -> int:
        return (len(self.plan().bounds) - 1) // self.world

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        # Nothing is taken before the first batch: a loader with workers makes an iterator that it never uses.
        start, self.start_batch = self.start_batch, 0
        yield from self._batches(self.plan(), self.epoch, start)

    def keys(self, batch: int) -> list[tuple[int, int]]:
        """The items of one batch of this rank, as the data set is asked for them."""
        return next(self._batches(self.plan(), self.epoch, batch))

    def _batches(self, plan: Plan, epoch: int, start: int) -> Iterator[list[tuple[int, int]]]:
        for batch in range(start * self.world + self.rank, len(plan.bounds) - 1, self.world):
            items = plan.order[plan.bounds[batch] : plan.bounds[batch + 1]]
            yield [(epoch, index) for index in items.tolist()]
