"""Everything a run needs to go on: weights, optimiser, schedule, random states, counters. Tensors and JSON, no pickle.

A state is a folder `training_state/epochE_batchB/` with `tensors.safetensors`, `state.json` and `manifest.json`:
the state before batch B of epoch E. The newest two are kept, so one damaged state doesn't end a run.
"""

import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from configs.errors import CheckpointError
from configs.files import read_json, write_json
from trainers.folders import as_os_error, complete_folder, remove_folder, verify_manifest, write_manifest

FORMAT = 1
KEPT = 2
TENSORS, VALUES = "tensors.safetensors", "state.json"
NAME = re.compile(r"epoch(\d+)_batch(\d+)")
RUN_NAME = re.compile(r"version_(\d+)")


@dataclass
class TrainingState:
    """A stored point of a run.

    Attributes:
        values: counters, histories and states that are plain numbers and text.
        tensors: by name; `model.`, `optimizer.` and `average.` come first in the names.
        path: the folder it was read from.
        further: train `max_epoch` epochs from here, in a new run folder, instead of up to `max_epoch` in the same one.
    """

    values: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    path: Path | None = None
    further: bool = False

    @property
    def run_folder(self) -> Path | None:
        return None if self.path is None else self.path.parent.parent

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose name starts with `prefix.`, without it."""
        start = prefix + "."
        return {name[len(start) :]: tensor for name, tensor in self.tensors.items() if name.startswith(start)}


def write_state(run_folder: Path, state: TrainingState) -> Path:
    """Store a state in a run folder and drop states older than the newest `KEPT`; OSError when it can't be stored."""
    folder = run_folder / "training_state"
    path = folder / f"epoch{state.values['epoch']}_batch{state.values['batch']}"
    with complete_folder(path) as temporary:
        tensors = {name: t.detach().cpu().contiguous().clone() for name, t in state.tensors.items()}
        try:
            save_file(tensors, temporary / TENSORS)
        except SafetensorError as error:  # a full disk, in the library's words
            raise as_os_error(error, path / TENSORS) from error
        write_json(temporary / VALUES, {"format": FORMAT} | state.values)
        write_manifest(temporary)
    position = _position(path)
    stored = _stored(run_folder)
    for other in stored:  # states ahead of this one belong to a run that was taken back to an older state
        if _position(other) > position:
            remove_folder(other)
    for other in [s for s in stored if _position(s) < position][KEPT - 1 :]:
        remove_folder(other)
    return path


def read_state(path: str | Path) -> TrainingState:
    """Read one state folder, or the newest complete one of a run folder.

    Raises:
        CheckpointError: nothing there, damaged, or written by a newer version.
    """
    path = Path(path)
    if (path / "training_state").is_dir():
        state = newest_state(path)
        if state is None:
            raise CheckpointError("holds no complete training state", path)
        return state
    if not (path / VALUES).is_file():
        raise CheckpointError("is neither a run folder nor a training state", path)
    verify_manifest(path)
    values = read_json(path / VALUES, error=CheckpointError)
    if values.get("format") != FORMAT:
        raise CheckpointError(f"has format {values.get('format')!r}, this version reads {FORMAT}", path / VALUES)
    try:
        return TrainingState(values, load_file(path / TENSORS), path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"can't be read: {error}", path / TENSORS) from error


def newest_state(run_folder: Path) -> TrainingState | None:
    """The newest complete state of a run; damaged ones are passed over with a warning that names them."""
    for path in _stored(run_folder):
        try:
            return read_state(path)
        except CheckpointError as error:
            warnings.warn(f"passing over a damaged training state: {error}", stacklevel=2)
    return None


def find_restart(save_dir: str | Path, resumed_from: str | None = None) -> TrainingState | None:
    """The newest complete state among the runs of `save_dir`, newest run first.

    Args:
        resumed_from: consider only runs that were started with this --resume.

    Raises:
        CheckpointError: the newest run that stored anything but its beginning has no complete state left. To start it
            afresh, or to go on with an older one, would be another run than the one that was asked for.
    """
    runs = [path for path in Path(save_dir).glob("version_*") if RUN_NAME.fullmatch(path.name)]
    for run in sorted(runs, key=lambda path: int(path.name.partition("_")[2]), reverse=True):
        if resumed_from is not None:
            path = run / "train_config.json"
            if not path.exists():  # killed before it was begun
                continue
            options = read_json(path, error=CheckpointError).get("options", {})
            if resumed_from not in (options.get("resume"), options.get("pretrain_state")):
                continue
        state = newest_state(run)
        if state is not None:
            return state
        if any(_position(path) > (0, 0) for path in _stored(run)):
            hint = "its checkpoints may be sound; to start afresh, choose another --save_dir or leave out --restart"
            raise CheckpointError("no stored state of this run can be read, so it can't go on", run, hint=hint)
    return None


def optimizer_state(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimiser's state into tensors and plain values."""
    stored = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    for number, entries in stored["state"].items():
        for name, value in entries.items():
            kind: dict[str, Any] = tensors if isinstance(value, Tensor) else values
            kind[f"{number}.{name}"] = value
    return tensors, {"state": values, "param_groups": stored["param_groups"]}


def load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Put back what `optimizer_state` returned.

    Raises:
        CheckpointError: the optimiser has other parameters.
    """
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **values["state"]}.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    groups = [
        {name: tuple(v) if isinstance(v, list) and name != "params" else v for name, v in group.items()}
        for group in values["param_groups"]
    ]
    try:
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except ValueError as error:
        raise CheckpointError(f"the stored optimiser doesn't fit this model: {error}") from error


def load_weights(model: torch.nn.Module, weights: dict[str, Tensor], path: Path | None) -> None:
    """Load all weights of a stored state.

    Raises:
        CheckpointError: names or shapes differ.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"doesn't fit this model: {error}", path or "training state") from error


def _position(path: Path) -> tuple[int, int]:
    match = NAME.fullmatch(path.name)
    assert match, path
    return int(match[1]), int(match[2])


def _stored(run_folder: Path) -> list[Path]:
    """State folders, newest first."""
    found = [path for path in (run_folder / "training_state").glob("epoch*") if NAME.fullmatch(path.name)]
    return sorted(found, key=_position, reverse=True)
