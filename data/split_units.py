"""What must stay on one side of a split: groups, clusters of alike proteins, ligands of one scaffold, dates."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from configs.errors import ConfigError, DataError
from data.ligand_similarity import scaffold_of
from data.sequence_clusters import Aligner, cluster_sequences
from data.shards import ShardReader
from data.split_sequences import ItemSequences, similar_units
from data.splits import By, simple_units
from data.table import rows_of_items


@dataclass(frozen=True)
class SplitOptions:
    """How units are made.

    Attributes:
        by: `random`, `group`, `cluster`, `scaffold` or `time`.
        index: CSV with the ids of items, for the columns of SMILES or dates.
        smiles_column, date_column: their names.
        threshold: sequence identity from which on two proteins belong together. aligner: what finds such pairs.
    """

    by: By = "group"
    index: Path | None = None
    smiles_column: str = "lig_smiles"
    date_column: str | None = None
    threshold: float = 0.3
    aligner: Aligner = "auto"


def units_of(reader: ShardReader, options: SplitOptions, sequences: ItemSequences | None) -> list[str]:
    """[items] name of the unit of every item (not for `time`, see `dates_of`).

    Items without a protein (`cluster`) or without a ligand (`scaffold`) stay with their group.

    Raises:
        ConfigError: an option that the split needs is missing. DataError: see `rows_of_items`, `smiles_of`.
    """
    groups = simple_units(reader, "group")
    if options.by == "cluster":
        if sequences is None:
            raise ConfigError("needs the sequences of the items", "--split cluster")
        known = sorted({sequence for item in sequences.sequences for sequence in item})
        clusters = dict(zip(known, cluster_sequences(known, options.threshold, options.aligner).tolist()))
        return similar_units(sequences.sequences, clusters, groups)
    if options.by == "scaffold":
        smiles = smiles_of(reader.ids, options)
        if not any(smiles):
            raise DataError("holds no SMILES", str(options.index), f"column {options.smiles_column}")
        return [f"scaffold {scaffold_of(s)}" if s else f"group {group}" for s, group in zip(smiles, groups)]
    return simple_units(reader, options.by)


def smiles_of(identifiers: Sequence[str], options: SplitOptions) -> list[str]:
    """[items] SMILES of the ligands ("": none), every one of them readable.

    Raises:
        ConfigError: no index is given. DataError: it lacks the column or an item, or a SMILES is none; names the row.
    """
    if options.index is None:
        hint = f"a CSV with the ids of the items and a column {options.smiles_column}"
        raise ConfigError(f"is required by --split {options.by}", "--index", hint=hint)
    smiles = rows_of_items(options.index, identifiers, [options.smiles_column])[options.smiles_column].str.strip()
    for identifier, text in zip(identifiers, smiles):
        if text:
            try:
                scaffold_of(text)
            except DataError as error:
                hint = "mend it, or leave it empty: the item then stays with its group"
                place = (options.index, f"item {identifier}", f"column {options.smiles_column}")
                raise DataError(error.what, *place, hint=hint) from error
    return smiles.tolist()


def dates_of(identifiers: Sequence[str], options: SplitOptions) -> np.ndarray:
    """[items] date of every item, as datetime64.

    Raises:
        ConfigError: no index or column is given. DataError: a value that is no date; names the item.
    """
    for name, value in (("index", options.index), ("date_column", options.date_column)):
        if value is None:
            raise ConfigError("is required by --split time", f"--{name}", hint="a CSV with ids and dates of the items")
    assert options.index is not None and options.date_column is not None
    texts = rows_of_items(options.index, identifiers, [options.date_column])[options.date_column]
    dates = pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)
    if dates.isna().any():
        first = int(dates.isna().to_numpy().argmax())
        place = (options.index, f"item {identifiers[first]}", f"column {options.date_column}")
        what = f"{texts[first]!r} is no date ({int(dates.isna().sum())} such items)"
        raise DataError(what, *place, hint="dates are years, or like 2021-05-31")
    return dates.dt.tz_localize(None).to_numpy()
