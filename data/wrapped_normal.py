"""The normal distribution wrapped around the circle, for torsion angles (Jing et al. 2022, "Torsional diffusion").

    p(x) ~ sum_k exp(-(x + 2 pi k)^2 / (2 s^2))        s: standard deviation before wrapping, radians

Terms beyond a few standard deviations don't count, so the sum is evaluated directly; no tables.
"""

import math

import numpy as np


def _images(angle: np.ndarray, deviation: float) -> tuple[np.ndarray, np.ndarray]:
    """Images [images, n] of the angles on the line, and the logarithm of each one's weight."""
    reach = 1 + math.ceil(6 * deviation / (2 * math.pi))
    wrapped = np.remainder(np.asarray(angle, np.float64) + math.pi, 2 * math.pi) - math.pi
    images = wrapped + 2 * math.pi * np.arange(-reach, reach + 1)[:, None]
    return images, -0.5 * (images / deviation) ** 2


def log_density(angle: np.ndarray, deviation: float) -> np.ndarray:
    """Log density [n] of angles [n] in radians (any representative), normalised over one turn."""
    _, exponent = _images(angle, deviation)
    largest = exponent.max(0)
    return largest + np.log(np.exp(exponent - largest).sum(0)) - math.log(deviation * math.sqrt(2 * math.pi))


def score(angle: np.ndarray, deviation: float) -> np.ndarray:
    """Derivative [n] of the log density by the angle, 1/radian."""
    images, exponent = _images(angle, deviation)
    weight = np.exp(exponent - exponent.max(0))
    return -(weight * images).sum(0) / (weight.sum(0) * deviation**2)
