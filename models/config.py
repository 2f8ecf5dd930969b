"""Configurations of the models: frozen, strict, and the same JSON keys as the published configuration files."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal, cast, get_args, get_type_hints

from configs.convert import convert
from configs.errors import ConfigError
from configs.schema import BlockEmbeddingOptions, EncoderOptions, nearest, require
from data.vocab import MODALITIES, load_vocabulary

Nonlinearity = Literal["relu", "gelu", "elu"]
LARGEST = 2**48
"""Above every number that a configuration may hold; sizes have limits of their own (`estimated_parameters`)."""
RUN_TIME = ("kernels",)
"""Options of the encoder that a saved configuration leaves out: they depend on the machine."""


@dataclass(frozen=True)
class EncoderConfig(EncoderOptions):
    """Sizes and behaviour of the two-level encoder."""

    num_block_types: int | None = None
    """Block types; left out: those of the vocabulary named by fragmentation_method."""
    num_modalities: int = len(MODALITIES)
    """Rows of the modality embedding; published weights have 8."""

    @property
    def block_types(self) -> int:
        return self.num_block_types or load_vocabulary(self.fragmentation_method).size


@dataclass(frozen=True)
class DenoiseConfig(EncoderConfig):
    """Which noise the pretraining model predicts, and the weights of the losses."""

    atom_noise: bool = False
    translation_noise: bool = True
    rotation_noise: bool = True
    torsion_noise: bool = True
    atom_weight: float = 1.0
    translation_weight: float = 1.0
    rotation_weight: float = 1.0
    torsion_weight: float = 1.0
    mask_weight: float = 1.0
    num_masked_block_classes: int | None = None
    """Classes of the masked-block head; null: no such head."""
    snap_centre: bool = True
    """Vectors of the segment head shorter than 0.001 Å count as zero. The global atom lies at the centre up to rounding
    and a rounding error does not turn with the complex. The published program takes it for a direction."""


@dataclass(frozen=True)
class DenoiseBlockEmbeddingConfig(DenoiseConfig, BlockEmbeddingOptions):
    """Pretraining with external block vectors."""

    def __post_init__(self) -> None:
        DenoiseConfig.__post_init__(self)
        BlockEmbeddingOptions.__post_init__(self)


@dataclass(frozen=True)
class AffinityConfig(EncoderConfig, BlockEmbeddingOptions):
    """Affinity from the energies of blocks, with or without external block vectors."""

    nonlinearity: Nonlinearity = "relu"
    num_affinity_pred_layers: int = 3
    affinity_pred_dropout: float = 0.0
    affinity_pred_hidden_size: int = 32
    num_targets: int = 1
    """Values predicted for a complex; published models have one."""

    def __post_init__(self) -> None:
        EncoderConfig.__post_init__(self)
        BlockEmbeddingOptions.__post_init__(self)
        check_nonlinearity(self.nonlinearity)
        require(self.num_targets >= 1, "num_targets", self.num_targets, "at least 1")


@dataclass(frozen=True)
class RegressionConfig(EncoderConfig):
    """Numbers from the representation of a complex."""

    num_targets: int = 1
    """Values predicted for a complex; published models have one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.num_targets >= 1, "num_targets", self.num_targets, "at least 1")


@dataclass(frozen=True)
class ClassifierConfig(EncoderConfig):
    """Two classes."""

    nonlinearity: Nonlinearity = "relu"
    num_pred_layers: int = 3
    pred_dropout: float = 0.0
    pred_hidden_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_nonlinearity(self.nonlinearity)


@dataclass(frozen=True)
class MultiClassConfig(EncoderConfig):
    """Several classes."""

    num_classes: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.num_classes >= 2, "num_classes", self.num_classes, "at least 2")


