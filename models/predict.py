"""What fine-tuned models say of interfaces: numbers in the unit of their labels, classes, or sets of labels; one
model or several."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from configs.errors import CheckpointError, ConfigError, DataError
from data.confidence import unknown_fraction
from data.inputs import InputItem
from data.vocab import MODALITIES
from models.alike import check_alike
from models.answers import Answer, answer, answers_of, scales_of, seen_by, seen_kinds_of
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
        values: for each target [interfaces, 1] numbers, or [interfaces, classes or labels] probabilities: the models'
            mean.
        spreads: for each target their standard deviation over the models, of the same shape; None of a single model.
        unknown: [interfaces] share of blocks that training did not see; None where checkpoints don't tell.
        members: for each target [models, interfaces, outputs] what each model says.
        unseen_kinds: [interfaces] kind of complex where the training set of one of the models had none of it, else "";
            None where checkpoints don't tell.
        answers: the targets.
    """

    entries: list[InputItem]
    values: list[np.ndarray]
    spreads: list[np.ndarray] | None
    unknown: np.ndarray | None
    members: list[np.ndarray] = field(default_factory=list)
    unseen_kinds: list[str] | None = None
    answers: tuple[Answer, ...] = ()

    def confidence(self, target: int, label_threshold: float = 0.5) -> np.ndarray | None:
        """[interfaces] between 0 and 1: the probability of the likeliest class; of labels, which are told to hold above
        the threshold, the probability that the least certain one is told rightly; of a number, 1 - `unknown`, None
        where that is not known."""
        values = self.values[target]
        if self.answers and self.answers[target].labels:
            return np.where(values > label_threshold, values, 1 - values).min(axis=1)
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
        CheckpointError: a model without a prediction, or models that make no ensemble (`models.alike`).
    """

    def __init__(self, models: Sequence[Any], transformed: bool = False) -> None:
        self.models, self.transformed = list(models), transformed
        self.answers = answers_of(models[0], transformed)
        self.vocabulary = vocabulary_of(models[0])
        check_alike(models, transformed)
        self.orders = [in_order_of(self.answers[0].labels, model) for model in models]

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
            for model, order in zip(self.models, self.orders):
                with each_alone(model):
                    told = answer(model, batch, self.transformed)
                said.append(told if order is None else [told[0][:, order]])
            stacks = [np.stack(values) for values in zip(*said)]  # for each target (models, interfaces, outputs)
            spreads = [values.std(axis=0, ddof=1) for values in stacks] if len(said) > 1 else None
            means = [values.mean(axis=0) for values in stacks]
            yield Prediction(some, means, spreads, self.unknown(some), stacks, self.unseen_kinds(some), self.answers)

    def unknown(self, entries: Sequence[InputItem]) -> np.ndarray | None:
        """[interfaces] the largest share of blocks that one of the models did not see in training; None: not told."""
        seen = [seen_by(model) for model in self.models]
        sets = [types for types in seen if types is not None]
        if len(sets) < len(seen):
            return None
        return np.array([max(unknown_fraction(entry.item, types) for types in sets) for entry in entries])

    @property
    def kinds(self) -> frozenset[str] | None:
        """Kinds of complexes that the training sets of all models have; None where one of them does not tell."""
        sets = [seen_kinds_of(model) for model in self.models]
        known = [kinds for kinds in sets if kinds is not None]
        return frozenset.intersection(*known) if len(known) == len(sets) else None

    def unseen_kinds(self, entries: Sequence[InputItem]) -> list[str] | None:
        """Kind of each complex where training had none of it, else "", as for one whose kind is not told."""
        kinds = self.kinds
        if kinds is None:
            return None
        named = [MODALITIES[entry.item.modality] if entry.item.modality >= 0 else "" for entry in entries]
        return ["" if name in kinds else name for name in named]

    def columns(
        self,
        found: Prediction,
        threshold: float = 0.0,
        level: float | None = None,
        max_spread: float | None = None,
        label_threshold: float = 0.5,
        strict: bool = False,
    ) -> dict[str, Any]:
        """Columns of a table.

        Of a number TARGET, and `spread TARGET`; with a level `low` and `high`, of several numbers `low TARGET`, ...
        Of classes, `probability CLASS`, the likeliest `class` and `spread`, of its probability. Of labels, `probability
        LABEL`, `labels`, those above the threshold, the likeliest first and joined by `;` (`-`: none), `spread LABEL`.
        Then `unknown_fraction`, `confidence`, `unseen_kind`, where known. With several targets, those of classes have
        the name of the target in them: `probability TARGET CLASS`, `TARGET`, `spread TARGET`, `confidence TARGET`.

        Args:
            threshold: of the confidence; what is less sure than that is left empty.
            level: share of truths between `low` and `high` (`check_intervals`); None: without them.
            max_spread: of the models of an ensemble, in the unit of the prediction (of classes: of the likeliest one's
                probability; of labels: of the probability they differ in most); what they agree on less is left empty.
            label_threshold: probability above which a label counts as one.
            strict: complexes of a kind that training had none of are left empty.

        Raises:
            ConfigError: a threshold outside of 0 to 1, or one for predictions whose confidence is not known; a largest
                spread for a single model; strict without checkpoints that tell the kinds of their training set.
        """
        check_threshold(threshold)
        ends = {} if level is None else self.intervals(found, level)
        columns: dict[str, Any] = {}
        sureness: dict[str, Any] = {} if found.unknown is None else {"unknown_fraction": found.unknown}
        of_known_kind = self.of_known_kind(found) if strict else np.ones(len(found.entries), bool)
        for number, target in enumerate(self.answers):
            confidence = found.confidence(number, label_threshold)
            if confidence is None and threshold > 0:
                hint = "checkpoints for numbers must tell the blocks of their training set (seen_blocks)"
                raise ConfigError(f"the confidence in {target.name} is not known", "--confidence_threshold", hint=hint)
            sure = of_known_kind if confidence is None else of_known_kind & (confidence >= threshold)
            spread = None if found.spreads is None else found.spreads[number]
            if max_spread is not None:
                sure = sure & agreed(target, found.values[number], spread, max_spread)
            several = bool(target.classes) and len(self.answers) > 1
            if target.labels:
                columns |= columns_of_labels(target, found.values[number], spread, sure, label_threshold)
            else:
                columns |= columns_of(target, found.values[number], spread, sure, several)
            if number in ends:
                after = f" {target.name}" if len(ends) > 1 else ""
                columns |= {f"{e}{after}": np.where(sure, v, np.nan) for e, v in zip(("low", "high"), ends[number])}
            if confidence is not None:
                sureness[f"confidence {target.name}" if several else "confidence"] = confidence
        return columns | sureness | ({} if found.unseen_kinds is None else {"unseen_kind": found.unseen_kinds})

    def of_known_kind(self, found: Prediction) -> np.ndarray:
        """[interfaces] whether training had complexes of the kind; ConfigError where that is not known."""
        if found.unseen_kinds is None:
            hint = "checkpoints that were fitted before this was kept don't say (seen_kinds)"
            raise ConfigError("the kinds of complexes in the training set are not known", "--strict", hint=hint)
        return np.array([not kind for kind in found.unseen_kinds])

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
            raise ConfigError("is for numbers; of classes and labels every probability is given", "--interval")
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


def in_order_of(labels: Sequence[str], model: Any) -> list[int] | None:
    """Places of labels among those of a model that has the same, as folds order them by their own counts; None without
    labels."""
    return [answers_of(model)[0].labels.index(name) for name in labels] or None


def agreed(target: Answer, values: np.ndarray, spread: np.ndarray | None, largest: float) -> np.ndarray:
    """[items] whether the models of an ensemble differ by no more than `largest`; ConfigError for a single model."""
    if spread is None:
        raise ConfigError("one model has no spread", "--max_spread", hint="name several with --checkpoint")
    if target.labels:
        return spread.max(axis=1) <= largest
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


def columns_of_labels(
    target: Answer, values: np.ndarray, spread: np.ndarray | None, sure: np.ndarray, threshold: float
) -> dict[str, Any]:
    """Columns of labels, empty where they are not sure. threshold: of the probability of what is in the list."""
    shown = np.where(sure[:, None], values, np.nan)
    found: dict[str, Any] = {f"probability {name}": shown[:, i] for i, name in enumerate(target.labels)}
    lists = [[target.labels[i] for i in np.argsort(-row, kind="stable") if row[i] > threshold] for row in values]
    found[target.name] = [(";".join(names) or "-") if certain else "" for names, certain in zip(lists, sure)]
    if spread is not None:
        found |= {f"spread {name}": spread[:, i] for i, name in enumerate(target.labels)}
    return found


def check_threshold(threshold: float, option: str = "--confidence_threshold") -> None:
    """ConfigError unless a confidence or probability can have this value."""
    if not 0 <= threshold <= 1:
        raise ConfigError(f"must be between 0 and 1, got {threshold}", option)
