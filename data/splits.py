"""Splitting a data set so that nothing related is on both sides."""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from configs.errors import ConfigError, DataError
from configs.files import TEMPORARY_PREFIX
from data.shard_files import MANIFEST
from data.shards import ShardReader, copy_items

By = Literal["group", "random", "cluster", "scaffold", "time"]


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
    check_fractions(fractions)
    names, group_of_item = np.unique(np.asarray(groups, object).astype(str), return_inverse=True)
    sizes = np.bincount(group_of_item)
    room = {part: round(fraction * len(group_of_item)) for part, fraction in fractions.items()}
    part_of_group = np.full(len(names), "train", object)
    for group in np.random.default_rng(seed).permutation(len(names)).tolist():
        part = next((part for part, left in room.items() if sizes[group] <= left), None)
        if part is not None:
            part_of_group[group] = part
            room[part] -= int(sizes[group])
    hint = f"the data set has {len(names)} groups, the smallest of {sizes.min()} items"
    return parts_of(part_of_group, group_of_item, ("train", *fractions), hint)


def check_fractions(fractions: Mapping[str, float]) -> None:
    """Refuse shares of parts that are not positive or leave nothing for training; ConfigError."""
    if any(not 0 < f < 1 for f in fractions.values()) or sum(fractions.values()) >= 1:
        raise ConfigError("must be positive and leave a share for training", "--valid_fraction", "--test_fraction")


def parts_of(part_of_unit: np.ndarray, unit_of_item: np.ndarray, names: Sequence[str], hint: str) -> dict[str, Part]:
    """The items of every part; ConfigError, with the hint, for a part without any.

    Args:
        part_of_unit: [units] name of the part. unit_of_item: [items].
    """
    parts: dict[str, Part] = {}
    for part in names:
        chosen = part_of_unit == part
        if not chosen.any():
            raise ConfigError("leaves a part without a group", f"--{part}_fraction", hint=hint)
        parts[part] = Part(np.flatnonzero(chosen[unit_of_item]), int(chosen.sum()))
    return parts


def split_dates(dates: Sequence[Any] | np.ndarray, fractions: Mapping[str, float]) -> dict[str, Part]:
    """Divide items by time: the newest make up the test set, those before them the validation set.

    Items of one date stay together, and no part exceeds its fraction.

    Args:
        dates: [items] comparable values. fractions: share of the items of every part but `train`.

    Raises:
        ConfigError: fractions that leave nothing for training, or a part that the items of no date fit.
    """
    check_fractions(fractions)
    values, date_of_item = np.unique(np.asarray(dates), return_inverse=True)
    sizes = np.bincount(date_of_item)
    part_of_date, newest = np.full(len(values), "train", object), len(values)
    for part in sorted(fractions):  # test before valid
        room = round(fractions[part] * len(date_of_item))
        while newest and sizes[newest - 1] <= room:
            newest -= 1
            room -= int(sizes[newest])
            part_of_date[newest] = part
    hint = f"the items have {len(values)} dates, {sizes[-1]} items the newest one"
    return parts_of(part_of_date, date_of_item, ("train", *fractions), hint)


def split_folds(units: Sequence[str], n_folds: int, valid_fraction: float = 0.1, seed: int = 0) -> dict[str, Part]:
    """Folds of a cross-validation: every unit is in the test set of one fold.

    The largest units are dealt first, each to the fold with the fewest items so far, so that folds are of like size.

    Args:
        units: [items] what stays together. n_folds: at least 2.
        valid_fraction: share of the items outside a fold that chooses its checkpoints (0: none).
        seed: of the order of units of equal size and of the validation sets.

    Returns:
        `fold_0/train`, `fold_0/valid`, `fold_0/test`, `fold_1/train`, ...

    Raises:
        ConfigError: fewer units than folds, or a validation set for which no unit is small enough.
    """
    names, unit_of_item = np.unique(np.asarray(units, object).astype(str), return_inverse=True)
    if not 2 <= n_folds <= len(names):
        raise ConfigError(f"must be from 2 to the number of units, {len(names)}, got {n_folds}", "--folds")
    sizes = np.bincount(unit_of_item)
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of_unit, filled = np.zeros(len(names), int), np.zeros(n_folds, int)
    for unit in order[np.argsort(-sizes[order], kind="stable")]:
        fold_of_unit[unit] = filled.argmin()
        filled[fold_of_unit[unit]] += sizes[unit]
    parts: dict[str, Part] = {}
    for fold in range(n_folds):
        test = np.flatnonzero(fold_of_unit[unit_of_item] == fold)
        rest = np.flatnonzero(fold_of_unit[unit_of_item] != fold)
        fractions = {"valid": valid_fraction} if valid_fraction else {}
        inner = split_groups(names[unit_of_item[rest]].tolist(), fractions, seed + fold)
        parts |= {f"fold_{fold}/{name}": Part(rest[part.indices], part.n_groups) for name, part in inner.items()}
        parts[f"fold_{fold}/test"] = Part(test, int((fold_of_unit == fold).sum()))
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
    parts = split_groups(simple_units(reader, by), fractions, seed)
    write_parts(reader, parts, out)
    return parts


def simple_units(reader: ShardReader, by: By) -> list[str]:
    """[items] what stays together: groups, or every item on its own."""
    if by == "random":
        return [str(number) for number in range(len(reader))]
    return [group_of(identifier, group) for identifier, group in zip(reader.ids, reader.groups)]


def write_parts(reader: ShardReader, parts: Mapping[str, Part], out: str | Path) -> None:
    """Write every part as a data set of its own, OUT/NAME: all of them, or after a failure none.

    Raises:
        DataError: a folder OUT/NAME holds something already.
    """
    out = Path(out)
    refuse_taken(out, parts)
    unfinished = out / f"{TEMPORARY_PREFIX}split"  # so that a split that was killed leaves no part behind
    shutil.rmtree(unfinished, ignore_errors=True)
    for name, part in parts.items():
        copy_items(reader, part.indices, unfinished / name)
    for name in parts:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(unfinished / name, out / name)
    shutil.rmtree(unfinished)


def refuse_taken(out: Path, names: Iterable[str]) -> None:
    """Raise a DataError when a folder OUT/NAME holds something."""
    for name in names:
        if (out / name).exists() and any((out / name).iterdir()):
            what = "holds a data set already" if (out / name / MANIFEST).exists() else "is not empty"
            raise DataError(what, out / name, hint="choose another folder")
