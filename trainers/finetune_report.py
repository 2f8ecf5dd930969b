"""What a fine-tuning run starts from and what it trains, to print and to keep."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from configs.files import write_json
from configs.finetune_options import FinetuneOptions
from models.adapters import adapter_values
from models.parts import is_adapter, matching, plain_name, role, trainable_by_name
from models.persistence import LoadReport

FILE = "finetune.json"
HEADER = ("part", "of", "parameters", "loaded", "trained", "from epoch", "learning rate")


@dataclass(frozen=True)
class Part:
    """One part of a model: the parameters whose names begin alike.

    Attributes:
        name: the beginning. role: encoder, head, or fixed (never trained).
        tensors: how many, adapters not counted; loaded: those that came from the checkpoint. parameters: how many.
        trained: parameters that train, from the epochs `epochs` on. lr: their learning rate.
    """

    name: str
    role: str
    tensors: int
    parameters: int
    loaded: int
    trained: int
    epochs: tuple[int, ...]
    lr: float | None

    def row(self, fresh: bool) -> tuple[str, ...]:
        """Cells of the table; `fresh` leaves out what was loaded."""
        loaded = "-" if fresh else f"{self.loaded} of {self.tensors} tensors"
        trained = f"{self.trained:,}" if self.trained else "-"
        epochs = ", ".join(map(str, self.epochs)) or "-"
        lr = "-" if self.lr is None else f"{self.lr:g}"
        return (self.name, self.role, f"{self.parameters:,}", loaded, trained, epochs, lr)


@dataclass(frozen=True)
class FinetuneReport:
    """What was loaded and what trains, by parameter name.

    Attributes:
        model: its type.
        loaded, new, left_over: of the checkpoint's tensors (models.persistence.LoadReport); None without a checkpoint.
        trainable, frozen: names in the first epoch. unfrozen: epoch -> names that train from its start on.
        parameters: counts: total, trainable (in the first epoch), unfrozen (later), frozen (to the end).
        learning_rates: of "head" and "encoder".
        adapters: rank, alpha, dropout and adapted weights; None without.
        parts: the same in short, a row for each part of the model.
    """

    model: str
    loaded: tuple[str, ...] | None
    new: tuple[str, ...] | None
    left_over: tuple[str, ...] | None
    trainable: tuple[str, ...]
    frozen: tuple[str, ...]
    unfrozen: Mapping[int, tuple[str, ...]]
    parameters: Mapping[str, int]
    learning_rates: Mapping[str, float]
    adapters: Mapping[str, Any] | None
    parts: tuple[Part, ...]

    @property
    def stuck(self) -> tuple[str, ...]:
        """New parameters of the encoder that stay at their initial values, which is rarely meant."""
        later = {name for names in self.unfrozen.values() for name in names}
        still = [name for name in self.frozen if name not in later]
        return tuple(name for name in still if role(name) == "encoder" and name in (self.new or ()))

    def table(self) -> str:
        """The report as text, for people."""
        rows = [HEADER, *(part.row(self.loaded is None) for part in self.parts)]
        widths = [max(len(row[n]) for row in rows) for n in range(len(HEADER))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        counts = self.parameters
        later = f", {counts['unfrozen']:,} more later" if counts["unfrozen"] else ""
        share = counts["trainable"] / max(counts["total"], 1)
        lines.append(f"{counts['trainable']:,} of {counts['total']:,} parameters train ({share:.1%}){later}")
        if self.adapters is not None:
            weights, rank = self.adapters["weights"], self.adapters["rank"]
            lines.append(f"adapters of rank {rank} in {len(weights)} weights")
        if self.stuck:
            lines.append(f"warning: frozen at initial values, for the checkpoint lacks them: {', '.join(self.stuck)}")
        return "\n".join(lines)

    def save(self, folder: str | Path) -> Path:
        """Write finetune.json; a resumed run keeps that of its start, which knows what was loaded."""
        path = Path(folder) / FILE
        if not path.exists():
            write_json(path, json.loads(json.dumps(asdict(self) | {"frozen_at_initial_values": self.stuck})))
        return path


def make_report(
    model: nn.Module, options: FinetuneOptions, rates: Mapping[str, float], load_report: LoadReport | None
) -> FinetuneReport:
    """Describe a model whose adapters are made and whose frozen parameters are frozen."""
    everything = {plain_name(name): p for name, p in model.named_parameters()}
    unfrozen = stage_names(model, options)
    later = {name for names in unfrozen.values() for name in names}
    trainable = tuple(name for name, p in everything.items() if p.requires_grad)
    frozen = tuple(name for name, p in everything.items() if not p.requires_grad)

    def count(names: Any) -> int:
        return sum(everything[name].numel() for name in names)

    counts = {"total": count(everything), "trainable": count(trainable), "unfrozen": count(later)}
    counts["frozen"] = counts["total"] - counts["trainable"] - counts["unfrozen"]
    loaded = None if load_report is None else load_report.loaded
    return FinetuneReport(
        model=type(model).__name__,
        loaded=loaded,
        new=None if load_report is None else load_report.new,
        left_over=None if load_report is None else load_report.left_over,
        trainable=trainable,
        frozen=frozen,
        unfrozen=unfrozen,
        parameters=counts,
        learning_rates=dict(rates),
        adapters=adapter_values(model).get("adapters"),
        parts=tuple(parts_of(everything, unfrozen, rates, loaded or ())),
    )


def stage_names(model: nn.Module, options: FinetuneOptions) -> dict[int, tuple[str, ...]]:
    """Epoch -> names of the frozen parameters that train from its start on."""
    waiting = [name for name, p in trainable_by_name(model).items() if not p.requires_grad]
    found: dict[int, tuple[str, ...]] = {}
    for pattern, epoch in options.stages:
        names = matching(waiting, (pattern,), "--unfreeze_at_epoch") if waiting else ()
        waiting = [name for name in waiting if name not in names]
        found[epoch] = (*found.get(epoch, ()), *names)
    return found


def parts_of(
    everything: Mapping[str, nn.Parameter],
    unfrozen: Mapping[int, tuple[str, ...]],
    rates: Mapping[str, float],
    loaded: tuple[str, ...],
) -> list[Part]:
    """A row for each beginning of names, encoder and head apart."""
    start = {name: epoch for epoch, names in unfrozen.items() for name in names}
    start |= {name: 0 for name, p in everything.items() if p.requires_grad}
    rows: dict[tuple[str, str], list[str]] = {}
    for name in everything:
        first, second = (*name.split("."), "")[:2]
        rows.setdefault((f"{first}.{second}" if first.endswith("_model") else first, role(name)), []).append(name)
    out = []
    for (beginning, part), names in rows.items():
        trained = [name for name in names if name in start]
        out.append(
            Part(
                name=beginning,
                role=part,
                tensors=sum(not is_adapter(name) for name in names),
                parameters=sum(everything[name].numel() for name in names),
                loaded=sum(name in loaded for name in names),
                trained=sum(everything[name].numel() for name in trained),
                epochs=tuple(sorted({start[name] for name in trained})),
                lr=rates[part] if trained else None,
            )
        )
    return out
