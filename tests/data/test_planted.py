"""The planted set: labels are the sum of two terms, and each term is what it says."""

import numpy as np
import pytest

from data.contacts import distance_to_other_side
from data.descriptors import HYDROPATHY
from data.planted import MEAN_LABEL, POSES, make_planted, planted
from data.vocab import load_vocabulary

VOCABULARY = load_vocabulary()
FOUND = make_planted(24, VOCABULARY, seed=3)


def test_a_label_is_the_sum_of_its_terms() -> None:
    for one in FOUND:
        assert one.item.label == pytest.approx(MEAN_LABEL + one.composition + one.geometry)


def test_poses_of_the_same_partners_differ_in_geometry_alone() -> None:
    for start in range(0, len(FOUND), POSES):
        some = FOUND[start : start + POSES]
        assert len({one.item.group for one in some}) == 1
        assert len({one.composition for one in some}) == 1
        assert len({one.geometry for one in some}) == POSES
        assert len({tuple(one.item.B.tolist()) for one in some}) == 1


def test_composition_is_hydropathy_and_geometry_is_nearness() -> None:
    oily = [np.mean([HYDROPATHY[name] for name in one.item.block_resname or ()]) for one in FOUND]
    assert np.corrcoef(oily, [one.composition for one in FOUND])[0, 1] == pytest.approx(1)
    gaps = [distance_to_other_side(one.item).min() for one in FOUND]
    assert np.corrcoef(gaps, [one.geometry for one in FOUND])[0, 1] < -0.8
    assert min(gaps) > 2


def test_an_item_depends_on_seed_and_number_alone() -> None:
    again = planted(5, 3, VOCABULARY)
    assert np.array_equal(again.item.X, FOUND[5].item.X)
    assert again.item.id == FOUND[5].item.id
    assert not np.array_equal(planted(5, 4, VOCABULARY).item.X[:3], FOUND[5].item.X[:3])
