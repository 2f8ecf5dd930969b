"""The last word on a run: its best checkpoint on the validation set, and on a test set, with intervals."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from configs.errors import CheckpointError
from configs.files import atomic_write, write_json
from data.dataset import InterfaceDataset
from data.shards import ShardReader
from data.splits import group_of
from models.persistence import from_pretrained
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
    for name, loader in loaders.items():
        means, predictions = predict(trainer, loader)
        groups = groups_of(loader, predictions.get("id"))
        scores = with_intervals(trainer, predictions, means, groups, n, seed) if is_main() else {}
        ids = predictions.get("id")
        items = max((len(array) for array in predictions.values()), default=0) if ids is None else len(set(ids))
        counts = {"items": items, "groups": None if groups is None else len(set(groups))}
        report["sets"][name] = counts | {"scores": {key: score._asdict() for key, score in scores.items()}}
        table = trainer.save_dir / f"predictions_{name}.csv"
        on_main(partial(write_predictions, table, predictions, groups, labels))
        if is_main():
            say(in_words(name, items, scores, report["unit"]))
    on_main(partial(write_json, trainer.save_dir / REPORT, without_nan(report)))
    say(f"final report in {trainer.save_dir / REPORT}")
    return report


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
    path: Path, predictions: dict[str, np.ndarray], groups: list[str] | None, labels: Mapping[str, Any]
) -> None:
    """A row for each item: id, group, target and prediction, by name of target or class."""
    if not {"id", "pred", "target"} <= set(predictions):
        return
    pred, target = predictions["pred"], predictions["target"]
    columns: dict[str, Any] = {"id": predictions["id"]} | ({} if groups is None else {"group": groups})
    names = labels.get("classes") or labels.get("names") or []
    target = target.reshape(len(target), -1)
    for number in range(target.shape[1]):
        columns["target" if target.shape[1] == 1 else f"target {names[number]}"] = target[:, number]
    pred = pred.reshape(len(pred), -1)
    for number in range(pred.shape[1]):
        columns["pred" if pred.shape[1] == 1 else f"pred {names[number]}"] = pred[:, number]
    atomic_write(path, pd.DataFrame(columns).sort_values("id", kind="stable").to_csv(index=False))


def in_words(name: str, items: int, scores: Mapping[str, Interval], unit: str) -> str:
    """Scores of one set on a few lines."""
    lines = [f"best checkpoint, {name} set, {items} items" + (f" ({unit})" if unit else "")]
    for metric, (value, low, high) in list(scores.items())[:SHOWN]:
        interval = f"  [{low:.4g}, {high:.4g}]" if low == low else ""
        lines.append(f"  {metric:<20}{value:>10.4g}{interval}")
    return "\n".join(lines + (["  ..."] if len(scores) > SHOWN else []))


def without_nan(value: Any) -> Any:
    """The same with None for what is not a number, as JSON wants it."""
    if isinstance(value, dict):
        return {key: without_nan(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value
