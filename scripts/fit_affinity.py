"""Fit a small regressor to few labels: descriptors of interfaces and frozen representations, measured on unseen groups.

    python scripts/fit_affinity.py shards --checkpoint checkpoints/pretrain_small --out affinity
    python scripts/predict.py index.csv --checkpoint affinity/checkpoint --interval 0.9 --out predictions.csv

SHARDS hold labels and groups (scripts/process_pdbs.py). Every item is predicted by regressors that have not seen its
group, in --folds folds of whole groups, shuffled --repeats times; the table has mean and standard deviation over the
shuffles. The regressor of the last row is then fitted to all items and kept. OUT gets checkpoint/ (with the residuals
of unseen groups, for intervals), scores.json, scores.md and predictions.csv.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from configs.command import command
from configs.errors import DataError
from configs.files import atomic_write
from configs.options import at_least
from configs.words import count_of
from data.descriptors import KINDS
from data.inputs import InputItem
from data.item import Item
from data.shards import ShardReader
from data.splits import group_of
from models.embed import batches, collated, each_alone
from models.kernel_model import KernelConfig, KernelModel, frozen_encoder
from models.load_any import load_checkpoint
from trainers.baseline_features import composition
from trainers.ensemble import mean_and_sd
from trainers.kernel_fit import CHOSEN, Choice, Features, choose_kernels, fit_kernel, left_out, predictors, slope_of
from trainers.kernel_record import facts_of
from trainers.score_tables import markdown_table
from trainers.scores import regression_metrics, within_group_spearman

IN_SAMPLE = "contacts by class, linear"
MAX_BLOCKS = 1000


@command("fit_affinity")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    at_least(options, 0, "seed")
    at_least(options, 1, "repeats")
    at_least(options, 2, "folds")
    torch.manual_seed(options.seed)
    encoder = frozen_encoder(load_checkpoint(options.checkpoint))
    reader = ShardReader(options.shards)
    items = labelled(reader)
    features = features_of(KernelModel(KernelConfig(encoder=encoder.config)), encoder, items)
    rows, found = measured(features, options)
    model, choices = kept_model(features, encoder, options.seed)
    facts = facts_of(features, found[CHOSEN], items, reader.manifest, options, rows, choices)
    model.save_pretrained(options.out / "checkpoint", facts)
    table = markdown_table(rows, "regression")
    atomic_write(options.out / "scores.json", json.dumps(rows, indent=2))
    atomic_write(options.out / "scores.md", table)
    columns = {"id": features.ids, "group": features.groups, "target": features.labels}
    atomic_write(options.out / "predictions.csv", pd.DataFrame(columns | found).to_csv(index=False))
    print(table)
    print(f"the last is kept, fitted to all {len(items)} items, in {options.out / 'checkpoint'}")
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path, help="folder of shards with labels")
    parser.add_argument(
        "--checkpoint", required=True, help="pretrained checkpoint (or published files) whose representations are used"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint, scores and predictions")
    parser.add_argument("--folds", type=int, default=14, help="of whole groups (default 14)")
    parser.add_argument("--repeats", type=int, default=3, help="shuffles of the folds (default 3)")
    parser.add_argument("--subset", nargs="*", default=[], help="also score the items whose id begins so")
    parser.add_argument("--unit", default="kcal/mol", help="of the labels (default kcal/mol)")
    parser.add_argument("--licence", default="unknown", help="of the fitted weights, for the model card")
    parser.add_argument("--seed", type=int, default=0, help="of shuffles and trees")
    return parser.parse_args(argv)


def labelled(reader: ShardReader) -> list[Item]:
    """The items with a label; DataError when there are fewer than two."""
    items = [item for item in reader if np.isfinite(item.label)]
    if len(items) < 2:
        raise DataError(
            f"holds {count_of(len(items), 'item')} with a label",
            reader.path,
            hint="process_pdbs.py keeps a column label",
        )
    return items


def features_of(model: KernelModel, encoder: Any, items: Sequence[Item]) -> Features:
    """Features of all items as the model will make them."""
    model.frozen.load_state_dict(encoder.state_dict())
    parts = []
    with each_alone(model):
        for some in batches(map(InputItem, items), MAX_BLOCKS):
            parts.append([part.numpy() for part in model.features(collated(model, some))])
    descriptors, representation, lead = (np.concatenate(part) for part in zip(*parts))
    return Features(
        ids=np.array([item.id for item in items]),
        groups=np.array([group_of(item.id, item.group) for item in items]),
        labels=np.array([item.label for item in items], float),
        blocks={
            "descriptors": descriptors,
            "representation": representation,
            "lead": lead[:, None],
            "composition": composition(items, 1 + max(int(item.B.max()) for item in items)),
        },
    )


def measured(features: Features, options: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Rows of the table, and of each regressor its predictions of the first shuffle."""
    rows, first = [], {}
    for name, (fit, table) in predictors(features).items():
        told = features.labels, features.groups, options.folds
        several = [left_out(fit, table, *told, options.seed + repeat) for repeat in range(options.repeats)]
        first[name] = several[0]
        rows += scored(name, several, features, options.subset)
        if name == IN_SAMPLE:
            for subset in options.subset:
                chosen = of_subset(features, subset)
                known = table[chosen], features.labels[chosen], features.groups[chosen]
                pred = np.full(len(chosen), np.nan)
                pred[chosen] = fit(*known)(table[chosen])
                rows += scored(f"{name}, fitted to the very items", [pred], features, [subset])[1:]
    return rows, first


def of_subset(features: Features, prefix: str) -> np.ndarray:
    return np.array([name.startswith(prefix) for name in features.ids.tolist()])


def scored(
    name: str, several: Sequence[np.ndarray], features: Features, subsets: Sequence[str]
) -> list[dict[str, Any]]:
    """A row for all items and each subset: mean and standard deviation over the shuffles."""
    rows = []
    for subset in ("", *subsets):
        chosen = of_subset(features, subset)
        if not chosen.any():
            raise DataError(f"no id begins with {subset!r}", "--subset")
        target, groups = features.labels[chosen], features.groups[chosen]
        scores = [
            regression_metrics(pred[chosen], target) | within_group_spearman(pred[chosen], target, groups)
            for pred in several
        ]
        plain = {
            key: [value["mean"], None if value["sd"] != value["sd"] else value["sd"]]
            for key, value in mean_and_sd(scores).items()
        }
        rows.append({"predictor": name, "subset": subset, "items": int(chosen.sum()), "scores": plain})
    return rows


def kept_model(features: Features, encoder: Any, seed: int) -> tuple[KernelModel, list[Choice]]:
    """The kept regressor, fitted to all items, and the options that were chosen for it."""
    table = features.joined(("descriptors", "representation"))
    chosen = choose_kernels(table, features.labels, features.groups, KINDS, seed)
    fit = fit_kernel(table, features.labels, KINDS, chosen)
    config = KernelConfig(encoder=encoder.config, n_supports=len(fit.supports), n_members=len(chosen))
    model = KernelModel(config)
    slope = np.array([slope_of(features.blocks["lead"][:, 0])])
    values: dict[str, np.ndarray] = {"centre": fit.scaling.centre, "scale": fit.scaling.scale, "order_slope": slope}
    values |= {name: getattr(fit, name) for name in ("supports", "widths", "weights", "intercepts")}
    state = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in values.items()}
    model.load_state_dict(state | {f"frozen.{name}": value for name, value in encoder.state_dict().items()})
    return model.eval(), chosen


if __name__ == "__main__":
    sys.exit(main())
