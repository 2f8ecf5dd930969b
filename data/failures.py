"""What gave no item, and the table that says why."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from configs.files import atomic_write


class Failure(NamedTuple):
    """A row, or a file without an index, that gave no item; `row` is its line in the index."""

    file: str
    row: str
    pdb_id: str
    modality: str
    reason: str


def write_failures(path: Path, failures: Sequence[Sequence[str]]) -> None:
    """Write failures as CSV, atomically: file, row (line of the index), pdb_id, modality, reason."""
    atomic_write(path, _lines([Failure._fields, *failures]))


def append_failures(path: Path, failures: Sequence[Sequence[str]]) -> None:
    """Add failures to those in `path` by a single write, so that a reader sees whole lines."""
    if failures:
        with open(path, "ab", buffering=0) as file:
            file.write(_lines(failures).encode())


def _lines(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def read_failures(path: Path) -> Iterator[Failure]:
    """The failures in a file, one after the other; none when there is no file."""
    with suppress(FileNotFoundError), open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        next(rows, None)
        yield from (Failure(*row) for row in rows)
