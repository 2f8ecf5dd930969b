"""Groups of options, each option once: name, default, unit, check. `configs.schema.RunConfig` holds them together."""

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal

from configs.errors import ConfigError
from configs.rank_options import RankOptions

Padding = Literal["masked", "own", "batch"]
Conv = Literal["full", "channelwise"]
Kernels = Literal["torch", "cuequivariance", "openequivariance"]


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the closest known spelling, or lists all of them when nothing is close."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def require(ok: bool, option: str, value: Any, wanted: str) -> None:
    """Raise a ConfigError that names the option, shows its value and says what is wanted."""
    if not ok:
        raise ConfigError(f"must be {wanted}, got {value!r}", f"--{option}")


def at_least(options: Any, low: float, *names: str) -> None:
    """Check that each named numeric option is either unset or at least `low`."""
    for name in names:
        value = getattr(options, name)
        what = f"a finite number of at least {low}"
        require(value is None or (value >= low and math.isfinite(value)), name, value, what)


@dataclass(frozen=True)
class DataOptions:
    """Data sets and batches."""

    train_set: str | None = None
    """Folder of shards to train on (made by scripts/process_pdbs.py). Required."""
    valid_set: str | None = None
    """Folder of shards to validate on."""
    train_set2: str | None = None
    """Second training set, mixed with the first."""
    valid_set2: str | None = None
    """Second validation set."""
    train_set3: str | None = None
    """Third training set."""
    valid_set3: str | None = None
    """Third validation set."""
    batch_size: int = 16
    """Items a step over all ranks; unused when a block budget is given."""
    valid_batch_size: int | None = None
    """Items a validation step over all ranks (default: batch_size)."""
    max_n_vertex_per_gpu: int | None = None
    """Block budget of a batch on one rank (global blocks not counted)."""
    max_n_vertex_per_item: int | None = None
    """Larger items are cropped to this many blocks around a contact."""
    valid_max_n_vertex_per_gpu: int | None = None
    """Block budget of a validation batch (default: max_n_vertex_per_gpu)."""
    balanced_sampler: bool = False
    """Draw classes (or, without labels, modalities) equally often."""
    shuffle: bool = False
    """A new order of items each epoch."""
    num_workers: int = 0
    """Loader processes (0: load in the training process)."""

    def __post_init__(self) -> None:
        at_least(
            self,
            1,
            "batch_size",
            "valid_batch_size",
            "max_n_vertex_per_gpu",
            "max_n_vertex_per_item",
            "valid_max_n_vertex_per_gpu",
        )
        at_least(self, 0, "num_workers")


@dataclass(frozen=True)
class NoiseOptions:
    """Noise and masks of pretraining (SPEC: rotation, translation, torsion, atom noise, masked blocks)."""

    atom_noise: float = 0.0
    """Largest standard deviation of Gaussian atom noise, Å (0: off)."""
    translation_noise: float = 0.0
    """Largest translation scale, Å (0: off)."""
    rotation_noise: float = 0.0
    """Width of the IGSO(3) rotation noise (0: off)."""
    torsion_noise: float = 0.0
    """Standard deviation of torsion noise, radians (0: off)."""
    max_rotation: float = math.pi / 4
    """Largest rotation angle, radians."""
    mask_proportion: float = 0.0
    """Share of the maskable blocks that is masked (0: off)."""
    atom_weight: float = 1.0
    """Loss weight of atom noise."""
    tr_weight: float = 1.0
    """Loss weight of translation."""
    rot_weight: float = 1.0
    """Loss weight of rotation."""
    tor_weight: float = 1.0
    """Loss weight of torsion."""
    mask_weight: float = 1.0
    """Loss weight of masked blocks."""

    def __post_init__(self) -> None:
        at_least(self, 0, *(f.name for f in fields(self)))
        require(self.mask_proportion < 1, "mask_proportion", self.mask_proportion, "below 1")
        require(self.max_rotation <= math.pi, "max_rotation", self.max_rotation, "at most pi (radians)")


