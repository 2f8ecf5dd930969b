"""Rotation angles follow IGSO(3): normalised, its score the derivative of its logarithm, the published numbers."""

import os
from pathlib import Path

import numpy as np
import pytest

from data.igso3 import _by_images, _by_series, angle_grid, angle_log_density

PARITY = Path(os.environ.get("INTERFACE_PARITY", Path(__file__).parents[2] / "../shared/parity"))
WIDTHS = [0.02, 0.1, 0.25, 0.7, 1.0, 1.3, 3.0]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_density_is_normalised(width):
    angles = np.linspace(0, np.pi, 200_002)[1:-1]
    assert np.trapezoid(np.exp(angle_log_density(angles, width)[0]), angles) == pytest.approx(1, abs=2e-5)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_score_is_the_derivative_of_the_log_density(width):
    angles, h = np.linspace(0.02, 3.1, 60), 1e-6
    numeric = (angle_log_density(angles + h, width)[0] - angle_log_density(angles - h, width)[0]) / (2 * h)
    np.testing.assert_allclose(angle_log_density(angles, width)[1], numeric, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("width", [0.7, 1.0, 1.4])
def test_the_sum_over_images_is_the_documented_series(width):
    angles = np.linspace(0.01, 3.1, 50)
    np.testing.assert_allclose(_by_images(angles, width), _by_series(angles, width), rtol=1e-10, atol=1e-10)


def test_the_documented_series_by_hand():
    angle, width = 1.1, 0.9
    f = sum((2 * l + 1) * np.exp(-l * (l + 1) * width**2) * np.sin((l + 0.5) * angle) for l in range(2000))
    expected = np.log((1 - np.cos(angle)) / np.pi * f / np.sin(angle / 2))
    assert angle_log_density(np.array([angle]), width)[0][0] == pytest.approx(expected, abs=1e-12)


def test_drawn_angles_follow_the_density():
    rng, grid = np.random.default_rng(0), angle_grid(0.25, 0.5)
    drawn = np.array([grid.draw(rng)[0] for _ in range(20_000)])
    probability = np.diff(grid.cumulated, prepend=0)
    assert drawn.mean() == pytest.approx((probability * grid.angles).sum(), abs=0.003)
    assert set(np.round(drawn, 9)) <= set(np.round(grid.angles, 9))
    assert grid.angles[[0, -1]].tolist() == [0.001, 0.5]


@pytest.mark.parametrize(("width", "largest"), [(0.01, 0.5), (0.25, 0.0005), (2.0, np.pi), (0.25, np.pi)])
def test_extreme_options_give_finite_numbers(width, largest):
    grid = angle_grid(width, largest)
    assert np.isfinite(grid.scores).all()
    assert np.isfinite(grid.cumulated).all()
    assert grid.cumulated[-1] == 1


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["DenoisePretrainModel", "DenoisePretrainModel_atomnoise"])
def test_recorded_scores_lie_on_the_grid(name):
    """The recordings used width 0.25 and angles up to 0.5."""
    if not (PARITY / name).is_dir():
        pytest.skip(f"no recordings in {PARITY} (set INTERFACE_PARITY)")
    scores = np.abs(angle_grid(0.25, 0.5).scores)
    for batch in (0, 1):
        recorded = np.linalg.norm(np.load(PARITY / name / f"batch{batch}.npz")["rot_score"], axis=1)
        for score in recorded:
            assert np.abs(scores / score - 1).min() < 1e-6
