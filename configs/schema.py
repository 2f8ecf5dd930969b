"""One run: all options under flat names. Flags and YAML keys are made from these classes."""

from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Annotated, Any, get_type_hints

import tyro

from configs.composition_options import COMPOSITION, GEOMETRIC, MODEL_DEFAULTS, CompositionOptions, check_model
from configs.convert import convert
from configs.errors import ConfigError
from configs.finetune_options import FinetuneOptions
from configs.multilabel_options import MultiLabelOptions
from configs.options import (
    BlockEmbeddingOptions,
    DataOptions,
    EncoderOptions,
    HeadOptions,
    NoiseOptions,
    Padding,
    StartOptions,
    TrainOptions,
    at_least,
    nearest,
    require,
)
from configs.task_options import LabelOptions, ReportOptions

__all__ = [
    "TASKS",
    "BlockEmbeddingOptions",
    "CompositionOptions",
    "DataOptions",
    "EncoderOptions",
    "FinetuneOptions",
    "HeadOptions",
    "LabelOptions",
    "MultiLabelOptions",
    "NoiseOptions",
    "Padding",
    "ReportOptions",
    "RunConfig",
    "StartOptions",
    "TrainOptions",
    "at_least",
    "from_flat",
    "nearest",
    "option_types",
    "require",
]

TASKS = (
    "pretrain_torsion",
    "pretrain_torsion_masking",
    "pretrain_gaussian",
    "PDBBind",
    "regression",
    "binary_classifier",
    "multiclass_classifier",
    "multilabel",
    "masking",
    "prot_interface",
)
NO_NOISE = dict.fromkeys(
    ("atom_noise", "translation_noise", "rotation_noise", "torsion_noise", "mask_proportion"),
    0.0,
)
MASKS_ONLY = {name: level for name, level in NO_NOISE.items() if name != "mask_proportion"}
# Noise that a task leaves out, whatever its options say: the published launch scripts give all of them to every task.
LEFT_OUT: dict[str, dict[str, float]] = {
    "pretrain_torsion": {"mask_proportion": 0.0},
    "pretrain_gaussian": {"torsion_noise": 0.0},
    "masking": MASKS_ONLY,
    **dict.fromkeys(
        ("PDBBind", "regression", "binary_classifier", "multiclass_classifier", "multilabel", "prot_interface"),
        NO_NOISE,
    ),
}
COMPOSITION_TASKS = ("PDBBind", "regression", "binary_classifier", "multiclass_classifier")
BLOCK_EMBEDDING_TASKS = ("pretrain_torsion", "pretrain_torsion_masking", "pretrain_gaussian", "PDBBind")


