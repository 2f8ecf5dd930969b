"""From structure files to batches. Heavy readers (gemmi, RDKit, Biopython) are imported only where they are needed."""

from importlib import import_module
from typing import Any

# What a user needs by name; loaded when asked for, so that reading structures does not wait for torch.
PUBLIC = {
    "BlockTaxonomy": "data.block_taxonomy",
    "InterfaceDataset": "data.dataset",
    "unknown_fraction": "data.confidence",
}


def __getattr__(name: str) -> Any:
    if name in PUBLIC:
        return getattr(import_module(PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
