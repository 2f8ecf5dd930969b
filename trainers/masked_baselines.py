"""What can be guessed about a masked block without geometry: the floor that a masked-block head has to beat."""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from configs.errors import DataError
from data.item import Item
from data.vocab import FIRST_MASKABLE, MODALITIES


@dataclass(frozen=True)
class MaskedSamples:
    """Masked blocks with the composition of what is left of their item.

    Attributes:
        features: [masked, 2 V + modalities] sparse; share of each block type in the masked block's own segment and
            in the other one, then the kind of complex.
        labels: [masked] mask class.
        item: [masked] position of the block's item in the list given.
    """

    features: sparse.csr_matrix
    labels: np.ndarray
    item: np.ndarray


def masked_samples(items: Sequence[Item], n_block_types: int) -> MaskedSamples:
    """Composition features of every masked block of noised items; DataError when there is none."""
    rows, labels, owners = [], [], []
    for number, item in enumerate(items):
        if item.masked_blocks is None or item.masked_labels is None:
            continue
        left = ~item.masked_blocks & (item.B >= FIRST_MASKABLE)
        shares = np.zeros((2, n_block_types), np.float32)
        np.add.at(shares, (item.segment_ids[left], item.B[left]), 1)
        shares /= np.maximum(shares.sum(1, keepdims=True), 1)
        kind = np.zeros(len(MODALITIES), np.float32)
        if item.modality >= 0:
            kind[item.modality] = 1
        for segment in item.segment_ids[item.masked_blocks]:
            rows.append(sparse.csr_matrix(np.concatenate([shares[segment], shares[1 - segment], kind])[None]))
        labels.append(item.masked_labels)
        owners.append(np.full(len(item.masked_labels), number))
    if not rows:
        raise DataError("none of the items has a masked block")
    return MaskedSamples(sparse.vstack(rows).tocsr(), np.concatenate(labels), np.concatenate(owners))


def majority_class(labels: np.ndarray) -> int:
    """The most frequent class (the lowest among equals)."""
    counts = Counter(labels.tolist())
    return min(counts, key=lambda label: (-counts[label], label))


def fit_composition_classifier(samples: MaskedSamples, max_iter: int = 100) -> LogisticRegression:
    """Multinomial logistic regression from composition to the type of the masked block.

    It stops after `max_iter` iterations, converged or not: more fit the training set better, not held-out families.

    Raises:
        DataError: all masked blocks are of one type.
    """
    if (samples.labels == samples.labels[0]).all():
        raise DataError("all masked blocks are of one type; there is nothing to tell apart")
    model = LogisticRegression(C=10.0, max_iter=max_iter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(samples.features, samples.labels)
    return model


def top_k_hits(classes: np.ndarray, scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """[samples] whether the label is among the k classes with the highest score.

    Args:
        classes: [classes] label of each column of `scores`.
        scores: [samples, classes].
        labels: [samples].
    """
    best = np.argsort(-scores, axis=1, kind="stable")[:, : min(k, scores.shape[1])]
    return (classes[best] == labels[:, None]).any(1)