@dataclass(frozen=True)
class EncoderOptions:
    """Sizes and behaviour of the encoder. The published configuration files use the same names."""

    atom_hidden_size: int = 128
    """Channels of atoms; even, equal to block_hidden_size."""
    block_hidden_size: int = 128
    """Channels of blocks."""
    edge_size: int = 16
    """Distance basis functions and edge-type channels."""
    k_neighbors: int = 9
    """Nearest neighbours of a node, inside its segment and across."""
    n_layers: int = 3
    """Message-passing layers of each level."""
    dropout: float = 0.0
    """Dropout of the encoder."""
    bottom_global_message_passing: bool = False
    """Global nodes pass messages between atoms."""
    global_message_passing: bool = False
    """Global nodes pass messages between blocks."""
    fragmentation_method: str | None = None
    """Vocabulary of the ligand fragments: PS_300, or the JSON file of a learned one (default: no fragments)."""
    modality_embedding: bool = False
    """Add an embedding of the kind of complex to the global blocks."""
    padding: Padding = "masked"
    """What padded slots do in attention: `masked`, `own` or `batch` (docs/model.md)."""
    unknown_blocks: Literal["ordinary", "global"] = "ordinary"
    """Blocks of unknown type take part as ordinary blocks, or as global nodes as in the published program."""
    torsion_neighbors: Literal["nearest", "first"] = "nearest"
    """Neighbours of a torsion bond: the nearest, or the first by atom index as in the published program."""
    conv: Conv = "full"
    """Convolution of the encoder; channelwise is lighter, and not compatible with published weights (docs/model.md)."""
    projection: Literal["float32", "bfloat16"] = "float32"
    """Precision of the large products of conv: full; bfloat16 is for training from scratch (docs/model.md)."""
    kernels: Kernels = "torch"
    """Library for the products of conv: channelwise; checked when first used, never part of a checkpoint."""

    def __post_init__(self) -> None:
        at_least(self, 1, "atom_hidden_size", "k_neighbors", "n_layers")
        at_least(self, 2, "edge_size")
        require(
            self.atom_hidden_size == self.block_hidden_size,
            "block_hidden_size",
            self.block_hidden_size,
            f"equal to atom_hidden_size ({self.atom_hidden_size})",
        )
        hidden = self.atom_hidden_size
        require(hidden % 4 == 0, "atom_hidden_size", hidden, "a multiple of 4 (four attention heads)")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")
        only = "torch, or used with conv channelwise"
        require(self.kernels == "torch" or self.conv == "channelwise", "kernels", self.kernels, only)


@dataclass(frozen=True)
class BlockEmbeddingOptions:
    """External per-block vectors (from a protein language model, say)."""

    block_embedding_size: int | None = None
    """Width of the external block vectors, one set for both segments."""
    block_embedding0_size: int | None = None
    """Width for segment 0 when the two segments have sets of their own."""
    block_embedding1_size: int | None = None
    """Width for segment 1."""
    num_projector_layers: int = 3
    """Layers of the projector."""
    projector_hidden_size: int = 256
    """Hidden width of the projector."""
    projector_dropout: float = 0.0
    """Dropout of the projector."""

    def __post_init__(self) -> None:
        at_least(
            self,
            1,
            "block_embedding_size",
            "block_embedding0_size",
            "block_embedding1_size",
            "num_projector_layers",
            "projector_hidden_size",
        )
        require(
            (self.block_embedding0_size is None) == (self.block_embedding1_size is None),
            "block_embedding1_size",
            self.block_embedding1_size,
            "given together with --block_embedding0_size",
        )
        require(
            self.block_embedding_size is None or self.block_embedding0_size is None,
            "block_embedding_size",
            self.block_embedding_size,
            "left out when the segments have sizes of their own",
        )

    @property
    def used(self) -> bool:
        return self.block_embedding_size is not None or self.block_embedding0_size is not None


@dataclass(frozen=True)
class HeadOptions:
    """Prediction heads of fine-tuning tasks; pretraining leaves them unused."""

    num_classifier_classes: int | None = None
    """Classes of multiclass_classifier (default: read from the data)."""
    num_targets: int | None = None
    """Numbers that PDBBind and regression predict (default: counted in the data)."""
    num_pred_layers: int = 3
    """Layers of the prediction head."""
    pred_hidden_size: int = 32
    """Hidden width of the prediction head."""
    pred_dropout: float = 0.0
    """Dropout of the prediction head."""
    pred_nonlinearity: Literal["relu", "gelu", "elu"] = "relu"
    """Nonlinearity of the prediction head."""
    noisy_nodes_weight: float = 0.0
    """Weight of denoising as an auxiliary loss while fine-tuning (0: off)."""

    def __post_init__(self) -> None:
        at_least(self, 1, "num_classifier_classes", "num_targets", "num_pred_layers", "pred_hidden_size")
        at_least(self, 0, "noisy_nodes_weight")
        require(0 <= self.pred_dropout < 1, "pred_dropout", self.pred_dropout, "in [0, 1)")


