"""What gave no item, and the table that says why."""

import csv
import io
from collections.abc import Sequence
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


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """Write failures as CSV, atomically: file, row (line of the index), pdb_id, modality, reason."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(Failure._fields)
    table.writerows(failures)
    atomic_write(path, text.getvalue())
