"""Sets of labels: those of a data set by name, and the vocabulary that training items fix for all sets.

Shards keep a 0 or 1 for each label that their index names (NaN: not known). Sets made apart may name different labels,
so they are brought together by name. What an index lists as sets is complete: a label that it does not name was not
seen. What it has as columns of 0 and 1 is not: a label without a column is not known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from configs.errors import ConfigError, DataError
from configs.schema import RunConfig, nearest
from data.dataset import InterfaceDataset
from data.given_targets import GivenTargets
from data.index import NO_LABELS, SET_SEPARATOR
from data.item import Item
from data.labels import targets_of
from data.shards import ShardReader

MULTILABEL = "multilabel"
COMPLETE = "label_sets"
"""Entry of a manifest's facts: whether the targets are sets of labels, of which every item tells all."""
LISTED = 8


@dataclass(frozen=True)
class LabelSets:
    """The labels of the items of a data set.

    Attributes:
        names: of the labels. values: [items, names] 1 where a label was seen, 0 where not, NaN where nothing is known.
    """

    names: tuple[str, ...]
    values: np.ndarray

    @property
    def observations(self) -> dict[str, int]:
        """Items that have each label, the most frequent first, then by name."""
        counts = dict(zip(self.names, (self.values == 1).sum(axis=0).tolist()))
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))

    def of(self, vocabulary: Sequence[str]) -> GivenTargets:
        """The labels of a vocabulary, in its order; those that the data do not name are not known."""
        values = np.full((len(self.values), len(vocabulary)), np.nan, np.float32)
        place = {name: column for column, name in enumerate(self.names)}
        for column, name in enumerate(vocabulary):
            if name in place:
                values[:, column] = self.values[:, place[name]]
        return GivenTargets(tuple(vocabulary), values)


def read_label_sets(dataset: InterfaceDataset, known: Sequence[str] = ()) -> LabelSets:
    """The labels of a data set, those of all its parts together, in the order of their names.

    Args:
        known: further labels, which count as not seen in parts whose items tell all of theirs.

    Raises:
        DataError: a part without labels, or with another number of targets than it names.
    """
    if dataset.given is not None:
        found = [(dataset.given.names, dataset.given.values, False)]
    else:
        found = [_of_part(part) for part in dataset.parts]
    names = tuple(sorted({name for part in found for name in part[0]} | set(known)))
    place = {name: column for column, name in enumerate(names)}
    values = np.full((len(dataset), len(names)), np.nan, np.float32)
    row = 0
    for own, table, complete in found:
        rows = values[row : row + len(table)]
        if complete:
            rows[np.isfinite(table).all(axis=1)] = 0
        rows[:, [place[name] for name in own]] = table
        row += len(table)
    return LabelSets(names, values)


def _of_part(part: Sequence[Item]) -> tuple[tuple[str, ...], np.ndarray, bool]:
    """Names, values, and whether every item tells all of its labels. A class is a set of one label."""
    extra = dict(part.manifest["extra"]) if isinstance(part, ShardReader) else {}
    path = str(part.path) if isinstance(part, ShardReader) else "items"
    table = targets_of(part)
    if table is None and extra.get("classes") and isinstance(part, ShardReader):
        classes, labels = tuple(map(str, extra["classes"])), np.asarray(part.counts["label"], float)
        values = (labels[:, None] == np.arange(len(classes))).astype(float)
        values[np.isnan(labels)] = np.nan
        return classes, values, True
    if table is None:
        hint = "process_pdbs.py --label_sets, or several --label_columns of 0 and 1"
        raise DataError("has no sets of labels", path, hint=hint)
    names = tuple(map(str, extra.get("targets") or range(table.shape[1])))
    if len(names) != table.shape[1]:
        raise DataError(f"names {len(names)} labels, its items have {table.shape[1]}", path)
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"names the label {twice[0]!r} twice", path, hint="process it again, each label once")
    return names, table, bool(extra.get(COMPLETE))


