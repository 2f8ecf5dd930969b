"""Losses, by what they are for."""

from models.losses.contrastive import contrastive_loss
from models.losses.multilabel import asymmetric_loss, bce_loss, best_logits, focal_loss, label_loss
from models.losses.pretraining import atom_loss, masked_base, masked_loss, squared_error, torsion_loss
from models.losses.regression import (
    LOSS_CONFIGS,
    REGRESSION_LOSSES,
    PhasedRegressionLoss,
    band_loss,
    mean_of_known,
    phase_of_epoch,
    smape_loss,
)

__all__ = [
    "LOSS_CONFIGS",
    "REGRESSION_LOSSES",
    "PhasedRegressionLoss",
    "asymmetric_loss",
    "atom_loss",
    "band_loss",
    "bce_loss",
    "best_logits",
    "contrastive_loss",
    "focal_loss",
    "label_loss",
    "masked_base",
    "masked_loss",
    "mean_of_known",
    "phase_of_epoch",
    "smape_loss",
    "squared_error",
    "torsion_loss",
]
