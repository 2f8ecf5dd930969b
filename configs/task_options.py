"""Options of tasks with labels: what the labels mean, the loss, and what is reported at the end."""

import math
from dataclasses import dataclass
from typing import Literal

from configs.options import at_least, require

LabelTransform = Literal[
    "none", "log10", "pK_from_dG", "dG_from_pK", "pK_from_nM", "dG_from_nM", "pK_from_M", "dG_from_M"
]
RegressionLoss = Literal["mse", "mae", "huber"]


@dataclass(frozen=True)
class LabelOptions:
    """Labels of items, and how far off a prediction counts."""

    targets: str | None = None
    """Which targets of the data to train on, names joined by commas (default: all of them)."""
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
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: a class counts inversely to its number of training items."""

    def __post_init__(self) -> None:
        ok = math.isfinite(self.temperature) and 0 < self.temperature < 1000
        require(ok, "temperature", self.temperature, "kelvin, above 0 and below 1000")


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
