"""Tables (CSV, plain or gzip) whose rows are joined to the items of a data set by id."""

import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from configs.errors import DataError
from configs.reading import read_text

ID_COLUMNS = ("id", "pdb_id")  # the first that a table has holds the ids of items


def read_table(path: str | Path) -> pd.DataFrame:
    """All values of a CSV file as text, just as they stand.

    Raises:
        DataError: the file is absent, damaged, no UTF-8 text, no table or without rows.
    """
    path = Path(path)
    text = read_text(path)
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise DataError(f"is not CSV: {error}", path) from error
    if table.empty:
        raise DataError("has no rows", path)
    return table


def require_columns(table: pd.DataFrame, path: str | Path, *names: str) -> None:
    """Raise a DataError that names the first absent column and lists those that are there."""
    for name in names:
        if name not in table.columns:
            raise DataError(f"lacks the column {name!r}", path, hint=f"its columns: {', '.join(table.columns)}")


def rows_of_items(path: str | Path, identifiers: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """The rows of a table that belong to items, in the order of the items; empty text where a column has none.

    Args:
        path: table with the ids of items in `id` (or, without such a column, `pdb_id`).
        identifiers: ids of the items. columns: what to read.

    Raises:
        DataError: no such column, two rows of one id that disagree, or items without a row; names the first.
    """
    table = read_table(path)
    key = next((name for name in ID_COLUMNS if name in table.columns), ID_COLUMNS[0])
    require_columns(table, path, key, *columns)
    chosen = table[[key, *(name for name in columns if name != key)]].drop_duplicates()
    repeated = chosen[key][chosen[key].duplicated()]
    if len(repeated):
        raise DataError(f"has rows that disagree about {repeated.iloc[0]!r}", path, f"column {key}")
    missing = sorted(set(identifiers) - set(chosen[key]))
    if missing:
        what = f"has no row for {len(missing)} of {len(identifiers)} items, the first {missing[0]!r}"
        raise DataError(what, path, f"column {key}", hint="the table that the data set was made from has them all")
    return chosen.set_index(key, drop=False).loc[list(identifiers)].reset_index(drop=True)
