"""What a running trainer stores, and how it takes it back, so that a resumed run equals an uninterrupted one."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from configs.errors import CheckpointError
from trainers.batches import go_on, items_before
from trainers.distributed import from_main, gather_objects, is_main, rank, say, world_size
from trainers.metrics import Meter, merge
from trainers.rng import random_state, restore_random_state
from trainers.schedules import Schedule
from trainers.training_state import TrainingState, load_optimizer, load_weights, optimizer_state

if TYPE_CHECKING:
    from trainers.abs_trainer import Trainer

# What random and running states every rank keeps for itself.
RankState = dict[str, Any]


def collect(trainer: "Trainer") -> TrainingState:
    """The state of a run at the trainer's position. A collective call; complete on the main rank only."""
    ranks = gather_objects(
        {
            "random": random_state(),
            "epoch_meter": trainer.epoch_meter.sums(),
            "window_meter": trainer.window_meter.sums(),
        }
    )
    tensors = {f"model.{name}": tensor for name, tensor in trainer.model.state_dict().items()}
    own, optimizer = optimizer_state(trainer.optimizer)
    tensors |= {f"optimizer.{name}": tensor for name, tensor in own.items()}
    if trainer.average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in trainer.average.average.items()}
    curve = getattr(trainer.scheduler, "curve", None)
    values = {
        "epoch": trainer.epoch,
        "batch": trainer.batch,
        "items_used": items_before(trainer.train_loader, trainer.epoch, trainer.batch) if trainer.batch else 0,
        "global_step": trainer.global_step,
        "skipped_steps": trainer.skipped_steps,
        "split_steps": trainer.split_steps,
        "bad_in_a_row": trainer.bad_in_a_row,
        "last_gradient_norm": trainer.last_gradient_norm,
        "patience": trainer.patience,
        "best_valid_metric": trainer.best_valid_metric,
        "best_epoch": trainer.best_epoch,
        "first_epoch": trainer.first_epoch,
        "last_lr": trainer.last_lr,
        "average_steps": trainer.average.steps if trainer.average is not None else None,
        "optimizer": optimizer,
        "scheduler": trainer.scheduler.state_dict() if trainer.scheduler is not None else None,
        "total_steps": curve.total_steps if isinstance(curve, Schedule) else None,
        "checkpoints": trainer.checkpoints.state(),
        "checkpoint_missed": trainer.checkpoints.missed,
        "history": trainer.history,
        "ranks": ranks,
    }
    return TrainingState(values, tensors)


def log_positions(trainer: "Trainer") -> dict[str, Any]:
    """Length and checksum of the logs, to be stored with a state; OSError if they can't be brought to the disk."""
    sizes = {name: log.size() for name, log in trainer.logs.items()}
    return {"log_sizes": sizes, "log_digests": {name: log.digest() for name, log in trainer.logs.items()}}


def apply(trainer: "Trainer", state: TrainingState) -> None:
    """Bring a new trainer to a stored state.

    Raises:
        CheckpointError: the state belongs to another model, or another kind of schedule or averaging.
    """
    values = state.values
    load_weights(trainer.model, state.group("model"), state.path)
    load_optimizer(trainer.optimizer, state.group("optimizer"), values["optimizer"])
    if trainer.average is not None:
        if values["average_steps"] is None:
            raise CheckpointError("holds no moving average", state.path or "state", hint="leave out --ema_decay")
        trainer.average.load(state.group("average"), values["average_steps"])
    for name in ("epoch", "batch", "global_step", "skipped_steps", "last_lr", "last_gradient_norm", "patience"):
        setattr(trainer, name, values[name])
    trainer.split_steps, trainer.bad_in_a_row = values.get("split_steps", 0), values.get("bad_in_a_row", 0)
    trainer.best_valid_metric, trainer.best_epoch = values["best_valid_metric"], values["best_epoch"]
    trainer.history = list(values["history"])
    go_on(trainer.train_loader, trainer.epoch, trainer.batch, values.get("items_used"))
    _apply_schedule(trainer, state)
    _apply_rank(trainer, values["ranks"])
    trainer.first_epoch = trainer.epoch if state.further else values["first_epoch"]
    trainer.max_epoch = trainer.first_epoch + trainer.config.max_epoch
    if state.further:
        trainer.patience = trainer.config.patience
    else:
        listed = values["checkpoints"]
        trainer.checkpoints.missed = values.get("checkpoint_missed", False)
        trainer.checkpoints.load(from_main(trainer.checkpoints.sound(listed) if is_main() else []))
    if is_main():
        _take_logs_back(trainer, state)
    say(f"continuing {state.path} at epoch {trainer.epoch}, batch {trainer.batch}, up to epoch {trainer.max_epoch}")


def _apply_schedule(trainer: "Trainer", state: TrainingState) -> None:
    """The optimiser's stored rates count; a curve that has reached its end stays there in further epochs."""
    stored = state.values["scheduler"]
    if (stored is None) != (trainer.scheduler is None):
        raise CheckpointError("was made with another schedule", state.path or "state", hint="keep --lr_schedule")
    if trainer.scheduler is None:
        return
    curve = getattr(trainer.scheduler, "curve", None)
    if state.further and isinstance(curve, Schedule) and state.values["total_steps"]:
        trainer.scheduler.curve = replace(curve, total_steps=state.values["total_steps"])
    trainer.scheduler.load_state_dict(stored)


def _apply_rank(trainer: "Trainer", ranks: list[RankState]) -> None:
    """This rank's random streams and running sums; with another number of ranks the first takes all the sums."""
    if len(ranks) == world_size():
        mine = ranks[rank()]
        trainer.epoch_meter, trainer.window_meter = Meter(mine["epoch_meter"]), Meter(mine["window_meter"])
        restore_random_state(mine["random"])
        return
    say(f"the state was stored by {len(ranks)} ranks, this run has {world_size()}: dropout draws will differ")
    if is_main():
        trainer.epoch_meter = Meter(merge([one["epoch_meter"] for one in ranks]))
        trainer.window_meter = Meter(merge([one["window_meter"] for one in ranks]))
    if rank() < len(ranks):
        restore_random_state(ranks[rank()]["random"])


def _take_logs_back(trainer: "Trainer", state: TrainingState) -> None:
    """Cut logs to what had been written when the state was stored (the steps after it are made again)."""
    for name, log in trainer.logs.items():
        source = state.run_folder / log.path.name if state.further and state.run_folder else None
        digest = state.values.get("log_digests", {}).get(name)
        if not log.take_back(state.values["log_sizes"].get(name, 0), source, digest):
            say(f"WARNING: {source or log.path} is damaged: not all lines are as they were when the state was stored")
