"""Curves of one or several runs: losses beside their "predict nothing" bases, masked accuracy beside the majority rate.

Thin lines are training, thick ones validation; dotted grey is the base. Each run has a colour.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.command import command
from configs.errors import ConfigError, DataError
from configs.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
MAJORITY = "masked_majority_rate"


@command("plot_training")
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder (save_dir/version_N)")
    parser.add_argument("--out", type=Path, default=Path("training.png"), help="picture (default training.png)")
    options = parser.parse_args(argv)
    draw({name: read_history(run) for name, run in named(options.runs).items()}, options.out)
    print(f"written to {options.out}")
    return 0


def named(runs: Sequence[Path]) -> dict[str, Path]:
    """A short name for each run: its folder's, with that of save_dir where several runs would share it."""
    names = [run.resolve().name for run in runs]
    full = [f"{run.resolve().parent.name}/{name}" for run, name in zip(runs, names, strict=True)]
    return dict(zip(names if len(set(names)) == len(names) else full, runs, strict=True))


def read_history(run: Path) -> list[dict[str, Any]]:
    """The records of a run's history.jsonl.

    Raises:
        ConfigError: not a run folder. DataError: nothing in it yet, or not JSON lines.
    """
    path = run / "history.jsonl"
    if not path.is_file():
        raise ConfigError("is not a run folder: it has no history.jsonl", run)
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise DataError(f"is not made of JSON lines: {error}", path) from error
    if not any(record.get("event") == "epoch" for record in records):
        raise DataError("holds no finished epoch yet", path)
    return records


def curve(records: list[dict[str, Any]], event: str, part: str, name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one quantity."""
    points = [(r["step"], r[part][name]) for r in records if r.get("event") == event and name in r.get(part, {})]
    return [step for step, _ in points], [value for _, value in points]


def panels(histories: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Quantities that get a panel: losses first, then accuracies, then what else was validated."""
    found = {
        name: None
        for records in histories.values()
        for record in records
        for part in ("train", "valid")
        for name in record.get(part, {})
    }
    shown = [name for name in found if not name.endswith("_base") and name != MAJORITY]
    return sorted(shown, key=lambda name: (name != "loss", not name.endswith("loss"), name))


def draw(histories: dict[str, list[dict[str, Any]]], out: Path) -> None:
    """One panel for each quantity, and one for the learning rate."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.backend_bases import FigureCanvasBase

    known = FigureCanvasBase.filetypes
    if out.suffix and out.suffix[1:].lower() not in known:
        raise ConfigError("has the ending of no picture", "--out", out, hint=f"known: {', '.join(sorted(known))}")
    names = [*panels(histories), "learning rate"]
    rows = -(-len(names) // COLUMNS)
    figure, grid = plt.subplots(rows, COLUMNS, figsize=(4.6 * COLUMNS, 3.1 * rows), squeeze=False, layout="constrained")
    for axes, name in zip(grid.flat, names, strict=False):
        for number, (run, records) in enumerate(histories.items()):
            if name == "learning rate":
                steps = [r["step"] for r in records if "lr" in r]
                axes.plot(steps, [r["lr"] for r in records if "lr" in r], color=f"C{number}", label=run)
            else:
                draw_quantity(axes, records, name, f"C{number}", run if len(histories) > 1 else "")
        axes.set_title(name.replace("_", " "), fontsize=11)
        axes.set_xlabel("optimiser step", fontsize=9)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=7)
        if "accuracy" in name:
            axes.set_ylim(bottom=0)
    for axes in list(grid.flat)[len(names) :]:
        axes.set_visible(False)
    with atomic_file(out) as temporary:
        figure.savefig(temporary, dpi=130)
    plt.close(figure)


def draw_quantity(axes: "Axes", records: list[dict[str, Any]], name: str, colour: str, run: str) -> None:
    """Training and validation curves of one quantity of one run, and what it has to beat."""
    prefix = f"{run}: " if run else ""
    steps, values = curve(records, "step", "train", name)
    if not steps:
        steps, values = curve(records, "epoch", "train", name)
    if steps:
        axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.55, label=f"{prefix}training")
    steps, values = curve(records, "epoch", "valid", name)
    if steps:
        axes.plot(steps, values, color=colour, linewidth=2, marker="o", markersize=3, label=f"{prefix}validation")
    reference, label = name.removesuffix("_loss") + "_base", "predict nothing"
    if name == "masked_accuracy":
        reference, label = MAJORITY, "majority class"
    if name == "loss" or not (name.endswith("_loss") or name == "masked_accuracy"):
        return
    for part in ("valid", "train"):
        steps, values = curve(records, "epoch", part, reference)
        if steps:
            axes.plot(steps, values, color="0.4", linestyle=":", linewidth=1.6, label=f"{prefix}{label}")
            return


if __name__ == "__main__":
    sys.exit(main())
