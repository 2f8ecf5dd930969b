"""What fine-tuned models say of interfaces: values in the unit of their labels, or classes; one model or several."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from configs.errors import CheckpointError, ConfigError
from data.composition_schema import REGRESSION
from data.inputs import InputItem
from data.labels import LabelScale
from models.affinity_predictor import AffinityPredictor, RegressionPredictor
from models.classifier_model import ClassifierModel, MultiClassClassifierModel
from models.composition import CompositionModel
from models.embed import MAX_BLOCKS, batches, collated, each_alone
from models.named import backbone_of
from models.units import class_names, class_probabilities, predict_in_unit, scale_of

VALUES = (AffinityPredictor, RegressionPredictor)
CLASSES = (ClassifierModel, MultiClassClassifierModel)
UNLABELLED = ("label", "targets")
"""Entries of a batch that a prediction must not see; a loss of missing labels is of no use either."""
SEEN_BLOCKS = "seen_blocks"
"""Entry of a checkpoint's facts: block types of the training split (`data.confidence.seen_blocks`)."""


@dataclass(frozen=True)
class Prediction:
    """What is said of some interfaces.

    Attributes:
        entries: the interfaces. values: [interfaces, outputs] mean over the models: values, or probabilities.
        spread: [interfaces, outputs] their standard deviation over the models; None for a single one.
        unknown_fraction: [interfaces] share of blocks that training did not see; None where checkpoints don't tell.
        confidence: [interfaces] between 0 and 1: the probability of the likeliest class; of values, 1 -
            unknown_fraction. None where nothing is known.
    """

    entries: list[InputItem]
    values: np.ndarray
    spread: np.ndarray | None
    unknown_fraction: np.ndarray | None
    confidence: np.ndarray | None


