"""What can be guessed about masked blocks from composition alone."""

import numpy as np
import pytest
from scipy import sparse

from configs.errors import DataError
from data.item import Item
from trainers.masked_baselines import (
    MaskedSamples,
    fit_composition_classifier,
    majority_class,
    masked_samples,
    top_k_hits,
)


def item(types: list[int], segments: list[int], masked: list[int], modality: int = 0) -> Item:
    mask = np.isin(np.arange(len(types)), masked)
    labels = np.array([t - 4 for t, m in zip(types, mask) if m], np.int32)
    blocks = np.where(mask, 1, types).astype(np.uint16)
    return Item(
        id="x",
        X=np.zeros((len(types), 3), np.float32),
        A=np.full(len(types), 8, np.uint8),
        B=blocks,
        block_lengths=np.ones(len(types), np.int32),
        segment_ids=np.array(segments, np.uint8),
        modality=modality,
        masked_blocks=mask,
        masked_labels=labels,
    )


def test_features_are_the_composition_seen_from_the_masked_segment() -> None:
    samples = masked_samples([item([4, 4, 5, 6], [0, 0, 1, 1], [1, 3])], n_block_types=10)
    own, other = samples.features[:, :10].toarray(), samples.features[:, 10:20].toarray()
    assert own[0, 4] == 1 and other[0, 5] == 1  # the first masked block is in segment 0, beside one block of type 4
    assert own[1, 5] == 1 and other[1, 4] == 1
    assert samples.labels.tolist() == [0, 2]
    assert samples.item.tolist() == [0, 0]


def test_composition_classifier_learns_what_composition_tells() -> None:
    items = [
        item([4, 4, 4, 4], [0, 0, 1, 1], [0]) if n % 2 else item([5, 5, 7, 7], [0, 0, 1, 1], [0]) for n in range(20)
    ]
    samples = masked_samples(items, n_block_types=10)
    model = fit_composition_classifier(samples)
    assert (model.predict(samples.features) == samples.labels).all()


def test_majority_class_takes_the_lowest_among_equals() -> None:
    assert majority_class(np.array([3, 1, 3, 1, 2])) == 1


def test_top_k_hits_by_hand() -> None:
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]])
    classes, labels = np.array([10, 20, 30]), np.array([30, 20])
    assert top_k_hits(classes, scores, labels, 1).tolist() == [False, False]
    assert top_k_hits(classes, scores, labels, 2).tolist() == [True, True]


def test_items_without_masks_are_refused() -> None:
    with pytest.raises(DataError, match="none of the items has a masked block"):
        masked_samples([], n_block_types=10)


def test_blocks_of_one_type_are_refused() -> None:
    samples = MaskedSamples(sparse.csr_matrix(np.eye(3)), np.full(3, 7), np.arange(3))
    with pytest.raises(DataError, match="all masked blocks are of one type"):
        fit_composition_classifier(samples)
