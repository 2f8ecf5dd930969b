"""Put the results of several tasks into Markdown tables: trivial predictors and models, side by side.

    python scripts/collect_results.py results --out docs/tables.md

RESULTS holds a folder for each table, and in it `baselines` (of scripts/baselines.py) and a folder for each model (of
scripts/cross_validate.py), both from the same splits. Models with predictions have two rows: the mean and standard
deviation over seeds of the scores of all test items, and those of the ensemble of the seeds with their 95 % intervals;
other tasks have the mean and deviation over runs. Intervals resample whole groups.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from configs.command import command
from configs.errors import DataError
from configs.files import atomic_write, read_json
from configs.options import at_least
from configs.words import count_of
from trainers.pooled import ENSEMBLE, Pooled, read_cross_validation
from trainers.score_tables import markdown_table, plain_scores, scored_as

RESULTS, PREDICTIONS, BASELINES = "results.json", "predictions.csv", "baselines.json"


@command("collect_results")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    at_least(options, 0, "bootstrap", "seed")
    tables = [table_of(folder, options) for folder in sorted(options.results.glob("*")) if tabulated(folder)]
    if not tables:
        raise DataError("holds no results", options.results, hint=f"TABLE/MODEL/{RESULTS}, TABLE/baselines/{BASELINES}")
    text = "\n".join(tables)
    atomic_write(options.out, text)
    print(text)
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder with a folder for each table")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--subset", nargs="*", default=[], help="also score the items whose id begins so")
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples of the intervals (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling")
    return parser.parse_args(argv)


def tabulated(folder: Path) -> bool:
    """Whether a folder holds anything for a table."""
    return any(folder.glob(f"*/{RESULTS}")) or any(folder.glob(f"*/{BASELINES}"))


def table_of(folder: Path, options: argparse.Namespace) -> str:
    """The table of one folder, under its name.

    Raises:
        DataError: results of different tasks.
    """
    rows: list[dict[str, Any]] = []
    tasks, notes = set(), []
    for path in sorted(folder.glob(f"*/{BASELINES}")):
        found = read_json(path)
        tasks.add(scored_as(found["task"]))
        rows += found["rows"]
    for path in sorted(folder.glob(f"*/{RESULTS}")):
        found = read_json(path)
        tasks.add(scored_as(found["task"]))
        rows += list(model_rows(path, found, options))
        if found["failed"]:
            notes.append(
                f"{path.parent.name}: {count_of(len(found['failed']), 'run')} failed ({', '.join(found['failed'])})."
            )
    if len(tasks) != 1:
        raise DataError(f"holds results of {', '.join(sorted(tasks))}", folder, hint="one task a table")
    return "\n".join([f"## {folder.name}", "", markdown_table(rows, tasks.pop()), *notes])


def model_rows(path: Path, found: dict[str, Any], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of one model: over its seeds, and of their ensemble."""
    name, seeds = path.parent.name, len(found["seeds"])
    predictions = path.parent / PREDICTIONS
    if not predictions.exists():
        scores = {metric: [value["mean"], value["sd"]] for metric, value in found["single"].items()}
        yield {"predictor": f"{name}, {count_of(len(found['runs']), 'run')}", "items": "", "scores": scores}
        return
    of_seed = read_cross_validation(predictions)
    ensemble = of_seed.pop(ENSEMBLE)
    for subset in ("", *options.subset):
        single = [one.of_prefix(subset) for one in of_seed.values()]
        whole = ensemble.of_prefix(subset)
        if not len(whole.ids):
            continue
        row = {"subset": subset, "items": len(whole.ids)}
        spread = spread_over(single, found["task"])
        yield row | {"predictor": f"{name}, mean of {seeds} seeds", "scores": spread}
        scores = plain_scores(whole.scores(found["task"], options.bootstrap, options.seed))
        yield row | {"predictor": f"{name}, ensemble", "scores": scores}


def spread_over(several: Sequence[Pooled], task: str) -> dict[str, list[float | None]]:
    """Mean and standard deviation over seeds of every score."""
    scores = [one.scores(task, n=0) for one in several]
    found: dict[str, list[float | None]] = {}
    for name in scores[0]:
        values = np.array([score[name].value for score in scores])
        if np.isfinite(values).all():
            found[name] = [float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None]
    return found


if __name__ == "__main__":
    sys.exit(main())