class Predictor:
    """One fine-tuned model, or an ensemble of several for the same labels.

    Args:
        transformed: values after --label_transform, not before it.

    Attributes:
        classes: whether classes are predicted. names: of the targets, with their unit, or of the classes.

    Raises:
        CheckpointError: a model without a prediction, or models for different labels, units or vocabularies.
    """

    def __init__(self, models: Sequence[Any], transformed: bool = False) -> None:
        for model in models:
            if not (predicts_values(model) or predicts_classes(model)):
                hint = "fine-tune it first; scripts/get_embeddings.py gives vectors"
                raise CheckpointError(f"is a {type(model).__name__}, which predicts no label", "model", hint=hint)
        self.models, self.transformed = list(models), transformed
        self.classes = predicts_classes(models[0])
        self.names = self._names(models[0])
        for number, model in enumerate(models[1:], 2):
            if predicts_classes(model) != self.classes or self._names(model) != self.names:
                what = f"model {number} predicts {', '.join(self._names(model))}, the first {', '.join(self.names)}"
                raise CheckpointError(what, "ensemble", hint="an ensemble has one kind of label, in one unit")
            ours, others = (vocabulary_of(one) for one in (models[0], model))
            if ours != others:
                raise CheckpointError(f"model {number} has vocabulary {others}, the first {ours}", "ensemble")

    def _names(self, model: Any) -> tuple[str, ...]:
        if predicts_classes(model):
            return class_names(model)
        scale = scale_or_plain(model)
        unit = scale.unit if self.transformed else scale.data_unit
        return tuple(f"{name} ({unit})" if unit else name for name in scale.names)

    @property
    def vocabulary(self) -> str | None:
        """The vocabulary of the interfaces it takes."""
        return vocabulary_of(self.models[0])

    def __call__(self, entries: Iterable[InputItem], max_blocks: int = MAX_BLOCKS) -> Iterator[Prediction]:
        """Predictions for interfaces, in their order, a batch at a time; batch mates don't change them."""
        for some in batches(entries, max_blocks):
            batch = collated(self.models[0], some)
            for name in UNLABELLED:
                if name in batch:
                    del batch[name]
            all_values = np.stack([self._values(model, batch) for model in self.models])
            values = all_values.mean(axis=0)
            spread = all_values.std(axis=0, ddof=1) if len(self.models) > 1 else None
            unknown = self.unknown_fraction(some)
            confidence = values.max(axis=1) if self.classes else None if unknown is None else 1 - unknown
            yield Prediction(some, values, spread, unknown, confidence)

    def _values(self, model: Any, batch: Any) -> np.ndarray:
        with torch.inference_mode() if isinstance(model, CompositionModel) else each_alone(model):
            if self.classes:
                found = class_probabilities(model, batch)
            elif not has_scale(model):
                found = model.infer(batch).pred.reshape(-1, len(self.names))
            else:
                found = predict_in_unit(model, batch, of_data=not self.transformed)
        return found.to(torch.float64).cpu().numpy()

    def unknown_fraction(self, entries: Sequence[InputItem]) -> np.ndarray | None:
        """[interfaces] the largest share of blocks that one of the models did not see in training; None: not told."""
        seen = [model.facts.get(SEEN_BLOCKS) for model in self.models]
        if any(types is None for types in seen):
            return None
        from data.confidence import unknown_fraction

        sets = [frozenset(types) for types in seen]
        return np.array([max(unknown_fraction(entry.item, types) for types in sets) for entry in entries])

    def columns(self, prediction: Prediction, threshold: float = 0.0) -> dict[str, Any]:
        """Columns of a table: of values, each target (and `spread TARGET`); of classes, `probability CLASS`, the
        likeliest `class` (and `spread`, of its probability); then `unknown_fraction` and `confidence` where known.

        Args:
            threshold: of the confidence; what is less sure than that is left empty.

        Raises:
            ConfigError: a threshold outside of 0 to 1, or one for predictions whose confidence is not known.
        """
        check_threshold(threshold)
        values, spread, confidence = prediction.values, prediction.spread, prediction.confidence
        if threshold > 0 and confidence is None:
            hint = "checkpoints of values must tell the blocks of their training set (seen_blocks)"
            raise ConfigError("the confidence of these predictions is not known", "--confidence_threshold", hint=hint)
        sure = np.ones(len(values), bool) if confidence is None else confidence >= threshold
        shown = np.where(sure[:, None], values, np.nan)
        found: dict[str, Any] = {}
        if self.classes:
            likeliest = values.argmax(axis=1)
            found |= {f"probability {name}": shown[:, number] for number, name in enumerate(self.names)}
            found["class"] = [self.names[best] if certain else "" for best, certain in zip(likeliest, sure)]
            if spread is not None:
                found["spread"] = spread[np.arange(len(likeliest)), likeliest]
        else:
            found |= {name: shown[:, number] for number, name in enumerate(self.names)}
            if spread is not None:
                found |= {f"spread {name}": spread[:, number] for number, name in enumerate(self.names)}
        if prediction.unknown_fraction is not None:
            found["unknown_fraction"] = prediction.unknown_fraction
        if confidence is not None:
            found["confidence"] = confidence
        return found


def predicts_values(model: Any) -> bool:
    """Whether a model predicts numbers."""
    return isinstance(model, VALUES) or (
        isinstance(model, CompositionModel) and set(model.config.kinds) == {REGRESSION}
    )


def predicts_classes(model: Any) -> bool:
    """Whether a model predicts the classes of one target."""
    one = isinstance(model, CompositionModel) and len(model.config.kinds) == 1 and not predicts_values(model)
    return one or isinstance(model, CLASSES)


def vocabulary_of(model: Any) -> str | None:
    """Name of the vocabulary of the blocks that a model takes."""
    part = model if isinstance(model, CompositionModel) else backbone_of(model)
    return part.config.fragmentation_method


def check_threshold(threshold: float) -> None:
    """ConfigError unless a confidence can have this value."""
    if not 0 <= threshold <= 1:
        raise ConfigError(f"must be between 0 and 1, got {threshold}", "--confidence_threshold")


def has_scale(model: Any) -> bool:
    """Whether a checkpoint tells the unit of its labels; published ones don't."""
    return "transform" in (model.facts.get("labels") or {})


def scale_or_plain(model: Any) -> LabelScale:
    """The scale of a checkpoint's labels; without one, outputs as they are."""
    if has_scale(model):
        return scale_of(model)
    n = int(model.config.num_targets)
    names = ("prediction",) if n == 1 else tuple(f"prediction {number}" for number in range(n))
    return LabelScale(names, mean=(0.0,) * n, std=(1.0,) * n)
