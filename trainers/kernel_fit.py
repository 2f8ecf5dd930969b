"""Fit small regressors to features of interfaces, and measure them on groups that they have not seen.

Support vector regressions whose kernel falls with the absolute difference of descriptors (a Laplacian kernel: few
outliers among many counts weigh less) and the squared distance of representations: the mean of those whose width,
penalty and mixture of features are the best in inner folds of whole groups, so that what is measured on the outer folds
has played no part in the choice. Everything else here is a floor to compare it with.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import SVR

from configs.errors import DataError
from data.descriptors import KINDS, NAMES
from models.side_order import share_as_named, turned
from trainers.baselines import forest_predictor, linear_predictor

WIDTHS, PENALTIES = (0.03, 0.1, 0.3, 0.9), (0.3, 1.0, 3.0, 10.0)
SHARES = (0.0, 0.3, 1.0)  # of the features behind the descriptors, in the distance
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
        ids, groups, labels: [items]. blocks: name -> [items, n] numbers: descriptors, representation,
            lead (`models.side_order`), composition.
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
    """Brings features to one scale. The mean absolute difference of descriptors is that of their kinds, each kind
    weighing the same whatever its number; the other features have mean square 1 an item, shared evenly.

    Attributes:
        centre, scale: [features]; the scale of what never changes is 0. first: number of descriptors, which come first.
    """

    centre: np.ndarray
    scale: np.ndarray
    first: int

    @classmethod
    def of(cls, features: np.ndarray, kinds: Sequence[str]) -> "Scaling":
        """The scaling of training items.

        Args:
            features: [items, n]. kinds: of the descriptors, which are the first of the features (none: they have none).
        """
        deviation, first = features.std(axis=0), len(kinds)
        moving = deviation > CONSTANT * np.maximum(1, np.abs(features).max(axis=0))
        number = np.full(len(moving), np.sqrt(max(int(moving[first:].sum()), 1)))
        there = sorted({kind for kind, moves in zip(kinds, moving) if moves})
        for kind in there:
            own = np.flatnonzero(np.array(kinds) == kind)
            number[own] = len(there) * moving[own].sum()
        scale = np.where(moving, 1 / np.where(moving, deviation * number, 1), 0)
        return cls(features.mean(axis=0), scale, first)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return (features - self.centre) * self.scale

    def distances(self, asked: np.ndarray, known: np.ndarray) -> np.ndarray:
        """[2, asked, known] absolute differences of scaled descriptors, and squared distances of the others."""
        found = np.zeros((2, len(asked), len(known)))
        descriptors, others = slice(self.first), slice(self.first, None)
        for place, (own, metric) in enumerate(((descriptors, "cityblock"), (others, "sqeuclidean"))):
            if known[:, own].size:
                found[place] = cdist(asked[:, own], known[:, own], metric)
        return found


class Choice(NamedTuple):
    """Options of one regression.

    Attributes:
        width: factor of the distance. penalty: C, in deviations of the labels. share: of the features behind the
            descriptors in the distance.
    """

    width: float = 0.3
    penalty: float = 3.0
    share: float = 1.0

    @property
    def widths(self) -> tuple[float, float]:
        """Factors of the distances of either block."""
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
    """[asked, known] between 0 and 1, of distances [2, asked, known]."""
    return np.exp(-widths[0] * distances[0] - widths[1] * distances[1])


def fit_kernel(features: np.ndarray, labels: np.ndarray, kinds: Sequence[str], choices: Sequence[Choice]) -> KernelFit:
    """Fit with given options.

    Args:
        features: [items, n]. labels: [items]. kinds: of the descriptors, which come first.
    """
    scaling = Scaling.of(features, kinds)
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
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, kinds: Sequence[str], seed: int = 0
) -> list[Choice]:
    """The options with the smallest squared errors over inner folds of whole groups, the best first."""
    shares = SHARES if 0 < len(kinds) < features.shape[1] else (1.0,)
    cost = {Choice(*some): 0.0 for some in product(WIDTHS, PENALTIES, shares)}
    for test in group_folds(groups, INNER_FOLDS, seed):
        scaling = Scaling.of(features[~test], kinds)
        known, asked = scaling(features[~test]), scaling(features[test])
        inside, across = scaling.distances(known, known), scaling.distances(asked, known)
        for widths in dict.fromkeys(choice.widths for choice in cost):
            alike, alike_asked = likeness(inside, widths), likeness(across, widths)
            for choice in (one for one in cost if one.widths == widths):
                weights, intercept = solved(alike, labels[~test], choice.penalty)
                cost[choice] += float(((alike_asked @ weights + intercept - labels[test]) ** 2).sum())
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


def kernel(kinds: Sequence[str], seed: int = 0) -> Fit:
    """Kernel regressions whose options are chosen inside of the training items."""

    def fit(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> KernelFit:
        return fit_kernel(features, labels, kinds, choose_kernels(features, labels, groups, kinds, seed))

    return fit


@dataclass(frozen=True)
class EitherOrder:
    """Predictions that don't depend on the order of the sides: see `models.side_order`.

    Attributes:
        fit: fitted to sides as they are named in training. slope: how much the larger side comes first there.
    """

    fit: KernelFit
    slope: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """[items] predictions.

        Args:
            features: [items, n + 1] those of the fit, and `models.side_order.lead` behind.
        """
        plain, lead, first = features[:, :-1], features[:, -1], self.fit.scaling.first
        other = np.concatenate([plain[:, :first], turned(plain[:, first:])], 1)
        share = share_as_named(lead, self.slope)
        return share * self.fit(plain) + (1 - share) * self.fit(other)


def either_order(kinds: Sequence[str], seed: int = 0) -> Fit:
    """Kernel regressions on features with `lead` in the last column, whatever the order of the sides."""

    def fit(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> EitherOrder:
        plain = features[:, :-1]
        chosen = choose_kernels(plain, labels, groups, kinds, seed)
        return EitherOrder(fit_kernel(plain, labels, kinds, chosen), slope_of(features[:, -1]))

    return fit


def slope_of(lead: np.ndarray) -> float:
    """Of the logistic regression without an intercept that tells the side named first by its size, as the training
    items name them; 0 for sides of equal sizes."""
    both = np.concatenate([lead, -lead])[:, None]
    named = np.repeat([True, False], len(lead))
    return float(LogisticRegression(fit_intercept=False).fit(both, named).coef_[0, 0])


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
    return {
        "mean": (mean, d),
        "sizes, linear": (linear, size_model(d)),
        "composition, linear": (ridge, features.blocks["composition"]),
        "contacts by class, linear": (linear, contact_model(d)),
        "descriptors, trees": (trees, d),
        "descriptors, kernel": (kernel(KINDS), d),
        "frozen representation, kernel": (kernel(()), r),
        f"{CHOSEN}, sides as named": (kernel(KINDS), features.joined(("descriptors", "representation"))),
        CHOSEN: (either_order(KINDS), features.joined(("descriptors", "representation", "lead"))),
    }


CHOSEN = "descriptors and frozen representation, kernel"
"""The regressor that is kept; its predictions don't depend on the order of the sides."""
