"""Splitting a data set so that nothing related is on both sides."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from configs.errors import ConfigError, DataError
from configs.files import TEMPORARY_PREFIX
from data.shard_files import MANIFEST
from data.shards import ShardReader, copy_items

By = Literal["group", "random"]


def group_of(identifier: str, group: str) -> str:
    """The unit that stays together: the item's group, or else its PDB entry (the id up to the last `_`)."""
    return group or identifier.rpartition("_")[0] or identifier


@dataclass(frozen=True)
class Part:
    """One side of a split: its item numbers (ascending) and its number of groups."""

    indices: np.ndarray
    n_groups: int


def split_groups(groups: Sequence[str], fractions: Mapping[str, float], seed: int = 0) -> dict[str, Part]:
    """Divide items into parts by whole groups.

    Groups are visited in random order; one goes to the first part that still has room for all of it, and to `train`
    otherwise. So no part exceeds its fraction, and one huge group can't fall into a small part.

    Args:
        groups: [items] group of every item. fractions: share of the items of every part but `train`.
        seed: of the random order.

    Raises:
        ConfigError: fractions that leave nothing for training, or a part for which no group is small enough.
    """
    if any(not 0 < f < 1 for f in fractions.values()) or sum(fractions.values()) >= 1:
        raise ConfigError("must be positive and leave a share for training", "--valid_fraction", "--test_fraction")
    names, group_of_item = np.unique(np.asarray(groups, object).astype(str), return_inverse=True)
    sizes = np.bincount(group_of_item)
    room = {part: round(fraction * len(group_of_item)) for part, fraction in fractions.items()}
    part_of_group = np.full(len(names), "train", object)
    for group in np.random.default_rng(seed).permutation(len(names)).tolist():
        part = next((part for part, left in room.items() if sizes[group] <= left), None)
        if part is not None:
            part_of_group[group] = part
            room[part] -= int(sizes[group])
    parts = {}
    for part in ("train", *fractions):
        chosen = part_of_group == part
        if not chosen.any():
            hint = f"the data set has {len(names)} groups, the smallest of {sizes.min()} items"
            raise ConfigError("leaves a part without a group", f"--{part}_fraction", hint=hint)
        parts[part] = Part(np.flatnonzero(chosen[group_of_item]), int(chosen.sum()))
    return parts


def split_folder(
    path: str | Path, out: str | Path, fractions: Mapping[str, float], by: By = "group", seed: int = 0
) -> dict[str, Part]:
    """Split the shards at `path` into OUT/train and one folder for each of `fractions`.

    Args:
        by: `group`: whole groups on one side (`group_of`); `random`: every item on its own.

    Raises:
        DataError: shards that can't be read, or a folder of `out` that holds something already.
        ConfigError: see `split_groups`.
    """
    reader = ShardReader(path)
    identifiers = reader.ids
    if by == "group":
        units = [group_of(identifier, group) for identifier, group in zip(identifiers, reader.groups)]
    else:
        units = [str(number) for number in range(len(identifiers))]
    parts = split_groups(units, fractions, seed)
    out = Path(out)
    for name in parts:
        if (out / name).exists() and any((out / name).iterdir()):
            what = "holds a data set already" if (out / name / MANIFEST).exists() else "is not empty"
            raise DataError(what, out / name, hint="choose another folder")
    unfinished = out / f"{TEMPORARY_PREFIX}split"  # so that a split that was killed leaves no part behind
    shutil.rmtree(unfinished, ignore_errors=True)
    for name, part in parts.items():
        copy_items(reader, part.indices, unfinished / name)
    for name in parts:
        os.replace(unfinished / name, out / name)
    unfinished.rmdir()
    return parts
