"""Tables that are written part by part: Parquet, or CSV with a column a number; whole or not at all."""

import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from configs.errors import ConfigError, DataError
from configs.files import atomic_file
from data.failures import Failure, write_failures

FORMATS = {".parquet": ".parquet", ".pq": ".parquet", ".csv": ".csv"}
RECORD = b"ligare"
"""Key of what a Parquet file tells of the model behind its vectors, as JSON."""
GROUP_BYTES = 16 * 2**20
"""Rows are written when so much has come together."""


@contextmanager
def open_table(
    path: str | Path, default: str = ".parquet", record: Mapping[str, Any] | None = None
) -> Iterator["TableWriter"]:
    """Write a table; leaving the `with` block without an error puts the file in place, with one leaves nothing.

    Args:
        path: its ending, .parquet or .csv, decides the format. default: the format of a name without an ending.
        record: JSON values to keep in a Parquet file, under `RECORD`; a CSV file has no place for them.

    Raises:
        ConfigError: another ending. IsADirectoryError: a folder has this name; told before anything is computed.
    """
    form = format_of(path, default)
    if Path(path).is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with atomic_file(path) as temporary:
        writer = TableWriter(temporary, form, record)
        try:
            yield writer
            writer.flush()
        finally:
            writer.close()


class TableWriter:
    """Takes up the parts of a table.

    A column is a sequence of numbers or texts [rows], or an array [rows, width]: in Parquet a column of lists of fixed
    size (float32), in CSV the columns NAME_0, NAME_1, ... The first part decides the columns and their types.

    Attributes:
        rows: so far.
    """

    def __init__(self, path: Path, form: str, record: Mapping[str, Any] | None = None) -> None:
        self.path, self.form, self.rows = path, form, 0
        self._record = {RECORD: json.dumps(record)} if record and form == ".parquet" else None
        self._waiting: list[pa.Table] = []
        self._writer: Any = None
        self._schema: pa.Schema | None = None

    def write(self, columns: Mapping[str, Any]) -> None:
        """Add rows; every part has the same columns."""
        table = self._table(columns)
        self._schema = self._schema or table.schema.with_metadata(self._record)
        self._waiting.append(table.cast(self._schema))
        self.rows += len(table)
        if sum(waiting.nbytes for waiting in self._waiting) > GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self._waiting:
            return
        if self._writer is None:
            make = pq.ParquetWriter if self.form == ".parquet" else pa_csv.CSVWriter
            self._writer = make(str(self.path), self._schema)
        self._writer.write_table(pa.concat_tables(self._waiting).combine_chunks())
        self._waiting = []

    def close(self) -> None:
        """Close the file, without what waits."""
        if self._writer is not None:
            self._writer.close()

    def _table(self, columns: Mapping[str, Any]) -> pa.Table:
        found: dict[str, Any] = {}
        for name, values in columns.items():
            if getattr(values, "ndim", 1) != 2:
                found[name] = pa.array(values, from_pandas=True)  # NaN becomes empty
            elif self.form == ".csv":
                found |= {f"{name}_{number}": pa.array(column) for number, column in enumerate(values.T)}
            else:
                flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
                found[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        return pa.table(found)


def format_of(path: str | Path, default: str = ".parquet") -> str:
    """.parquet or .csv, by the ending of a path; ConfigError for any other."""
    ending = Path(path).suffix.lower() or default
    if ending not in FORMATS:
        raise ConfigError(f"{Path(path).name!r} has no known ending", "--out", hint=f"known: {', '.join(FORMATS)}")
    return FORMATS[ending]


def failures_path(out: str | Path) -> Path:
    """Where the failures of an output are told: out.failures.csv beside out.parquet."""
    return Path(out).with_suffix(".failures.csv")


def tell_failures(out: str | Path, failures: Sequence[Failure]) -> str:
    """Write the failures beside an output, or remove those of an earlier run; returns a line to print ("": none)."""
    path = failures_path(out)
    if not failures:
        path.unlink(missing_ok=True)
        return ""
    write_failures(path, failures)
    first = failures[0]
    named = f"{first.pdb_id}: " if first.pdb_id else ""
    return f"{len(failures)} failed, reasons in {path}; the first: {named}{first.reason}"


def nothing_made(failures: Sequence[Failure], source: Any) -> DataError:
    """The error of an input of which nothing could be made."""
    reason = f"; the first of {len(failures)} reasons: {failures[0].reason}" if failures else ""
    return DataError(f"no interface could be made{reason}", str(source))
