"""Tables of embeddings (`ligare embed`) as rows of an atlas."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from configs.errors import ConfigError, DataError
from configs.limits import check_limit
from data.atlas import Origin, Rows
from data.write_table import FORMATS, RECORD

NUMBERED = re.compile(r"(embedding|[hz]_(?:atom|block|graph|interface))_(\d+)")  # a column of a vector in CSV
FINE = ("block", "atom")  # columns of tables with a row for each block or atom
ALONE = "embedding"  # the name of vectors where no representation was named


def tables_among(source: str | Path) -> list[Path]:
    """The tables of embeddings that an input is or holds; none when it is something else (shards, structures, ...)."""
    path = Path(source)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [file for file in files if file.is_file() and _is_table(file)]


def _is_table(path: Path) -> bool:
    ending = FORMATS.get(path.suffix.lower())
    return ending == ".parquet" or (ending == ".csv" and any(map(NUMBERED.fullmatch, _header(path))))


def _header(path: Path) -> list[str]:
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        return [name.strip('"') for name in file.readline().strip().split(",")]


def read_embeddings(path: Path, representation: str | None, origin: Origin | None) -> tuple[Rows, Origin]:
    """The vectors of a table, and all its other columns as texts.

    Args:
        representation: which vectors; None: the only ones. origin: for tables that don't tell theirs (CSV).

    Raises:
        DataError: a damaged table, one without ids or such vectors, of blocks or atoms, or of unknown origin.
        ConfigError: several kinds of vectors, and none is named.
    """
    table = _read(path)
    vectors, record = _vectors(table, path), _record(table, path)
    if not vectors or "id" not in table.column_names:
        raise DataError("has no column `id`, or none of vectors", path, hint="ligare embed makes such tables")
    if fine := [name for name in FINE if name in table.column_names]:
        raise DataError(f"has a row for each {fine[-1]}; an atlas is of complexes or sides", path)
    kinds = record.get("representations", {})  # column -> representation, where they differ
    if origin is not None and not record and list(vectors) == [ALONE]:
        kinds = {ALONE: origin.representation}
    named = {kinds.get(column, column): column for column in vectors}
    if representation is None and len(named) > 1:
        raise ConfigError(f"has vectors of {', '.join(named)}", path, hint="name one by --representation")
    wanted = representation or next(iter(named))
    if wanted not in named:
        raise DataError(f"has no vectors {wanted!r}", path, hint=f"it has {', '.join(named)}")
    if record:
        origin = Origin(wanted, record["model"], record["rule"] if wanted.startswith("z") else "")
    elif origin is None:
        raise DataError("does not tell which model made it", path, hint="name that model by --checkpoint")
    else:
        origin = Origin(wanted, origin.fingerprint, origin.rule)
    skipped = {name for name in table.column_names if name in vectors or NUMBERED.fullmatch(name)}
    columns = {name: table[name].to_pylist() for name in table.column_names if name not in skipped}
    return rows_of(columns, vectors[named[wanted]]), origin


def rows_of(columns: Mapping[str, Any], vectors: np.ndarray) -> Rows:
    """Rows of the columns of a table: `id` and others, of complexes, or of sides, which are called ID:1 and ID:2."""
    texts = {name: [as_text(value) for value in values] for name, values in columns.items()}
    ids = texts.pop("id")
    if "segment_ids" in texts:
        texts = {"interface": ids, **texts}
        ids = [f"{name}:{int(side) + 1}" for name, side in zip(ids, texts["segment_ids"])]
    return Rows(ids, vectors, texts)


def as_text(value: Any) -> str:
    """A value as the text that an atlas keeps; "" for none and NaN."""
    return "" if value is None or value != value else str(value)


def _read(path: Path) -> pa.Table:
    check_limit("is {} bytes long", path.stat().st_size, "max_file_size", DataError, path)
    try:
        if FORMATS[path.suffix.lower()] == ".parquet":
            return pq.read_table(path)
        kinds = {name: pa.float32() if NUMBERED.fullmatch(name) else pa.string() for name in _header(path)}
        return pa_csv.read_csv(path, convert_options=pa_csv.ConvertOptions(column_types=kinds))
    except pa.ArrowException as broken:
        raise DataError(f"can't be read as a table: {str(broken).splitlines()[0]}", path) from broken


def _vectors(table: pa.Table, path: Path) -> dict[str, np.ndarray]:
    """float32 [rows, width] of each column of vectors, or group of numbered columns."""
    found = {}
    for name, kind in zip(table.schema.names, table.schema.types):
        if pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type):
            values = table[name].combine_chunks()
            if values.null_count:
                raise DataError("has rows without a vector", path, name)
            found[name] = values.flatten().to_numpy(zero_copy_only=False).reshape(len(table), kind.list_size)
    for base in dict.fromkeys(match[1] for name in table.column_names if (match := NUMBERED.fullmatch(name))):
        parts: list[np.ndarray] = []
        while (name := f"{base}_{len(parts)}") in table.column_names:
            parts.append(table[name].to_numpy())
        if not parts:
            raise DataError(f"has numbered columns of {base}, but no {base}_0", path)
        found[base] = np.stack(parts, 1).astype(np.float32)
    return found


def _record(table: pa.Table, path: Path) -> dict[str, Any]:
    """What `ligare embed` wrote about the model into a Parquet file: model, rule, representations; {} for none."""
    text = (table.schema.metadata or {}).get(RECORD)
    if text is None:
        return {}
    try:
        record = json.loads(text)
        return {"model": str(record["model"]), "rule": str(record["rule"]), "representations": dict(record["columns"])}
    except (ValueError, KeyError, TypeError, RecursionError) as broken:
        raise DataError("has a damaged record of its model", path) from broken
