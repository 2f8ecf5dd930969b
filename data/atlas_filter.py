"""Conditions on the columns of an atlas: modality=PP, label>=5."""

import operator
import re
from collections import Counter
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

import numpy as np

from configs.errors import ConfigError
from data.atlas import Atlas

CONDITION = re.compile(r"\s*([^!<>=]+?)\s*(!=|<=|>=|<|>|=)\s*(.*?)\s*$", re.S)
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def allowed_by(atlas: Atlas, conditions: Sequence[str]) -> np.ndarray | None:
    """[rows] whether a row meets all conditions; None without conditions.

    Args:
        conditions: COLUMN=VALUE, or with != < <= > >=. Numbers are compared as numbers where both are; < and the like
            hold for numbers alone.

    Raises:
        ConfigError: no condition, an unknown column, or no row meets them.
    """
    if not conditions:
        return None
    allowed = np.ones(len(atlas), bool)
    for text in conditions:
        found = CONDITION.match(text)
        if not found:
            raise ConfigError(f"{text!r} is no condition", "--where", hint="as in --where modality=PP")
        column, sign, value = found.groups()
        allowed &= np.array([meets(one, sign, value) for one in atlas.column(column)], bool)
    if not allowed.any():
        column = CONDITION.match(conditions[0])[1]  # type: ignore[index]
        often = ", ".join(value for value, _ in Counter(atlas.column(column)).most_common(5))
        reason = f"no row of {len(atlas)} has {' and '.join(conditions)}"
        raise ConfigError(reason, "--where", hint=f"the commonest values of {column}: {often}")
    return allowed


def meets(text: str, sign: str, wanted: str) -> bool:
    """Whether a value meets a condition."""
    mine, theirs = number(text), number(wanted)
    if mine is not None and theirs is not None:
        return COMPARISONS[sign](mine, theirs)
    return sign in ("=", "!=") and COMPARISONS[sign](text, wanted)


def number(text: str) -> float | None:
    """The finite number that a text is, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None