@dataclass(frozen=True)
class RunConfig:
    """One training run."""

    task: str = "pretrain_torsion_masking"
    """What to train (docs/tasks.md); pretrain_torsion leaves masks out, pretrain_gaussian torsions."""
    model: str = GEOMETRIC
    """geometric, or composition: what can be told without geometry, for tasks with labels (docs/composition.md)."""
    gpus: Annotated[tuple[int, ...], tyro.conf.arg(aliases=["--gpu"])] = ()
    """Device numbers; -1 is the CPU; left out: a GPU when there is one."""
    local_rank: int = -1
    """Set by old launchers; the environment of torchrun wins."""
    data: DataOptions = field(default_factory=DataOptions)
    noise: NoiseOptions = field(default_factory=NoiseOptions)
    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    block_embedding: BlockEmbeddingOptions = field(default_factory=BlockEmbeddingOptions)
    head: HeadOptions = field(default_factory=HeadOptions)
    composition: CompositionOptions = field(default_factory=CompositionOptions)
    label: LabelOptions = field(default_factory=LabelOptions)
    multilabel: MultiLabelOptions = field(default_factory=MultiLabelOptions)
    report: ReportOptions = field(default_factory=ReportOptions)
    finetune: FinetuneOptions = field(default_factory=FinetuneOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    start: StartOptions = field(default_factory=StartOptions)

    def __post_init__(self) -> None:
        check_model(self.model)
        if self.task not in TASKS:
            raise ConfigError(f"unknown task {self.task!r}", "--task", hint=nearest(self.task, TASKS))
        object.__setattr__(self, "noise", replace(self.noise, **LEFT_OUT.get(self.task, {})))
        self._check_task()

    def _check_task(self) -> None:
        """Refuse options that the task can't follow rather than pass over them."""
        if self.block_embedding.used and self.task not in BLOCK_EMBEDDING_TASKS:
            hint = f"tasks with block vectors: {', '.join(BLOCK_EMBEDDING_TASKS)}"
            raise ConfigError(f"is not available for --task {self.task}", "--block_embedding_size", hint=hint)
        if self.head.noisy_nodes_weight and not self.task.startswith("pretrain"):
            hint = "pretrain with noise first, then start from the checkpoint with --pretrain_ckpt"
            raise ConfigError(f"is not available for --task {self.task}", "--noisy_nodes_weight", hint=hint)
        self._check_composition()
        if self.task == "masking" and not self.noise.mask_proportion:
            raise ConfigError("must be above 0 for --task masking", "--mask_proportion", hint="0.15, say")

    def _check_composition(self) -> None:
        """Refuse a task that the composition model can't learn, and options that are the other model's."""
        if self.model != COMPOSITION:
            if self.label.target_types is not None:
                raise ConfigError("needs --model composition", "--target_types")
            return
        if self.task not in COMPOSITION_TASKS:
            hint = f"tasks with labels: {', '.join(COMPOSITION_TASKS)}"
            raise ConfigError(f"is not available for --task {self.task}", "--model composition", hint=hint)
        if self.block_embedding.used:
            raise ConfigError("is not available with --model composition", "--block_embedding_size")
        if self.label.target_types is not None and self.task != "regression":
            raise ConfigError("is for --task regression", "--target_types")

    def flat(self) -> dict[str, Any]:
        """All options under their flat (command-line) names; JSON-serialisable."""
        out: dict[str, Any] = {}
        for name, value in asdict(self).items():
            out.update(value if isinstance(value, dict) else {name: list(value) if isinstance(value, tuple) else value})
        return out


GROUPS: dict[str, type] = {
    "data": DataOptions,
    "noise": NoiseOptions,
    "encoder": EncoderOptions,
    "block_embedding": BlockEmbeddingOptions,
    "head": HeadOptions,
    "composition": CompositionOptions,
    "finetune": FinetuneOptions,
    "label": LabelOptions,
    "multilabel": MultiLabelOptions,
    "report": ReportOptions,
    "train": TrainOptions,
    "start": StartOptions,
}


def from_flat(options: dict[str, Any], source: str = "options") -> RunConfig:
    """Build a RunConfig from flat names (a YAML file, a saved run). What is left out has the default of its model.

    Raises:
        ConfigError: an unknown name (with the nearest known one) or a value of the wrong type.
    """
    options = model_defaults(options.get("model")) | options
    known = {name: group for group, names in option_types().items() for name in names}
    grouped: dict[str, dict[str, Any]] = {group: {} for group in option_types()}
    for name, value in options.items():
        if name not in known:
            raise ConfigError(f"unknown option {name!r}", source, hint=nearest(str(name), known))
        group = known[name]
        grouped[group][name] = convert(name, value, option_types()[group][name], source)
    top = grouped.pop("")
    return RunConfig(**top, **{name: GROUPS[name](**values) for name, values in grouped.items()})


def model_defaults(kind: Any) -> dict[str, Any]:
    """Defaults that go by `--model`; none for an unknown one."""
    return dict(MODEL_DEFAULTS.get(str(kind), {}))


@cache
def option_types() -> dict[str, dict[str, Any]]:
    """Type of every option, by group; the options of the run itself are in group ""."""
    top = {name: kind for name, kind in get_type_hints(RunConfig).items() if name not in GROUPS}
    return {"": top, **{group: get_type_hints(kind) for group, kind in GROUPS.items()}}
