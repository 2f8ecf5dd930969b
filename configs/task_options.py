"""Options of tasks with labels: what the labels mean, the loss, and what is reported at the end."""

import math
from dataclasses import dataclass
from typing import Literal

from configs.errors import ConfigError
from configs.options import at_least, require

LabelTransform = Literal[
    "none", "log10", "log1p", "pK_from_dG", "dG_from_pK", "pK_from_nM", "dG_from_nM", "pK_from_M", "dG_from_M"
]
RegressionLoss = Literal["mse", "mae", "huber"]
LossConfig = Literal["mae", "combined", "smape", "mse"]
TARGET_TYPES = ("regression", "classification")
BandMode = Literal["relative", "absolute"]


@dataclass(frozen=True)
class LabelOptions:
    """Labels of items, and how far off a prediction counts."""

    targets: str | None = None
    """Which targets of the data to train on, names joined by commas (default: all of them)."""
    target_types: str | None = None
    """NAME:regression or NAME:classification, joined by commas, for targets of both types (--model composition)."""
    label_transform: LabelTransform = "none"
    """What is predicted from the labels: pK_from_dG takes kcal/mol to pK, dG_from_nM a Kd in nM to kcal/mol."""
    temperature: float = 298.15
    """Of the conversion between pK and binding free energy, kelvin."""
    label_unit: str | None = None
    """Unit of the labels as they are in the data, for reports (default: known for most transforms)."""
    standardise: bool = True
    """Let a regression model learn (label - mean) / deviation of the training set; predictions are turned back."""
    missing_labels: Literal["error", "ignore"] = "error"
    """Items without any label: refuse to start, or leave them out of the loss."""
    regression_loss: RegressionLoss = "mse"
    """Loss of PDBBind and regression: squared, absolute, or Huber's (squared up to one, then absolute)."""
    loss_config: LossConfig | None = None
    """Mixture in the place of regression_loss: mae, combined (0.80 MAE + 0.15 SMAPE + 0.05 band) or smape (halves)."""
    phase_boundaries: tuple[int, ...] = ()
    """Two epochs that end the phase of MAE and that of SMAPE; then comes the band. In the place of a mixture."""
    band_tau: float = 0.25
    """Half the width of the band: of a relative error, or in the unit of the scores."""
    band_beta: float = 0.05
    """How soft the edge of the band is."""
    band_mode: BandMode = "relative"
    """Errors of the band: relative to the label in the unit of the data, or absolute in the unit of the scores."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: a class counts inversely to its number of training items."""

    def __post_init__(self) -> None:
        ok = math.isfinite(self.temperature) and 0 < self.temperature < 1000
        require(ok, "temperature", self.temperature, "kelvin, above 0 and below 1000")
        bounds = self.phase_boundaries
        ascending = len(bounds) == 2 and 0 <= bounds[0] <= bounds[1]
        require(not bounds or ascending, "phase_boundaries", list(bounds), "two ascending epochs, for three phases")
        at_least(self, 0, "band_tau")
        require(self.band_beta > 0, "band_beta", self.band_beta, "above 0")
        if self.phased:
            hint = "leave one of the two out (--loss_config None)"
            alone = self.regression_loss == "mse"
            require(alone, "regression_loss", self.regression_loss, f"left out with --loss_config; {hint}")

        _ = self.types

    @property
    def types(self) -> dict[str, str]:
        """Type of each target that `target_types` names."""
        found: dict[str, str] = {}
        for word in (self.target_types or "").split(","):
            name, _, kind = (part.strip() for part in word.rpartition(":"))
            if not word.strip():
                continue
            if not name or kind not in TARGET_TYPES:
                what = f"must be NAME:TYPE, got {word.strip()!r}"
                raise ConfigError(what, "--target_types", hint=f"types: {', '.join(TARGET_TYPES)}")
            found[name] = kind
        return found

    @property
    def phased(self) -> bool:
        """Whether a mixture or phases are in the place of `regression_loss`."""
        return self.loss_config is not None or bool(self.phase_boundaries)


@dataclass(frozen=True)
class ReportOptions:
    """What is measured with the best checkpoint when training has ended."""

    test_set: str | None = None
    """Folder of shards that the best checkpoint is tested on at the end."""
    bootstrap: int = 1000
    """Resamples behind the intervals of the final report (0: no intervals)."""
    final_report: bool = True
    """Measure the best checkpoint of a task with labels on --valid_set and --test_set, with intervals."""

    def __post_init__(self) -> None:
        at_least(self, 0, "bootstrap")
