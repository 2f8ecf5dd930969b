"""The random states of a rank: seeding them, and storing and restoring them exactly."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int, rank: int = 0, deterministic: bool = False) -> None:
    """Seed Python, numpy and torch; ranks get different streams (dropout), derived from the same seed.

    Args:
        deterministic: also choose torch's deterministic algorithms (slower on a GPU); an operation that has none then
            raises a RuntimeError that names it.
    """
    own = (seed + 1_000_003 * rank) % 2**32
    random.seed(own)
    np.random.seed(own)  # noqa: NPY002 (whatever draws from the global stream)
    torch.manual_seed(own)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first product is made on a GPU
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


def random_state() -> dict[str, Any]:
    """All random states of this process, as numbers, lists and strings (JSON)."""
    kind, words, index, has_gauss, gauss = np.random.get_state(legacy=True)  # type: ignore[misc]  # noqa: NPY002
    version, internal, spare = random.getstate()
    state = {
        "python": [version, list(internal), spare],
        "numpy": [kind, np.asarray(words).tolist(), index, has_gauss, gauss],
        "torch": bytes(torch.get_rng_state().tolist()).hex(),
    }
    if torch.cuda.is_available():
        state["cuda"] = bytes(torch.cuda.get_rng_state().tolist()).hex()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Put back what `random_state` returned."""
    version, internal, spare = state["python"]
    random.setstate((version, tuple(internal), spare))
    kind, words, index, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, np.array(words, dtype=np.uint32), index, has_gauss, gauss))  # noqa: NPY002
    torch.set_rng_state(torch.tensor(list(bytes.fromhex(state["torch"])), dtype=torch.uint8))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(torch.tensor(list(bytes.fromhex(state["cuda"])), dtype=torch.uint8))


def random_streams() -> list[torch.Tensor]:
    """Torch's random streams, which dropout draws from; quick enough for every step."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [])]


def restore_random_streams(streams: list[torch.Tensor]) -> None:
    """Put back what `random_streams` returned."""
    torch.set_rng_state(streams[0])
    if len(streams) > 1:
        torch.cuda.set_rng_state(streams[1])


@contextmanager
def torch_state_kept() -> Iterator[None]:
    """Leave torch's CPU random stream as it was (a loader draws from it when its iterator is made)."""
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)
