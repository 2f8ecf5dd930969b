"""Train on every fold with several seeds, test each best checkpoint, and report single models and ensembles of seeds.

    python scripts/split_data.py shards --split group --folds 5 --out_path folds
    python scripts/cross_validate.py folds --out_path cv --seeds 1 2 3 -- --config configs/regression.yaml

What follows `--` are options of train.py; data sets, seed and folder of each run are filled in. A folder with train,
valid and test is taken as a single fold. The same command continues where it stopped: finished runs are kept, and more
seeds may be added.

OUT_PATH gets results.json (scores of every run, their mean and spread, and those of the ensembles with intervals),
predictions.csv (a row for each tested item), coverage.png (what answering only the surest items is worth), and the runs
themselves, whose best checkpoints keep the errors on their test folds for `predict.py --interval` (docs/confidence.md).

Exit code: 0 when all runs finished, 2 for bad arguments or when a run failed (the others are reported all the same).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from configs.changes import SILENT
from configs.cli import parse
from configs.command import command
from configs.errors import ConfigError, DataError
from configs.files import atomic_write, read_json, sha256_of, write_json
from configs.options import at_least
from configs.schema import RunConfig
from configs.words import count_of
from data.shard_files import MANIFEST
from data.shards import ShardReader
from data.splits import group_of
from trainers import sureness
from trainers.cross_validated import keep_residuals, share_held, sure_of
from trainers.ensemble import (
    TASK_SCORES,
    Ensemble,
    RunResult,
    join_seeds,
    mean_and_sd,
    pooled_scores,
    read_run,
    score,
    shown,
)
from trainers.processes import Job, run_jobs
from trainers.report import without_nan

FILLED_IN = ("train_set", "valid_set", "test_set", "save_dir", "seed", "restart")
FREE = SILENT | {"gpus", "num_workers", "progress"}  # may differ when the same command is given again
PLAN = "cross_validation.json"


@command("cross_validate", interrupted="interrupted; the same command continues")
def main(argv: Sequence[str] | None = None) -> int:
    options, training = arguments(argv)
    at_least(options, 0, "bootstrap")
    folds = folds_of(options.data)
    run = check_training(training, folds, bool(options.devices))
    keep_plan(options.out_path, run, folds)
    jobs = {(f, s): make_job(folds[f], f, s, options.out_path, training) for f in folds for s in options.seeds}
    failed = run_all(jobs, options.devices)
    runs = [read_run(f, s, folder) for (f, s), job in jobs.items() if (folder := job.result()) is not None]
    if runs:
        report(runs, folds, run.task, options, failed)
    if failed:
        names = ", ".join(failed)
        first = next(job for job in jobs.values() if job.name in failed)
        raise DataError(
            f"{len(failed)} of {len(jobs)} runs failed: {names}",
            hint=f"see {first.log}; the same command tries them again",
        )
    return 0


def arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Our own options, and those of train.py behind `--`."""
    given = list(sys.argv[1:] if argv is None else argv)
    cut = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of fold_0, fold_1, ... or of train, valid and test")
    parser.add_argument("--out_path", type=Path, required=True, help="folder for runs and results")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1, 2, 3], help="a run of each fold each (default 1 2 3)"
    )
    parser.add_argument(
        "--devices", type=int, nargs="+", default=(), help="one run at a time on each of these; -1: CPU"
    )
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples behind the intervals (default 1000)")
    parser.add_argument(
        "--resample",
        choices=("items", "groups"),
        default="items",
        help="what intervals resample: items (default), or whole groups, for items of a group are not independent",
    )
    return parser.parse_args(given[:cut]), given[cut + 1 :]


def folds_of(path: Path) -> dict[str, Path]:
    """Name -> folder of every fold, in order; DataError when there is none."""
    found = sorted(path.glob("fold_*"), key=lambda folder: (len(folder.name), folder.name))
    folds = {folder.name: folder for folder in found} or {"split": path}
    for folder in folds.values():
        for part in ("train", "test"):
            if not (folder / part / MANIFEST).exists():
                hint = "made by scripts/split_data.py with --folds, or with --test_fraction"
                raise DataError("is no folder of shards", folder / part, hint=hint)
    return folds