@dataclass(frozen=True)
class MultiLabelConfig(EncoderConfig):
    """Labels of which any number may hold."""

    labels: tuple[str, ...] = ("label",)
    """Names of the labels, in the order of the outputs: the vocabulary of the training data."""
    nonlinearity: Nonlinearity = "relu"
    num_pred_layers: int = 3
    pred_dropout: float = 0.0
    pred_hidden_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_nonlinearity(self.nonlinearity)
        unlike = bool(self.labels) and len(set(self.labels)) == len(self.labels)
        require(unlike, "labels", list(self.labels)[:5], "names of labels, each once, at least one")


@dataclass(frozen=True)
class MaskedNodeConfig(EncoderConfig):
    """Types of masked blocks."""

    num_masked_block_classes: int = 436


@dataclass(frozen=True)
class InterfaceConfig:
    """Retrieval of interfaces: the protein's side and the whole complex have encoders of the same configuration."""

    prot_model: EncoderConfig = field(default_factory=EncoderConfig)


def check_nonlinearity(value: str) -> None:
    require(value in get_args(Nonlinearity), "nonlinearity", value, f"one of {', '.join(get_args(Nonlinearity))}")


def config_from_dict(kind: type, values: Mapping[str, Any], source: str = "config") -> Any:
    """Build a configuration; `model_type` is skipped.

    Raises:
        ConfigError: an unknown key (names the nearest known one), or a value of the wrong type or that makes no sense.
    """
    wanted = get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    for name in values:
        if name not in known and name != "model_type":
            raise ConfigError(f"unknown key {name!r} for {kind.__name__}", source, hint=nearest(name, known))
    options = {name: value for name, value in values.items() if name != "model_type"}
    for name, value in options.items():
        if is_dataclass(wanted[name]) and isinstance(value, Mapping):
            options[name] = config_from_dict(cast(type, wanted[name]), value, source)
        elif isinstance(value, str) and {int, float, bool} & {wanted[name], *get_args(wanted[name])}:
            raise ConfigError(f"{name} must be a number or true or false, got the text {value!r}", source)
        elif not is_dataclass(wanted[name]):
            options[name] = convert(name, value, wanted[name], source)
            check_number(name, options[name], source)
    return kind(**options)


def check_number(name: str, value: Any, source: str) -> None:
    """Refuse numbers that no option means, which would come out as NaN or as a crash much later; ConfigError."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name} must be finite, got {value}", source)
    if isinstance(value, int) and abs(value) >= LARGEST:
        raise ConfigError(f"{name} must be below {LARGEST}, got {value}", source)
    if name.endswith("_weight") and isinstance(value, float) and value < 0:
        raise ConfigError(f"{name} must not be negative, got {value}", source)


def estimated_parameters(config: Any) -> int:
    """About how many numbers a model of this configuration holds; for refusing absurd ones before they take memory.

    The networks of a full convolution make some 30 hidden_size^3 weights a layer, those of a channelwise one fewer.
    """
    inner = getattr(config, "prot_model", None)
    if inner is not None:
        return 2 * estimated_parameters(inner)
    frozen = getattr(config, "encoder", None)
    within = 0 if frozen is None else estimated_parameters(frozen)
    numbers = {f.name: value for f in fields(config) if type(value := getattr(config, f.name)) is int}
    hidden, layers = numbers.pop("atom_hidden_size", 0), numbers.pop("n_layers", 0)
    for name in ("block_hidden_size", "k_neighbors"):
        numbers.pop(name, 0)
    depth = max([value for name, value in numbers.items() if "layers" in name], default=1)
    widths = [value for name, value in numbers.items() if "layers" not in name] or [0]
    others = sum(widths) * max(hidden, *widths) * max(depth, 1)
    return layers * hidden**2 * (30 * hidden if getattr(config, "conv", "") == "full" else 300) + others + within


def config_to_dict(config: Any, model_type: str) -> dict[str, Any]:
    """JSON-serialisable values with the published names, without those that only say how to compute."""
    return {"model_type": model_type, **asdict(config, dict_factory=_without_run_time)}


def _without_run_time(values: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in values if name not in RUN_TIME}
