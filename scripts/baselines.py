"""What a task's labels owe to size, contacts and composition: trivial predictors on the splits that models train on.

    python scripts/baselines.py folds --task regression --out baselines

FOLDS is what scripts/split_data.py made: train and test (and valid, which is trained on as well), or fold_0, fold_1 and
so on with these. Predictions of all test sets are scored together, with 95 % bootstrap intervals over groups. The
predictors: the mean (or share of each class); ridge or logistic regression on sizes, on the number of contacts, on the
kinds of contacts, on block composition; trees on all of these; with --checkpoint also on frozen embeddings. OUT gets
baselines.json, baselines.md and a CSV of predictions for each.

--task multilabel: the same for each label by itself; the mean is the frequency of each label.

--task masking: the majority class, and a classifier that sees the composition of what is left of the interface.
--task prot_interface: finding a complex by chance, by size, and by the composition of the first side.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs.command import command
from configs.errors import ConfigError, DataError
from configs.files import atomic_write
from configs.options import at_least
from data.dataset import InterfaceDataset
from data.item import Item
from data.label_sets import LabelSets, fit_vocabulary, read_label_sets
from data.shard_files import MANIFEST
from data.shards import ShardReader
from data.splits import group_of
from data.vocab import FIRST_FRAGMENT
from models.load_any import load_checkpoint
from trainers.baseline_features import FEATURES, embeddings
from trainers.baselines import MULTICLASS, MULTILABEL, TASKS, fit_predict, fit_predict_sets, plan
from trainers.pair_baselines import masking_baselines, retrieval_baselines
from trainers.pooled import Pooled
from trainers.score_tables import markdown_table, plain_scores

DEFAULT_CLASSES = ("0", "1")
UNLABELLED = ("masking", "prot_interface")


class Fold(NamedTuple):
    """Item numbers, of all items read, to train and to test on."""

    name: str
    train: list[int]
    test: list[int]


class Data(NamedTuple):
    """All items of some folds, each once."""

    items: list[Item]
    folds: list[Fold]
    classes: tuple[str, ...]
    sets: list[Path]

    @property
    def groups(self) -> np.ndarray:
        return np.array([group_of(item.id, item.group) for item in self.items])


@command("baselines")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    at_least(options, 0, "seed", "bootstrap", "min_obs_per_ligand")
    data = read_folds(options.folds)
    rows = list(labelled_rows(data, options) if options.task in TASKS else unlabelled_rows(data, options))
    report = {"task": options.task, "folds": len(data.folds), "rows": rows}
    atomic_write(options.out / "baselines.json", json.dumps(report, indent=2))
    table = markdown_table(rows, options.task)
    atomic_write(options.out / "baselines.md", table)
    print(table)
    print(f"written to {options.out}")
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folds", type=Path, help="folder with train and test, or with fold_0, fold_1, ...")
    parser.add_argument("--task", choices=(*TASKS, *UNLABELLED), required=True, help="what the labels are")
    parser.add_argument("--out", type=Path, required=True, help="folder for scores and predictions")
    parser.add_argument(
        "--checkpoint", help="checkpoint (or published files) whose frozen embeddings are features, too"
    )
    parser.add_argument("--targets", help="labels of --task multilabel, joined by commas")
    parser.add_argument(
        "--min_obs_per_ligand", type=int, default=50, help="or those of enough training items in every fold (50)"
    )
    parser.add_argument("--subset", nargs="*", default=[], help="also score the items whose id begins so")
    parser.add_argument("--mask_proportion", type=float, default=0.15, help="of --task masking (default 0.15)")
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples of the intervals (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of trees and resampling")
    return parser.parse_args(argv)


def read_folds(folder: Path) -> Data:
    """The items of every fold.

    Raises:
        DataError: no folder, or one without train and test sets.
    """
    places = sorted((p for p in folder.glob("fold_*") if p.is_dir()), key=lambda p: (len(p.name), p.name)) or [folder]
    number: dict[str, int] = {}
    items: list[Item] = []
    folds, classes, sets = [], tuple[str, ...](), list[Path]()
    for place in places:
        parts: dict[str, list[int]] = {"train": [], "test": []}
        for name, part in (("train", "train"), ("valid", "train"), ("test", "test")):
            if name == "valid" and not (place / name / MANIFEST).exists():
                continue
            if not (place / name / MANIFEST).exists():
                raise DataError(f"has no {name} set", place, hint="scripts/split_data.py makes train and test sets")
            reader = ShardReader(place / name)
            sets.append(place / name)
            classes = classes or tuple(reader.manifest["extra"].get("classes", ()))
            for item in reader:
                if item.id not in number:
                    number[item.id] = len(items)
                    items.append(item)
                parts[part].append(number[item.id])
        folds.append(Fold(place.name, **parts))
    return Data(items, folds, classes, sets)


def labelled_rows(data: Data, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each predictor of labels, and each subset; writes the predictions."""
    for name, pooled in predictions(data, features_of(data.items, options.checkpoint), options):
        pooled.write(options.out / f"{name.replace(' ', '_').replace(',', '')}.csv")
        for subset in ("", *options.subset):
            part = pooled.of_prefix(subset)
            scores = plain_scores(part.scores(options.task, options.bootstrap, options.seed))
            row = {
                "predictor": name,
                "subset": subset,
                "items": len(part.ids),
                "groups": len(set(part.groups.tolist())),
            }
            yield row | {"scores": scores}


