"""What trains: frozen parts, parts that start to train later, learning rates of head and encoder, adapters."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from torch import nn

from configs.errors import ConfigError
from configs.finetune_options import FinetuneOptions
from configs.schema import RunConfig
from models.adapters import AdapterConfig, add_adapters, merged, target_weights
from models.parts import is_adapter, matching, role, trainable_by_name
from models.persistence import LoadReport
from trainers.callbacks import Callback
from trainers.distributed import say
from trainers.finetune_report import FinetuneReport, make_report

if TYPE_CHECKING:
    from trainers.abs_trainer import Trainer
    from trainers.train_config import TrainConfig


def prepare_finetune(model: nn.Module, run: RunConfig, load_report: LoadReport | None = None) -> FinetuneReport:
    """Add adapters and freeze what the options say, before an optimiser is made; tell what trains.

    Args:
        model: with the weights that it starts from.
        run: options; `finetune` says what trains.
        load_report: what became of the weights it started from.

    Raises:
        ConfigError: a pattern that names no parameter, an option without effect, or nothing is left to train.
    """
    options = run.finetune
    if options.lora_rank:
        alpha = options.lora_rank if options.lora_alpha is None else options.lora_alpha
        weights = target_weights(model, options.lora_targets)
        add_adapters(model, AdapterConfig(options.lora_rank, alpha, options.lora_dropout, weights))
    freeze(model, options)
    check_stages(model, run)
    rates = learning_rates(options, run.train.lr)
    of_groups = {group["name"] for group in parameter_groups(model, options, run.train.lr)}
    if not any(p.requires_grad for p in model.parameters()):
        raise ConfigError("leaves nothing to train in the first epoch", "--freeze")
    for part in ("head", "encoder"):
        if getattr(options, f"{part}_lr") is not None and part not in of_groups:
            raise ConfigError(f"has no effect: nothing of the {part} trains", f"--{part}_lr")
    return make_report(model, options, rates, load_report)


def freeze(model: nn.Module, options: FinetuneOptions) -> None:
    """Take the gradient from all that the options freeze; adapters stay trainable unless a pattern names them."""
    parameters = trainable_by_name(model)
    frozen = set(matching(parameters, options.freeze, "--freeze"))
    if options.partial_finetune or options.lora_rank:
        frozen |= {name for name in parameters if role(name) == "encoder" and not is_adapter(name)}
    for name in frozen:
        parameters[name].requires_grad_(False)


def check_stages(model: nn.Module, run: RunConfig) -> None:
    """Raise a ConfigError for a stage that names nothing frozen, or begins after the run."""
    parameters = trainable_by_name(model)
    for pattern, epoch in run.finetune.stages:
        place = f"--unfreeze_at_epoch {pattern}:{epoch}"
        if all(parameters[name].requires_grad for name in matching(parameters, (pattern,), place)):
            hint = "freeze them with --freeze, --partial_finetune or --lora_rank"
            raise ConfigError("none of these parameters is frozen", place, hint=hint)
        if epoch >= run.train.max_epoch and not (run.start.resume or run.start.pretrain_state):
            raise ConfigError(f"the last epoch of the run is {run.train.max_epoch - 1}", place)


def finetune_options(config: "TrainConfig") -> FinetuneOptions:
    """The options of fine-tuning that a trainer's configuration holds."""
    given: dict[str, Any] = {f.name: config.get(f.name, f.default) for f in fields(FinetuneOptions)}
    given |= {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    return FinetuneOptions(**given)


def learning_rates(options: FinetuneOptions, lr: float) -> dict[str, float]:
    """Rate of "head" and "encoder"."""
    return {
        "head": lr if options.head_lr is None else options.head_lr,
        "encoder": lr if options.encoder_lr is None else options.encoder_lr,
    }


def parameter_groups(model: nn.Module, options: FinetuneOptions, lr: float) -> list[dict[str, Any]]:
    """Groups of an optimiser: parameters that train, now or from a later epoch on.

    One group "all" at `lr`, or "encoder" and "head" when a rate is given for one of them. A parameter without gradient
    is passed over by the optimiser: it is neither moved nor decayed, and its moments start with its first gradient.
    """
    staged = names_until(model, options, None)
    training = {n: p for n, p in trainable_by_name(model).items() if p.requires_grad or n in staged}
    if options.head_lr is None and options.encoder_lr is None:
        return [{"params": list(training.values()), "lr": lr, "name": "all"}]
    rates = learning_rates(options, lr)
    groups = {part: [p for n, p in training.items() if role(n) == part] for part in ("encoder", "head")}
    return [{"params": found, "lr": rates[part], "name": part} for part, found in groups.items() if found]


def names_until(model: nn.Module, options: FinetuneOptions, epoch: int | None) -> set[str]:
    """Names of the parameters that stages have unfrozen in an epoch; None: at the end of all stages."""
    due = [pattern for pattern, start in options.stages if epoch is None or start <= epoch]
    return set(matching(trainable_by_name(model), due, "--unfreeze_at_epoch"))


def train_mode(model: nn.Module) -> None:
    """Training mode, with everything that is frozen as a whole in evaluation mode: it drops nothing out."""
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()


def to_store(model: nn.Module, config: "TrainConfig") -> nn.Module:
    """What a checkpoint gets: the model, its adapters folded in unless they are to be kept apart."""
    return merged(model) if finetune_options(config).lora_merge else model


class UnfreezeSchedule(Callback):
    """Makes parameters train from the start of their epoch on; a resumed run is brought to the state of its epoch."""

    def __init__(self, options: FinetuneOptions) -> None:
        self.options = options

    def on_epoch_start(self, trainer: "Trainer") -> None:
        parameters = trainable_by_name(trainer.model)
        due = names_until(trainer.model, self.options, trainer.epoch)
        waiting = [name for name in parameters if name in due and not parameters[name].requires_grad]
        if not waiting:
            return
        for name in waiting:
            parameters[name].requires_grad_(True)
        if trainer.average is not None:
            trainer.average.take_in()
        count = sum(parameters[name].numel() for name in waiting)
        say(f"epoch {trainer.epoch}: {count:,} more parameters train ({len(waiting)} tensors)")
