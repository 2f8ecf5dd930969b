"""Fit small regressors to features of interfaces, and measure them on groups that they have not seen.

Support vector regressions with a Gaussian kernel: the mean of those whose width, penalty and mixture of features are
the best in inner folds of whole groups, so that what is measured on the outer folds has played no part in the choice.
Everything else here is a floor to compare it with.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.linear_model import LinearRegression
from sklearn.svm import SVR

from configs.errors import DataError
from data.descriptors import NAMES
from trainers.baselines import forest_predictor, linear_predictor

WIDTHS, PENALTIES = (0.03, 0.1, 0.3, 0.9), (0.3, 1.0, 3.0, 10.0)
SHARES = (0.0, 0.3, 1.0)  # of the features behind the first block, in the squared distance
MEMBERS = 10  # regressions whose mean is taken: the best choice alone is much a matter of chance
INSENSITIVE = 0.17  # errors that cost nothing, in deviations of the labels: half a kcal/mol or so
INNER_FOLDS = 4
CONSTANT = 1e-9  # a smaller deviation is rounding
CONTACT_MODEL = ("charged-charged", "apolar-charged", "polar-polar", "apolar-polar")
"""Contacts of the linear model of Vangone and Bonvin, eLife 2015;4:e07454 (it has the surface outside as well)."""

Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]
"""(features, labels, groups) of the training items -> features -> predictions."""


class Features(NamedTuple):
    """Of a data set.

    Attributes:
        ids, groups, labels: [items]. blocks: name -> [items, n] numbers: descriptors, representation, composition.
    """

    ids: np.ndarray
    groups: np.ndarray
    labels: np.ndarray
    blocks: Mapping[str, np.ndarray]

    def joined(self, names: Sequence[str]) -> np.ndarray:
        """[items, n] some blocks side by side."""
        return np.concatenate([self.blocks[name] for name in names], 1)


@dataclass(frozen=True)
class Scaling:
    """Brings features to one scale: a block of them has mean square 1 an item, shared evenly by those that change.

    Attributes:
        centre, scale: [features]; the scale of what never changes is 0. first: number of features of the first block.
    """

    centre: np.ndarray
    scale: np.ndarray
    first: int

    @classmethod
    def of(cls, features: np.ndarray, first: int) -> "Scaling":
        """The scaling of training items; see `first` above. The second block may be empty."""
        deviation = features.std(axis=0)
        moving = deviation > CONSTANT * np.maximum(1, np.abs(features).max(axis=0))
        number = np.ones(len(moving))
        for block in (slice(first), slice(first, None)):
            number[block] = max(int(moving[block].sum()), 1)
        scale = np.where(moving, 1 / np.where(moving, deviation * np.sqrt(number), 1), 0)
        return cls(features.mean(axis=0), scale, first)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return (features - self.centre) * self.scale

    def distances(self, asked: np.ndarray, known: np.ndarray) -> np.ndarray:
        """[2, asked, known] squared distances of scaled features, of either block."""
        blocks = slice(self.first), slice(self.first, None)
        return np.stack(
            [
                cdist(asked[:, b], known[:, b], "sqeuclidean")
                if known[:, b].size
                else np.zeros((len(asked), len(known)))
                for b in blocks
            ]
        )


class Choice(NamedTuple):
    """Options of one regression.

    Attributes:
        width: factor of the squared distance. penalty: C, in deviations of the labels. share: of the second block of
            features in the squared distance.
    """

    width: float = 0.3
    penalty: float = 3.0
    share: float = 1.0

    @property
    def widths(self) -> tuple[float, float]:
        """Factors of the squared distances of either block."""
        return self.width, self.width * self.share


@dataclass(frozen=True)
class KernelFit:
    """Fitted kernel regressions, whose mean is the prediction.

    Attributes:
        scaling: of features. supports: [items, features] the training items, scaled. widths: [members, 2].
        weights: [members, items]. intercepts: [members].
    """

    scaling: Scaling
    supports: np.ndarray
    widths: np.ndarray
    weights: np.ndarray
    intercepts: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """[items] predictions."""
        distances = self.scaling.distances(self.scaling(features), self.supports)
        said = [likeness(distances, pair) @ own for pair, own in zip(self.widths, self.weights)]
        return np.mean(said, axis=0) + self.intercepts.mean()


def likeness(distances: np.ndarray, widths: Sequence[float] | np.ndarray) -> np.ndarray:
    """[asked, known] between 0 and 1, of squared distances [2, asked, known]."""
    return np.exp(-widths[0] * distances[0] - widths[1] * distances[1])


def fit_kernel(features: np.ndarray, labels: np.ndarray, first: int, choices: Sequence[Choice]) -> KernelFit:
    """Fit with given options.

    Args:
        features: [items, n]. labels: [items]. first: number of features of the first block.
    """
    scaling = Scaling.of(features, first)
    own = scaling(features)
    distances = scaling.distances(own, own)
    found = [solved(likeness(distances, one.widths), labels, one.penalty) for one in choices]
    weights, intercepts = (np.array(values) for values in zip(*found))
    return KernelFit(scaling, own, np.array([one.widths for one in choices]), weights, intercepts)


def solved(alike: np.ndarray, labels: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """[items] weights of the training items, most of them 0 or at their bounds, and the intercept."""
    mean, deviation = labels.mean(), max(labels.std(), CONSTANT)
    machine = SVR(kernel="precomputed", C=penalty, epsilon=INSENSITIVE).fit(alike, (labels - mean) / deviation)
    weights = np.zeros(len(labels))
    weights[machine.support_] = machine.dual_coef_[0] * deviation
    return weights, float(machine.intercept_[0] * deviation + mean)


def choose_kernels(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, first: int, seed: int = 0
) -> list[Choice]:
    """The options with the smallest squared errors over inner folds of whole groups, the best first."""
    shares = SHARES if first < features.shape[1] else (1.0,)
    cost = {Choice(*some): 0.0 for some in product(WIDTHS, PENALTIES, shares)}
    for test in group_folds(groups, INNER_FOLDS, seed):
        scaling = Scaling.of(features[~test], first)
        known, asked = scaling(features[~test]), scaling(features[test])
        inside, across = scaling.distances(known, known), scaling.distances(asked, known)
        for choice in cost:
            weights, intercept = solved(likeness(inside, choice.widths), labels[~test], choice.penalty)
            pred = likeness(across, choice.widths) @ weights + intercept
            cost[choice] += float(((pred - labels[test]) ** 2).sum())
    return sorted(cost, key=lambda choice: cost[choice])[:MEMBERS]


def group_folds(groups: np.ndarray, n: int, seed: int) -> list[np.ndarray]:
    """[items] masks of the test items of n folds of whole groups, shuffled.

    Raises:
        DataError: a single group.
    """
    names = np.unique(groups)
    if len(names) < 2:
        raise DataError("are all of one group; two or more are needed to leave groups out", "items")
    mixed = np.random.default_rng(seed).permutation(names)
    return [np.isin(groups, some) for some in np.array_split(mixed, min(n, len(names)))]


def left_out(fit: Fit, features: np.ndarray, labels: np.ndarray, groups: np.ndarray, n: int, seed: int) -> np.ndarray:
    """[items] predictions for every item by a fit that has not seen its group."""
    found = np.full(len(labels), np.nan)
    for test in group_folds(groups, n, seed):
        found[test] = fit(features[~test], labels[~test], groups[~test])(features[test])
    return found


def kernel(first: int, seed: int = 0) -> Fit:
    """Kernel regressions whose options are chosen inside of the training items."""

    def fit(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> KernelFit:
        return fit_kernel(features, labels, first, choose_kernels(features, labels, groups, first, seed))

    return fit


def linear(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Least squares."""
    return LinearRegression().fit(features, labels).predict


