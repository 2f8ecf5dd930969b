"""Losses and masked accuracy of a pretraining run on held-out interfaces, beside what needs no geometry.

Every noise loss is shown with its base (the loss of predicting nothing, that is zero), masked accuracy with the
majority class and with a classifier that sees composition only. Intervals are 95 % bootstrap over groups (families).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from configs.command import command
from configs.errors import ConfigError
from configs.files import atomic_write, read_json
from configs.options import at_least
from configs.schema import RunConfig, from_flat
from configs.words import count_of
from data.collate import collate_items
from data.dataset import InterfaceDataset
from data.item import Item
from data.noise import PretrainTransform
from data.splits import group_of
from data.vocab import FIRST_MASKABLE, load_vocabulary
from models.load_any import load_checkpoint
from trainers.masked_baselines import fit_composition_classifier, majority_class, masked_samples, top_k_hits

LOSSES = ("torsion", "translation", "rotation", "atom")


@command("evaluate_pretraining")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    at_least(options, 0, "seed")
    at_least(options, 1, "draws")
    report = evaluate(read_run(options.run), options)
    out = Path(options.out or options.run / "evaluation")
    atomic_write(out / "evaluation.json", json.dumps(report, indent=2))
    table = as_markdown(report)
    atomic_write(out / "evaluation.md", table)
    print(table)
    print(f"written to {out}")
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder (save_dir/version_N)")
    parser.add_argument("--valid_set", help="shards to evaluate on (default: the run's own)")
    parser.add_argument(
        "--train_set", help="shards that the composition classifier learns from (default: the run's own)"
    )
    parser.add_argument("--checkpoint", help="checkpoint folder, or one of published files (default: the run's best)")
    parser.add_argument("--draws", type=int, default=4, help="noise draws of each held-out item (default 4)")
    parser.add_argument("--seed", type=int, default=0, help="seed of noise draws and bootstrap")
    parser.add_argument(
        "--out", type=Path, help="folder for evaluation.json and evaluation.md (default: RUN/evaluation)"
    )
    return parser.parse_args(argv)


def read_run(folder: Path) -> RunConfig:
    """The options a run was made with."""
    if not (folder / "train_config.json").is_file():
        raise ConfigError("is not a run folder: it has no train_config.json", folder)
    saved = read_json(folder / "train_config.json")
    return from_flat(saved.get("options", saved), str(folder / "train_config.json"))


def evaluate(run: RunConfig, options: argparse.Namespace) -> dict:
    """Everything that goes into the report, as plain numbers."""
    valid_path, train_path = options.valid_set or run.data.valid_set, options.train_set or run.data.train_set
    if not valid_path or not train_path:
        raise ConfigError("the run has no validation set; name one", "--valid_set")
    transform = PretrainTransform(run.noise, run.data.max_n_vertex_per_item)
    expected = load_vocabulary(run.encoder.fragmentation_method).fingerprint
    valid = InterfaceDataset(valid_path, transform=transform, seed=options.seed, vocabulary_fingerprint=expected)
    train = InterfaceDataset(train_path, transform=transform, seed=options.seed + 1, vocabulary_fingerprint=expected)
    model = load_checkpoint(options.checkpoint or options.run / "checkpoint" / "best").eval()
    generator = np.random.default_rng(options.seed)

    items = [valid[draw, i] for draw in range(options.draws) for i in range(len(valid))]
    parts, logits = predict(model, items)
    groups = np.array([group_of(item.id, item.group) for item in items])
    report = {
        "run": str(options.run),
        "valid_set": str(valid_path),
        "items": len(valid),
        "groups": len(set(groups)),
        "draws": options.draws,
        "losses": loss_rows(parts, groups, generator),
    }
    if logits is not None and len(logits):
        report["masked"] = masked_rows(items, logits, groups, train, generator)
    return report


def predict(model: torch.nn.Module, items: Sequence[Item]) -> tuple[list[dict[str, float]], np.ndarray | None]:
    """Named losses of each item on its own, and the logits of all masked blocks."""
    parts, logits = [], []
    with torch.inference_mode():
        for item in tqdm(items, desc="held-out items", disable=not sys.stderr.isatty()):
            output = model(collate_items([item]))
            parts.append({name: float(value) for name, value in output.parts().items()})
            if output.masked_logits is not None:
                logits.append(output.masked_logits.float().numpy())
    return parts, np.concatenate(logits) if logits else None


def interval(statistic, groups: np.ndarray, generator: np.random.Generator, repeats: int = 1000) -> list[float]:
    """95 % bootstrap interval of `statistic(indices)` with whole groups drawn with replacement."""
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    values = []
    for _ in range(repeats):
        chosen = generator.integers(len(members), size=len(members))
        values.append(statistic(np.concatenate([members[c] for c in chosen])))
    return [float(np.percentile(values, 2.5)), float(np.percentile(values, 97.5))]


def loss_rows(parts: list[dict[str, float]], groups: np.ndarray, generator: np.random.Generator) -> list[dict]:
    """For each noise: mean loss, base, their ratio with an interval. Items without that noise are left out."""
    rows = []
    for name in LOSSES:
        loss = np.array([p.get(f"{name}_loss", np.nan) for p in parts])
        base = np.array([p.get(f"{name}_base", np.nan) for p in parts])
        use = np.isfinite(loss) & np.isfinite(base) & (base > 0)
        if not use.any():
            continue
        loss, base = loss[use], base[use]
        ratio = interval(lambda i, loss=loss, base=base: loss[i].mean() / base[i].mean(), groups[use], generator)
        rows.append(
            {
                "part": name,
                "items": int(use.sum()),
                "loss": float(loss.mean()),
                "base": float(base.mean()),
                "ratio": float(loss.mean() / base.mean()),
                "ratio_95": ratio,
            }
        )
    return rows


def masked_rows(
    items: Sequence[Item],
    logits: np.ndarray,
    groups: np.ndarray,
    train: InterfaceDataset,
    generator: np.random.Generator,
) -> dict:
    """Top-1 and top-5 accuracy of model, majority class (of the training set) and composition classifier."""
    n_classes = logits.shape[1]
    n_types = n_classes + FIRST_MASKABLE
    held_out = masked_samples(items, n_types)
    seen = masked_samples([train[0, i] for i in range(len(train))], n_types)
    classifier = fit_composition_classifier(seen)
    composition = classifier.predict_proba(held_out.features)
    frequency = np.bincount(seen.labels, minlength=n_classes).astype(float)
    everything = np.arange(n_classes)
    scores = {
        "model": (everything, logits),
        "composition": (classifier.classes_, composition),
        "majority": (everything, np.tile(frequency, (len(held_out.labels), 1))),
    }
    owners = groups[held_out.item]
    rows = []
    for name, (classes, score) in scores.items():
        row: dict = {"predictor": name}
        for k in (1, 5):
            hits = top_k_hits(classes, score, held_out.labels, k)
            row[f"top{k}"] = float(hits.mean())
            row[f"top{k}_95"] = interval(lambda i, hits=hits: hits[i].mean(), owners, generator)
        rows.append(row)
    return {"blocks": len(held_out.labels), "majority_class": majority_class(seen.labels), "rows": rows}


def as_markdown(report: dict) -> str:
    """The report as two tables."""
    held_out = f"{count_of(report['items'], 'held-out interface')} of {count_of(report['groups'], 'group')}"
    lines = [
        f"{held_out}, {count_of(report['draws'], 'noise draw')} each.",
        "",
        "| noise | items x draws | loss | base (predict nothing) | loss / base | 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    for row in report["losses"]:
        low, high = row["ratio_95"]
        lines.append(
            f"| {row['part']} | {row['items']} | {row['loss']:.4f} | {row['base']:.4f} | {row['ratio']:.3f} "
            f"| {low:.3f} to {high:.3f} |"
        )
    if "masked" in report:
        lines += ["", f"{report['masked']['blocks']} masked blocks.", ""]
        lines += ["| predictor | top-1 | 95 % interval | top-5 | 95 % interval |", "|---|---|---|---|---|"]
        for row in report["masked"]["rows"]:
            cells = [f"{row[f'top{k}']:.3f} | {row[f'top{k}_95'][0]:.3f} to {row[f'top{k}_95'][1]:.3f}" for k in (1, 5)]
            lines.append(f"| {row['predictor']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
