"""The loss of regression tasks by their options: one error, a mixture, or phases."""

from collections.abc import Callable

from torch import Tensor

from configs.errors import ConfigError
from configs.task_options import LabelOptions
from data.labels import LabelScale
from models.losses import REGRESSION_LOSSES, PhasedRegressionLoss

ScaledLoss = Callable[[Tensor, Tensor, LabelScale, int], Tensor]


def regression_loss(options: LabelOptions) -> ScaledLoss:
    """(outputs, targets, scale, epoch) -> loss of each value, outputs and targets being on the scale that is learnt.

    Relative errors are of values in the unit of the data, an absolute band is in the unit of the scores.
    """
    if not options.phased:
        plain = REGRESSION_LOSSES[options.regression_loss]
        return lambda outputs, targets, scale, epoch: plain(outputs, targets)
    phased = PhasedRegressionLoss(
        options.loss_config or "mae",
        options.phase_boundaries,
        options.band_tau,
        options.band_beta,
        options.band_mode,
    )

    def loss(outputs: Tensor, targets: Tensor, scale: LabelScale, epoch: int) -> Tensor:
        raw = scale.inverse(outputs), scale.inverse(targets)
        return phased.each(outputs, targets, epoch, raw=raw, band=(scale.values(outputs), scale.values(targets)))

    return loss


def check_monitor(options: LabelOptions, monitor: str) -> None:
    """Refuse to judge by a loss whose meaning changes between phases; ConfigError."""
    if options.phase_boundaries and monitor == "loss":
        hint = "its values of different phases don't compare; --monitor mae does"
        raise ConfigError("'loss' can't choose the best epoch with --phase_boundaries", "--monitor", hint=hint)
