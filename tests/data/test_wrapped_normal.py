"""The wrapped normal is normalised, periodic, and its score is the derivative of its logarithm."""

import numpy as np
import pytest

from data.wrapped_normal import log_density, score

DEVIATIONS = [0.05, 0.5, 1.5, 4.0]


@pytest.mark.parametrize("deviation", DEVIATIONS)
def test_the_density_is_normalised(deviation):
    angles = np.linspace(-np.pi, np.pi, 20_001)
    assert np.trapezoid(np.exp(log_density(angles, deviation)), angles) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("deviation", DEVIATIONS)
def test_the_score_is_the_derivative_of_the_log_density(deviation):
    angles, h = np.linspace(-9, 9, 181), 1e-6
    numeric = (log_density(angles + h, deviation) - log_density(angles - h, deviation)) / (2 * h)
    smooth = np.abs(np.abs(np.remainder(angles, 2 * np.pi)) - np.pi) > 0.1  # it turns sharply at half a turn
    np.testing.assert_allclose(score(angles, deviation)[smooth], numeric[smooth], rtol=1e-5, atol=1e-5)


def test_a_full_turn_changes_nothing():
    angles = np.linspace(-3, 3, 20)
    np.testing.assert_allclose(score(angles + 4 * np.pi, 0.5), score(angles, 0.5), atol=1e-9)


def test_small_angles_have_the_score_of_the_normal():
    assert score(np.array([0.3]), 0.5)[0] == pytest.approx(-0.3 / 0.25, abs=1e-9)
    assert score(np.array([np.pi]), 0.5)[0] == pytest.approx(0, abs=1e-9)
