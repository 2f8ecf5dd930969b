"""Weights worth keeping: `checkpoint/epochX_stepY/` folders, the best k of them, and a link `best`."""

import os
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from configs.errors import CheckpointError
from configs.files import TEMPORARY_PREFIX, write_json
from models.persistence import read_manifest, save_pretrained
from trainers.folders import complete_folder, remove_folder


@dataclass(frozen=True)
class Kept:
    """One stored checkpoint."""

    name: str
    metric: float | None
    epoch: int
    step: int


class Checkpoints:
    """The checkpoints of a run.

    Without a validation metric the newest ones count as the best.

    Args:
        folder: `save_dir/version_N/checkpoint`.
        topk: how many to keep; -1 keeps one for each improvement, and the first, so that a run whose metric is never
            defined leaves weights as well.
        smaller_is_better: direction of the metric.
    """

    def __init__(self, folder: Path, topk: int, smaller_is_better: bool, monitor: str) -> None:
        self.folder, self.topk, self.smaller_is_better, self.monitor = folder, topk, smaller_is_better, monitor
        self.kept: list[Kept] = []  # best first
        self.missed = False  # whether the last one that was wanted could not be stored

    def wanted(self, metric: float | None, improved: bool) -> bool:
        """Whether a checkpoint with this metric would be kept."""
        if metric is None or improved or self.missed:
            return True
        if self.topk == -1:
            return not self.kept
        return len(self.kept) < self.topk or self._order(metric) < self._order(self.kept[-1].metric)

    def add(self, model: nn.Module, metric: float | None, epoch: int, step: int, extra: dict[str, Any]) -> Path:
        """Store the weights, point `best` at the best checkpoint, delete those no longer among the best.

        Raises:
            OSError: it can't be stored; those before stay, and the next one is wanted whatever its metric.
        """
        self.missed = True
        name = f"epoch{epoch}_step{step}"
        with complete_folder(self.folder / name) as temporary:
            save_pretrained(model, temporary, extra)
        kept = [Kept(name, metric, epoch, step), *(k for k in self.kept if k.name != name)]
        kept.sort(key=lambda k: (self._order(k.metric), -k.step if k.metric is None else k.step))
        keep = len(kept) if self.topk == -1 else self.topk
        self._publish(kept[:keep])
        self.kept, self.missed = kept[:keep], False
        names = {k.name for k in self.kept}
        for old in self.folder.glob("epoch*_step*"):  # also what a run stored that was taken back to an older state
            if old.name not in names:
                remove_folder(old)
        return self.folder / name

    def state(self) -> list[dict[str, Any]]:
        """The list of kept checkpoints, as plain values."""
        return [asdict(k) for k in self.kept]

    def sound(self, state: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of a stored list that are undamaged; the others are named in a warning."""
        found = []
        for entry in state:
            folder = self.folder / entry["name"]
            try:
                if folder.is_dir():  # else the run stored better ones after this list
                    read_manifest(folder)
                    found.append(entry)
            except CheckpointError as error:
                warnings.warn(f"leaving out a damaged checkpoint: {error}", stacklevel=2)
        return found

    def load(self, state: list[dict[str, Any]]) -> None:
        """Go on with these checkpoints, as the main rank knows them: ranks must not look for themselves."""
        self.kept = [Kept(**entry) for entry in state]

    def _order(self, metric: float | None) -> float:
        if metric is None:
            return 0.0
        if metric != metric:
            return float("inf")
        return metric if self.smaller_is_better else -metric

    def _publish(self, kept: list[Kept]) -> None:
        best = kept[0].name
        write_json(
            self.folder / "topk.json",
            {
                "monitor": self.monitor,
                "smaller_is_better": self.smaller_is_better,
                "best": best,
                "checkpoints": [asdict(k) for k in kept],
            },
        )
        link = self.folder / f"{TEMPORARY_PREFIX}best"
        link.unlink(missing_ok=True)
        link.symlink_to(best, target_is_directory=True)
        os.replace(link, self.folder / "best")
