"""Ranks: devices, the process group of torchrun's environment, and collectives that also work on one rank."""

import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from configs.errors import BrokenDown, ConfigError, LigareError, Preempted
from trainers.orphans import ending_with_the_launcher

T = TypeVar("T")
TIMEOUT = 30.0  # minutes


def rank() -> int:
    """Number of this process among all, 0 when there is only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this rank writes files and prints."""
    return rank() == 0


def say(message: str) -> None:
    """Print once, on the main rank, to standard error."""
    if is_main():
        print(message, file=sys.stderr, flush=True)


def choose_device(gpus: Sequence[int], local_rank: int = -1) -> torch.device:
    """The device of this rank: `gpus[local_rank]`; -1 is the CPU; nothing given means a GPU when there is one.

    Raises:
        ConfigError: a device number that this machine lacks, or fewer numbers than local ranks.
    """
    local = max(int(os.environ.get("LOCAL_RANK", local_rank)), 0)
    if not gpus:
        return torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if gpus[0] == -1:
        return torch.device("cpu")
    if local >= len(gpus):
        raise ConfigError(f"names {len(gpus)} devices, but this is local rank {local}", "--gpus")
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 and len(gpus) > 1:
        raise ConfigError(
            f"names {len(gpus)} devices for one process",
            "--gpus",
            hint=f"start with torchrun --nproc_per_node {len(gpus)} train.py ...",
        )
    if not torch.cuda.is_available() or gpus[local] >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ConfigError(f"device {gpus[local]} is not there ({count} found)", "--gpus", hint="-1 is the CPU")
    return torch.device("cuda", gpus[local])


@contextmanager
def process_group(device: torch.device, timeout: float = TIMEOUT) -> Iterator[None]:
    """Join the ranks that torchrun started (gloo on CPU, nccl on GPU); does nothing for a single process.

    Args:
        timeout: minutes that a rank waits for others; then it ends with an error, as it does when one of them is gone.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # torchrun keeps its store when it starts the ranks anew: without a prefix they would meet the addresses of the dead
    backend = "nccl" if device.type == "cuda" else "gloo"
    limit = timedelta(minutes=timeout)
    with ending_with_the_launcher():
        store, number, size = next(dist.rendezvous("env://"))
        store = dist.PrefixStore(f"start{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        dist.init_process_group(backend, store=store, rank=number, world_size=size, timeout=limit)
    try:
        yield
        dist.barrier()  # no rank leaves while another still talks to it
    except (BrokenDown, Preempted):  # raised on all ranks
        dist.barrier()
        raise
    finally:
        gc.collect()  # a wrapped model in a reference cycle would keep the group's threads until the process ends
        dist.destroy_process_group()


def communication_device() -> torch.device:
    """Where tensors must be that ranks exchange."""
    on_gpu = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")


def sum_over_ranks(values: Sequence[float]) -> list[float]:
    """Element-wise sum of a short list of numbers over all ranks."""
    if world_size() == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device=communication_device())
    dist.all_reduce(total)
    return total.tolist()


def gather_objects(value: T) -> list[T]:
    """The values of all ranks, in the order of ranks, on every rank."""
    if world_size() == 1:
        return [value]
    out: list[Any] = [None] * world_size()
    dist.all_gather_object(out, value)
    return out


def from_main(value: T) -> T:
    """The main rank's value, on every rank."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def on_main(call: Callable[[], T]) -> T:
    """What a call on the main rank returns, on every rank; its error, if the input is at fault, on every rank too."""
    result: Any = None
    if is_main():
        try:
            result = call()
        except (LigareError, OSError) as error:
            from_main((None, error))
            raise
    result, failed = from_main((result, None))
    if failed is not None:
        raise failed
    return result


def barrier() -> None:
    """Wait for all ranks."""
    if world_size() > 1:
        dist.barrier()


def to_device(value: Any, device: torch.device) -> Any:
    """Move every tensor of a nested dict, list, tuple, or object with `.to` to a device."""
    if isinstance(value, Tensor) or hasattr(value, "to"):
        return value.to(device)
    if isinstance(value, dict):
        return {key: to_device(entry, device) for key, entry in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(to_device(entry, device) for entry in value))
    if isinstance(value, (list, tuple)):
        return type(value)(to_device(entry, device) for entry in value)
    return value
