"""Low-rank adapters: a frozen weight W becomes W + (alpha / rank) B A, and only A and B train (arXiv 2106.09685).

They are torch parametrizations, so whatever reads `.weight` gets the sum: layers of torch, attention that multiplies by
`in_proj_weight`, and convolutions that hand the weights of their networks to a kernel. B starts at zero: the model's
output is unchanged until the first step.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from configs.errors import ConfigError
from configs.options import at_least, require
from models.parts import PARAMETRIZED, is_adapter, matching, role

Model = TypeVar("Model", bound=nn.Module)

DEFAULT_TARGETS = (
    *("*_proj.weight", "*.in_proj_weight", "*.fc.0.weight", "*.fc.3.weight"),
    *("*.weight_network.0.weight", "*.weight_network.3.weight"),
)
"""Attention projections, and the weight networks of convolutions; of the encoder only."""


@dataclass(frozen=True)
class AdapterConfig:
    """Adapters of a model, as `adapters` in its config.json.

    Attributes:
        rank: of A and B; less where a weight has fewer rows or columns.
        alpha: the sum is W + (alpha / rank) B A. dropout: share of A's input channels left out in a training step.
        weights: names of the adapted weights.
    """

    rank: int
    alpha: float
    dropout: float = 0.0
    weights: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        at_least(self, 1, "rank")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")


class LowRank(nn.Module):
    """W -> W + scale B A.

    Args:
        weight: [out, in] the weight to adapt; sets the sizes, device and precision.
        config: rank, scale and dropout.
    """

    def __init__(self, weight: Tensor, config: AdapterConfig) -> None:
        super().__init__()
        rank = min(config.rank, *weight.shape)
        self.scale, self.dropout = config.alpha / config.rank, config.dropout
        self.lora_A = nn.Parameter(weight.new_empty(rank, weight.shape[1]))
        self.lora_B = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.lora_A, a=5**0.5)  # as torch starts a linear layer

    def forward(self, weight: Tensor) -> Tensor:
        inner: Tensor = self.lora_A
        if self.dropout and self.training:  # the same channels for the whole batch: the input is not seen here
            inner = inner * F.dropout(inner.new_ones(inner.shape[1]), self.dropout)
        return torch.addmm(weight, self.lora_B, inner, alpha=self.scale)


def adaptable(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Name -> (module, attribute) of every matrix that may get an adapter: not tables of embeddings, nothing fixed."""
    found = {}
    for prefix, module in model.named_modules():
        for attribute, p in module.named_parameters(recurse=False):
            name = f"{prefix}.{attribute}" if prefix else attribute
            if p.ndim == 2 and not isinstance(module, nn.Embedding) and role(name) != "fixed":
                found[name] = (module, attribute)
    return found


def target_weights(model: nn.Module, patterns: Sequence[str] = (), option: str = "--lora_targets") -> tuple[str, ...]:
    """The weights that patterns name; without patterns the default ones of the encoder.

    Raises:
        ConfigError: a pattern that matches no matrix, with the nearest names.
    """
    names = adaptable(model)
    if patterns:
        return matching(names, patterns, option)
    of_encoder = (name for name in names if role(name) == "encoder")
    return tuple(name for name in of_encoder if any(fnmatchcase(name, pattern) for pattern in DEFAULT_TARGETS))


def add_adapters(model: Model, config: AdapterConfig) -> Model:
    """Give the named weights adapters, which train in their place; the output stays the same.

    Raises:
        ConfigError: the model has adapters already, or lacks a weight.
    """
    if has_adapters(model):
        raise ConfigError(
            "has adapters already", type(model).__name__, hint="fold them in first: merge_adapters(model)"
        )
    found = adaptable(model)
    for name in matching(found, config.weights, "adapters"):
        module, attribute = found[name]
        weight = cast(nn.Parameter, getattr(module, attribute)).requires_grad_(False)
        parametrize.register_parametrization(module, attribute, LowRank(weight, config))
    cast(Any, model).adapters = config
    return model


def adapters(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """(module, attribute) of every adapted weight."""
    for module in list(model.modules()):
        for attribute, chain in list(getattr(module, "parametrizations", {}).items()):
            if any(isinstance(one, LowRank) for one in chain):
                yield module, attribute


def has_adapters(model: nn.Module) -> bool:
    """Whether any weight has an adapter."""
    return any(PARAMETRIZED in name and is_adapter(name) for name, _ in model.named_parameters())


@torch.no_grad()
def merge_adapters(model: Model) -> Model:
    """Fold all adapters into the weights, in place: the same predictions, and again an ordinary model."""
    training = [module for module in model.modules() if module.training]
    model.eval()  # without the dropout of adapters
    for module, attribute in adapters(model):
        shared = type(module)  # with copies of the model, and about to lose its property
        module.__class__ = type(shared.__name__, shared.__bases__, dict(shared.__dict__))
        parametrize.remove_parametrizations(module, attribute, leave_parametrized=True)
    for module in training:
        module.training = True
    cast(Any, model).__dict__.pop("adapters", None)
    return model


def merged(model: Model) -> Model:
    """A copy with the adapters folded in; the model itself where it has none."""
    return merge_adapters(copy.deepcopy(model)) if has_adapters(model) else model


def adapter_values(model: nn.Module) -> dict[str, Any]:
    """`{"adapters": {...}}` for the config.json of a model that has some, else nothing."""
    config: AdapterConfig | None = getattr(model, "adapters", None)
    return {} if config is None else {"adapters": asdict(config) | {"weights": list(config.weights)}}
