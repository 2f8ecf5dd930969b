"""Predictions from two sides that don't depend on which of them is named first.

Representations tell the sides apart, and in data the order has a meaning: the antibody, enzyme or receptor, usually the
larger side, is named first. A regressor fitted to sides in that order is therefore asked twice, with the sides as given
and turned round, and its answers are averaged with the probability that the data would have named them so. That depends
on the sizes of the sides: sigmoid(slope ln(atoms of the first / atoms of the second)).
"""

from typing import Any

import numpy as np
from scipy.special import expit

TURNED = (0, 3, 4, 1, 2)
"""Parts of a frozen representation (the complex, mean and deviation of either segment) with the sides turned round."""


def turned(representation: Any) -> Any:
    """[items, 5 H] representations, of numpy or torch, of the same complexes with the sides in the other order."""
    width = representation.shape[1] // len(TURNED)
    return representation[:, [part * width + place for part in TURNED for place in range(width)]]


def lead(first: Any, second: Any) -> np.ndarray:
    """[items] ln of the atoms of the first side by those of the second; a side without atoms counts as one.

    Args:
        first, second: [items] numbers of atoms.
    """
    return np.log(np.maximum(first, 1) / np.maximum(second, 1))


def share_as_named(lead: np.ndarray, slope: float) -> np.ndarray:
    """[items] weight of the sides as they are given; that of the other order is one minus it."""
    return expit(slope * np.asarray(lead))