def sets_of(fold: Path) -> list[str]:
    """The options of train.py that name the data sets of a fold."""
    parts = [part for part in ("train", "valid", "test") if (fold / part / MANIFEST).exists()]
    return [word for part in parts for word in (f"--{part}_set", str(fold / part))]


def check_training(training: Sequence[str], folds: dict[str, Path], devices: bool = False) -> RunConfig:
    """The options of train.py, checked before anything runs.

    Raises:
        ConfigError: an option that is filled in here, or a task that measures nothing on a test set. SystemExit: an
            unknown option.
    """
    filled = {*FILLED_IN, "gpus", "gpu"} if devices else set(FILLED_IN)
    for name in sorted({word.removeprefix("--").partition("=")[0] for word in training if word.startswith("--")}):
        if name in filled:
            raise ConfigError("is filled in for each run", f"--{name}", hint="leave it out behind `--`")
    run = parse([*training, *sets_of(next(iter(folds.values()))), "--save_dir", "runs"])
    if run.task.startswith("pretrain"):
        raise ConfigError(f"{run.task!r} has no test scores", "--task", hint=f"tasks: {', '.join(TASK_SCORES)}")
    if run.label.target_types is not None:
        raise ConfigError("has no scores over all targets", "--target_types", hint="cross-validate one target a time")
    if not run.report.final_report:
        raise ConfigError("is needed: its scores are collected", "--final_report")
    return run


def keep_plan(out: Path, run: RunConfig, folds: dict[str, Path]) -> None:
    """Write what is cross-validated; ConfigError when the folder belongs to other options or data."""
    flat = json.loads(json.dumps(run.flat()))  # as it is read back
    options = {name: value for name, value in flat.items() if name not in {*FREE, *FILLED_IN}}
    data = {
        f"{name}/{part}": sha256_of(folder / part / MANIFEST)
        for name, folder in folds.items()
        for part in ("train", "test")
    }
    plan, path = {"options": options, "data": data}, out / PLAN
    if path.exists():
        old = read_json(path)
        changed = [f"--{n}" for n in sorted({*old["options"], *options}) if old["options"].get(n) != options.get(n)]
        if changed or old["data"] != data:
            what = f"holds runs with another {', '.join(changed)}" if changed else "holds runs on other data"
            raise ConfigError(what, out, hint="choose another --out_path")
    write_json(path, plan)


def make_job(fold: Path, name: str, seed: int, out: Path, training: Sequence[str]) -> Job:
    """The run of one fold with one seed."""
    folder = out / "runs" / f"{name}_seed_{seed}"
    filled = [*sets_of(fold), "--save_dir", str(folder), "--seed", str(seed), "--restart", "auto"]
    return Job(f"{name} seed {seed}", folder, "train", (*training, *filled))


def run_all(jobs: dict[tuple[str, int], Job], devices: Sequence[int]) -> dict[str, str]:
    """Run what is not finished and tell how each ended; returns name -> last words of those that failed."""
    failed, finished = {}, sum(job.result() is not None for job in jobs.values())
    if finished:
        print(f"{finished} of {len(jobs)} runs have finished before", file=sys.stderr)
    waiting = [job for job in jobs.values() if job.result() is None]
    for number, (job, ok) in enumerate(run_jobs(waiting, devices), 1):
        if not ok:
            failed[job.name] = job.last_words()
        print(f"[{number}/{len(waiting)}] {job.name}: {'finished' if ok else failed[job.name]}", file=sys.stderr)
    return failed


