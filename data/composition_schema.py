"""What the composition model is built from: the block types of a data set, those that training saw, and its targets."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from configs.errors import ConfigError
from configs.options import nearest
from configs.schema import RunConfig
from configs.task_options import LabelOptions
from data.confidence import seen_blocks
from data.dataset import InterfaceDataset
from data.label_checks import count_classes
from data.labels import Labels, read_labels
from data.vocab import Vocabulary

REGRESSION, BINARY, CLASSIFICATION = "regression", "binary", "classification"


@dataclass(frozen=True)
class CompositionSchema:
    """Names that size a composition model.

    Attributes:
        blocks: all block types, in index order. vocabulary: those that the training set holds.
        fragmentation_method: name of the vocabulary of `blocks`.
        targets: names. kinds: of each target: regression, binary or classification. outputs: numbers that the model
            gives for each: one, or one a class.
    """

    blocks: tuple[str, ...]
    vocabulary: tuple[str, ...]
    fragmentation_method: str | None
    targets: tuple[str, ...]
    kinds: tuple[str, ...]
    outputs: tuple[int, ...]


def schema_of_run(run: RunConfig, vocabulary: Vocabulary, dataset: InterfaceDataset) -> CompositionSchema:
    """The schema of a training set for the task of a run."""
    labels = read_labels(dataset, run.label)
    if run.task == "binary_classifier":
        kinds, outputs = (BINARY,) * len(labels.names), (1,) * len(labels.names)
    elif run.task == "multiclass_classifier":
        classes = run.head.num_classifier_classes or count_classes(labels)
        kinds, outputs = (CLASSIFICATION,) * len(labels.names), (classes,) * len(labels.names)
    else:
        kinds, outputs = kinds_and_outputs(labels, target_types(dataset, labels, run.label))
    return with_blocks(dataset, vocabulary, labels.names, kinds, outputs)


def with_blocks(
    dataset: InterfaceDataset,
    vocabulary: Vocabulary,
    targets: tuple[str, ...],
    kinds: tuple[str, ...],
    outputs: tuple[int, ...],
) -> CompositionSchema:
    """The schema of targets with the block types that a training set holds."""
    seen = tuple(vocabulary.symbol(number) for number in sorted(seen_blocks(dataset)))
    return CompositionSchema(vocabulary.blocks, seen, vocabulary.name, targets, kinds, outputs)


def target_types(dataset: InterfaceDataset, labels: Labels, options: LabelOptions) -> dict[str, str]:
    """Type of every target: as --target_types says, else classification where the values are names of classes.

    Raises:
        ConfigError: a type for a target that the data lack.
    """
    found = dict.fromkeys(labels.names, REGRESSION)
    if dataset.given is not None:
        found |= {name: CLASSIFICATION for name in labels.names if name in dataset.given.classes}
    for name, kind in options.types.items():
        if name not in found:
            raise ConfigError(f"the data hold no target {name!r}", "--target_types", hint=nearest(name, found))
        found[name] = kind
    return found


def kinds_and_outputs(labels: Labels, types: dict[str, str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Kind and number of outputs of each target; of a classification, one output a class of the data."""
    outputs: list[int] = []
    for place, name in enumerate(labels.names):
        column = replace(labels, values=labels.values[:, [place]], names=(name,))
        outputs.append(1 if types[name] == REGRESSION else count_classes(column))
    return tuple(types[name] for name in labels.names), tuple(outputs)


def class_names_of(dataset: InterfaceDataset | None, name: str, n_classes: int) -> tuple[str, ...]:
    """Names of the classes of a target; their numbers where the data have no names."""
    given: Any = None if dataset is None or dataset.given is None else dataset.given.classes.get(name)
    return tuple(given or map(str, range(n_classes)))


def check_whole(values: np.ndarray, name: str) -> None:
    """Refuse class numbers that are none; ConfigError."""
    known = values[np.isfinite(values)]
    if ((known < 0) | (known != np.round(known))).any():
        odd = known[(known < 0) | (known != np.round(known))][0]
        raise ConfigError(f"{name} holds {odd:g}, a class is a whole number from 0", "--target_types")
