"""Pretraining: remove noise from one side of an interface, and name masked blocks."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from configs.errors import DataError
from trainers.abs_trainer import Trainer
from trainers.batches import entry, n_items
from trainers.masked_accuracy import MASKED_METRICS, masked_labels, masked_metrics, masked_parts

# Loss parts and the names of their weights in the model's configuration.
WEIGHTS = {
    "atom": "atom_weight",
    "translation": "translation_weight",
    "rotation": "rotation_weight",
    "torsion": "torsion_weight",
    "masked": "mask_weight",
}


class PretrainTrainer(Trainer):
    """Denoising of torsions, translation, rotation and atoms.

    Every loss part is logged beside its base, the loss of predicting nothing. Translation, rotation and atom parts are
    means over items, the torsion part over items that have torsions, so the numbers of a set don't depend on batches.
    """

    def get_scheduler(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Cosine with warm restarts unless another schedule is asked for."""
        return self.curve_scheduler(optimizer, self.config.lr_schedule or "cosine_restarts")

    def metric_names(self) -> Collection[str]:
        """The loss, and every part that the model has a head for, with its base."""
        config: Any = self.model.config
        on = {part: getattr(config, f"{part}_noise", config.num_masked_block_classes) for part in WEIGHTS}
        return ["loss", *(f"{part}_{kind}" for part in WEIGHTS if on[part] for kind in ("loss", "base"))]

    def share_step(self, batch: Any, batch_idx: int, val: bool = False) -> Any:
        """The model's output: total loss and its parts."""
        return self.model(batch)

    def part_counts(self, batch: Any) -> dict[str, tuple[float, float]]:
        """Items; items with torsions (the loss divides by the last of them); masked blocks."""
        items = float(n_items(batch))
        counts = {"": (items, items), "torsion": (0.0, 0.0), "masked": (0.0, 0.0)}
        counts |= {name: counts[""] for name in WEIGHTS if name not in counts}
        owners = entry(batch, "tor_batch")
        if owners is not None and len(owners):
            counts["torsion"] = (float(owners.max()) + 1, float(len(owners.unique())))
        labels = entry(batch, "masked_labels")
        if labels is not None:
            counts["masked"] = (float(len(labels)), float(len(labels)))
        return counts

    def loss_weight(self, part: str) -> float:
        """Weight of a loss part in the model's loss."""
        return float(getattr(self.model.config, WEIGHTS[part]))

    def loss_terms(self, output: Any) -> dict[str, Tensor]:
        """The weighted parts of the loss."""
        parts = output.parts()
        return {name: self.loss_weight(name) * parts[f"{name}_loss"] for name in WEIGHTS if f"{name}_loss" in parts}

    def metrics(self, predictions: dict[str, Any], means: dict[str, float]) -> dict[str, float]:
        """The total loss made of the set's own means."""
        present = [name for name in WEIGHTS if f"{name}_loss" in means]
        return {"loss": sum(self.loss_weight(name) * means[f"{name}_loss"] for name in present)} if present else {}


class PretrainMaskingNoisingTrainer(PretrainTrainer):
    """Denoising, and naming masked blocks: accuracy (top 1, top 5) beside that of always naming the majority class."""

    def metric_names(self) -> Collection[str]:
        return [*super().metric_names(), *MASKED_METRICS]

    def logged_parts(self, output: Any, batch: Any) -> dict[str, Tensor]:
        logits = getattr(output, "masked_logits", None)
        return super().logged_parts(output, batch) | masked_parts(logits, batch)

    def predictions(self, output: Any, batch: Any) -> Mapping[str, Tensor]:
        return masked_labels(batch) if getattr(output, "masked_logits", None) is not None else {}

    def metrics(self, predictions: dict[str, np.ndarray], means: dict[str, float]) -> dict[str, float]:
        """Adds the majority rate."""
        return super().metrics(predictions, means) | masked_metrics(predictions)


class PretrainMaskingNoisingTrainerWithBlockEmbedding(PretrainMaskingNoisingTrainer):
    """The same for models that also read external block vectors."""

    def share_step(self, batch: Any, batch_idx: int, val: bool = False) -> Any:
        """The model's output.

        Raises:
            DataError: the items have no block vectors.
        """
        if entry(batch, "block_embeddings") is None:
            raise DataError(
                "has no block_embeddings, which --block_embedding_size asks for", *list(entry(batch, "id") or ())[:1]
            )
        return super().share_step(batch, batch_idx, val)
