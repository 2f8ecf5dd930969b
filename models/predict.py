"""What fine-tuned models say of interfaces: numbers in the unit of their labels, or classes; one model or several."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from configs.errors import CheckpointError, ConfigError, DataError
from data.confidence import unknown_fraction
from data.inputs import InputItem
from models.answers import Answer, answer, answers_of, scales_of, seen_by
from models.embed import MAX_BLOCKS, batches, collated, each_alone
from models.intervals import calibrations_of, check_level, intervals, least_groups, n_groups
from models.named import vocabulary_of

UNLABELLED = ("label", "targets")
"""Entries of a batch that a prediction must not see; a loss of missing labels is of no use either."""


@dataclass(frozen=True)
class Prediction:
    """What is said of some interfaces.

    Attributes:
        entries: the interfaces.
        values: for each target [interfaces, 1] numbers, or [interfaces, classes] probabilities: the models' mean.
        spreads: for each target their standard deviation over the models, of the same shape; None of a single model.
        unknown: [interfaces] share of blocks that training did not see; None where checkpoints don't tell.
        members: for each target [models, interfaces, outputs] what each model says.
    """

    entries: list[InputItem]
    values: list[np.ndarray]
    spreads: list[np.ndarray] | None
    unknown: np.ndarray | None
    members: list[np.ndarray] = field(default_factory=list)

    def confidence(self, target: int) -> np.ndarray | None:
        """[interfaces] between 0 and 1: the probability of the likeliest class; of a number, 1 - `unknown`; None where
        that is not known."""
        values = self.values[target]
        if values.shape[1] > 1:
            return values.max(axis=1)
        return None if self.unknown is None else 1 - self.unknown


class Predictor:
    """One fine-tuned model, or an ensemble of several for the same labels.

    Args:
        transformed: numbers after --label_transform, not before it.

    Attributes:
        answers: the targets. vocabulary: of the block types of the interfaces it takes.

    Raises:
        CheckpointError: a model without a prediction, or models for different labels, units or vocabularies.
    """

    def __init__(self, models: Sequence[Any], transformed: bool = False) -> None:
        self.models, self.transformed = list(models), transformed
        self.answers = answers_of(models[0], transformed)
        self.vocabulary = vocabulary_of(models[0])
        for number, model in enumerate(models[1:], 2):
            theirs = answers_of(model, transformed)
            if theirs != self.answers:
                what = f"model {number} predicts {described(theirs)}, the first {described(self.answers)}"
                raise CheckpointError(what, "ensemble", hint="an ensemble has one kind of label, in one unit")
            if vocabulary_of(model) != self.vocabulary:
                what = f"model {number} has vocabulary {vocabulary_of(model)}, the first {self.vocabulary}"
                raise CheckpointError(what, "ensemble")

    def __call__(self, entries: Iterable[InputItem], max_blocks: int = MAX_BLOCKS) -> Iterator[Prediction]:
        """Predictions for interfaces, in their order, a batch at a time; batch mates don't change them."""
        for some in batches(entries, max_blocks):
            for entry in some:
                if not entry.item.n_blocks:
                    raise DataError("has no blocks, so nothing can be said of it", entry.name)
            batch = collated(self.models[0], some)
            for name in UNLABELLED:
                if name in batch:
                    del batch[name]
            said = []
            for model in self.models:
                with each_alone(model):
                    said.append(answer(model, batch, self.transformed))
            stacks = [np.stack(values) for values in zip(*said)]  # for each target (models, interfaces, outputs)
            spreads = [values.std(axis=0, ddof=1) for values in stacks] if len(said) > 1 else None
            yield Prediction(some, [values.mean(axis=0) for values in stacks], spreads, self.unknown(some), stacks)

    def unknown(self, entries: Sequence[InputItem]) -> np.ndarray | None:
        """[interfaces] the largest share of blocks that one of the models did not see in training; None: not told."""
        seen = [seen_by(model) for model in self.models]
        sets = [types for types in seen if types is not None]
        if len(sets) < len(seen):
            return None
        return np.array([max(unknown_fraction(entry.item, types) for types in sets) for entry in entries])

    def columns(
        self, found: Prediction, threshold: float = 0.0, level: float | None = None, max_spread: float | None = None
    ) -> dict[str, Any]:
        """Columns of a table.

        Of a number TARGET, and `spread TARGET`; with a level `low` and `high`, of several numbers `low TARGET`, ...
        Of classes, `probability CLASS`, the likeliest `class` and `spread`, of its probability. Then `unknown_fraction`
        and `confidence`, where known. With several targets, those of classes have the name of the target in them:
        `probability TARGET CLASS`, `TARGET`, `spread TARGET`, `confidence TARGET`.

        Args:
            threshold: of the confidence; what is less sure than that is left empty.
            level: share of truths between `low` and `high` (`check_intervals`); None: without them.
            max_spread: of the models of an ensemble, in the unit of the prediction (of classes: of the likeliest one's
                probability); what they agree on less is left empty.

        Raises:
            ConfigError: a threshold outside of 0 to 1, or one for predictions whose confidence is not known; a largest
                spread for a single model.
        """
        check_threshold(threshold)
        ends = {} if level is None else self.intervals(found, level)
        columns: dict[str, Any] = {}
        sureness: dict[str, Any] = {} if found.unknown is None else {"unknown_fraction": found.unknown}
        for number, target in enumerate(self.answers):
            confidence = found.confidence(number)
            if confidence is None and threshold > 0:
                hint = "checkpoints for numbers must tell the blocks of their training set (seen_blocks)"
                raise ConfigError(f"the confidence in {target.name} is not known", "--confidence_threshold", hint=hint)
            sure = np.ones(len(found.entries), bool) if confidence is None else confidence >= threshold
            spread = None if found.spreads is None else found.spreads[number]
            if max_spread is not None:
                sure &= agreed(target, found.values[number], spread, max_spread)
            several = bool(target.classes) and len(self.answers) > 1
            columns |= columns_of(target, found.values[number], spread, sure, several)
            if number in ends:
                after = f" {target.name}" if len(ends) > 1 else ""
                columns |= {f"{e}{after}": np.where(sure, v, np.nan) for e, v in zip(("low", "high"), ends[number])}
            if confidence is not None:
                sureness[f"confidence {target.name}" if several else "confidence"] = confidence
        return columns | sureness

    def check_intervals(self, level: float) -> None:
        """Make sure that every number can have an interval.

        Raises:
            ConfigError: a level outside of 0 to 1; only classes are predicted; too few groups were calibrated on.
            CheckpointError: a model that keeps no calibration.
        """
        check_level(level)
        scales = scales_of(self.models[0])
        names = [scale.names[0] for scale in scales if scale is not None]
        if not names:
            raise ConfigError("is for numbers; of classes every probability is given", "--interval")
        for number, model in enumerate(self.models, 1):
            if missing := [name for name in names if name not in calibrations_of(model)]:
                what = f"model {number} keeps no residuals of held-out items for {', '.join(missing)}"
                hint = "train.py stores them at the end of a run with --valid_set, cross_validate.py those of its folds"
                raise CheckpointError(what, "--interval", hint=hint)
        for name in names:
            n, least = n_groups([calibrations_of(model)[name] for model in self.models]), least_groups(level)
            if n < least:
                hint = f"take at most {n / (n + 1):.2g}, or all checkpoints of a cross-validation"
                raise ConfigError(
                    f"{level:g} needs {least} groups of held-out items, there are {n}", "--interval", hint=hint
                )

    def intervals(self, found: Prediction, level: float) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Number of each target that is a number -> lower and upper ends [interfaces], in the unit of the values."""
        ends = {}
        for number, scale in enumerate(scales_of(self.models[0])):
            if scale is None:
                continue
            own = [calibrations_of(model)[scale.names[0]] for model in self.models]
            said = found.members[number][:, :, 0]
            if self.transformed:
                ends[number] = intervals(said, own, level)
                continue
            plain = replace(scale, mean=(0.0,), std=(1.0,))
            both = [plain.inverse(end[:, None])[:, 0] for end in intervals(plain.transformed(said), own, level)]
            ends[number] = np.minimum(*both), np.maximum(*both)
        return ends


def agreed(target: Answer, values: np.ndarray, spread: np.ndarray | None, largest: float) -> np.ndarray:
    """[items] whether the models of an ensemble differ by no more than `largest`; ConfigError for a single model."""
    if spread is None:
        raise ConfigError("one model has no spread", "--max_spread", hint="name several with --checkpoint")
    column = values.argmax(axis=1) if target.classes else np.zeros(len(values), int)
    return spread[np.arange(len(values)), column] <= largest


def columns_of(
    target: Answer, values: np.ndarray, spread: np.ndarray | None, sure: np.ndarray, named: bool
) -> dict[str, Any]:
    """Columns of one target, empty where it is not sure. named: classes with the name of the target."""
    shown = np.where(sure[:, None], values, np.nan)
    if not target.classes:
        found = {target.name: shown[:, 0]}
        return found if spread is None else found | {f"spread {target.name}": spread[:, 0]}
    before = f"{target.name} " if named else ""
    best = values.argmax(axis=1)
    names: dict[str, Any] = {f"probability {before}{name}": shown[:, i] for i, name in enumerate(target.classes)}
    names[target.name] = [target.classes[i] if certain else "" for i, certain in zip(best, sure)]
    if spread is not None:
        names[f"spread {before}".strip()] = spread[np.arange(len(best)), best]
    return names


def described(answers: Sequence[Answer]) -> str:
    """Targets in words."""
    return ", ".join(f"{one.name}: {' or '.join(one.classes)}" if one.classes else one.name for one in answers)


def check_threshold(threshold: float) -> None:
    """ConfigError unless a confidence can have this value."""
    if not 0 <= threshold <= 1:
        raise ConfigError(f"must be between 0 and 1, got {threshold}", "--confidence_threshold")
