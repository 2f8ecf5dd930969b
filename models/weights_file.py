"""Weights in a file of their own: safetensors whose bytes depend on nothing but what is in it."""

import json
from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor

ALIGNMENT = 8  # bytes, of the header


def weights_bytes(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file. The library writes metadata in an order that changes from one process to the next; here it is
    sorted, so that the same weights have the same checksum."""
    plain = save(dict(state))
    size = int.from_bytes(plain[:8], "little")
    header = {"__metadata__": dict(sorted(metadata.items()))} | json.loads(plain[8 : 8 + size])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text + plain[8 + size :]
