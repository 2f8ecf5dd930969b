"""Curves of one or several runs of any task: losses and scores by optimiser step, and the learning rate.

    python scripts/plot_training.py runs/version_0 runs/version_1 --out training.png
    python scripts/plot_training.py runs/version_* --only rmse pearson --out scores.svg

Thin lines are training, thick ones validation; a ring is the best epoch; dotted grey is what has to be beaten: the loss
of predicting nothing, the rate of the commonest class, or what labels score that are named by their frequency. Each run
has a colour. Runs that are still going, or were stopped, are drawn as far as they are.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.command import command
from configs.errors import ConfigError, DataError
from configs.files import atomic_file
from configs.options import nearest
from trainers.line_log import LineLog

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
MAJORITY = "masked_majority_rate"
BY_FREQUENCY = "_by_frequency"
BESIDE = {"learning rate": "lr", "gradient norm": "gradient_norm"}  # panel -> entry of the logged steps
Histories = Mapping[str, Sequence[Mapping[str, Any]]]


@command("plot_training")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    histories = {name: read_history(run) for name, run in named(options.runs).items()}
    chosen = choose(panels(histories), options.only)
    save(curves(histories, chosen), options.out)
    print(f"written to {options.out}")
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder (save_dir/version_N)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="losses and scores to draw (default: all)")
    parser.add_argument("--out", type=Path, default=Path("training.png"), help="picture (default training.png)")
    return parser.parse_args(argv)


def named(runs: Sequence[Path]) -> dict[str, Path]:
    """A short name for each run: as many folders of the end of its path as tell the runs apart, without those between
    that are the same in all."""
    paths = list(dict.fromkeys(run.resolve() for run in runs))
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        ends = [path.parts[-depth:] for path in paths]
        if len(set(ends)) == len(ends):
            break
    levels = list(zip(*ends)) if len({len(end) for end in ends}) == 1 else []
    same = {place for place, level in enumerate(levels[:-1]) if len(set(level)) == 1}
    names = ["/".join(part for place, part in enumerate(end) if place not in same) for end in ends]
    return dict(zip(names, paths, strict=True))


def read_history(run: Path) -> list[dict[str, Any]]:
    """The records of a run's history.jsonl; lines that a kill has cut are left out.

    Raises:
        ConfigError: not a run folder. DataError: nothing to draw in it yet.
    """
    path = run / "history.jsonl"
    if not path.is_file():
        raise ConfigError("is not a run folder: it has no history.jsonl", run)
    records = drawable(LineLog(path).records())
    if not records:
        raise DataError("holds no step or epoch to draw yet", path)
    return records


def drawable(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records of steps and epochs that have something to draw."""
    return [
        record
        for record in records
        if record.get("event") in ("step", "epoch")
        and isinstance(record.get("step"), int)
        and any(part in record for part in ("train", "valid"))
        and all(isinstance(record.get(part, {}), dict) for part in ("train", "valid"))
    ]


