"""What a run starts from: the checkpoint, the sizes that it dictates, and its weights."""

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any

from torch import nn

from configs.errors import CheckpointError
from configs.files import read_json
from configs.schema import EncoderOptions, RunConfig, StartOptions
from models.adapters import merge_adapters
from models.config import RUN_TIME
from models.multilabel_model import MultiLabelModel
from models.persistence import LoadReport, from_pretrained, load_published, load_weights_into
from trainers.training_state import TrainingState

FREE = ("dropout", *RUN_TIME)  # of the encoder's options, those that neither weights nor their meaning depend on
FIXED = ("atom_hidden_size", "block_hidden_size", "edge_size", "n_layers", "conv", "fragmentation_method")


def source_of(start: StartOptions) -> Any:
    """The model to start from, of ours or a published one; None for a start from scratch."""
    if start.pretrain_ckpt:
        return from_pretrained(start.pretrain_ckpt)
    if start.pretrain_config and start.pretrain_weights:
        return load_published(start.pretrain_config, start.pretrain_weights)
    return None


def encoder_options(source: Any, state: TrainingState | None = None) -> dict[str, Any]:
    """The encoder's options of a model to start from, or of a run to continue; empty without either."""
    found: Mapping[str, Any] = {}
    if state is not None and state.run_folder is not None:
        path = state.run_folder / "train_config.json"
        found = read_json(path, error=CheckpointError).get("options", {}) if path.exists() else {}
    elif source is not None:
        found = vars(getattr(source.config, "prot_model", source.config))
    return {f.name: found[f.name] for f in fields(EncoderOptions) if f.name in found and f.name not in FREE}


def adopt(run: RunConfig, wanted: Mapping[str, Any], given: Collection[str] = ()) -> tuple[RunConfig, list[str]]:
    """A run with the encoder's options of what it starts from, but for those given on the command line.

    Args:
        wanted: of `encoder_options`. given: options of the command line.

    Returns:
        The run, and one sentence for each option that changed.
    """
    mine = vars(run.encoder)
    changes = {name: value for name, value in wanted.items() if name not in given and value != mine[name]}
    notes = [f"--{name} is {value} as in the checkpoint, not {mine[name]}" for name, value in changes.items()]
    return replace(run, encoder=replace(run.encoder, **changes)), notes


def check_sizes(run: RunConfig, wanted: Mapping[str, Any], given: Collection[str], source: str) -> None:
    """Refuse options of the command line under which the weights of a checkpoint have no place.

    Before `adopt`: options that are half given and half taken over may not go together, and that would tell nothing of
    the checkpoint.

    Raises:
        CheckpointError: naming the options that differ.
    """
    mine = vars(run.encoder)
    differ = [name for name in FIXED if name in given and name in wanted and wanted[name] != mine[name]]
    if differ:
        told = "; ".join(f"--{name} is {mine[name]}, the checkpoint has {wanted[name]}" for name in differ)
        raise CheckpointError(told, source, hint="leave these options out to take over those of the checkpoint")


def start_from(model: nn.Module, source: nn.Module, start: StartOptions) -> LoadReport:
    """Put the weights of a model into a new one, as far as they have the same names."""
    weights = merge_adapters(source).state_dict()
    if isinstance(model, MultiLabelModel):
        weights = model.head_from(source, weights)
    path = start.pretrain_ckpt or start.pretrain_weights or "weights"
    report = load_weights_into(model, weights, path)
    if not report.loaded:
        what = f"has no weights that a {type(model).__name__} could start from"
        raise CheckpointError(what, path, hint=f"it holds a {type(source).__name__}")
    return report
