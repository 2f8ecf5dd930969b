"""What trains when a run starts from weights: frozen parts, staged unfreezing, learning rates, low-rank adapters."""

from dataclasses import dataclass

from configs.errors import ConfigError
from configs.options import at_least, require


@dataclass(frozen=True)
class FinetuneOptions:
    """Which parameters train, and how fast (docs/finetuning.md)."""

    partial_finetune: bool = False
    """Train the prediction head only."""
    freeze: tuple[str, ...] = ()
    """Parameters that stay as they are, by shell pattern on their names, as in encoder.* (quote it)."""
    unfreeze_at_epoch: tuple[str, ...] = ()
    """PATTERN:EPOCH, as in top_encoder.*:2 - frozen parameters that train from the start of an epoch (0 is the first).
    """
    head_lr: float | None = None
    """Learning rate of the head (default: lr); schedules scale it as they scale lr."""
    encoder_lr: float | None = None
    """Learning rate of the encoder and its adapters (default: lr)."""
    lora_rank: int = 0
    """Rank of low-rank adapters; the head trains beside them, the encoder itself does not (0: no adapters)."""
    lora_alpha: float | None = None
    """Adapters are scaled by lora_alpha / lora_rank (default: lora_rank, a factor of 1)."""
    lora_dropout: float = 0.0
    """Share of the input channels that an adapter leaves out in a training step."""
    lora_targets: tuple[str, ...] = ()
    """Weights that get adapters, by shell pattern (default: attention projections and weight networks of the encoder).
    """
    lora_merge: bool = True
    """Fold adapters into the weights of stored checkpoints, which then are ordinary ones."""

    def __post_init__(self) -> None:
        for name in ("head_lr", "encoder_lr", "lora_alpha"):
            at_least(self, 0, name)
            require(getattr(self, name) != 0, name, 0, "positive (--freeze keeps parameters as they are)")
        at_least(self, 0, "lora_rank")
        require(0 <= self.lora_dropout < 1, "lora_dropout", self.lora_dropout, "in [0, 1)")
        for name in ("freeze", "lora_targets"):
            require(all(getattr(self, name)), name, getattr(self, name), "patterns that are not empty")
        if not self.lora_rank:
            for name in ("lora_alpha", "lora_dropout", "lora_targets"):
                require(not getattr(self, name), name, getattr(self, name), "given together with --lora_rank")
        require(
            not (self.lora_rank and self.partial_finetune),
            "partial_finetune",
            True,
            "left out with --lora_rank, which freezes the encoder itself",
        )
        _ = self.stages

    @property
    def used(self) -> bool:
        """Whether any option differs from training everything at one rate."""
        return self != FinetuneOptions(lora_merge=self.lora_merge)

    @property
    def stages(self) -> tuple[tuple[str, int], ...]:
        """Pattern and epoch of each `unfreeze_at_epoch`, earliest first.

        Raises:
            ConfigError: one that is not PATTERN:EPOCH with an epoch of 1 or more.
        """
        found = []
        for text in self.unfreeze_at_epoch:
            pattern, colon, epoch = text.rpartition(":")
            if not (pattern and colon and epoch.isdecimal() and int(epoch) > 0):
                raise ConfigError(
                    f"must be PATTERN:EPOCH with an epoch of 1 or more, got {text!r}",
                    "--unfreeze_at_epoch",
                    hint="for example top_encoder.*:2",
                )
            found.append((pattern, int(epoch)))
        return tuple(sorted(found, key=lambda stage: stage[1]))
