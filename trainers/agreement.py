"""What must be the same on all ranks, checked: a difference ends the run with its name instead of a wrong result."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from configs.errors import BrokenDown, ConfigError
from trainers.distributed import gather_objects, world_size

SHOWN = 5


def check_same(what: str, value: Any) -> None:
    """Raise a ConfigError on all ranks when a plain value differs between them. A collective call."""
    values = gather_objects(value)
    if any(one != values[0] for one in values):
        told = ", ".join(f"rank {rank}: {one}" for rank, one in enumerate(values))
        hint = "do all machines see the same data and options?"
        raise ConfigError(f"{what} differ between ranks ({told})", hint=hint)


@torch.no_grad()
def check_weights(model: nn.Module, where: str) -> None:
    """Raise BrokenDown on all ranks when their weights are not the same to the last bit. A collective call.

    All ranks take the same steps from the same weights, so nothing else is right; a rank with a fault of its memory or
    with another version of a library comes apart silently.
    """
    if world_size() == 1:
        return
    named = [(name, tensor) for name, tensor in model.state_dict().items() if tensor.numel()]
    own = torch.stack([_digest(tensor) for _, tensor in named])
    everywhere = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(everywhere, own)
    differ = torch.stack([other != everywhere[0] for other in everywhere])
    if not differ.any():
        return
    names = [name for (name, _), wrong in zip(named, differ.any(0).tolist()) if wrong]
    ranks = ", ".join(str(rank) for rank, wrong in enumerate(differ.any(1).tolist()) if wrong)
    shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    what = f"{len(names)} of {len(named)} tensors ({shown}); only states of earlier epochs are sure"
    raise BrokenDown(f"the weights of rank {ranks} are not those of rank 0 {where}: {what}")


def _digest(tensor: Tensor) -> Tensor:
    """A number of the bits of a tensor, that another place or value of any of them changes."""
    words = tensor.detach().contiguous().flatten()
    if words.dtype != torch.bool:
        words = words.view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[words.element_size()])
    words = words.long()
    places = torch.arange(1, len(words) + 1, device=words.device)
    return (words * (2 * places + 1)).sum()  # modulo 2^64: a factor that is odd loses no bit
