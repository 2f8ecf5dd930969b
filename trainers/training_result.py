"""What a training came to: the best epoch, the last one, the scores of the best weights, and how it went."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainers.evaluation import evaluate, predict
from trainers.mixed_trainer import MixedTrainer
from trainers.report import load_best

if TYPE_CHECKING:
    from trainers.abs_trainer import Trainer


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training.

    Attributes:
        best_epoch: of the weights that are kept, counted from 0. stopped_epoch: the last one that was trained.
        final_metrics: target -> metric -> value, measured with the best weights on the validation set (empty without).
        history: one dict an epoch: epoch, step, lr, improved, train {loss}, valid {loss and metrics}.
    """

    best_epoch: int
    stopped_epoch: int
    final_metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


def training_result(trainer: "Trainer") -> TrainingResult:
    """The result of a trainer that has trained; its model is that of the best weights afterwards. A collective call."""
    best = trainer.checkpoints.kept[0]
    load_best(trainer, trainer.checkpoints.folder / best.name)
    metrics = {} if trainer.valid_loader is None else metrics_by_target(trainer)
    return TrainingResult(best.epoch, trainer.epoch - 1, metrics, list(trainer.history))


def metrics_by_target(trainer: "Trainer") -> dict[str, dict[str, float]]:
    """Target -> metric -> value on the validation set."""
    if isinstance(trainer, MixedTrainer):
        return trainer.metrics_by_target(predict(trainer, trainer.valid_loader)[1])
    scores = evaluate(trainer, trainer.valid_loader)
    names = target_names(trainer)
    if len(names) == 1:
        return {names[0]: {metric: value for metric, value in scores.items() if metric != "loss"}}
    split = [(metric.rpartition("/"), value) for metric, value in scores.items() if "/" in metric]
    return {name: {metric: value for (metric, _, own), value in split if own == name} for name in names}


def target_names(trainer: "Trainer") -> tuple[str, ...]:
    """Names of what a trainer learns to predict."""
    labels = getattr(trainer, "labels", None)
    return ("label",) if labels is None else tuple(labels.names)
