"""The models a command is given: checkpoint folders, names on the hub, or published files; on the device asked for."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from configs.errors import CheckpointError, ConfigError
from configs.limits import add_limit_flags, use_limits
from configs.schema import Padding
from models.backbone import Backbone
from models.persistence import CONFIG, MANIFEST, from_pretrained, load_published
from models.shipped import SHIPPED, listed_regressors

PUBLISHED_WEIGHTS = ("weights.pt", "weights.safetensors", "model_weights.pt")
"""Names of published weights that are looked for beside a config.json."""
PADDINGS = ("masked", "own", "batch")


@dataclass(frozen=True)
class ModelOptions:
    """Which models, and where they run.

    Attributes:
        checkpoint: folders, names of shipped ones (`models.shipped`), or of models on the hub (`owner/model`). A folder
            may hold published files, too (config.json and weights.pt).
        config, weights: of published models, as many of one as of the other.
        device: auto (a GPU if there is one), cpu, cuda or cuda:N.
        padding: in place of the checkpoint's own (None); `own` gives the published numbers of a batch of one.
    """

    checkpoint: tuple[str, ...] = ()
    config: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    device: str = "auto"
    padding: Padding | None = None

    def __post_init__(self) -> None:
        if len(self.config) != len(self.weights):
            raise ConfigError(f"{len(self.config)} files, but {len(self.weights)} of weights", "--config")
        if not self.checkpoint and not self.config:
            hint = f"a folder, or one that is shipped: {listed_regressors()}; or --config with --weights"
            raise ConfigError("name a model", "--checkpoint", hint=hint)


def load_models(options: ModelOptions) -> list[Any]:
    """The models, in evaluation mode, on their device.

    Raises:
        CheckpointError: what was named is not there, is damaged, or is no model. ConfigError: no such device.
    """
    device = choose_device(options.device)
    found = [load_checkpoint(name) for name in options.checkpoint]
    found += [load_published(config, weights) for config, weights in zip(options.config, options.weights)]
    for model in found:
        if options.padding is not None:
            set_padding(model, options.padding)
    return [model.to(device).eval() for model in found]


def load_model(options: ModelOptions) -> Any:
    """The one model that the options name; ConfigError when they name several."""
    if len(options.checkpoint) + len(options.config) > 1:
        raise ConfigError("one model is needed, several are named", "--checkpoint")
    return load_models(options)[0]


def load_checkpoint(source: str | Path) -> Any:
    """The model of a folder, ours or published, or of a name on the hub.

    Raises:
        CheckpointError: as `from_pretrained` and `load_published`.
    """
    folder = Path(source)
    if (folder / CONFIG).is_file() and not (folder / MANIFEST).exists():
        weights = next((folder / name for name in PUBLISHED_WEIGHTS if (folder / name).is_file()), None)
        if weights is None:
            hint = f"a published folder has {CONFIG} and one of {', '.join(PUBLISHED_WEIGHTS)}"
            raise CheckpointError("holds a configuration, but no weights", folder, hint=hint)
        return load_published(folder / CONFIG, weights)
    return from_pretrained(source)


def choose_device(name: str) -> torch.device:
    """A device by name; ConfigError when this machine lacks it."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as unknown:
        raise ConfigError(f"{name!r} is no device", "--device", hint="auto, cpu, cuda or cuda:0") from unknown
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"{name} is not there ({torch.cuda.device_count()} found)", "--device", hint="auto, or cpu")
    return device


def set_padding(model: Any, padding: Padding) -> None:
    """Let a loaded model treat padding in another way than its configuration says (docs/model.md)."""
    if padding not in PADDINGS:
        raise ConfigError(f"{padding!r} is unknown", "--padding", hint=f"known: {', '.join(PADDINGS)}")
    for part in model.modules():
        if isinstance(part, Backbone):
            part.config = replace(part.config, padding=padding)
            part.attention_pooling.padding = padding
    if hasattr(model.config, "prot_model"):
        model.config = replace(model.config, prot_model=model.prot_model.config)


def add_model_arguments(parser: argparse.ArgumentParser, several: bool = False, default: str = "") -> None:
    """Give a command the options of `ModelOptions`; `default` is named in the help."""
    group = parser.add_argument_group("model")
    number = {"nargs": "+"} if several else {"nargs": 1}
    what = f"checkpoint folder, a shipped one ({', '.join(SHIPPED)}), or the name of a model on the hub"
    what += "; several make an ensemble" if several else f" (default: {default})" if default else ""
    group.add_argument("--checkpoint", default=(), metavar="MODEL", help=what, **number)  # type: ignore[arg-type]
    group.add_argument("--config", default=(), metavar="FILE", help="of a published model", **number)  # type: ignore[arg-type]
    group.add_argument("--weights", default=(), metavar="FILE", help="of a published model", **number)  # type: ignore[arg-type]
    group.add_argument("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda or cuda:N")
    group.add_argument("--gpus", type=int, nargs="*", help="the same by number; -1: CPU")
    group.add_argument("--padding", choices=PADDINGS, help="in place of the checkpoint's own (docs/model.md)")
    add_limit_flags(parser, "max_json_size", "max_weights_size", "max_parameters")


def model_options(given: argparse.Namespace, default: str = "") -> ModelOptions:
    """The options of `add_model_arguments`, put in force.

    Args:
        default: the model where none is named, which is said on stderr.

    Raises:
        ConfigError: no model is named, and there is no default.
    """
    use_limits(given)
    device = given.device if not given.gpus else device_of_number(given.gpus)
    models = (tuple(given.checkpoint), tuple(given.config), tuple(given.weights))
    if default and not any(models):
        print(f"no --checkpoint is named: {default} is taken, which is small and comes with ligare", file=sys.stderr)
        models = ((default,), (), ())
    return ModelOptions(*models, device=device, padding=given.padding)


def device_of_number(gpus: Sequence[int]) -> str:
    """The name of a device by number, -1 being the CPU; ConfigError when there are several."""
    if len(gpus) > 1:
        raise ConfigError(f"names {len(gpus)} devices for one process", "--gpus")
    return "cpu" if gpus[0] == -1 else f"cuda:{gpus[0]}"
