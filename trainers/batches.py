"""What the loop needs to know about loaders and batches, whatever they are made of."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

from torch import Tensor

from configs.errors import LoaderLost
from trainers.preemption import CONTINUES
from trainers.rng import torch_state_kept

PLANNED = 200_000
LOST = re.compile(r"DataLoader worker .*(is killed by signal|exited unexpectedly)", re.S)  # in torch's words


@contextmanager
def naming_lost_loaders() -> Iterator[None]:
    """LoaderLost for what torch raises, anywhere in this process, when one of its loader processes was killed."""
    try:
        yield
    except RuntimeError as error:
        if not LOST.search(str(error)):
            raise
        what = f"a loader process was killed ({' '.join(str(error).split())})"
        hint = "out of memory? Fewer --num_workers need less"
        raise LoaderLost(f"{what}; {CONTINUES} from the newest state ({hint})") from error


def entry(batch: Any, name: str) -> Any:
    """A named entry of a mapping or graph batch; None when it is absent."""
    if isinstance(batch, Tensor) or not hasattr(batch, "__contains__") or isinstance(batch, (list, tuple)):
        return None
    return batch[name] if name in batch else None  # noqa: SIM401 (graph batches have no `get`)


def n_items(batch: Any) -> int:
    """Number of items of a batch: entries of `lengths` or `id`, else the length of its first tensor."""
    for name in ("lengths", "id"):
        value = entry(batch, name)
        if value is not None:
            return len(value)
    if isinstance(batch, Tensor):
        return len(batch)
    return n_items(next(iter(batch.values() if isinstance(batch, Mapping) else batch)))


def item_ids(batch: Any) -> list[str]:
    """The ids of a batch's items, as far as it names them."""
    ids = entry(batch, "id")
    if ids is None:
        return []
    return [str(name) for name in (ids.tolist() if isinstance(ids, Tensor) else ids)]


def start_epoch(loader: Any, epoch: int, first_batch: int) -> int:
    """Tell a loader's sampler the epoch and where to start in it; returns the number of batches of the whole epoch."""
    sampler: Any = getattr(loader, "batch_sampler", None)
    samplers: list[Any] = [sampler, getattr(loader, "sampler", None)]
    for one in samplers:
        if hasattr(one, "set_epoch"):
            one.set_epoch(epoch)
            break
    if hasattr(sampler, "start_batch"):
        sampler.start_batch = 0
    total = len(loader)
    if hasattr(sampler, "start_batch"):
        sampler.start_batch = first_batch
    return total


def items_before(loader: Any, epoch: int, batch: int) -> int | None:
    """Items of an epoch that all ranks use before a batch; None when the sampler can't tell."""
    sampler: Any = getattr(loader, "batch_sampler", None)
    if not hasattr(sampler, "items_before"):
        return None
    sampler.set_epoch(epoch)
    return sampler.items_before(batch)


def go_on(loader: Any, epoch: int, batch: int, used: int | None) -> None:
    """Tell a sampler where a stored epoch goes on: another number of ranks drops or doubles no item either."""
    sampler: Any = getattr(loader, "batch_sampler", None)
    if batch and used is not None and hasattr(sampler, "go_on"):
        sampler.go_on(epoch, batch, used)


def steps_of_run(loader: Any, epochs: int, accumulate: int) -> tuple[int, int]:
    """Optimiser steps of the first epoch, and of all epochs.

    Epochs of shuffled batches with a block budget differ in length, so each is planned; behind `PLANNED` batches the
    mean length goes on.
    """
    first = total = 0
    for epoch in range(epochs):
        steps = -(-start_epoch(loader, epoch, 0) // accumulate)
        first, total = first or steps, total + steps
        sampler = getattr(loader, "batch_sampler", None)
        if not hasattr(sampler, "set_epoch") or total > PLANNED:
            total = round(total / (epoch + 1) * epochs)
            break
    start_epoch(loader, 0, 0)
    return first, total


def iterate(loader: Any, first_batch: int = 0) -> Iterator[Any]:
    """The batches of a loader from `first_batch` on, without disturbing torch's random stream.

    A loader whose sampler can't start in the middle loads the batches before and drops them.
    """
    with torch_state_kept():
        iterator = iter(loader)
    can_start = hasattr(getattr(loader, "batch_sampler", None), "start_batch")
    return iterator if can_start else islice(iterator, first_batch, None)
