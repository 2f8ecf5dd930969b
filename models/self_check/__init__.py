"""Does this machine compute the published numbers? A tiny model in published format, and its recorded embeddings.

The files beside this one were recorded with the published program, as those of tests/fixtures/parity.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from models.persistence import load_published

PLACE = Path(__file__).parent
LEVELS = ("unit_repr", "block_repr", "graph_repr")
LIMITS = {torch.float32: 1e-5, torch.float64: 1e-5}  # the recording is in single precision
GPU_LIMIT = 1e-4  # sums in another order


class Compared(NamedTuple):
    """Largest difference from the recorded embeddings of atoms, blocks and complexes, and what is allowed."""

    how: str
    off: float
    limit: float

    @property
    def right(self) -> bool:
        return self.off <= self.limit  # False for NaN


def self_check() -> Iterator[Compared]:
    """Compare in single precision (the compiled form where there is one), in double (torch's), and on every GPU."""
    yield compared("float32 on cpu", torch.float32, torch.device("cpu"))
    yield compared("float64 on cpu", torch.float64, torch.device("cpu"))
    for number in range(torch.cuda.device_count()):
        yield compared(f"float32 on cuda:{number}", torch.float32, torch.device("cuda", number), GPU_LIMIT)


def compared(how: str, dtype: torch.dtype, device: torch.device, limit: float | None = None) -> Compared:
    """Run the tiny model once.

    Raises:
        CheckpointError: its files are damaged.
    """
    model = load_published(PLACE / "config.json", PLACE / "weights.safetensors", padding="batch").to(device, dtype)
    inputs = {name: torch.as_tensor(values).to(device) for name, values in np.load(PLACE / "batch1.npz").items()}
    inputs = {name: values.to(dtype) if values.is_floating_point() else values for name, values in inputs.items()}
    output, expected = model.infer(inputs), np.load(PLACE / "batch1_outputs.npz")
    differences = [(getattr(output, name).double().cpu().numpy() - expected[name]) for name in LEVELS]
    off = float(max(np.abs(one).max() for one in differences))
    return Compared(how, off, LIMITS[dtype] if limit is None else limit)