def fit_vocabulary(sets: LabelSets, at_least: int, targets: str | None = None) -> tuple[str, ...]:
    """The labels to learn: those of enough training items, the most frequent first, or those that `targets` names.

    Raises:
        ConfigError: no label has so many items, or one is named that no item has.
    """
    counts = sets.observations
    if targets is not None:
        wanted = tuple(dict.fromkeys(name.strip() for name in targets.split(",") if name.strip()))
        for name in wanted or ("",):
            if not counts.get(name):
                hint = nearest(name, [label for label, count in counts.items() if count])
                raise ConfigError(f"no training item has the label {name!r}", "--targets", hint=hint)
        return _tellable(wanted)
    found = tuple(name for name, count in counts.items() if count >= max(at_least, 1))
    if not found:
        most = ", ".join(f"{name} {count}" for name, count in list(counts.items())[:LISTED])
        what, hint = f"{at_least} leaves no label", f"the most frequent: {most or 'none'}"
        raise ConfigError(what, "--min_obs_per_ligand", hint=hint)
    return _tellable(found)


def _tellable(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, if each can be told from others in options and in lists of labels; DataError names one that can't."""
    for name in names:
        if name != name.strip() or name in ("", NO_LABELS) or set(name) & {",", SET_SEPARATOR}:
            hint = f"labels have a name without commas, {SET_SEPARATOR} or spaces around it, and not {NO_LABELS}"
            raise DataError(
                f"holds the label {name!r}, which can't be told from others in a list", "training set", hint=hint
            )
    return names


def frequencies(sets: LabelSets, vocabulary: Sequence[str]) -> list[float]:
    """Share of the items that have each label, of those of which it is known."""
    values = sets.of(vocabulary).values
    known = np.isfinite(values).sum(axis=0)
    return ((values == 1).sum(axis=0) / np.maximum(known, 1)).tolist()


def with_vocabulary(
    run: RunConfig, training: InterfaceDataset, others: Mapping[str, InterfaceDataset]
) -> tuple[RunConfig, list[str]]:
    """Give the sets of a multilabel run the labels that its training items fix; other runs stay as they are.

    Args:
        others: role of a set ("validation set") -> the set; theirs are told, never learnt from.

    Returns:
        The run, whose --targets are the vocabulary, and what people should know, in words.

    Raises:
        ConfigError, DataError: nothing to learn.
    """
    if run.task != MULTILABEL:
        return run, []
    sets = read_label_sets(training)
    vocabulary = fit_vocabulary(sets, run.multilabel.min_obs_per_ligand, run.label.targets)
    training.given = sets.of(vocabulary)
    notes = [f"learning {len(vocabulary)} of {len(sets.names)} labels: {listed(sets, vocabulary)}"]
    notes += outside("training set", sets, vocabulary)
    for role, dataset in others.items():
        own = read_label_sets(dataset, vocabulary)
        dataset.given = own.of(vocabulary)
        notes += outside(role, own, vocabulary)
    return replace(run, label=replace(run.label, targets=",".join(vocabulary))), notes


def outside(role: str, sets: LabelSets, vocabulary: Sequence[str]) -> list[str]:
    """A sentence about labels that items of a set have, but that are not learnt."""
    left = [name for name, count in sets.observations.items() if count and name not in set(vocabulary)]
    if not left:
        return []
    total = sum(sets.observations[name] for name in left)
    what = "too rare, or not asked for" if role == "training set" else "not learnt, so not scored"
    return [f"{role}: {total} observations of {len(left)} other labels ({what}): {listed(sets, left)}"]


def listed(sets: LabelSets, names: Sequence[str]) -> str:
    """Some labels with their numbers of items."""
    counts = sets.observations
    shown = ", ".join(f"{name} {counts[name]}" for name in names[:LISTED])
    return shown + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
