"""Split a folder of shards into training, validation and test sets: OUT/train, OUT/valid, OUT/test."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from configs.command import command
from configs.options import at_least
from data.shards import ShardReader
from data.splits import split_folder
from data.vocab import MODALITIES


@command("split_data")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    at_least(options, 0, "seed")
    fractions = {"valid": options.valid_fraction}
    if options.test_fraction:
        fractions["test"] = options.test_fraction
    parts = split_folder(options.data, options.out_path, fractions, options.by, options.seed)
    total = sum(len(part.indices) for part in parts.values())
    unit = "groups" if options.by == "group" else "items"
    for name, part in parts.items():
        n = len(part.indices)
        print(f"{name:<6} {n:>8} items ({n / total:6.1%}) of {part.n_groups} {unit}  {kinds(options.out_path / name)}")
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of shards")
    parser.add_argument(
        "--by",
        choices=("group", "random"),
        default="group",
        help="group (default): whole groups on one side, items without one by PDB entry; random: item by item",
    )
    parser.add_argument("--valid_fraction", type=float, default=0.1, help="share of the items (default 0.1)")
    parser.add_argument("--test_fraction", type=float, default=0.0, help="share of the items (default 0: no test set)")
    parser.add_argument("--seed", type=int, default=42, help="of the random order of groups")
    parser.add_argument("--out_path", type=Path, required=True, help="folder for the parts")
    return parser.parse_args(argv)


def kinds(path: Path) -> str:
    """How many items of each kind of complex a folder of shards holds, in words."""
    modality, counts = np.unique(ShardReader(path, verify=False).counts["modality"], return_counts=True)
    named = zip(modality.tolist(), counts.tolist())
    return ", ".join(f"{MODALITIES[m] if m >= 0 else 'unknown kind'} {n}" for m, n in named)


if __name__ == "__main__":
    sys.exit(main())
