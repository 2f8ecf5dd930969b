"""What folds tell of sureness: residuals that each model keeps for intervals, and what agreement of seeds is worth."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from configs.files import read_json
from models.intervals import CALIBRATION
from models.persistence import update_facts
from trainers import sureness
from trainers.calibration import HELD_OUT, calibrate
from trainers.ensemble import TASK_SCORES, Ensemble, RunResult
from trainers.scores import regression_metrics

AGREEMENT = "agreement of the ensemble's members"
MEASURED = ("held", "held_by_group", "width")


def keep_residuals(run: RunResult, groups: dict[str, str]) -> None:
    """Let the best checkpoint of a run keep its errors on the fold that it had not seen, in the place of those on the
    validation set, which chose it: together the models of all folds then give the intervals of CV+.

    Args:
        groups: id -> group.
    """
    folder = run.folder / "checkpoint" / str(run.report["checkpoint"])
    if run.predictions is None or not folder.is_dir():
        return
    labels = read_json(run.folder / "train_config.json").get("labels") or {}
    table = run.predictions
    said = {
        k: table[[n for n in table.columns if n.partition(" ")[0] == k]].to_numpy(float) for k in ("pred", "target")
    }
    found = calibrate(said, [groups.get(name, name) for name in table.index], labels, HELD_OUT)
    if found:
        update_facts(folder, {CALIBRATION: {name: one.to_dict() for name, one in found.items()}})


def sure_of(task: str, folds: Sequence[Ensemble], unit: str = "") -> sureness.Sureness | None:
    """How sure the ensembles of all folds are: numbers by the agreement of their seeds, classes by their probability.

    None for several numbers at once, and for numbers of single models.
    """
    pred, target = np.concatenate([f.mean for f in folds]), np.concatenate([f.target for f in folds])
    if target.shape[1] != 1:
        return None
    if TASK_SCORES[task] is not regression_metrics:
        return sureness.of_classes("class", pred, target[:, 0])
    if any(len(fold.seeds) < 2 for fold in folds):
        return None
    spread = np.concatenate([fold.spread for fold in folds])[:, 0]
    loss = np.abs(pred - target)[:, 0]
    return sureness.Sureness("label", -spread, loss, AGREEMENT, sureness.ERROR, unit)


def share_held(runs: Sequence[RunResult]) -> dict[str, dict[str, dict[str, float]]]:
    """Target -> level -> `held`, `held_by_group` and `width`: means over runs of the shares of their test items inside
    the intervals that the validation set gives, and of the widths; runs without such intervals are left out (`runs`
    counts)."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    collected: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for run in runs:
        for target, levels in (run.report["sets"].get("test", {}).get("intervals") or {}).items():
            for level, told in levels.items():
                if told["width"] is not None:
                    collected.setdefault((target, level), []).append(values_of(told))
    for (target, level), pairs in collected.items():
        means = dict(zip(MEASURED, np.mean(pairs, axis=0).tolist()))
        found.setdefault(target, {})[level] = means | {"runs": len(pairs)}
    return found


def values_of(told: dict[str, Any]) -> tuple[float, ...]:
    """The numbers of `MEASURED` in a report."""
    return tuple(told[name] if name == "width" else told[name]["value"] for name in MEASURED)