def unlabelled_rows(data: Data, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each predictor of a task without labels; such a task has one split.

    Raises:
        ConfigError: several folds.
    """
    if len(data.folds) > 1:
        raise ConfigError("has no folds: give a folder with train and test", "--task")
    (fold,) = data.folds
    train, test = ([data.items[place] for place in places] for places in fold[1:])
    if options.task == "masking":
        given = (data.groups[fold.test], options.mask_proportion, options.bootstrap, options.seed)
        found = masking_baselines(train, test, *given)
    else:
        found = retrieval_baselines(test)
    for name, scores in found.items():
        row = {"predictor": name, "subset": "", "items": len(test), "groups": len(set(data.groups[fold.test].tolist()))}
        yield row | {"scores": plain_scores(scores)}


def features_of(items: Sequence[Item], checkpoint: str | None) -> dict[str, np.ndarray]:
    """[items, features] by name."""
    n_types = max(FIRST_FRAGMENT, *(int(item.B.max()) + 1 for item in items))
    features = {name: make(items, n_types) for name, make in FEATURES.items()}
    if all(item.segment_ids[0] == item.segment_ids[-1] for item in items):
        features = {name: table for name, table in features.items() if not name.startswith("contact")}
    if checkpoint:
        features["embedding"] = embeddings(items, load_checkpoint(checkpoint))
    return features


def labels_of(data: Data, options: argparse.Namespace) -> tuple[np.ndarray, tuple[str, ...]]:
    """[items] labels and the names of their classes, or [items, labels] and the names of the labels."""
    if options.task == MULTILABEL:
        return sets_of(data, options)
    labels = np.array([item.label for item in data.items], float)
    n_classes = int(np.nanmax(labels)) + 1 if options.task == MULTICLASS and not data.classes else len(data.classes)
    return labels, data.classes or tuple(map(str, range(n_classes))) or DEFAULT_CLASSES


def sets_of(data: Data, options: argparse.Namespace) -> tuple[np.ndarray, tuple[str, ...]]:
    """[items, labels] 0, 1 or NaN, and the labels: those that are named, or frequent in all training sets.

    Raises:
        ConfigError: no label is left.
    """
    sets = read_label_sets(InterfaceDataset(data.sets))
    number = {name: row for row, name in enumerate(name for path in data.sets for name in ShardReader(path).ids)}
    values = sets.values[[number[item.id] for item in data.items]]
    everywhere: set[str] | None = None
    for fold in data.folds:
        names = fit_vocabulary(LabelSets(sets.names, values[fold.train]), options.min_obs_per_ligand, options.targets)
        everywhere = set(names) if everywhere is None else everywhere & set(names)
    chosen = tuple(name for name in LabelSets(sets.names, values).observations if name in (everywhere or ()))
    if not chosen:
        raise ConfigError("leaves no label that is frequent in every fold", "--min_obs_per_ligand")
    return LabelSets(sets.names, values).of(chosen).values.astype(float), chosen


def predictions(
    data: Data, features: dict[str, np.ndarray], options: argparse.Namespace
) -> Iterator[tuple[str, Pooled]]:
    """Name of each baseline, and what it predicts for all test sets."""
    labels, classes = labels_of(data, options)
    groups = data.groups
    tested = [place for fold in data.folds for place in fold.test]
    ids = np.array([data.items[place].id for place in tested])
    for name, (kind, seen) in plan(features).items():
        table = np.concatenate([features[feature] for feature in seen], 1)
        found = []
        for _, train, test in data.folds:
            known = table[train], labels[train], groups[train]
            if options.task == MULTILABEL:
                found.append(fit_predict_sets(kind, *known, table[test], options.seed))
            else:
                found.append(fit_predict(kind, options.task, *known, table[test], len(classes), options.seed))
        yield name, Pooled(ids, groups[tested], labels[tested], np.concatenate(found), classes)


if __name__ == "__main__":
    sys.exit(main())
