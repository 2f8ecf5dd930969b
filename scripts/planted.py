"""Which part of a planted label the composition model and the geometric model explain, as a table.

    python scripts/planted.py --out planted

Labels of the built-in planted set (data/planted.py) are a term of composition and a term of geometry that are
independent of each other. Both models are trained on the sum alone, on the same split by group; the table has, on the
held-out groups, the correlation of their predictions with the label and with either term. OUT gets the shards, the
runs, scores.json and scores.md. The same command continues where it stopped.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from configs.command import check_processes, command
from configs.errors import DataError
from configs.files import atomic_write
from configs.options import at_least
from data.planted import make_planted
from data.shard_files import MANIFEST
from data.shards import write_part
from data.splits import split_groups
from data.vocab import load_vocabulary
from trainers.ensemble import read_run
from trainers.processes import Job, run_jobs
from trainers.score_tables import cell
from trainers.scores import bootstrap

VOCABULARY, TERMS = "PS_300", "terms.csv"
FRACTIONS = {"valid": 0.15, "test": 0.25}
SIZES = "--atom_hidden_size 16 --block_hidden_size 16 --edge_size 16 --n_layers 2 --k_neighbors 8"
COMMON = "--no_progress --no_use_tensorboard --shuffle --restart auto --bootstrap 0"
MODELS = {
    "composition": "--task regression --model composition --block_encoding embed --hidden_dims 64,32 --batch_size 32",
    "geometric": f"--task PDBBind {SIZES} --global_message_passing --batch_size 16 --grad_clip 1 "
    "--lr 5e-3 --final_lr 5e-4",
}


@command("planted", interrupted="interrupted; the same command continues")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    at_least(options, 0, "seed", "resamples")
    at_least(options, 40, "n_items")
    at_least(options, 1, "epochs")
    check_processes(options.n_jobs)
    make(options)
    terms = pd.read_csv(options.out / TERMS, dtype={"id": str}).set_index("id")
    rows = [row(name, trained(name, options), terms, options) for name in MODELS]
    table = table_of(rows)
    atomic_write(options.out / "scores.json", json.dumps(rows, indent=2))
    atomic_write(options.out / "scores.md", table)
    print(table)
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for data, runs and scores")
    parser.add_argument("-n", "--n_items", type=int, default=900, help="complexes to make (default 900)")
    parser.add_argument(
        "--epochs", type=int, default=20, help="of the geometric model, three times as many of the other (default 20)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of data and training")
    parser.add_argument("--resamples", type=int, default=1000, help="of whole groups, for intervals (default 1000)")
    parser.add_argument("--n_jobs", type=int, default=1, help="processes that build complexes (default 1)")
    return parser.parse_args(argv)


def make(options: argparse.Namespace) -> None:
    """Make the complexes and split them by group, unless that was done before."""
    if (options.out / TERMS).exists():
        return
    vocabulary = load_vocabulary(VOCABULARY)
    found = make_planted(options.n_items, vocabulary, options.seed, options.n_jobs)
    parts = split_groups([one.item.group for one in found], FRACTIONS, options.seed)
    for name, part in parts.items():
        items = [found[place].item for place in part.indices]
        if not (options.out / name / MANIFEST).exists():
            write_part(
                options.out / name,
                items,
                vocabulary.fingerprint,
                vocabulary=VOCABULARY,
                fragmentation_method=VOCABULARY,
            )
    rows = [(one.item.id, one.item.group, one.item.label, one.composition, one.geometry) for one in found]
    table = pd.DataFrame(rows, columns=["id", "group", "label", "composition", "geometry"])
    atomic_write(options.out / TERMS, table.to_csv(index=False))


def trained(name: str, options: argparse.Namespace) -> pd.Series:
    """Train a model, or continue; returns what it predicts for the test set, by id.

    Raises:
        DataError: the training failed.
    """
    folder = options.out / name
    sets = [word for part in ("train", "valid", "test") for word in (f"--{part}_set", str(options.out / part))]
    epochs = options.epochs * (3 if name == "composition" else 1)
    given = [*MODELS[name].split(), *COMMON.split(), *sets, "--fragmentation_method", VOCABULARY]
    given += ["--max_epoch", str(epochs), "--seed", str(options.seed), "--save_dir", str(folder)]
    job = Job(name, folder, "train", tuple(given))
    for _ in run_jobs([job], (-1,)):
        print(f"{name}: {job.last_words()}", file=sys.stderr)
    done = job.result()
    table = None if done is None else read_run("", options.seed, done).predictions
    if table is None:
        raise DataError(f"the {name} model failed: {job.last_words()}", job.log, hint="the same command tries again")
    return table["pred"]


def row(name: str, pred: pd.Series, terms: pd.DataFrame, options: argparse.Namespace) -> dict[str, Any]:
    """Scores of a model: correlations with their 95 % intervals over groups."""
    known = terms.loc[pred.index]
    scores = {}
    for column in ("label", "composition", "geometry"):
        found = bootstrap(
            lambda p, t: {"r": float(np.corrcoef(p, t)[0, 1])},
            pred.to_numpy(float),
            known[column].to_numpy(float),
            groups=known["group"].tolist(),
            n=options.resamples,
            seed=options.seed,
        )
        scores[column] = list(found["r"])
    return {"predictor": name, "items": len(pred), "scores": scores}


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| model | items | r with the label | r with its composition term | r with its geometry term |",
        "|---|---|---|---|---|",
    ]
    for one in rows:
        cells = " | ".join(cell(score) for score in one["scores"].values())
        lines.append(f"| {one['predictor']} | {one['items']} | {cells} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