@dataclass(frozen=True)
class TrainOptions(RankOptions):
    """Optimiser, schedule, checkpoints and logs."""

    save_dir: str | None = None
    """Where runs go; each makes a folder version_N. Required."""
    lr: float = 1e-3
    """Learning rate."""
    final_lr: float | None = None
    """Learning rate at the end (default: lr)."""
    lr_schedule: Literal["cosine", "cosine_restarts", "exponential", "step", "none"] | None = None
    """Schedule after the warm-up (default: the trainer's own)."""
    warmup_epochs: float = 0
    """Epochs of linear warm-up (may be a fraction); early stopping counts from their end."""
    warmup_start_lr: float = 1e-5
    """Learning rate at the start of the warm-up."""
    warmup_end_lr: float | None = None
    """Learning rate at the end of the warm-up (default: lr)."""
    cycle_steps: int = 100000
    """Steps of one cosine cycle with warm restarts."""
    max_epoch: int = 10
    """Epochs."""
    max_steps: int | None = None
    """Stop after this many optimiser steps, also inside an epoch."""
    max_minutes: float | None = None
    """Stop with the first step after this many minutes of a launch (continued, they count anew), and validate again."""
    patience: int = -1
    """Validations without improvement before stopping (0 or less: off)."""
    monitor: str | None = None
    """Validation metric that chooses the best checkpoint and stops early (default: the task's own)."""
    metric_min_better: bool | None = None
    """Whether a smaller monitored metric is better (default: known by its name)."""
    grad_clip: float | None = None
    """Largest gradient norm."""
    accumulate: int = 1
    """Batches whose gradients are averaged into one step."""
    weight_decay: float | None = None
    """AdamW weight decay (default: 0.001 for PDBBind and regression, otherwise 0, which is Adam)."""
    mixed_precision: bool = False
    """Automatic mixed precision (bfloat16) where it is known to be harmless."""
    ema_decay: float | None = None
    """Keep an exponential moving average of the weights and validate with it (for example 0.999)."""
    valid_every: int = 1
    """Validate every so many epochs."""
    save_topk: int = -1
    """Checkpoints to keep (-1: one for each improvement)."""
    seed: int = 42
    """Seed of everything random."""
    deterministic: bool = False
    """Torch's deterministic algorithms."""
    save_every_steps: int | None = None
    """Store the training state every so many steps, too (it is always stored at the end of an epoch)."""
    log_every: int = 10
    """Steps between logged training losses."""
    use_tensorboard: bool = True
    """Write TensorBoard events (when tensorboard is installed)."""
    use_wandb: bool = False
    """Log to Weights & Biases."""
    wandb_project: str = "ligare"
    """Weights & Biases project."""
    wandb_entity: str | None = None
    """Weights & Biases entity."""
    use_raytune: bool = False
    """Report validation metrics to Ray Tune."""
    run_name: str = "test"
    """Name of the run in logs."""
    progress: bool = True
    """Progress bars."""

    def __post_init__(self) -> None:
        require(self.lr > 0 and math.isfinite(self.lr), "lr", self.lr, "a positive number")
        at_least(self, 0, "final_lr", "warmup_epochs", "warmup_start_lr", "warmup_end_lr", "weight_decay", "seed")
        counts = ("cycle_steps", "max_epoch", "max_steps", "accumulate", "valid_every", "save_every_steps", "log_every")
        at_least(self, 1, *counts)
        at_least(self, 0, "max_minutes", "max_bad_steps", "rank_timeout")
        require(self.grad_clip is None or self.grad_clip > 0, "grad_clip", self.grad_clip, "positive")
        require(self.ema_decay is None or 0 < self.ema_decay < 1, "ema_decay", self.ema_decay, "between 0 and 1")
        require(
            self.save_topk == -1 or self.save_topk >= 1,
            "save_topk",
            self.save_topk,
            "-1 (each improvement) or at least 1",
        )


@dataclass(frozen=True)
class StartOptions:
    """Where training starts from."""

    pretrain_ckpt: str | None = None
    """Checkpoint folder of ours to start from."""
    pretrain_config: str | None = None
    """Published configuration (JSON) to start from, with --pretrain_weights."""
    pretrain_weights: str | None = None
    """Published weights to start from."""
    pretrain_state: str | None = None
    """Same as --resume (the published name)."""
    restart: Literal["auto", "never"] = "never"
    """auto: continue the newest valid state in save_dir up to max_epoch."""
    allow_changes: tuple[str, ...] = ()
    """Options that may differ from those of the continued run although the result depends on them (all: any option)."""
    resume: str | None = None
    """Continue a named run folder or training state for max_epoch further epochs."""

    def __post_init__(self) -> None:
        require(
            (self.pretrain_config is None) == (self.pretrain_weights is None),
            "pretrain_weights",
            self.pretrain_weights,
            "given together with --pretrain_config",
        )
