"""Angles of random rotations: the isotropic Gaussian on SO(3), restricted to a grid of angles.

The angle t of a rotation drawn from IGSO(3) with width s has the density (Haar measure included; Leach et al. 2022,
"Denoising diffusion probabilistic models on SO(3)"), for t in [0, pi]:

    p(t) = (1 - cos t) / pi * sum_l (2l + 1) exp(-l (l + 1) s^2) sin((l + 1/2) t) / sin(t / 2)

The sum needs about 10 / s terms and loses all digits for small s. Poisson summation turns it into a sum over images of
the angle, of which a few suffice when s is small:

    p(t) = exp(s^2 / 4) / (sqrt(pi) s^3) sin(t / 2) sum_k (-1)^k (t - 2 pi k) exp(-(t - 2 pi k)^2 / (4 s^2))
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

GRID_POINTS = 100
SMALLEST_ANGLE = 0.001
WIDEST_BY_IMAGES = 1.0
SERIES_TERMS = 32  # the last one is below 1e-400 for every width the series is used for
IMAGES = 3


def _by_series(angle: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    l = np.arange(SERIES_TERMS)[:, None]
    weight = (2 * l + 1) * np.exp(-l * (l + 1.0) * width**2)
    total = (weight * np.sin((l + 0.5) * angle)).sum(0)
    slope = (weight * (l + 0.5) * np.cos((l + 0.5) * angle)).sum(0)
    # (1 - cos t) / sin(t / 2) = 2 sin(t / 2)
    return np.log(2 / math.pi * np.sin(angle / 2) * total), 0.5 / np.tan(angle / 2) + slope / total


def _by_images(angle: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    k = np.arange(-IMAGES, IMAGES + 1)[:, None]
    # exp(-t^2 / 4 s^2) is taken out of the sum, so nothing underflows
    weight = (-1.0) ** k * np.exp(-(math.pi * k) * (math.pi * k - angle) / width**2)
    shifted = angle - 2 * math.pi * k
    total = (weight * shifted).sum(0)
    slope = (weight * (1 + shifted * math.pi * k / width**2)).sum(0)
    log_density = (
        width**2 / 4
        - math.log(math.sqrt(math.pi) * width**3)
        + np.log(np.sin(angle / 2) * total)
        - (angle / (2 * width)) ** 2
    )
    return log_density, 0.5 / np.tan(angle / 2) - angle / (2 * width**2) + slope / total


def angle_log_density(angle: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Log density of rotation angles (radians, in (0, pi)) and its derivative, for IGSO(3) of the given width."""
    angle = np.asarray(angle, np.float64)
    return _by_images(angle, width) if width <= WIDEST_BY_IMAGES else _by_series(angle, width)


@dataclass(frozen=True)
class AngleGrid:
    """Rotation angles on a grid: `angles`, the cumulated probability of each, and d log density / d angle."""

    angles: np.ndarray
    cumulated: np.ndarray
    scores: np.ndarray

    def draw(self, rng: np.random.Generator) -> tuple[float, float]:
        """A random angle, radians, and its score."""
        index = int(self.cumulated.searchsorted(rng.random(), side="right"))
        return float(self.angles[index]), float(self.scores[index])


@lru_cache(maxsize=16)
def angle_grid(width: float, largest: float) -> AngleGrid:
    """Grid of 100 angles on [0.001, largest] radians with their IGSO(3) probabilities and scores."""
    angles = np.linspace(min(SMALLEST_ANGLE, largest), largest, GRID_POINTS)
    angles = np.clip(angles, 1e-6, math.pi - 1e-6)  # the logarithms are undefined at 0 and, in the sums, at pi
    log_density, scores = angle_log_density(angles, width)
    density = np.exp(log_density - log_density.max())
    cumulated = np.cumsum(density / density.sum())
    cumulated[-1] = 1.0
    return AngleGrid(angles, cumulated, scores)
