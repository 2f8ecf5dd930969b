"""The encoder as a model: embeddings, no loss. Base of the models with heads."""

from collections.abc import Mapping
from typing import Any

import torch

from configs.errors import DataError
from models.backbone import Backbone, Representation, full_precision
from models.config import EncoderConfig, config_to_dict
from models.outputs import PredictionOutput


def as_batch(batch: Any, entries: Mapping[str, Any]) -> Any:
    """The batch, or that of the published keyword form, where coordinates are called Z (or cmplx_Z, prot_Z).

    Raises:
        DataError: both are given.
    """
    if batch is not None:
        if entries:
            hint = "give one mapping, or keywords alone"
            raise DataError(f"stands beside the keywords {', '.join(entries)}", "batch", hint=hint)
        return batch
    return {name[:-1] + "X" if name in ("Z", "cmplx_Z", "prot_Z") else name: entries[name] for name in entries}


class PredictionModel(Backbone):
    """Embeds atoms, blocks and complexes.

    Example:
        output = model(batch)            # or model.infer(batch), without gradients and dropout
        output.graph_repr                # [graphs, H]
    """

    Config: type = EncoderConfig

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)

    def config_dict(self) -> dict[str, Any]:
        """The configuration as JSON-serialisable values, with `model_type`."""
        return config_to_dict(self.config, type(self).__name__)

    def forward(self, batch: Any = None, **entries: Any) -> Any:
        """The model's output for a batch.

        Args:
            batch: mapping or torch-geometric batch. The published keyword form works too: `model(Z=, B=, A=, ...)`,
                with Z for the coordinates.

        Raises:
            DataError: the batch lacks something, or its arrays contradict each other.
        """
        batch = as_batch(batch, entries)
        found = self.encode(batch)
        with full_precision(found.unit_repr):
            return self.predict(batch, found)

    def predict(self, batch: Any, found: Representation) -> PredictionOutput:
        """From representation to output; models with heads override it."""
        return PredictionOutput(found.unit_repr, found.block_repr, found.graph_repr, representation=found)

    def infer(self, batch: Any) -> Any:
        """The output without gradients and dropout; the training mode is left as it was."""
        training = self.training
        self.eval()
        try:
            with torch.no_grad():
                return self(batch)
        finally:
            self.train(training)
