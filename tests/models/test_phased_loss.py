"""Losses of regression: numbers worked out by hand, presets, phases, and what missing values do."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.losses import LOSS_CONFIGS, PhasedRegressionLoss, band_loss, phase_of_epoch, smape_loss

TARGET, PREDICTION = torch.tensor([6.0, 8, -1]).double(), torch.tensor([7.0, 8, -3]).double()
NAN = float("nan")


def value(loss_config: str = "mae", epoch: int = 0, **options) -> float:
    return PhasedRegressionLoss(loss_config, **options)(PREDICTION, TARGET, epoch).item()


def test_golden() -> None:
    assert value("mae") == pytest.approx(1.0, abs=5e-7)
    assert smape_loss(PREDICTION, TARGET).mean().item() == pytest.approx(0.192308, abs=5e-7)
    assert value("combined") == pytest.approx(0.848272, abs=5e-7)
    assert value("smape") == pytest.approx(0.5 * 1.0 + 0.5 * 0.192308, abs=5e-7)
    assert value("mse") == pytest.approx((1 + 0 + 4) / 3)


def test_band_values() -> None:
    target = torch.full((4,), 2.0).double()
    errors = torch.tensor([0, 0.1, 0.25, 0.5]).double()
    wanted = pytest.approx([0.006693, 0.047426, 0.5, 0.993307], abs=5e-7)
    assert band_loss(target * (1 + errors), target).tolist() == wanted
    assert band_loss(target + errors, target, mode="absolute").tolist() == wanted
    assert band_loss(errors, torch.zeros(4).double(), mode="relative").tolist() == pytest.approx(
        [0.006693, 1, 1, 1], abs=1e-6
    )


def test_presets_are_the_same_in_every_epoch() -> None:
    for name, terms in LOSS_CONFIGS.items():
        assert sum(terms.values()) == pytest.approx(1)
        assert value(name, 0) == value(name, 10_000)
    assert {name: dict(terms) for name, terms in LOSS_CONFIGS.items()} == {
        "mae": {"mae": 1},
        "combined": {"mae": 0.8, "smape": 0.15, "band": 0.05},
        "smape": {"mae": 0.5, "smape": 0.5},
        "mse": {"mse": 1},
    }


def test_phase_of_epoch() -> None:
    assert [phase_of_epoch(epoch, (50, 150)) for epoch in (0, 49, 50, 149, 150, 999)] == [1, 1, 2, 2, 3, 3]


def test_phases_replace_the_preset() -> None:
    phases = {"phase_boundaries": (50, 150)}
    band = band_loss(PREDICTION, TARGET).mean().item()
    for name in LOSS_CONFIGS:
        found = [value(name, epoch, **phases) for epoch in (49, 50, 149, 150)]
        assert found == pytest.approx([1.0, 0.192308, 0.192308, band], abs=5e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_config": "rmse"}, "--loss_config: unknown loss 'rmse'"),
        ({"phase_boundaries": (5,)}, "--phase_boundaries: must be two ascending epochs"),
        ({"phase_boundaries": (5, 3)}, "--phase_boundaries: must be two ascending epochs"),
        ({"phase_boundaries": (-1, 3)}, "--phase_boundaries: must be two ascending epochs"),
        ({"band_beta": 0.0}, "--band_beta: must be above 0"),
        ({"band_tau": -0.1}, "--band_tau: must be a finite number of at least 0"),
        ({"band_mode": "wide"}, "--band_mode: must be one of relative, absolute"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PhasedRegressionLoss(**options)


@pytest.mark.parametrize("name", LOSS_CONFIGS)
def test_missing_values_take_no_part(name: str) -> None:
    loss = PhasedRegressionLoss(name)
    target = torch.cat([TARGET, torch.tensor([NAN, math.inf]).double()])
    prediction = torch.cat([PREDICTION, torch.tensor([1e6, 5]).double()]).requires_grad_()
    found = loss(prediction, target)
    assert found.item() == pytest.approx(value(name))
    found.backward()
    assert prediction.grad is not None and prediction.grad[3:].tolist() == [0, 0]
    none = torch.ones(2).requires_grad_()
    nothing = loss(none, torch.full((2,), NAN))
    nothing.backward()
    assert nothing.item() == 0 and none.grad is not None and none.grad.tolist() == [0, 0]


def test_relative_errors_are_of_the_values_in_their_own_unit() -> None:
    """MAE of what the model learns, SMAPE of nanomolar; an infinite one is left out."""
    loss = PhasedRegressionLoss("smape")
    learnt = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0])
    raw = torch.tensor([10.0, math.inf]), torch.tensor([30.0, 5.0])
    assert loss(*learnt, raw=raw).item() == pytest.approx(0.5 * 1 + 0.5 * 20 / 40)
    banded = PhasedRegressionLoss("mae", phase_boundaries=(0, 0), band_mode="absolute")
    log_units = torch.tensor([6.0, 6.0]), torch.tensor([6.25, 6.25])
    assert banded(*learnt, raw=raw, band=log_units).item() == pytest.approx(0.5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)), min_size=1, max_size=8))
def test_relative_and_band_losses_stay_between_0_and_1(pairs: list[tuple[float, float]]) -> None:
    prediction, target = torch.tensor(pairs).double().T
    for losses in (
        smape_loss(prediction, target),
        band_loss(prediction, target),
        band_loss(prediction, target, mode="absolute"),
    ):
        assert ((losses >= 0) & (losses <= 1)).all()
    assert torch.equal(smape_loss(prediction, target), smape_loss(target, prediction))
