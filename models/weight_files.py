"""Weights from files of any origin: names and plain tensors come out, and nothing that a file names is executed."""

import io
import pickle
import struct
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from configs.errors import CheckpointError
from configs.limits import check_limit
from configs.reading import read_bytes

DAMAGE: tuple[type[Exception], ...] = (
    *(RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError),
    *(struct.error, zipfile.BadZipFile, NotImplementedError, MemoryError, OSError),
)
"""What torch's restricted reader raises on files with changed bytes."""
LIMIT = "max_weights_size"


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """A flat name -> tensor map from a safetensors file or one saved with torch; never executes what a file contains.

    Raises:
        CheckpointError: absent, damaged, too large (also unpacked), or not a plain map of tensors.
    """
    path = Path(path)
    content = read_bytes(path, CheckpointError, LIMIT)
    try:
        if path.suffix == ".safetensors":
            return load_safetensors(content)
        _check_archive(content, path)
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise CheckpointError(f"is damaged: {error}", path) from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"holds more than tensors and is not opened: {_reason(error)}",
            path,
            hint="if it must be, in a sandbox: load it without weights_only and save its state_dict() to a new file, "
            "as docs/checkpoints.md shows",
        ) from error
    except DAMAGE as error:
        raise CheckpointError(f"is damaged: {_first_line(error)}", path) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError("is not a map from names to tensors", path, hint="save model.state_dict()")
    for name, value in state.items():
        _check_tensor(str(name), value, path)
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _check_archive(content: bytes, path: Path) -> None:
    """Refuse a zip archive (as torch writes) whose members unpack to more than the limit."""
    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            total = sum(member.file_size for member in archive.infolist())
        check_limit("unpacks to {} bytes", total, LIMIT, CheckpointError, path)


def _check_tensor(name: str, value: Tensor, path: Path) -> None:
    """Refuse tensors that are no plain numbers, or that claim more numbers than the file holds for them."""
    if value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_complex():
        raise CheckpointError(f"{name} is no plain tensor of real numbers", path)
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise CheckpointError(f"{name} claims {value.numel()} numbers and holds fewer", path)


def _reason(error: pickle.UnpicklingError) -> str:
    """What torch refuses, from a message that begins with a paragraph of advice."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if "unsupported" in line.lower()), _first_line(error))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
