"""Whether two models make the same vectors: a checksum of what they are made by."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

from models.named import backbone_of


def fingerprint(model: Any) -> str:
    """sha256 (first 16 digits) of the configuration and weights of the model that embeds; the device doesn't matter.

    Raises:
        CheckpointError: a model without an encoder.
    """
    backbone = backbone_of(model)
    checksum = hashlib.sha256(json.dumps(asdict(backbone.config), sort_keys=True, default=str).encode())
    for name, values in sorted(backbone.state_dict().items()):
        checksum.update(f"{name} {list(values.shape)}".encode())
        checksum.update(values.detach().cpu().contiguous().double().numpy().tobytes())
    return checksum.hexdigest()[:16]
