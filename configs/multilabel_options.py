"""Options of the task `multilabel`: which labels are learnt, and what a wrong one costs."""

from dataclasses import dataclass
from typing import Literal

from configs.options import at_least, require

LabelLoss = Literal["bce", "asl", "focal"]


@dataclass(frozen=True)
class MultiLabelOptions:
    """Sets of labels: any number of them may hold for an item (docs/tasks.md)."""

    min_obs_per_ligand: int = 50
    """Labels that fewer training items have are not learnt (0: all that occur); --targets names labels instead."""
    label_loss: LabelLoss = "bce"
    """Loss of a label: cross entropy, asymmetric (asl: easy negatives count less), or focal (easy ones do)."""
    asl_gamma_pos: float = 0.0
    """How much less easy positives count, of asl."""
    asl_gamma_neg: float = 2.0
    """How much less easy negatives count, of asl."""
    asl_clip: float = 0.05
    """Negatives of a lower probability cost nothing, of asl (0: off)."""
    focal_alpha: float = 0.5
    """Weight of positives, of focal; negatives have the rest of 1."""
    focal_gamma: float = 2.0
    """How much less easy labels count, of focal (0: cross entropy weighted by focal_alpha)."""

    def __post_init__(self) -> None:
        at_least(self, 0, "min_obs_per_ligand", "asl_gamma_pos", "asl_gamma_neg", "focal_gamma")
        require(0 <= self.asl_clip < 1, "asl_clip", self.asl_clip, "at least 0 and below 1")
        require(0 <= self.focal_alpha <= 1, "focal_alpha", self.focal_alpha, "between 0 and 1")
