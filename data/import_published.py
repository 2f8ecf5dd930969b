"""Published processed data sets (parquet, .jsonl, .jsonl.gz, .pkl) as items.

A published row holds `id`, `X`, `A`, `B`, `block_lengths`, `segment_ids`, `atom_positions`, perhaps under a key `data`,
and perhaps `label` or `affinity`, `modality`, `group` and a map of blocks to residues (`block_to_pdb_indexes`,
`pdb_indexes`). Its global blocks (type 3) are dropped: ours are made at collation. It has no torsions.
"""

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import DataError
from data.crop import keep_blocks
from data.item import FIELDS, Item, check_item
from data.plain_pickle import MAX_PICKLE_BYTES, read_plain_pickle
from data.shards import ShardWriter
from data.vocab import ELEMENTS, GLOBAL, MODALITIES, Vocabulary

MAX_ROW_BYTES = 256 * 2**20
N_ATOM_TYPES = len(ELEMENTS) + 3
ARRAYS = ("X", "A", "B", "block_lengths", "segment_ids", "atom_positions")
RESIDUE_KEYS = ("block_to_pdb_indexes", "pdb_indexes", "block_to_pdb_index")
AFFINITY_KEYS = ("neglog_aff", "pKd", "dG", "affinity")
RESIDUE = re.compile(r"(?P<chain>.*)_(?P<number>-?\d+)_?(?P<icode>[A-Za-z]?)")


class Row(NamedTuple):
    """A row of a published file: where it is, and what it holds."""

    place: str
    values: Any


def _json_rows(path: Path, max_bytes: int) -> Iterator[Row]:
    number, limit = 0, min(max_bytes, MAX_ROW_BYTES)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        try:
            while line := file.readline(limit + 1):
                number += 1
                if len(line) > limit:
                    raise DataError(f"is longer than the limit of {limit} bytes", path, f"row {number}")
                try:
                    yield Row(f"row {number}", json.loads(line))
                except (ValueError, RecursionError):
                    yield Row(f"row {number}", None)
        except (EOFError, OSError, gzip.zlib.error) as broken:  # type: ignore[attr-defined]
            raise DataError("is cut off or damaged", path, f"after row {number}") from broken


def _unpacked_bytes(group: pq.RowGroupMetaData) -> int:
    """Size of a row group in memory: repeated values take no room in the file, but they do here."""
    columns = (group.column(i) for i in range(group.num_columns))
    return sum(max(column.total_uncompressed_size, 8 * column.num_values) for column in columns)


def _parquet_rows(path: Path, max_bytes: int) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            largest = max((_unpacked_bytes(file.metadata.row_group(i)) for i in range(file.num_row_groups)), default=0)
            if largest > max_bytes:
                raise DataError(f"has a row group of {largest} bytes, more than the limit of {max_bytes}", path)
            number = 0
            for batch in file.iter_batches(batch_size=64):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"row {number}", values)
    except (pa.ArrowException, OSError) as broken:
        raise DataError("is not a readable parquet file", path) from broken


def _pickle_rows(path: Path, max_bytes: int) -> Iterator[Row]:
    values = read_plain_pickle(path, max_bytes)
    if isinstance(values, dict):  # one item, or items by id
        values = [values] if "X" in values or "data" in values else list(values.values())
    if not isinstance(values, list):
        raise DataError("must hold a list of items", path)
    return (Row(f"row {number}", row) for number, row in enumerate(values, 1))


READERS = {
    ".parquet": _parquet_rows,
    ".jsonl": _json_rows,
    ".jsonl.gz": _json_rows,
    ".pkl": _pickle_rows,
    ".pickle": _pickle_rows,
}


