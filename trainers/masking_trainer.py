"""Naming masked blocks without noise (task `masking`)."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from configs.errors import DataError
from trainers.abs_trainer import Trainer
from trainers.batches import entry, n_items
from trainers.masked_accuracy import MASKED_METRICS, masked_metrics, masked_parts, masked_predictions


class MaskingTrainer(Trainer):
    """Trains a `MaskedNodeModel`: cross entropy of the types of masked blocks.

    Logs `loss` beside `masked_base` (equal probabilities), `masked_accuracy` and `masked_accuracy_top5`, all means over
    masked blocks, so that they depend neither on batches nor on ranks; validation adds `masked_majority_rate`.
    """

    reports = True

    def metric_names(self) -> Collection[str]:
        return ["loss", "masked_loss", "masked_base", *MASKED_METRICS]

    def share_step(self, batch: Any, batch_idx: int, val: bool = False) -> Any:
        """The model's output.

        Raises:
            DataError: nothing in the batch says what was masked.
        """
        if entry(batch, "masked_labels") is None:
            raise DataError(
                "has no masked blocks", *list(entry(batch, "id") or ())[:1], hint="--mask_proportion masks some"
            )
        return self.model(batch)

    def part_counts(self, batch: Any) -> dict[str, tuple[float, float]]:
        """Losses and accuracies are means over masked blocks."""
        labels = entry(batch, "masked_labels")
        items, masked = float(n_items(batch)), 0.0 if labels is None else float(len(labels))
        return {"": (items, items), "loss": (masked, masked), "masked": (masked, masked)}

    def loss_terms(self, output: Any) -> dict[str, Tensor]:
        """The loss, counted by masked blocks."""
        return {"masked": output.loss}

    def logged_parts(self, output: Any, batch: Any) -> dict[str, Tensor]:
        return super().logged_parts(output, batch) | masked_parts(output.logits, batch)

    def predictions(self, output: Any, batch: Any) -> Mapping[str, Any]:
        return masked_predictions(output.logits, batch)

    def sample_scores(self, predictions: dict[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Whether each masked block was named."""
        return {name: predictions[name].astype(float) for name in MASKED_METRICS if name in predictions}

    def metrics(self, predictions: dict[str, np.ndarray], means: dict[str, float]) -> dict[str, float]:
        return masked_metrics(predictions)
