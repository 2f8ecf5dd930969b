"""The last word on a run: its best checkpoint on the validation set, and on a test set, with intervals."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from configs.errors import CheckpointError
from configs.files import atomic_write, write_json
from configs.words import count_of
from data.dataset import InterfaceDataset
from data.shards import ShardReader
from data.splits import group_of
from models.intervals import CALIBRATION, Calibration
from models.persistence import from_pretrained, update_facts
from trainers import sureness
from trainers.calibration import VALIDATION, calibrate, interval_scores
from trainers.distributed import barrier, is_main, on_main, say
from trainers.evaluation import predict
from trainers.scores import Interval, bootstrap

if TYPE_CHECKING:
    from trainers.abs_trainer import Trainer

REPORT = "final_report.json"
SHOWN = 12


def final_report(trainer: "Trainer", loaders: Mapping[str, Any], n: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Measure the best checkpoint, print and write final_report.json and predictions_NAME.csv. A collective call.

    The trainer's model is that of the best checkpoint afterwards.

    Args:
        loaders: name of a set ("valid", "test") -> its loader.
        n: resamples behind the intervals (0: none). seed: of the resampling.

    Returns:
        What was written: monitor, checkpoint, unit, and for each set its numbers of items and groups, and its scores.
    """
    barrier()
    if not trainer.checkpoints.kept:
        raise CheckpointError("holds no checkpoint to measure", trainer.save_dir)
    best = trainer.checkpoints.kept[0]
    load_best(trainer, trainer.checkpoints.folder / best.name)
    labels = trainer.facts.get("labels") or {}
    report: dict[str, Any] = {
        "monitor": trainer.monitor.name,
        "checkpoint": best.name,
        "epoch": best.epoch,
        "unit": labels.get("unit", ""),
        "resamples": n,
        "sets": {},
    }
    calibrations: dict[str, Calibration] = {}
    for name, loader in loaders.items():
        means, predictions = predict(trainer, loader)
        groups = groups_of(loader, predictions.get("id"))
        scores = with_intervals(trainer, predictions, means, groups, n, seed) if is_main() else {}
        ids = predictions.get("id")
        items = max((len(array) for array in predictions.values()), default=0) if ids is None else len(set(ids))
        counts = {"items": items, "groups": None if groups is None else len(set(groups))}
        report["sets"][name] = counts | {"scores": {key: score._asdict() for key, score in scores.items()}}
        table = trainer.save_dir / f"predictions_{name}.csv"
        unknown = sureness.unknown_by_id(loader, ids, trainer.facts.get("seen_blocks")) if is_main() else None
        sure = sureness.sureness(predictions, labels, unknown)
        more = sureness.columns(sure, unknown)
        on_main(partial(write_predictions, table, predictions, groups, labels, more))
        if is_main():
            say(in_words(name, items, scores, report["unit"]))
            report["sets"][name]["coverage"] = told = coverage(sure, groups, n, seed, trainer.save_dir, name)
            for one in told:
                say(f"  {sureness.in_words(one)}")
            if calibrations:
                held = interval_scores(predictions, groups, labels, calibrations, n, seed)
                report["sets"][name]["intervals"] = held
        if name == "valid":
            calibrations = calibrate(predictions, groups, labels, VALIDATION) if is_main() else {}
            on_main(partial(keep_calibrations, trainer.checkpoints.folder / best.name, calibrations))
    on_main(partial(write_json, trainer.save_dir / REPORT, without_nan(report)))
    say(f"final report in {trainer.save_dir / REPORT}")
    return report


def coverage(
    sure: list[sureness.Sureness], groups: list[str] | None, n: int, seed: int, folder: Path, name: str
) -> list[dict[str, Any]]:
    """The risk-coverage curve of each target; draws those that have a shape as coverage_NAME.png."""
    told = [one for found in sure if (one := found.told(groups, n, seed)) is not None]
    curves = [one for one in told if len(one["curve"]["risk"]) > 1]
    if curves:
        sureness.draw(curves, folder / f"coverage_{name}.png")
    return told


