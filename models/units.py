"""Predictions of a stored model in the unit of its data."""

from typing import Any

import torch
from torch import Tensor

from configs.errors import CheckpointError
from data.labels import LabelScale


def scale_of(model: Any) -> LabelScale:
    """The scale of labels that a checkpoint of a regression keeps.

    Raises:
        CheckpointError: the model's facts hold none (it is no regression, or was never trained by `train.py`).
    """
    labels = model.facts.get("labels")
    if not labels or "transform" not in labels:
        raise CheckpointError("keeps no scale of labels", type(model).__name__, hint="train it by train.py")
    return LabelScale.from_dict(labels)


def predict_in_unit(model: Any, batch: Any, of_data: bool = True) -> Tensor:
    """[graphs, targets] what a regression model predicts for a batch, without gradients and dropout.

    Args:
        of_data: in the unit of the labels in the data; False: in that of the transformed labels (a pK, say, of a model
            that was trained with --label_transform pK_from_dG).
    """
    scale = scale_of(model)
    outputs = model.infer(batch).pred.reshape(-1, len(scale.names))
    return scale.inverse(outputs) if of_data else scale.values(outputs)


def class_names(model: Any) -> tuple[str, ...]:
    """Names of a classifier's classes; their numbers where the data had no names."""
    classes = (model.facts.get("labels") or {}).get("classes")
    return tuple(classes or map(str, range(int(getattr(model.config, "num_classes", 2)))))


def class_probabilities(model: Any, batch: Any) -> Tensor:
    """[graphs, classes] probabilities of a classifier, without gradients and dropout."""
    pred = model.infer(batch).pred
    return torch.stack([1 - pred, pred], 1) if pred.ndim == 1 else pred
