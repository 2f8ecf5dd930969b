"""Trainers, and the table that says which one trains which model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from data.composition_schema import BINARY, REGRESSION
from models import (
    AffinityPredictor,
    ClassifierModel,
    CompositionModel,
    DenoisePretrainModel,
    DenoisePretrainModelWithBlockEmbedding,
    MaskedNodeModel,
    MultiClassClassifierModel,
    MultiLabelModel,
    ProteinInterfaceModel,
    RegressionPredictor,
)
from trainers.abs_trainer import TrainConfig, Trainer
from trainers.affinity_trainer import AffinityTrainer
from trainers.classifier_trainer import ClassifierTrainer, MultiClassClassifierTrainer
from trainers.composition_trainer import CompositionTrainer
from trainers.masking_trainer import MaskingTrainer
from trainers.mixed_trainer import MixedTrainer
from trainers.multilabel_trainer import MultiLabelTrainer
from trainers.pretrain_trainer import (
    PretrainMaskingNoisingTrainer,
    PretrainMaskingNoisingTrainerWithBlockEmbedding,
    PretrainTrainer,
)
from trainers.prot_interface_trainer import ProtInterfaceTrainer
from trainers.training_result import TrainingResult, training_result
from trainers.training_state import TrainingState

__all__ = [
    "TRAINERS",
    "AffinityTrainer",
    "ClassifierTrainer",
    "CompositionTrainer",
    "MaskingTrainer",
    "MixedTrainer",
    "MultiClassClassifierTrainer",
    "MultiLabelTrainer",
    "PretrainMaskingNoisingTrainer",
    "PretrainMaskingNoisingTrainerWithBlockEmbedding",
    "PretrainTrainer",
    "ProtInterfaceTrainer",
    "TrainConfig",
    "Trainer",
    "TrainingResult",
    "create_trainer",
    "register_trainer",
    "training_result",
]

# Makes a trainer from (model, train_loader, valid_loader, config, resume_state).
TrainerFactory = Callable[..., Trainer]


def pretrain_trainer(model: nn.Module, *arguments: Any) -> Trainer:
    """With masked blocks among the objectives of the model, the trainer that scores them."""
    masking = bool(getattr(model.config, "num_masked_block_classes", None))
    return (PretrainMaskingNoisingTrainer if masking else PretrainTrainer)(model, *arguments)


def composition_trainer(model: nn.Module, *arguments: Any) -> Trainer:
    """The trainer of a task with labels that the targets of the model make."""
    kinds = set(model.config.kinds)  # type: ignore[union-attr, arg-type]
    if kinds == {REGRESSION}:
        return AffinityTrainer(model, *arguments)
    if len(model.config.kinds) > 1:  # type: ignore[union-attr, arg-type]
        return MixedTrainer(model, *arguments)
    return (ClassifierTrainer if kinds == {BINARY} else MultiClassClassifierTrainer)(model, *arguments)


TRAINERS: dict[type[nn.Module], TrainerFactory] = {
    DenoisePretrainModel: pretrain_trainer,
    DenoisePretrainModelWithBlockEmbedding: PretrainMaskingNoisingTrainerWithBlockEmbedding,
    AffinityPredictor: AffinityTrainer,
    RegressionPredictor: AffinityTrainer,
    ClassifierModel: ClassifierTrainer,
    CompositionModel: composition_trainer,
    MultiClassClassifierModel: MultiClassClassifierTrainer,
    MultiLabelModel: MultiLabelTrainer,
    MaskedNodeModel: MaskingTrainer,
    ProteinInterfaceModel: ProtInterfaceTrainer,
}


def register_trainer(model_type: type[nn.Module], factory: TrainerFactory) -> None:
    """Say which trainer trains a model of exactly this type (a new one, or in the place of the present one)."""
    TRAINERS[model_type] = factory


def create_trainer(
    model: nn.Module,
    train_loader: Any,
    valid_loader: Any | None,
    config: TrainConfig,
    resume_state: TrainingState | str | Path | None = None,
) -> Trainer:
    """The trainer for a model, chosen by its exact type.

    Raises:
        NotImplementedError: no trainer is registered for the type.
    """
    if type(model) not in TRAINERS:
        known = ", ".join(sorted(kind.__name__ for kind in TRAINERS))
        raise NotImplementedError(f"there is no trainer for {type(model).__name__}; known models: {known}")
    return TRAINERS[type(model)](model, train_loader, valid_loader, config, resume_state)