def keep_calibrations(checkpoint: Path, found: Mapping[str, Calibration]) -> None:
    """Store residuals of held-out items with a checkpoint, for the intervals of its predictions."""
    if found:
        update_facts(checkpoint, {CALIBRATION: {name: one.to_dict() for name, one in found.items()}})


def load_best(trainer: "Trainer", folder: Path) -> None:
    """Let the trainer measure a stored model (a moving average, where there is one)."""
    trainer.average = None
    trainer.model = from_pretrained(folder).to(trainer.device)


def groups_of(loader: Any, ids: np.ndarray | None) -> list[str] | None:
    """The group of each predicted item, as splits have it; None where items have no names."""
    dataset = getattr(loader, "dataset", None)
    if ids is None or not isinstance(dataset, InterfaceDataset):
        return None
    known: dict[str, str] = {}
    for part in dataset.parts:
        pairs = zip(part.ids, part.groups) if isinstance(part, ShardReader) else ((i.id, i.group) for i in part)
        known.update(pairs)
    return [group_of(name, known.get(name, "")) for name in ids.tolist()]


def with_intervals(
    trainer: "Trainer",
    predictions: dict[str, np.ndarray],
    means: dict[str, float],
    groups: list[str] | None,
    n: int,
    seed: int,
) -> dict[str, Interval]:
    """Mean losses, which have no interval, and the trainer's metrics with those of the bootstrap over whole groups."""
    missing = float("nan")
    scores = {name: Interval(value, missing, missing) for name, value in means.items()}
    arrays = {name: array for name, array in predictions.items() if array.dtype.kind != "U"}
    if not arrays:
        return scores
    samples = dict(trainer.sample_scores(predictions))
    if samples or len({len(array) for array in arrays.values()}) > 1:
        whole = {name: Interval(v, missing, missing) for name, v in trainer.metrics(arrays, means).items()}
        if not samples:
            return scores | whole

        def averages(*drawn: np.ndarray) -> dict[str, float]:
            return {name: float(values.mean()) for name, values in zip(samples, drawn)}

        return scores | whole | bootstrap(averages, *samples.values(), groups=groups, n=n, seed=seed)

    def metrics(*resampled: np.ndarray) -> dict[str, float]:
        return trainer.metrics(dict(zip(arrays, resampled)), means)

    return scores | bootstrap(metrics, *arrays.values(), groups=groups, n=n, seed=seed)


def write_predictions(
    path: Path,
    predictions: dict[str, np.ndarray],
    groups: list[str] | None,
    labels: Mapping[str, Any],
    more: Mapping[str, np.ndarray],
) -> None:
    """A row for each item: id, group, target and prediction, by name of target or class, and more columns."""
    if not {"id", "pred", "target"} <= set(predictions):
        return
    pred, target = predictions["pred"], predictions["target"]
    columns: dict[str, Any] = {"id": predictions["id"]} | ({} if groups is None else {"group": groups})
    names = labels.get("classes") or labels.get("names") or labels.get("labels") or []
    target = target.reshape(len(target), -1)
    for number in range(target.shape[1]):
        columns["target" if target.shape[1] == 1 else f"target {names[number]}"] = target[:, number]
    pred = pred.reshape(len(pred), -1)
    for number in range(pred.shape[1]):
        columns["pred" if pred.shape[1] == 1 else f"pred {names[number]}"] = pred[:, number]
    atomic_write(path, pd.DataFrame(columns | dict(more)).sort_values("id", kind="stable").to_csv(index=False))


def in_words(name: str, items: int, scores: Mapping[str, Interval], unit: str) -> str:
    """Scores of one set on a few lines."""
    lines = [f"best checkpoint, {name} set, {count_of(items, 'item')}" + (f" ({unit})" if unit else "")]
    for metric, (value, low, high) in list(scores.items())[:SHOWN]:
        interval = f"  [{low:.4g}, {high:.4g}]" if low == low else ""
        lines.append(f"  {metric:<20}{value:>10.4g}{interval}")
    return "\n".join(lines + (["  ..."] if len(scores) > SHOWN else []))


def without_nan(value: Any) -> Any:
    """The same with None for what is not a number, as JSON wants it."""
    if isinstance(value, dict):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
