"""Conditions on the columns of an atlas: modality=PP, label>=5."""

import operator
import re
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import get_close_matches
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
    for number_of, text in enumerate(conditions, 1):
        found = CONDITION.match(text)
        if not found:
            raise ConfigError(f"{text!r} is no condition", "--where", hint="as in --where modality=PP")
        column, sign, value = found.groups()
        values = atlas.column(column)
        before, allowed = allowed, allowed & np.array([meets(one, sign, value) for one in values], bool)
        if not allowed.any():
            reason = f"no row of {len(atlas)} has {' and '.join(conditions[:number_of])}"
            known = [values[place] for place in np.flatnonzero(before)]
            raise ConfigError(reason, "--where", hint=what_there_is(column, value, known))
    return allowed


def what_there_is(column: str, value: str, known: Sequence[str]) -> str:
    """The values of a column for somebody who asked for one that it does not have."""
    counts = Counter(known)
    numbers = [one for one in map(number, counts) if one is not None]
    if number(value) is not None and numbers:
        return f"{column} goes from {min(numbers):g} to {max(numbers):g}"
    often = ", ".join(f"{one or '(empty)'} ({n:,})" for one, n in counts.most_common(5))
    told = f"the commonest values of {column}: {often}"
    alike = [one for one in counts if one.casefold() == value.casefold()]
    alike = alike or get_close_matches(value, counts, n=1, cutoff=0.6)
    return f"did you mean {alike[0]!r}? {told}" if alike else told


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
