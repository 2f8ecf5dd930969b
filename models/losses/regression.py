"""Losses of measured numbers: errors, relative errors, a band around the measurement, and a schedule of the three."""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs.errors import ConfigError
from configs.options import at_least, nearest, require

REGRESSION_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda prediction, target: (prediction - target).square(),
    "mae": lambda prediction, target: (prediction - target).abs(),
    "huber": lambda prediction, target: F.huber_loss(prediction, target, reduction="none"),
}
"""Loss of each value by name (`--regression_loss`), on the scale that the model learns."""

LOSS_CONFIGS: dict[str, Mapping[str, float]] = {
    "mae": {"mae": 1.0},
    "combined": {"mae": 0.80, "smape": 0.15, "band": 0.05},
    "smape": {"mae": 0.5, "smape": 0.5},
    "mse": {"mse": 1.0},
}
"""Weights of the terms of each `--loss_config`, the same in every epoch."""
PHASES: tuple[Mapping[str, float], ...] = ({"mae": 1.0}, {"smape": 1.0}, {"band": 1.0})
"""Weights of the terms in the phases that `--phase_boundaries` separate."""
BAND_MODES = ("relative", "absolute")
LEAST = 1e-8  # keeps the denominators of relative errors away from 0


def mean_of_known(losses: Tensor, weights: Tensor) -> Tensor:
    """Mean of losses by their weights; zero, with a gradient of zero, where all weights are.

    Args:
        losses, weights: of equal shape.
    """
    return (losses * weights).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def smape_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """|y - p| / (|y| + |p| + 1e-8) of each value: a relative error from 0 to 1."""
    return (prediction - target).abs() / (target.abs() + prediction.abs() + LEAST)


def band_loss(
    prediction: Tensor, target: Tensor, tau: float = 0.25, beta: float = 0.05, mode: str = "relative"
) -> Tensor:
    """1 - sigmoid((tau - error) / beta) of each value: about 0 inside a band around the target, about 1 far from it.

    Far from the band there is hardly a gradient: train with another loss first, or with a mixture.

    Args:
        tau: half the width of the band. beta: how soft its edge is.
        mode: `relative`: the error is |y - p| / max(|y|, 1e-8); `absolute`: |y - p|, which suits logarithmic values.
    """
    error = (prediction - target).abs()
    if mode == "relative":
        error = error / target.abs().clamp(min=LEAST)
    return torch.sigmoid((error - tau) / beta)


def phase_of_epoch(epoch: int, boundaries: Sequence[int]) -> int:
    """1 before the first boundary, 2 before the second, then 3."""
    return 1 + sum(epoch >= boundary for boundary in boundaries)


class PhasedRegressionLoss(nn.Module):
    """A fixed mixture of errors, or a curriculum of three: absolute, then relative, then inside a band.

    Args:
        loss_config: name in `LOSS_CONFIGS`, a mixture that holds from the first epoch on.
        phase_boundaries: (b0, b1) replaces the mixture by MAE before epoch b0, SMAPE before b1, the band from b1 on.
        band_tau, band_beta, band_mode: of `band_loss`.

    Raises:
        ConfigError (a ValueError): an unknown name, or numbers that make no sense.
    """

    def __init__(
        self,
        loss_config: str = "mae",
        phase_boundaries: Sequence[int] | None = None,
        band_tau: float = 0.25,
        band_beta: float = 0.05,
        band_mode: str = "relative",
    ) -> None:
        super().__init__()
        if loss_config not in LOSS_CONFIGS:
            raise ConfigError(
                f"unknown loss {loss_config!r}", "--loss_config", hint=nearest(str(loss_config), LOSS_CONFIGS)
            )
        check_boundaries(phase_boundaries or ())
        require(band_mode in BAND_MODES, "band_mode", band_mode, f"one of {', '.join(BAND_MODES)}")
        self.loss_config, self.phase_boundaries = loss_config, tuple(phase_boundaries or ())
        self.band_tau, self.band_beta, self.band_mode = band_tau, band_beta, band_mode
        at_least(self, 0, "band_tau")
        require(band_beta > 0, "band_beta", band_beta, "above 0")

    def terms_of(self, epoch: int) -> Mapping[str, float]:
        """Weight of each term in an epoch (the first is 0)."""
        if self.phase_boundaries:
            return PHASES[phase_of_epoch(epoch, self.phase_boundaries) - 1]
        return LOSS_CONFIGS[self.loss_config]

    def each(self, prediction: Tensor, target: Tensor, epoch: int = 0, **units: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of each value; zero, with a gradient of zero, where anything it needs is not finite.

        Args:
            prediction, target: on the scale that the model learns; MAE and MSE are of these. NaN is missing.
            units: `raw`, prediction and target in the unit of the data, for the relative errors (default: the same),
                and `band`, both for an absolute band (default: `raw`).
        """
        known = all_finite(prediction, target, units)
        learnt = _only(prediction, known), _only(target, known)
        raw = tuple(_only(value, known) for value in units["raw"]) if "raw" in units else learnt
        own = tuple(_only(value, known) for value in units["band"]) if "band" in units else raw
        banded = own if self.band_mode == "absolute" else raw
        measured: dict[str, Callable[[], Tensor]] = {
            "mae": lambda: REGRESSION_LOSSES["mae"](learnt[0], learnt[1]),
            "mse": lambda: REGRESSION_LOSSES["mse"](learnt[0], learnt[1]),
            "smape": lambda: smape_loss(raw[0], raw[1]),
            "band": lambda: band_loss(banded[0], banded[1], self.band_tau, self.band_beta, self.band_mode),
        }
        total = sum(weight * measured[name]() for name, weight in self.terms_of(epoch).items())
        return _only(torch.as_tensor(total), known)

    def forward(self, prediction: Tensor, target: Tensor, epoch: int = 0, **units: tuple[Tensor, Tensor]) -> Tensor:
        """Mean of `each` over the values that are known; zero, with a gradient of zero, for none."""
        losses = self.each(prediction, target, epoch, **units)
        return mean_of_known(losses, all_finite(prediction, target, units).to(losses.dtype))


def all_finite(prediction: Tensor, target: Tensor, units: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
    """Where a prediction and its target are finite in every unit."""
    known = torch.isfinite(prediction) & torch.isfinite(target)
    for pair in units.values():
        known = known & torch.isfinite(pair[0]) & torch.isfinite(pair[1])
    return known


def check_boundaries(boundaries: Sequence[int]) -> None:
    """Refuse boundaries that do not separate three phases; ConfigError."""
    ok = not boundaries or (len(boundaries) == len(PHASES) - 1 and 0 <= boundaries[0] <= boundaries[1])
    require(ok, "phase_boundaries", list(boundaries), "two ascending epochs, for three phases")


def _only(values: Tensor, known: Tensor) -> Tensor:
    """Values with zeros, that take no gradient, where they are not known."""
    return torch.where(known, values, torch.zeros_like(values))
