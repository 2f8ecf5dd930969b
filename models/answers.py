"""What a fine-tuned model answers for each of its targets: numbers with a unit, or probabilities of classes, labels."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from configs.errors import CheckpointError, ConfigError
from configs.schema import nearest
from data.composition_schema import BINARY, REGRESSION
from data.labels import LabelScale
from models.affinity_predictor import AffinityPredictor, RegressionPredictor
from models.classifier_model import ClassifierModel, MultiClassClassifierModel
from models.composition import CompositionModel
from models.composition_predict import scalers_of
from models.kernel_model import KernelModel
from models.multilabel_model import MultiLabelModel
from models.shipped import listed_regressors
from models.units import class_names, class_probabilities, scale_of

VALUES = (AffinityPredictor, RegressionPredictor, KernelModel)
CLASSES = (ClassifierModel, MultiClassClassifierModel)
SEEN_BLOCKS = "seen_blocks"
"""Entry of a checkpoint's facts: block types of the training split (`data.confidence.seen_blocks`)."""
SEEN_KINDS = "seen_kinds"
"""Entry of a checkpoint's facts: kind of complex -> items of the training split (`data.confidence.seen_kinds`)."""


class Answer(NamedTuple):
    """One target.

    Attributes:
        name: with its unit. classes: names, of which one holds; empty for a number. labels: names, of which any number
            may hold.
    """

    name: str
    classes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what has a probability; empty for a number."""
        return self.classes or self.labels


def answers_of(model: Any, transformed: bool = False) -> tuple[Answer, ...]:
    """The targets of a model.

    Args:
        transformed: numbers are in the unit after --label_transform.

    Raises:
        CheckpointError: a model without targets.
    """
    if isinstance(model, CLASSES):
        return (Answer("class", class_names(model)),)
    if isinstance(model, MultiLabelModel):
        return (Answer("labels", labels=model.labels),)
    if isinstance(model, VALUES):
        return tuple(Answer(name) for name in with_unit(scale_or_plain(model), transformed))
    if isinstance(model, CompositionModel):
        found = []
        for name, scaler in scalers_of(model).items():
            number = isinstance(scaler, LabelScale)
            found.append(Answer(with_unit(scaler, transformed)[0]) if number else Answer(name, scaler))  # type: ignore[arg-type]
        return tuple(found) if len(found) > 1 or not found[0].classes else (Answer("class", found[0].classes),)
    hint = f"fine-tune it first, or take one that is shipped: {listed_regressors()}; `ligare embed` gives vectors"
    raise CheckpointError(f"is a {type(model).__name__}, which predicts no label", model.source, hint=hint)


def answer(model: Any, batch: Any, transformed: bool = False) -> list[np.ndarray]:
    """For each target of `answers_of` [interfaces, 1] numbers, or [interfaces, outputs] probabilities; float64."""
    if isinstance(model, CLASSES):
        return [as_numbers(class_probabilities(model, batch))]
    if isinstance(model, MultiLabelModel):
        return [as_numbers(model.infer(batch).pred)]
    if isinstance(model, CompositionModel):
        return composition_answers(model, batch, transformed)
    scale = scale_or_plain(model)
    outputs = model.infer(batch).pred.reshape(-1, len(scale.names))
    found = as_numbers(scale.values(outputs) if transformed else scale.inverse(outputs))
    return [found[:, [number]] for number in range(found.shape[1])]


def composition_answers(model: CompositionModel, batch: Any, transformed: bool) -> list[np.ndarray]:
    logits, scalers, found = model.infer(batch).logits, scalers_of(model), []
    for (name, columns), kind in zip(model.config.slices().items(), model.config.kinds):
        own, scaler = logits[:, columns], scalers[name]
        if kind == REGRESSION:
            assert isinstance(scaler, LabelScale)
            found.append(scaler.values(own) if transformed else scaler.inverse(own))
        else:
            found.append((torch.cat([torch.zeros_like(own), own], 1) if kind == BINARY else own).softmax(1))
    return [as_numbers(values) for values in found]


def output_number(model: Any, name: str) -> int:
    """Number of an output: of the target, class or label of this name, or with this number.

    Raises:
        ConfigError: there is no such output. CheckpointError: a model without targets.
    """
    answers = answers_of(model)
    names = answers[0].outputs or tuple(one.name for one in answers)
    plain = [text.rpartition(" (")[0] or text for text in names]  # without the unit
    for known in (names, plain, [str(number) for number in range(len(names))]):
        if name in known:
            return list(known).index(name)
    raise ConfigError(f"the model has no output {name!r}", "--output", hint=nearest(name, names))


def scales_of(model: Any) -> list[LabelScale | None]:
    """For each target of `answers_of` the scale of its labels; None of classes and labels."""
    if isinstance(model, (*CLASSES, MultiLabelModel)):
        return [None]
    if isinstance(model, CompositionModel):
        return [scaler if isinstance(scaler, LabelScale) else None for scaler in scalers_of(model).values()]
    return list(scale_or_plain(model).each())


def seen_by(model: Any) -> frozenset[int] | None:
    """Block types of the training split of a model; None where the checkpoint does not tell."""
    if isinstance(model, CompositionModel):
        return model.config.seen
    types: Sequence[int] | None = model.facts.get(SEEN_BLOCKS)
    return None if types is None else frozenset(types)


def seen_kinds_of(model: Any) -> frozenset[str] | None:
    """Kinds of complexes in the training split of a model; None where the checkpoint does not tell."""
    kinds: Mapping[str, int] = model.facts.get(SEEN_KINDS) or {}
    return frozenset(kinds) or None


def as_numbers(values: Tensor) -> np.ndarray:
    return values.to(torch.float64).cpu().numpy()


def with_unit(scale: LabelScale, transformed: bool) -> list[str]:
    """Names of the targets of a scale, with their unit where it is known."""
    unit = scale.unit if transformed else scale.data_unit
    return [f"{name} ({unit})" if unit else name for name in scale.names]


def scale_or_plain(model: Any) -> LabelScale:
    """The scale of a checkpoint's labels; of one that keeps none (a published one), outputs as they are."""
    if "transform" in (model.facts.get("labels") or {}):
        return scale_of(model)
    n = int(model.config.num_targets)
    names = ("prediction",) if n == 1 else tuple(f"prediction {number}" for number in range(n))
    return LabelScale(names, mean=(0.0,) * n, std=(1.0,) * n)