def curve(records: Sequence[Mapping[str, Any]], event: str, part: str, name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one quantity."""
    points = [(r["step"], r[part][name]) for r in records if r.get("event") == event and name in r.get(part, {})]
    return [step for step, _ in points], [value for _, value in points]


def panels(histories: Histories) -> list[str]:
    """Quantities that can have a panel: losses first, then scores."""
    found = {
        name: None
        for records in histories.values()
        for record in records
        for part in ("train", "valid")
        for name, value in record.get(part, {}).items()
        if isinstance(value, (int, float)) and value == value
    }
    shown = [name for name in found if not name.endswith(("_base", BY_FREQUENCY)) and name != MAJORITY]
    return sorted(shown, key=lambda name: (name != "loss", not name.endswith("loss"), name))


def choose(names: Sequence[str], only: Sequence[str] | None) -> list[str]:
    """The panels to draw: those of --only, or all but the scores of single targets and classes (accuracy/NAME).

    Raises:
        ConfigError: --only names something that no run has.
    """
    for name in only or ():
        if name not in names and name not in BESIDE:
            raise ConfigError(f"no run has {name!r}", "--only", hint=nearest(name, [*names, *BESIDE]))
    return list(only) if only else [*(name for name in names if "/" not in name), *BESIDE]


def curves(histories: Histories, names: Sequence[str]) -> "Figure":
    """A panel for each quantity; of several runs, a legend above all."""
    from matplotlib.figure import Figure

    rows, columns = -(-len(names) // COLUMNS), min(len(names), COLUMNS)
    figure = Figure(figsize=(4.6 * columns, 3.1 * rows), layout="constrained")
    for place, name in enumerate(names, 1):
        axes = figure.add_subplot(rows, columns, place)
        for number, records in enumerate(histories.values()):
            draw_quantity(axes, records, name, f"C{number}")
        axes.set_title(plain(name.replace("_", " ")), fontsize=11)
        axes.set_xlabel("optimiser step", fontsize=9)
        axes.grid(alpha=0.25)
        if axes.has_data() and len(histories) == 1:
            axes.legend(fontsize=7)
        if "accuracy" in name or "recall" in name:
            axes.set_ylim(bottom=0)
        if name == "gradient norm" and axes.has_data():
            axes.set_yscale("log")
    if len(histories) > 1:
        lines = [figure.axes[0].plot([], [], color=f"C{number}", linewidth=2)[0] for number in range(len(histories))]
        figure.legend(lines, list(map(plain, histories)), loc="outside upper left", ncols=columns, fontsize=8)
    return figure


def plain(name: str) -> str:
    """A name as it stands: `$` starts no formula."""
    return name.replace("$", r"\$")


def save(figure: "Figure", out: Path) -> None:
    """Write a picture, atomically; ConfigError for an ending of no picture."""
    known = figure.canvas.get_supported_filetypes()
    if out.suffix and out.suffix[1:].lower() not in known:
        raise ConfigError("has the ending of no picture", "--out", out, hint=f"known: {', '.join(sorted(known))}")
    with atomic_file(out) as temporary:
        figure.savefig(temporary, dpi=130)


def draw_quantity(axes: "Axes", records: Sequence[Mapping[str, Any]], name: str, colour: str) -> None:
    """Training and validation curves of one quantity of one run, and what it has to beat."""
    if name in BESIDE:
        points = [(r["step"], r[BESIDE[name]]) for r in records if r.get(BESIDE[name]) is not None]
        axes.plot(*zip(*points) if points else ([], []), color=colour, linewidth=1, label=name)
        return
    steps, values = curve(records, "step", "train", name)
    if not steps:
        steps, values = curve(records, "epoch", "train", name)
    if steps:
        mark = "." if len(steps) < 3 else ""
        axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.55, label="training", marker=mark)
    steps, values = curve(records, "epoch", "valid", name)
    if steps:
        axes.plot(steps, values, color=colour, linewidth=2, marker="o", markersize=3, label="validation")
        draw_best(axes, records, name, colour)
    draw_base(axes, records, name)


def draw_best(axes: "Axes", records: Sequence[Mapping[str, Any]], name: str, colour: str) -> None:
    """A ring around the last epoch that improved what is monitored."""
    best = [r for r in records if r.get("event") == "epoch" and r.get("improved") and name in r.get("valid", {})]
    if best:
        axes.plot(best[-1]["step"], best[-1]["valid"][name], "o", color=colour, markersize=9, fillstyle="none")


def draw_base(axes: "Axes", records: Sequence[Mapping[str, Any]], name: str) -> None:
    """What has to be beaten, where the run tells it."""
    if name == "masked_accuracy":
        reference, label = MAJORITY, "commonest class"
    elif name == "loss":
        reference, label = "loss_base", "equal embeddings"  # of pairs; other losses have none
    elif name.endswith("_loss"):
        reference, label = name.removesuffix("_loss") + "_base", "predict nothing"
    else:
        reference, label = f"{name}{BY_FREQUENCY}", "by frequency"
    for part in ("valid", "train"):
        steps, values = curve(records, "epoch", part, reference)
        if steps:
            mark = "_" if len(steps) == 1 else ""
            axes.plot(steps, values, color="0.4", linestyle=":", linewidth=1.6, label=label, marker=mark)
            return


if __name__ == "__main__":
    sys.exit(main())
