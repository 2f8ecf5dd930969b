"""What is wrong with the labels of a data set, said before the first step, by item."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from configs.errors import ConfigError, DataError
from configs.schema import RunConfig
from configs.task_options import LabelOptions
from data.dataset import InterfaceDataset
from data.labels import Labels, LabelScale, read_labels
from data.shards import ShardReader

LISTED = 5
LABELS_ARE = "a label is 0, 1, or empty where it is not known; this item has another number"


@dataclass(frozen=True)
class LabelCheck:
    """Checks of one data set; each raises a DataError that names an item, and returns warnings in words.

    Attributes:
        role: what the set is for, as errors call it ("training set").
    """

    dataset: InterfaceDataset
    labels: Labels
    options: LabelOptions
    role: str = "training set"

    def numbers(self, scale: LabelScale) -> list[str]:
        """Labels of a regression: present, finite, and with a value after the transform."""
        values = self.labels.values
        self._present()
        self._refuse(np.isinf(values).any(1), "has an infinite label")
        changed = scale.transformed(values)
        without = np.isfinite(values) & ~np.isfinite(changed)
        self._refuse(without.any(1), f"has a label that {scale.transform} is not defined for (0 or below)")
        return [
            f"all labels {name} of the {self.role} are {column[np.isfinite(column)][0]:g}: there is nothing to learn"
            for name, column in zip(self.labels.names, values.T)
            if np.isfinite(column).sum() > 1 and np.ptp(column[np.isfinite(column)]) == 0
        ]

    def classes(self, n_classes: int, monitor: str | None = None) -> list[str]:
        """Labels of a classification: whole numbers from 0 to n_classes - 1, of more than one class.

        Args:
            monitor: metric that one class alone leaves undefined; None: one class alone is no fault.
        """
        if len(self.labels.names) != 1:
            hint = f"choose one by --targets; the data hold {', '.join(self.labels.names)}"
            raise ConfigError("a classifier has one target", "--targets", hint=hint)
        self._present()
        values = self.labels.values[:, 0]
        known = values[np.isfinite(values)]
        broken = np.isinf(values) | (np.isfinite(values) & (values != np.round(values)))
        self._refuse(broken, "a class is a whole number, this is")
        outside = np.isfinite(values) & ((values < 0) | (values >= n_classes))
        self._refuse(outside, f"the {n_classes} classes are 0 to {n_classes - 1}, this is")
        found = np.unique(known).astype(int)
        if monitor is not None and len(found) < 2:
            what = f"all items of the {self.role} are of class {self.class_name(int(found[0]))}"
            raise DataError(
                f"{what}, which leaves {monitor} undefined", self.folder(0), hint="split the data otherwise"
            )
        absent = sorted(set(range(n_classes)) - set(found.tolist()))
        names = _shortened(list(map(self.class_name, absent)))
        return [f"the {self.role} has no item of class {names}"] if absent else []

    def sets(self, monitor: str | None = None) -> list[str]:
        """Sets of labels: 0, 1 or not known; some label of every item is known, and of every label something.

        Args:
            monitor: metric that is not defined when no label holds for some items and not for others; None: no fault.
        """
        values = self.labels.values
        known = np.isfinite(values)
        if not known.any():
            raise DataError(f"no item of the {self.role} has labels", self.folder(0))
        self._refuse(np.isinf(values).any(1) | (known & (values != 0) & (values != 1)).any(1), LABELS_ARE, shown=False)
        self._refuse_missing()
        found, warnings = (values == 1).sum(axis=0), []
        if monitor is not None and not (found % np.maximum(known.sum(axis=0), 1)).any():
            what = f"no label holds for some items of the {self.role} and not for others"
            hint = "split the data otherwise, or --monitor loss"
            raise DataError(f"{what}, which leaves {monitor} undefined", self.folder(0), hint=hint)
        without = [name for name, count in zip(self.labels.names, found) if not count]
        if without:
            warnings.append(f"no item of the {self.role} has {_shortened(without)}: such labels are not scored")
        always = found == np.maximum(known.sum(axis=0), 1)
        if always.any():
            names = [name for name, one in zip(self.labels.names, always) if one]
            warnings.append(f"all items of the {self.role} have {_shortened(names)}: there is nothing to tell apart")
        return warnings

    def class_name(self, number: int) -> str:
        names = self.labels.classes
        return names[number] if number < len(names) else str(number)

    def folder(self, index: int) -> str:
        """Where an item comes from."""
        part = self.dataset.parts[int(self.dataset.counts["source"][index])]
        return str(part.path) if isinstance(part, ShardReader) else self.role

    def _present(self) -> None:
        missing = np.isnan(self.labels.values)
        for name, column in zip(self.labels.names, missing.T):
            if column.all():
                hint = "the index of scripts/process_pdbs.py has them in a column `label`, or in --label_columns"
                raise DataError(f"no item of the {self.role} has a label ({name})", self.folder(0), hint=hint)
        self._refuse_missing()

    def _refuse_missing(self) -> None:
        """Refuse items without any label, unless they are to be ignored."""
        missing = np.isnan(self.labels.values)
        if self.options.missing_labels == "error":
            n = int(missing.all(1).sum())
            hint = "--missing_labels ignore leaves such items out of the loss"
            self._refuse(missing.all(1), f"has no label, one of {n} such items of the {self.role}", hint, shown=False)

    def _refuse(self, bad: np.ndarray, what: str, hint: str = "", shown: bool = True) -> None:
        """Raise a DataError about the first item that is bad."""
        if not bad.any():
            return
        index = int(bad.argmax())
        values = ", ".join(f"{value:g}" for value in self.labels.values[index])
        raise DataError(f"{what}{f' {values}' if shown else ''}", self.folder(index), self._item(index), hint=hint)

    def _item(self, index: int) -> str:
        return f"item {self.dataset.stored(index).id} (number {index})"


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (" ..." if len(names) > LISTED else "")


def with_counts(run: RunConfig, dataset: InterfaceDataset) -> RunConfig:
    """A run whose numbers of targets and classes, where they were left out, are those of its training data."""
    head = run.head
    if run.task in ("PDBBind", "regression") and head.num_targets is None:
        head = replace(head, num_targets=len(read_labels(dataset, run.label).names))
    if run.task == "multiclass_classifier" and head.num_classifier_classes is None:
        head = replace(head, num_classifier_classes=count_classes(read_labels(dataset, run.label)))
    return replace(run, head=head)


def count_classes(labels: Labels) -> int:
    """Classes of a data set: as many as are named, or else up to the largest label."""
    if labels.classes:
        return len(labels.classes)
    values = labels.values[:, 0]
    known = values[np.isfinite(values)]
    return max(int(known.max()) + 1 if len(known) and np.isfinite(known.max()) else 0, 2)


def class_weights(labels: Labels, n_classes: int, kind: str) -> np.ndarray:
    """[classes] weight of each class; `balanced`: items / (classes that occur * items of the class), 1 on average."""
    values = labels.values[:, 0]
    if kind == "none":
        return np.ones(n_classes)
    inside = np.isfinite(values) & (values >= 0) & (values < n_classes)
    counts = np.bincount(values[inside].astype(int), minlength=n_classes)
    return np.where(counts, counts.sum() / np.maximum(np.count_nonzero(counts) * counts, 1), 0.0)
