"""Tables that are written row group by row group: Parquet, or CSV with a column a number; whole or not at all."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from configs.errors import ConfigError, DataError
from configs.files import atomic_file
from data.failures import Failure, write_failures

FORMATS = (".parquet", ".csv")


class TableWriter:
    """Write a table part by part; leaving the `with` block without an error puts the file in place.

    A column is a sequence of numbers or texts [rows], or an array [rows, width]: in Parquet a column of lists of fixed
    size (float32), in CSV the columns NAME_0, NAME_1, ... The first part decides the columns and their types.

    Args:
        path: its ending, .parquet or .csv, decides the format.

    Raises:
        ConfigError: another ending.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = check_format(path)
        self.rows = 0
        self._stack = ExitStack()
        self._temporary: Path | None = None
        self._writer: Any = None
        self._schema: pa.Schema | None = None

    def __enter__(self) -> "TableWriter":
        self._temporary = self._stack.enter_context(atomic_file(self.path))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
        self._stack.__exit__(kind, error, trace)

    def write(self, columns: Mapping[str, Any]) -> None:
        """Add rows; every part has the same columns."""
        table = self._table(columns)
        if self._writer is None:
            self._schema = table.schema
            make = pq.ParquetWriter if self.path.suffix.lower() == ".parquet" else pa_csv.CSVWriter
            self._writer = make(str(self._temporary), table.schema)
        self._writer.write_table(table.cast(self._schema))
        self.rows += len(table)

    def _table(self, columns: Mapping[str, Any]) -> pa.Table:
        wide = self.path.suffix.lower() == ".csv"
        found: dict[str, Any] = {}
        for name, values in columns.items():
            if getattr(values, "ndim", 1) == 2 and wide:
                found |= {f"{name}_{number}": pa.array(column) for number, column in enumerate(values.T)}
            elif getattr(values, "ndim", 1) == 2:
                flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
                found[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
            else:
                found[name] = pa.array(values, from_pandas=True)  # NaN becomes empty
        return pa.table(found)


def check_format(path: str | Path) -> Path:
    """The path of a table; ConfigError unless it ends in .parquet or .csv."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"{path.name!r} has no known ending", "--out", hint=f"known: {', '.join(FORMATS)}")
    return path


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
    return f"{len(failures)} failed, reasons in {path}; the first: {first.pdb_id or first.file}: {first.reason}"


def nothing_made(failures: Sequence[Failure], source: Any) -> DataError:
    """The error of an input of which nothing could be made."""
    reason = f"; the first of {len(failures)} reasons: {failures[0].reason}" if failures else ""
    return DataError(f"no interface could be made{reason}", str(source))
