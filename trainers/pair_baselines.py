"""What needs no geometry in the tasks without labels: naming masked blocks, and finding the complex of one side."""

from collections.abc import Sequence

import numpy as np

from configs.errors import DataError
from configs.schema import NoiseOptions
from data.dataset import random_of
from data.item import Item
from data.noise import PretrainTransform
from data.vocab import FIRST_MASKABLE
from trainers.baseline_features import composition
from trainers.masked_baselines import fit_composition_classifier, masked_samples, top_k_hits
from trainers.scores import Interval, bootstrap, retrieval_metrics

NOT_KNOWN = float("nan")


def masking_baselines(
    train: Sequence[Item], test: Sequence[Item], groups: np.ndarray, proportion: float, n: int, seed: int
) -> dict[str, dict[str, Interval]]:
    """Top-1 and top-5 accuracy of the majority class, and of a classifier that sees the rest of the interface.

    Args:
        groups: [test items] what is resampled. proportion: of blocks that are masked, anew for every item.
    """
    transform = PretrainTransform(NoiseOptions(mask_proportion=proportion))
    n_types = 1 + max(int(item.B.max()) for item in (*train, *test))
    seen, held = (
        masked_samples([transform(item, random_of(seed, epoch, i)) for i, item in enumerate(items)], n_types)
        for epoch, items in enumerate((train, test))
    )
    classifier = fit_composition_classifier(seen)
    everything = np.arange(n_types - FIRST_MASKABLE)
    frequency = np.bincount(seen.labels, minlength=len(everything)).astype(float)
    scores = {
        "majority class": (everything, np.tile(frequency, (len(held.labels), 1))),
        "composition of the rest": (classifier.classes_, classifier.predict_proba(held.features)),
    }

    def accuracies(first: np.ndarray, fifth: np.ndarray) -> dict[str, float]:
        return {"masked_accuracy": float(first.mean()), "masked_accuracy_top5": float(fifth.mean())}

    found = {}
    for name, (classes, score) in scores.items():
        hits = [top_k_hits(classes, score, held.labels, k) for k in (1, 5)]
        found[name] = bootstrap(accuracies, *hits, groups=groups[held.item], n=n, seed=seed)
    return found


def retrieval_baselines(items: Sequence[Item]) -> dict[str, dict[str, Interval]]:
    """How well the first side of an interface finds its complex by chance, by size, and by composition.

    A complex holds its first side, block for block, so composition alone is a strong guess: a share of the complex's
    blocks is known exactly.

    Raises:
        DataError: fewer than two items, or one of a single segment.
    """
    if len(items) < 2:
        raise DataError("two items are needed to find one among them", "test set")
    for item in items:
        if item.segment_ids[0] == item.segment_ids[-1]:
            raise DataError("has one segment only", item.id)
    n_types = 1 + max(int(item.B.max()) for item in items)
    both = composition(items, n_types)
    side, whole = both[:, :n_types], both[:, :n_types] + both[:, n_types:]
    size = np.log(side.sum(1)[:, None]) - np.log(whole.sum(1)[None])
    cosine = (side / np.linalg.norm(side, axis=1)[:, None]) @ (whole / np.linalg.norm(whole, axis=1)[:, None]).T
    lacking = np.array([np.maximum(row - whole, 0).sum(1) for row in side])  # blocks of the side that a complex lacks
    inside = -lacking - 1e-6 * whole.sum(1)
    chance = {f"recall_at_{k}": min(k / len(items), 1.0) for k in (1, 5, 10)}
    chance["mean_reciprocal_rank"] = float((1 / np.arange(1, len(items) + 1)).mean())
    rows = {"chance": chance, "size": retrieval_metrics(-np.abs(size - np.median(size.diagonal())))}
    rows |= {"composition, cosine": retrieval_metrics(cosine), "composition, contained": retrieval_metrics(inside)}
    return {name: {key: Interval(v, NOT_KNOWN, NOT_KNOWN) for key, v in row.items()} for name, row in rows.items()}
