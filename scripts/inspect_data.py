"""Tell what a folder of shards holds: counts, sizes, kinds, labels, groups, one item in words, and histograms."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from configs.command import command
from configs.errors import LigareError
from configs.files import atomic_file
from configs.task_options import LabelOptions
from configs.words import count_of
from data.dataset import InterfaceDataset
from data.item import Item
from data.label_sets import COMPLETE, LabelSets, read_label_sets
from data.labels import read_labels
from data.shards import ShardReader
from data.vocab import MODALITIES, Vocabulary, load_vocabulary

MOST_LABELS = 20
SIZES = {"n_blocks": "blocks an item", "n_atoms": "atoms an item", "n_torsions": "torsion bonds an item"}


@command("inspect_data")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    reader = ShardReader(options.data, verify=options.verify or None)
    print("\n".join(describe(reader, options.item)))
    if len(reader):
        picture = options.out or options.data / "sizes.png"
        draw_sizes(reader, picture)
        print(f"\nhistograms of the sizes: {picture}")
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of shards")
    parser.add_argument("--item", type=int, default=0, help="number of the item to describe (default 0)")
    parser.add_argument("--out", type=Path, help="picture of the histograms (default: DIR/sizes.png)")
    parser.add_argument("--verify", action="store_true", help="check every file against its sha256")
    return parser.parse_args(argv)


def describe(reader: ShardReader, item: int = 0) -> list[str]:
    """Lines that tell what the data set holds; `item` is the one described in words."""
    manifest, counts = reader.manifest, reader.counts
    size = sum(entry["bytes"] for entry in manifest["files"])
    vocabulary = f"{manifest.get('vocabulary') or 'without fragments'} ({reader.vocabulary_fingerprint})"
    files = count_of(len(manifest["files"]), "file")
    lines = [
        f"{reader.path}: {count_of(len(reader), 'item')} in {files}, {size / 2**20:.1f} MiB",
        f"vocabulary {vocabulary}, schema version {manifest['schema_version']}",
    ]
    if not len(reader):
        return lines
    lines += ["", f"{'':<22} {'total':>10} {'smallest':>9} {'median':>9} {'mean':>9} {'largest':>9}"]
    for name, title in SIZES.items():
        values = counts[name].astype(np.int64)
        numbers = f"{values.sum():>10} {values.min():>9} {np.median(values):>9.0f} {values.mean():>9.1f}"
        lines.append(f"{title:<22} {numbers} {values.max():>9}")
    return [
        *lines,
        "",
        *_kinds(counts["modality"]),
        *_groups(reader),
        *_labels(reader),
        "",
        *_item(reader, item),
    ]


def _kinds(modality: np.ndarray) -> list[str]:
    found = Counter(modality.tolist())
    rows = [(MODALITIES[m] if m >= 0 else "unknown", n) for m, n in sorted(found.items())]
    return ["kinds of complex", *(f"  {name:<20} {n:>10} {n / len(modality):>8.1%}" for name, n in rows), ""]


def _groups(reader: ShardReader) -> list[str]:
    groups = Counter(group for group in reader.groups if group)
    lines = []
    if groups:
        name, n = groups.most_common(1)[0]
        lines.append(f"groups: {len(groups)} for {count_of(groups.total(), 'item')}; the largest, {name}, has {n}")
    else:
        lines.append("groups: none")
    doubled = len(reader) - len(set(reader.ids))
    return (
        [*lines, f"WARNING: {count_of(doubled, 'item has', 'items have')} the id of another one"] if doubled else lines
    )


def _labels(reader: ShardReader) -> list[str]:
    """The labels, each target, or how many items there are of each class or label of sets."""
    if reader.manifest["extra"].get(COMPLETE):
        return [_sets(read_label_sets(InterfaceDataset(reader.path)))]
    labels = read_labels(InterfaceDataset(reader.path), LabelOptions())
    unit = f" {labels.unit}" if labels.unit else ""
    if labels.classes:
        numbers = Counter(labels.values[np.isfinite(labels.values)].astype(int).tolist())
        return ["classes: " + ", ".join(f"{name} {numbers[number]}" for number, name in enumerate(labels.classes))]
    lines = []
    for name, column in zip(labels.names, labels.values.T):
        known = column[np.isfinite(column)]
        title = "labels" if labels.columns is None else f"target {name}"
        lines.append(
            f"{title}: {len(known)} of {len(column)} items, {known.min():.4g} to {known.max():.4g}{unit}, "
            f"mean {known.mean():.4g}, standard deviation {known.std():.4g}"
            if len(known)
            else f"{title}: none"
        )
    return lines


def _sets(sets: LabelSets) -> str:
    counts = sets.observations
    known = np.isfinite(sets.values).any(axis=1)
    without = int((known & ~(sets.values == 1).any(axis=1)).sum())
    unknown = f", nothing is known of {int((~known).sum())}" if not known.all() else ""
    head = f"sets of {count_of(len(sets.names), 'label')}: {count_of(without, 'item')} without a label{unknown}"
    more = f" and {len(counts) - MOST_LABELS} more" if len(counts) > MOST_LABELS else ""
    return f"{head}; " + ", ".join(f"{name} {count}" for name, count in list(counts.items())[:MOST_LABELS]) + more


def _item(reader: ShardReader, number: int) -> list[str]:
    if not 0 <= number < len(reader):
        return [f"item {number}: there are only {len(reader)}, counted from 0"]
    item = reader[number]
    vocabulary = None  # numbers instead of names when the vocabulary was learned and is not at hand
    with suppress(LigareError):
        vocabulary = load_vocabulary(reader.manifest.get("vocabulary"))
    if vocabulary is not None and vocabulary.fingerprint != reader.vocabulary_fingerprint:
        vocabulary = None
    kind = MODALITIES[item.modality] if item.modality >= 0 else "unknown kind"
    lines = [f"item {number}, {item.id}: {kind}, {count_of(item.n_blocks, 'block')}, {count_of(item.n_atoms, 'atom')}"]
    for segment in (0, 1):
        blocks = np.flatnonzero(item.segment_ids == segment)
        if len(blocks):
            names = [_block_name(item, int(b), vocabulary) for b in blocks[:8]]
            more = f" ... ({len(blocks)} in all)" if len(blocks) > len(names) else ""
            lines.append(f"  segment {segment}: {' '.join(names)}{more}")
    n_torsions = item.counts()["torsion"]
    return [*lines, f"  {n_torsions} torsion bonds" + (f", label {item.label:.4g}" if np.isfinite(item.label) else "")]


def _block_name(item: Item, block: int, vocabulary: Vocabulary | None) -> str:
    kind = int(item.B[block])
    known = vocabulary is not None and kind < vocabulary.size
    name = vocabulary.symbol(kind) if vocabulary is not None and known else f"type {kind}"
    if item.block_chain is None or item.block_resid is None:
        return name
    code = item.block_icode[block] if item.block_icode is not None else ""
    return f"{name}:{item.block_chain[block]}{item.block_resid[block]}{code}"


def draw_sizes(reader: ShardReader, path: Path) -> None:
    """Draw histograms of the sizes of the items, by kind of complex, as a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    modality = reader.counts["modality"]
    kinds = sorted(set(modality.tolist()))
    colours = [pyplot.get_cmap("tab20")(kind % 20) for kind in kinds]
    figure, axes = pyplot.subplots(1, len(SIZES), figsize=(4.2 * len(SIZES), 3.6), layout="constrained")
    for axis, (name, title) in zip(axes, SIZES.items()):
        values = reader.counts[name]
        bins = np.histogram_bin_edges(values, bins=min(40, int(np.ptp(values)) + 1))
        labels = [MODALITIES[m] if m >= 0 else "unknown" for m in kinds]
        axis.hist([values[modality == m] for m in kinds], bins=bins, stacked=True, label=labels, color=colours)
        axis.set_xlabel(title)
        axis.set_ylabel("items")
    axes[0].legend(fontsize="small")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
