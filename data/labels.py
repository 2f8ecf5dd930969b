"""Labels of a data set: read and checked before training, brought to the scale a model learns, and back.

Binding strength is converted by dG = -R T ln(10) pK, pK = -log10(Kd / M), dG in kcal/mol.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from configs.errors import CheckpointError, ConfigError, DataError
from configs.task_options import LabelOptions
from data.dataset import InterfaceDataset
from data.item import Item
from data.shards import ShardReader

GAS_CONSTANT = 8.31446261815324 / 4184  # kcal / (mol K)
LARGEST_EXPONENT, LARGEST_POWER = 88.0, 38.0  # of e and of 10 in single precision
UNITS = {"dG": "kcal/mol", "pK": "pK", "nM": "nM", "M": "M"}
LOGARITHMS = ("log10", "log1p")
Numbers = TypeVar("Numbers", np.ndarray, Tensor)


def kcal_per_pK(temperature: float) -> float:
    """R T ln(10): what one unit of pK is worth, kcal/mol; temperature in kelvin."""
    return GAS_CONSTANT * temperature * math.log(10)


def _log10(values: Any) -> Any:
    if isinstance(values, Tensor):
        return values.log10()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log10(values)


def _power10(exponents: Any) -> Any:
    """10 to these powers, finite also in single precision."""
    return 10 ** exponents.clip(-LARGEST_POWER, LARGEST_POWER)


def _log1p(values: Any) -> Any:
    if isinstance(values, Tensor):
        return values.log1p()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log1p(values)


def _expm1(values: Any) -> Any:
    """exp - 1, finite also in single precision."""
    values = values.clip(-LARGEST_EXPONENT, LARGEST_EXPONENT)
    return values.expm1() if isinstance(values, Tensor) else np.expm1(values)


# Each measure of binding to pK, and back; the second argument is R T ln(10).
TO_PK: dict[str, Callable[[Any, float], Any]] = {
    "pK": lambda y, _: y,
    "dG": lambda y, k: -y / k,
    "nM": lambda y, _: 9 - _log10(y),
    "M": lambda y, _: -_log10(y),
}
FROM_PK: dict[str, Callable[[Any, float], Any]] = {
    "pK": lambda p, _: p,
    "dG": lambda p, k: -p * k,
    "nM": lambda p, _: _power10(9 - p),
    "M": lambda p, _: _power10(-p),
}


@dataclass(frozen=True)
class LabelScale:
    """From labels as they are in the data to what a model learns, and back. Missing labels (NaN) stay missing.

    Attributes:
        names: of the targets. transform: of `LabelOptions`. temperature: kelvin.
        data_unit: of the labels in the data. unit: after the transform; scores are in it ("": not known).
        mean, std: of the transformed training labels, one for each target.
    """

    names: tuple[str, ...] = ("label",)
    transform: str = "none"
    temperature: float = 298.15
    data_unit: str = ""
    unit: str = ""
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def transformed(self, labels: Numbers) -> Numbers:
        """Labels [..., targets] of the data in `unit`."""
        if self.transform == "none":
            return labels
        if self.transform == "log10":
            return _log10(labels)
        if self.transform == "log1p":
            return _log1p(labels)
        wanted, _, given = self.transform.partition("_from_")
        k = kcal_per_pK(self.temperature)
        return FROM_PK[wanted](TO_PK[given](labels, k), k)

    def forward(self, labels: Numbers) -> Numbers:
        """Labels [..., targets] of the data as the model learns them."""
        return (self.transformed(labels) - _like(labels, self.mean)) / _like(labels, self.std)

    def values(self, outputs: Numbers) -> Numbers:
        """Outputs [..., targets] of the model in `unit`."""
        return outputs * _like(outputs, self.std) + _like(outputs, self.mean)

    def inverse(self, outputs: Numbers) -> Numbers:
        """Outputs [..., targets] of the model in the unit of the data."""
        values = self.values(outputs)
        if self.transform == "none":
            return values
        if self.transform == "log10":
            return _power10(values)
        if self.transform == "log1p":
            return _expm1(values)
        wanted, _, given = self.transform.partition("_from_")
        k = kcal_per_pK(self.temperature)
        return FROM_PK[given](TO_PK[wanted](values, k), k)

    def each(self) -> list["LabelScale"]:
        """The scale of each target for itself."""
        rows = zip(self.names, self.mean, self.std)
        return [replace(self, names=(name,), mean=(mean,), std=(std,)) for name, mean, std in rows]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, kept with a checkpoint."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LabelScale":
        """What `to_dict` gave; CheckpointError when it is something else."""
        if not isinstance(values, Mapping) or set(values) != {f.name for f in fields(cls)}:
            raise CheckpointError("is no scale of labels", "labels")
        read: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in values.items()}
        return cls(**read)


def _like(values: Any, numbers: Sequence[float]) -> Any:
    return values.new_tensor(numbers) if isinstance(values, Tensor) else np.asarray(numbers)


@dataclass(frozen=True)
class Labels:
    """The labels of a data set as a task reads them.

    Attributes:
        values: [items, targets] as in the data; NaN is missing. names: of the targets.
        columns: which entries of an item's `targets` they are; None: its `label`.
        classes: names of the classes where the labels are class numbers and the data name them. unit: of the data.
    """

    values: np.ndarray
    names: tuple[str, ...]
    columns: tuple[int, ...] | None = None
    classes: tuple[str, ...] = ()
    unit: str = ""

    def chosen(self, targets: str | None) -> "Labels":
        """Only the named targets, in the order of their naming; ConfigError names one that the data lack."""
        if targets is None:
            return self
        wanted = [name.strip() for name in targets.split(",") if name.strip()]
        for name in wanted or [""]:
            if name not in self.names:
                hint = f"the data hold {', '.join(self.names)}"
                raise ConfigError(f"the data hold no target {name!r}", "--targets", hint=hint)
        places = [self.names.index(name) for name in wanted]
        columns = None if self.columns is None else tuple(self.columns[i] for i in places)
        return replace(self, values=self.values[:, places], names=tuple(wanted), columns=columns)


def read_labels(dataset: InterfaceDataset, options: LabelOptions) -> Labels:
    """The labels of all items of a data set, without reading the items.

    Raises:
        DataError: parts with different targets or classes, items with and without targets.
        ConfigError: --targets names one that the data lack.
    """
    if dataset.given is not None:
        names = dataset.given.names
        classes = dataset.given.classes.get(names[0], ()) if len(names) == 1 else ()
        values = dataset.given.values.astype(float)
        return Labels(values, names, tuple(range(len(names))), classes).chosen(options.targets)
    tables = [targets_of(part) for part in dataset.parts]
    told = [dict(part.manifest["extra"]) if isinstance(part, ShardReader) else {} for part in dataset.parts]
    paths = [str(part.path) if isinstance(part, ShardReader) else "items" for part in dataset.parts]
    for name in ("targets", "classes"):
        if any(one.get(name) != told[0].get(name) for one in told):
            raise DataError(f"have different {name}", *paths, hint="process them together, or train on one of them")
    units = sorted({str(one["label_unit"]) for one in told if one.get("label_unit")})
    if len(units) > 1:
        raise DataError(f"have labels in {' and '.join(units)}", *paths, hint="process them again in one unit")
    classes, unit = tuple(map(str, told[0].get("classes") or ())), "".join(units)
    present = [table for table in tables if table is not None]
    if not present:
        values = np.asarray(dataset.counts["label"], float)[:, None]
        return Labels(values, ("label",), None, classes, unit).chosen(options.targets)
    if len(present) < len(tables) or len({table.shape[1] for table in present}) > 1:
        raise DataError("have different numbers of targets", *paths)
    width = present[0].shape[1]
    names = tuple(map(str, told[0].get("targets") or range(width)))
    if len(names) != width:
        raise DataError(f"names {len(names)} targets, its items have {width}", paths[0])
    return Labels(np.concatenate(present), names, tuple(range(width)), (), unit).chosen(options.targets)


def targets_of(part: Sequence[Item]) -> np.ndarray | None:
    """[items, targets] of a part; None when it has none."""
    if isinstance(part, ShardReader):
        columns = [part.batch(file).column("targets") for file in range(len(part.manifest["files"]))]
        missing = np.concatenate([np.asarray(column.is_null()) for column in columns]) if columns else np.ones(0, bool)
        rows = [row for column in columns for row in column.to_numpy(zero_copy_only=False)]
    else:
        rows = [item.targets for item in part]
        missing = np.array([row is None for row in rows], bool)
    if missing.all():
        return None
    lengths = {len(row) for row in rows if row is not None}
    if missing.any() or len(lengths) > 1:
        place = int(missing.argmax()) if missing.any() else [len(row) for row in rows].index(min(lengths))
        raise DataError("has another number of targets than other items", part[place].id)
    return np.stack(rows).astype(float)


def fit_scale(labels: Labels, options: LabelOptions) -> LabelScale:
    """The scale of regression labels: transform, unit, and mean and deviation of the training set.

    Raises:
        ConfigError: --label_unit contradicts --label_transform.
    """
    transform = options.label_transform
    wanted, _, given = transform.partition("_from_")
    data_unit = options.label_unit or labels.unit or UNITS.get(given, "")
    if given and data_unit != UNITS[given]:
        raise ConfigError(f"is {data_unit!r}, but {transform} reads {UNITS[given]}", "--label_unit")
    unit = UNITS[wanted] if given else f"{transform}({data_unit})" if transform in LOGARITHMS else data_unit
    n = len(labels.names)
    scale = LabelScale(labels.names, transform, options.temperature, data_unit, unit, mean=(0.0,) * n, std=(1.0,) * n)
    if not options.standardise:
        return scale
    columns = [column[np.isfinite(column)] for column in scale.transformed(labels.values).T]
    mean = tuple(float(column.mean()) if len(column) else 0.0 for column in columns)
    std = tuple(float(column.std()) if len(column) and np.ptp(column) else 1.0 for column in columns)
    return replace(scale, mean=mean, std=std)