def published_rows(path: str | Path, max_bytes: int = MAX_PICKLE_BYTES) -> Iterator[Row]:
    """The rows of a published file, one after another (a pickle is read as a whole).

    Args:
        max_bytes: largest pickle file, parquet row group (uncompressed) or JSON line that is read.

    Raises:
        DataError: absent, of unknown kind, damaged, too large, or a pickle that holds more than plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError("is no regular file" if path.exists() else "no such file", path)
    for suffix, reader in READERS.items():
        if path.name.endswith(suffix):
            return reader(path, max_bytes)
    raise DataError("is of unknown kind", path, hint=f"known: {', '.join(READERS)}")


def _array(values: Mapping[str, Any], name: str, where: tuple[str, ...]) -> np.ndarray:
    field = FIELDS[name]
    try:
        given = np.asarray(values[name], np.float64).reshape(-1, *field.tail)
    except (TypeError, ValueError) as wrong:
        shape = f"[n, {field.tail[0]}]" if field.tail else "[n]"
        raise DataError(f"{name} is not an array {shape} of numbers", *where) from wrong
    with np.errstate(invalid="ignore"):
        stored = given.astype(field.dtype)
    if field.dtype is not None and field.dtype.kind != "f" and not np.array_equal(stored, given):
        raise DataError(f"{name} holds values that do not fit into {field.dtype.name}", *where)
    return stored


def _label(values: Mapping[str, Any], where: tuple[str, ...]) -> float:
    """The label of a row: a number, or one of the known entries of an `affinity` table; NaN when there is none."""
    label = values.get("label", values.get("affinity"))
    if isinstance(label, Mapping):
        numbers = {key: value for key, value in label.items() if isinstance(value, int | float)}
        known = [key for key in AFFINITY_KEYS if key in numbers] or (list(numbers) if len(numbers) == 1 else [])
        if not known:
            raise DataError(f"can't tell the label among {', '.join(map(str, label))}", *where)
        label = numbers[known[0]]
    if isinstance(label, np.ndarray | list) and np.size(label) == 1:
        label = np.ravel(label)[0]
    if label is None:
        return float("nan")
    if not isinstance(label, int | float | np.number):
        raise DataError("label is not a number", *where)
    return float(np.float32(label))


def _modality(values: Mapping[str, Any], default: str | None, where: tuple[str, ...]) -> int:
    given = values.get("modality", default)
    if given is None:
        return -1
    if isinstance(given, str) and given in MODALITIES:
        return MODALITIES.index(given)
    if isinstance(given, int) and -1 <= given < len(MODALITIES):
        return given
    raise DataError(f"unknown modality {given!r}", *where, hint=f"known: {', '.join(MODALITIES)}")


def _residues(values: Mapping[str, Any], n_blocks: int) -> list[tuple[str, int, str]] | None:
    """(chain, number, insertion code) of every block, as far as the row tells; None when it does not."""
    known = next((values[key] for key in RESIDUE_KEYS if values.get(key)), None)
    if isinstance(known, str):
        try:
            known = json.loads(known)
        except (ValueError, RecursionError):
            return None
    if isinstance(known, list) and all(isinstance(entry, list | tuple) and len(entry) == 2 for entry in known):
        known = dict(known)  # how parquet gives a map
    if isinstance(known, list):
        known = dict(enumerate(known)) if len(known) == n_blocks else {}
    if not isinstance(known, Mapping):
        return None
    residues = [("", 0, "")] * n_blocks
    for block, name in known.items():
        text = name[0] if isinstance(name, list) and name else name
        found = RESIDUE.fullmatch(text) if isinstance(text, str) else None
        if found and str(block).isdecimal() and int(block) < n_blocks:
            residues[int(block)] = (found["chain"], int(found["number"]), found["icode"])
    return residues if any(residue[0] for residue in residues) else None


def item_of_row(row: Row, path: str | Path, vocabulary: Vocabulary, modality: str | None = None) -> Item:
    """The item of a published row.

    Args:
        path: file of the row, for messages. vocabulary: that numbers its blocks. modality: when the row has none.

    Raises:
        DataError: naming file, row and key: a key is missing, or holds what no item can hold.
    """
    where = (str(path), row.place)
    if not isinstance(row.values, Mapping):
        raise DataError("is not a readable item", *where)
    inner = row.values.get("data")
    values = {**row.values, **inner} if isinstance(inner, Mapping) else dict(row.values)
    if missing := [name for name in ARRAYS[:-1] if values.get(name) is None]:
        raise DataError(f"lacks {', '.join(missing)}", *where)
    arrays: dict[str, Any] = {name: _array(values, name, where) for name in ARRAYS if values.get(name) is not None}
    for name, size in (("B", vocabulary.size), ("A", N_ATOM_TYPES)):
        if len(arrays[name]) and arrays[name].max() >= size:
            raise DataError(f"{name} holds type {arrays[name].max()}, the vocabulary has {size}", *where)
    blocks = len(arrays["B"])
    residues = _residues(values, blocks)
    item = Item(
        id=str(values.get("id") or f"{Path(path).name.split('.')[0]}_{row.place.split()[-1]}"),
        modality=_modality(values, modality, where),
        label=_label(values, where),
        group=str(values.get("group") or ""),
        **arrays,
    )
    if residues is not None:
        item = item.with_(
            block_chain=[chain for chain, _, _ in residues],
            block_resid=np.array([number for _, number, _ in residues], np.int32),
            block_icode=[code for _, _, code in residues],
        )
    try:
        return check_item(_without_global(check_item(item)))
    except DataError as wrong:
        raise wrong.at(*where) from wrong


def _without_global(item: Item) -> Item:
    keep = item.B != GLOBAL
    return item if keep.all() else keep_blocks(item, keep)


class Failure(NamedTuple):
    """A row that gave no item, and why."""

    file: str
    row: str
    reason: str


def import_files(
    paths: Iterable[str | Path],
    out: str | Path,
    vocabulary: Vocabulary,
    modality: str | None = None,
    max_bytes: int = MAX_PICKLE_BYTES,
) -> tuple[int, list[Failure]]:
    """Write the items of published files as shards at `out`; rows that give no item are left out and listed.

    Returns:
        The number of items and the failures.

    Raises:
        DataError: a file that can't be read at all, no row that gives an item, or `out` holds a data set already;
            no data set is left at `out` then.
    """
    failures: list[Failure] = []
    with ShardWriter(out, vocabulary.fingerprint, vocabulary.name, vocabulary.name) as writer:
        for path in paths:
            for row in published_rows(path, max_bytes):
                try:
                    writer.add(item_of_row(row, path, vocabulary, modality))
                except DataError as wrong:
                    failures.append(Failure(str(path), row.place, wrong.what))
        if not len(writer):
            reason = f"; {failures[0].row}: {failures[0].reason}" if failures else ""
            raise DataError(f"no row gives an item{reason}", *paths)
    return len(writer), failures