def report(
    runs: Sequence[RunResult], folds: dict[str, Path], task: str, options: argparse.Namespace, failed: dict[str, str]
) -> None:
    """Write results.json and predictions.csv, and print the table."""
    single = mean_and_sd([run.scores("test") for run in runs])
    results: dict[str, Any] = {
        "task": task,
        "unit": runs[0].report.get("unit", ""),
        "folds": list(folds),
        "seeds": options.seeds,
        "resamples": options.bootstrap,
        "resampled": options.resample,
        "failed": failed,
        "single": single,
        "validation": mean_and_sd([run.scores("valid") for run in runs]),
        "runs": [described(run, options.out_path) for run in runs],
    }
    ensembles = ensembles_of(runs, folds) if task in TASK_SCORES else []
    if ensembles:
        results["ensemble"] = mean_and_sd([score(task, e.mean, e.target, e.names) for e in ensembles])
        pooled = pooled_scores(task, ensembles, options.resample == "groups", options.bootstrap)
        results["pooled"] = {name: interval._asdict() for name, interval in pooled.items()}
        results["coverage"] = coverage(task, ensembles, results["unit"], options)
        results["intervals"] = share_held(runs)
        for ensemble in ensembles:
            groups = dict(zip(ensemble.ids, ensemble.groups))
            for run in runs:
                if run.fold == ensemble.fold:
                    keep_residuals(run, groups)
        table = pd.concat([ensemble.table(runs[0].scale) for ensemble in ensembles])
        atomic_write(options.out_path / "predictions.csv", table.to_csv(index=False))
    write_json(options.out_path / "results.json", without_nan(results))
    print(table_of(results))


def coverage(task: str, ensembles: Sequence[Ensemble], unit: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """What answering only the surest items of all folds is worth; draws coverage.png."""
    sure = sure_of(task, ensembles, unit)
    groups = [group for one in ensembles for group in one.groups] if options.resample == "groups" else None
    told = None if sure is None else sure.told(groups, options.bootstrap, 0)
    if told is None:
        return []
    sureness.draw([told], options.out_path / "coverage.png")
    return [told]


def described(run: RunResult, out: Path) -> dict[str, Any]:
    """A run in results.json."""
    place = {"fold": run.fold, "seed": run.seed, "folder": str(run.folder.relative_to(out))}
    scores = {name: run.scores(name) for name in ("valid", "test")}
    return place | {"checkpoint": run.report["checkpoint"], "epoch": run.report["epoch"]} | scores


def ensembles_of(runs: Sequence[RunResult], folds: dict[str, Path]) -> list[Ensemble]:
    """The ensemble of each fold that has predictions."""
    found = []
    for name, folder in folds.items():
        of_fold = [run for run in runs if run.fold == name and run.predictions is not None]
        if of_fold:
            reader = ShardReader(folder / "test")
            groups = {item: group_of(item, group) for item, group in zip(reader.ids, reader.groups)}
            found.append(join_seeds(of_fold, groups))
    return found


def table_of(results: dict[str, Any]) -> str:
    """Mean and spread of single models and of ensembles over folds, and the pooled scores with their intervals."""
    n_folds, n_seeds = len({run["fold"] for run in results["runs"]}), len(results["seeds"])
    unit = f", {results['unit']}" if results["unit"] else ""
    of = f"{count_of(n_folds, 'fold')}, {count_of(n_seeds, 'seed')}"
    lines = [f"{results['task']}: {count_of(len(results['runs']), 'run')} ({of}){unit}", ""]
    lines.append("| metric | single models | ensembles, by fold | ensembles, all folds |")
    lines.append("|---|---|---|---|")
    names = shown([*results["single"], *(n for n in results.get("pooled", {}) if n not in results["single"])])
    for name in names:
        cells = [spread(results.get(kind, {}).get(name)) for kind in ("single", "ensemble")]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {interval(results.get('pooled', {}).get(name))} |")
    note = f"mean ± standard deviation; 95 % intervals of {results['resamples']} resamples of {results['resampled']}"
    lines = [*lines, "", note]
    lines += [f"surest first, {sureness.in_words(curve)}" for curve in results.get("coverage", [])]
    for target, levels in results.get("intervals", {}).items():
        held = ", ".join(
            f"{level}: {one['held_by_group']:.3f} (width {one['width']:.3g})" for level, one in levels.items()
        )
        lines.append(f"share of the test items of {target} inside their intervals, mean over groups, by level: {held}")
    return "\n".join(lines)


def spread(value: dict[str, float] | None) -> str:
    if value is None:
        return "-"
    return f"{value['mean']:.3f}" + (f" ± {value['sd']:.3f}" if value["sd"] == value["sd"] else "")


def interval(value: dict[str, float] | None) -> str:
    if value is None or value["value"] != value["value"]:
        return "-"
    ends = f" [{value['low']:.3f}, {value['high']:.3f}]" if value["low"] == value["low"] else ""
    return f"{value['value']:.3f}{ends}"


if __name__ == "__main__":
    sys.exit(main())