def ridge(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Ridge regression, its penalty chosen by inner folds of groups."""
    return linear_predictor("regression", groups).fit(features, labels, groups=groups).predict


def trees(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Extremely randomised trees."""
    return forest_predictor("regression").fit(features, labels).predict


def mean(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The mean label."""
    return lambda asked: np.full(len(asked), labels.mean())


def contact_model(descriptors: np.ndarray) -> np.ndarray:
    """[items, 4] the numbers of contacts that the published linear model uses, from signed logarithms."""
    columns = [NAMES.index(f"contacts {kind} 5.5") for kind in CONTACT_MODEL]
    return np.expm1(descriptors[:, columns])


def size_model(descriptors: np.ndarray) -> np.ndarray:
    """[items, 4] logarithms of the numbers of atoms and blocks of either side."""
    names = [f"{what} of {side} side" for side in ("larger", "smaller") for what in ("atoms", "blocks")]
    return descriptors[:, [NAMES.index(name) for name in names]]


def predictors(features: Features) -> dict[str, tuple[Fit, np.ndarray]]:
    """Name of each regressor -> how it is fitted, and to what."""
    d, r = features.blocks["descriptors"], features.blocks["representation"]
    both = features.joined(("descriptors", "representation"))
    return {
        "mean": (mean, d),
        "sizes, linear": (linear, size_model(d)),
        "composition, linear": (ridge, features.blocks["composition"]),
        "contacts by class, linear": (linear, contact_model(d)),
        "descriptors, trees": (trees, d),
        "descriptors, kernel": (kernel(d.shape[1]), d),
        "frozen representation, kernel": (kernel(r.shape[1]), r),
        CHOSEN: (kernel(d.shape[1]), both),
    }


CHOSEN = "descriptors and frozen representation, kernel"
"""The regressor that is kept."""
