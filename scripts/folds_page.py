"""What the report of a cross-validation shows: scores over runs and of the ensemble, all curves, pooled predictions."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from configs.errors import LigareError
from configs.files import read_json
from configs.words import count_of
from scripts.plot_training import drawable, named
from scripts.run_page import curves_of, described, number, picture_of, run_context, score_cells, table_of
from trainers.predicted import read_predicted
from trainers.run_record import RunRecord, read_run_folder

PLAN, RESULTS, TABLE = "cross_validation.json", "results.json", "predictions.csv"
MOST_RUNS = 10  # that get curves: more can't be told apart


def is_cross_validation(folder: Path) -> bool:
    """Whether a folder was made by scripts/cross_validate.py."""
    return (folder / PLAN).is_file() or (folder / RESULTS).is_file()


def folds_context(folder: Path) -> dict[str, Any]:
    """What the page shows; data, environment and options are those of the first run.

    Raises:
        ConfigError: none of its runs has begun. DataError: results.json is damaged.
    """
    folders = sorted((folder / "runs").glob("*/version_*"))
    results = read_json(folder / RESULTS) if (folder / RESULTS).is_file() else {}
    first = read_run_folder(folders[0] if folders else folder)
    notes = [] if results else [f"There is no {RESULTS} yet: the runs have not all ended."]
    notes += [f"run {name} failed: {why}" for name, why in (results.get("failed") or {}).items()]
    rows = results.get("runs") or []
    shown = [name for name in table_names(results) if "/" not in name][:6]
    shares = {"fold": "fold", "seed": "seed", "epoch": "epoch"}
    return run_context(first) | {
        "title": folder.resolve().name,
        "subtitle": f"cross-validation of {first.task}, {count_of(len(folders), 'run')}; {folder}",
        "state": "finished" if results and not results.get("failed") else "stopped",
        "tiles": list(tiles(results, shown)),
        "scores": list(scores(results)),
        "curves": picture_of(curves_of(histories(folders))),
        "predictions": list(predictions(folder, first, results, notes)),
        "notes": notes,
        "runs": [[*(row.get(name) for name in shares), *(number(row["test"].get(n)) for n in shown)] for row in rows],
        "runs_head": [*shares.values(), *(f"{name}, test" for name in shown)],
    }


def histories(folders: list[Path]) -> dict[str, list[dict[str, Any]]]:
    """The logs of the first runs that have any."""
    found = {name: drawable(read_run_folder(path).history) for name, path in named(folders).items()} if folders else {}
    return dict([pair for pair in found.items() if pair[1]][:MOST_RUNS])


def table_names(results: Mapping[str, Any]) -> list[str]:
    return list(results.get("pooled") or results.get("single") or {})


def tiles(results: Mapping[str, Any], shown: list[str]) -> Iterator[tuple[str, str]]:
    """The first scores of the ensemble, or the means over runs."""
    for name in shown[:3]:
        pooled = (results.get("pooled") or {}).get(name)
        yield (
            f"{name}, {'ensembles' if pooled else 'mean of runs'}, test",
            number(pooled["value"] if pooled else results["single"][name]["mean"]),
        )
    yield "runs", str(len(results.get("runs") or []))


def scores(results: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Pooled scores of the ensembles, and mean and deviation over single runs."""
    if pooled := results.get("pooled"):
        about = f"all test sets together; 95 % intervals of {results.get('resamples')} resamples of "
        rows = [(name, *score_cells(score)) for name, score in pooled.items()]
        yield table_of("ensembles of the seeds", about + str(results.get("resampled")), HEAD, rows)
    for kind, title in (("single", "single runs, test sets"), ("validation", "single runs, validation sets")):
        if found := results.get(kind):
            rows = [(name, number(one["mean"]), number(one.get("sd")), str(one["n"])) for name, one in found.items()]
            yield table_of(title, "mean and standard deviation", ["score", "mean", "deviation", "runs"], rows)


HEAD = ["score", "value", "from", "to"]


def predictions(
    folder: Path, first: RunRecord, results: Mapping[str, Any], notes: list[str]
) -> Iterator[dict[str, Any]]:
    """The ensemble's predictions of all test sets."""
    if not (folder / TABLE).is_file():
        return
    labels = first.config.get("labels") or {}
    try:
        found = read_predicted(folder / TABLE, labels, str(results.get("unit") or labels.get("unit") or ""))
    except LigareError as error:
        notes.append(f"{TABLE} {error.what}")
        return
    for one in found:
        yield described(one, "all test sets, ensembles of the seeds" + (f": {one.name}" if one.name else ""))
