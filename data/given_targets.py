"""Targets that are handed over beside the items: measured numbers, or names of classes, with holes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from configs.errors import DataError

Values = Sequence[Any] | np.ndarray


@dataclass(frozen=True)
class GivenTargets:
    """Targets of a data set.

    Attributes:
        names: of the targets. values: [items, targets] float32 numbers or class numbers; NaN is missing.
        classes: names of the classes of each target that was given as text or truth values, in sorted order.
    """

    names: tuple[str, ...]
    values: np.ndarray
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)


def read_targets(targets: Mapping[str, Values], n_items: int) -> GivenTargets:
    """Bring targets to numbers.

    Args:
        targets: name -> [items] values. None, NaN and "" are missing; text and truth values are names of classes.

    Raises:
        DataError: no target, another number of values than of items, or values that are neither numbers nor names.
    """
    if not targets:
        raise DataError("needs at least one", "targets")
    columns, classes = [], {}
    for name, values in targets.items():
        rows = values.tolist() if isinstance(values, np.ndarray) else list(values)
        if len(rows) != n_items:
            raise DataError(f"has {len(rows)} values for {n_items} items", f"target {name}")
        known = [value for value in rows if not _missing(value)]
        if known and all(isinstance(value, (str, bool)) for value in known):
            names = tuple(sorted({str(value) for value in known}))
            classes[str(name)] = names
            columns.append([math.nan if _missing(value) else float(names.index(str(value))) for value in rows])
            continue
        try:
            columns.append([math.nan if _missing(value) else float(value) for value in rows])
        except (TypeError, ValueError) as error:
            raise DataError(f"holds values that are no numbers: {error}", f"target {name}") from error
    return GivenTargets(tuple(map(str, targets)), np.array(columns, np.float32).T.copy(), classes)


def _missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))
