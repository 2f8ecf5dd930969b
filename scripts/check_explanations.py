"""Whether the blocks that a model holds for important are those in contact: precision at 10 against simple orders.

    python scripts/check_explanations.py shards --checkpoint MODEL --items 60 --out table.md

A block is in contact when one of its atoms is within 4 Å of the other side (items hold what is within 8 Å). Precision
at 10 is the share of such blocks among the ten with the largest scores; the base rate is their share among all blocks,
what a random order gets. `degree` orders blocks by the atoms of the other side within 8 Å, `buried` by all atoms within
8 Å, `size` by their own atoms. Items of 20 to 150 blocks are taken at even steps.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree
from tqdm import tqdm

from configs.command import command
from configs.errors import DataError
from configs.files import atomic_write
from data.contacts import CONTACT, distance_to_other_side, neighbour_counts
from data.inputs import add_input_arguments, input_options, open_inputs
from data.item import Item
from models.explain import METHODS, block_importance
from models.load_any import add_model_arguments, load_model, model_options
from models.named import backbone_of
from scripts.complex_page import ranks

TOP = 10
SIZES = (20, 150)
REACH = 8.0


@command("check_explanations")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    given = input_options(options)
    model = load_model(model_options(options))
    inputs = open_inputs(given, backbone_of(model).config.fragmentation_method)
    items = [entry.item for entry in inputs if SIZES[0] <= entry.item.n_blocks <= SIZES[1]]
    items = items[:: max(1, len(items) // options.items)][: options.items]
    if not items:
        raise DataError(f"holds no item of {SIZES[0]} to {SIZES[1]} blocks", str(given.input))
    found = [precisions(model, item) for item in tqdm(items, desc="interfaces", disable=not sys.stderr.isatty())]
    text = table(found)
    print(text)
    if options.out:
        atomic_write(options.out, text + "\n")
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_input_arguments(parser)
    add_model_arguments(parser)
    parser.add_argument("--items", type=int, default=60, help="interfaces to look at (default 60)")
    parser.add_argument("--out", type=Path, help="markdown file for the table")
    return parser.parse_args(argv)


def precisions(model: Any, item: Item) -> dict[str, float]:
    """Precision at 10 of every order of the blocks of an item, and the base rate."""
    contact = distance_to_other_side(item) <= CONTACT
    scores = {f"{method}, complex": block_importance(model, item, "complex", method).score for method in METHODS}
    sides = [block_importance(model, item, target).score for target in ("segment0", "segment1")]
    scores["mask, the other side"] = np.where(item.segment_ids == 0, sides[1], sides[0])
    scores |= {"degree": degree(item), "buried": neighbour_counts(item, REACH), "size": item.block_lengths}
    top = {name: float(contact[ranks(score) <= TOP].mean()) for name, score in scores.items()}
    return {"random (base rate)": float(contact.mean())} | top


def degree(item: Item) -> np.ndarray:
    """[blocks] atoms of the other side within 8 Å of a block's atoms, summed."""
    segment, count = item.segment_of_atom, np.zeros(item.n_atoms)
    for side in (0, 1):
        tree = cKDTree(item.X[segment != side])
        count[segment == side] = tree.query_ball_point(item.X[segment == side], REACH, return_length=True)
    return np.add.reduceat(count, np.cumsum(item.block_lengths) - item.block_lengths)


def table(found: Sequence[dict[str, float]]) -> str:
    """Mean precision of each order with its standard error, and how often it beats the base rate."""
    lines = ["| order | precision at 10 | standard error | above the base rate |", "| --- | --- | --- | --- |"]
    base = np.array([each["random (base rate)"] for each in found])
    for name in found[0]:
        values = np.array([each[name] for each in found])
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
        above = "" if name.startswith("random") else f"{100 * (values > base).mean():.0f} %"
        lines.append(f"| {name} | {values.mean():.3f} | {error:.3f} | {above} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
