"""Steps that went wrong: how they are recognised, how a batch is tried again in parts, and what is told of them."""

import gc
from collections.abc import Sequence
from typing import Any

import torch

OUT_OF_MEMORY, LOSS, GRADIENT = "out of memory", "non-finite loss", "non-finite gradient"
WORDS = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")


class RankMissing(Exception):
    """Another rank failed before it could take part in what all ranks do together; it tells all of it soon."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device or the machine had not enough memory."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in WORDS)


def free_memory() -> None:
    """Give back what a failed pass held. The error that it ended with must be gone: it holds the pass's tensors."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def keys_of(loader: Any, number: int) -> list[Any] | None:
    """What the data set is asked for to make batch `number` of this rank; None when the sampler can't tell."""
    sampler: Any = getattr(loader, "batch_sampler", None)
    return list(sampler.keys(number)) if hasattr(sampler, "keys") else None


def load(loader: Any, keys: Sequence[Any]) -> Any:
    """The batch of some items, read again: an item is the same whenever it is asked for in the same epoch."""
    return loader.collate_fn([loader.dataset[key] for key in keys])


def halves(keys: list[Any]) -> list[list[Any]]:
    """Both halves of several items."""
    return [keys[: len(keys) // 2], keys[len(keys) // 2 :]]
