"""Items as Arrow record batches: one row an item, one list column a field; read back as slices of mapped memory.

The schema follows from `data.item.FIELDS`: an array field is a list column (nested for [n, 3] arrays), an absent array
is null. `block_embeddings` has a width that differs between data sets and is stored flat.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from configs.errors import DataError
from data.item import FIELDS, Field, Item

STORED = {name: field for name, field in FIELDS.items() if field.stored}
TRAINING_COLUMNS = tuple(
    name for name in STORED if name not in ("block_chain", "block_resid", "block_icode", "block_resname")
)
LATER = ("targets",)
"""Fields that data sets written by the first version lack; they read as absent."""
COUNTED = {"n_atoms": "A", "n_blocks": "B", "n_torsions": "tor_bonds"}


def is_scalar(field: Field) -> bool:
    """Whether an item has one value of a field rather than a list."""
    return field.level == "item" and not field.tail


def arrow_type(field: Field) -> pa.DataType:
    """Arrow type of a stored field's column."""
    value = pa.string() if field.dtype is None else pa.from_numpy_dtype(field.dtype)
    if is_scalar(field):
        return value
    fixed = field.tail if field.tail != (-1,) else ()
    for size in reversed(fixed):
        value = pa.list_(value, size)
    return pa.list_(value)


SCHEMA = pa.schema([pa.field(name, arrow_type(field)) for name, field in STORED.items()])


def completed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A record batch of an older data set with the columns that came later, all null."""
    names, wanted = set(batch.schema.names), set(SCHEMA.names)
    if names == wanted or names - wanted or wanted - names - set(LATER):
        return batch
    columns = [
        batch.column(field.name) if field.name in names else pa.nulls(len(batch), field.type) for field in SCHEMA
    ]
    return pa.record_batch(columns, schema=SCHEMA)


def _as_stored(item: Item, name: str, field: Field) -> np.ndarray:
    """The array of a field in its stored dtype.

    Raises:
        DataError: values that the stored dtype can't hold.
    """
    given = np.asarray(getattr(item, name))
    assert field.dtype is not None
    if given.dtype == field.dtype:
        return given
    with np.errstate(all="ignore"):
        stored = given.astype(field.dtype)
    if field.dtype.kind != "f" and not np.array_equal(stored, given):
        raise DataError(f"{name} holds values that do not fit into {field.dtype.name}", item.id)
    return stored


def _list_column(items: Sequence[Item], name: str, field: Field) -> pa.Array:
    absent = np.array([getattr(item, name) is None for item in items])
    if absent.all():
        return pa.nulls(len(items), arrow_type(field))
    if field.dtype is None:
        return pa.array([getattr(item, name) for item in items], arrow_type(field))
    arrays = [np.zeros(0, field.dtype) if gone else _as_stored(i, name, field) for i, gone in zip(items, absent)]
    flat_width = field.tail == (-1,)
    lengths = [a.size if flat_width else len(a) for a in arrays]
    offsets = np.zeros(len(items) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if offsets[-1] >= 2**31:
        raise DataError(f"{name} is too large for one file", items[0].id)
    values = pa.array(np.concatenate([a.reshape(-1) for a in arrays]))
    for size in () if flat_width else reversed(field.tail):
        values = pa.FixedSizeListArray.from_arrays(values, size)
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values, mask=pa.array(absent))


def items_to_batch(items: Sequence[Item]) -> pa.RecordBatch:
    """Put items into a record batch, bit for bit.

    Raises:
        DataError: an item that carries noise, or values that its stored dtypes can't hold; named by item id.
    """
    for item in items:
        noise = [name for name, field in FIELDS.items() if not field.stored and getattr(item, name) is not None]
        if noise:
            raise DataError(f"carries {', '.join(noise)}, which is made while training and not stored", item.id)
    columns = []
    for name, field in STORED.items():
        if is_scalar(field):
            columns.append(pa.array([getattr(item, name) for item in items], arrow_type(field)))
        else:
            columns.append(_list_column(items, name, field))
    return pa.record_batch(columns, schema=SCHEMA)


def check_batch(batch: pa.RecordBatch) -> None:
    """Refuse a record batch whose lists run over their values, whose text is none, or whose arrays don't fit together.

    Only lengths and text are looked at, so that opening a file stays cheap.

    Raises:
        DataError: naming the column.
    """
    lengths: dict[str, np.ndarray] = {}
    for name, field in STORED.items():
        column = batch.column(name)
        if field.dtype is None:
            try:
                column.validate(full=True)
            except pa.ArrowException as broken:
                raise DataError(f"holds damaged text: {broken}", name) from broken
        if is_scalar(field) or column.null_count == len(column):
            continue
        offsets = column.offsets.to_numpy()
        found = np.diff(offsets)
        if (found < 0).any() or (len(offsets) and not 0 <= offsets[0] <= offsets[-1] <= len(column.values)):
            raise DataError("has lists that run over their values", name)
        if field.level in ("item", "moved") or name == "block_embeddings":
            continue
        found = np.where(np.asarray(column.is_valid()), found, -1)
        known = lengths.setdefault(field.level, found)
        if ((found != known) & (found >= 0) & (known >= 0)).any():
            raise DataError(f"has not as many entries as there are {field.level}s", name)
    _check_blocks(batch.column("block_lengths"), lengths.get("atom"))


def _check_blocks(column: pa.ListArray, atoms: np.ndarray | None) -> None:
    """Refuse blocks that do not share out the atoms [items]."""
    if atoms is None or column.null_count or not len(column):
        return
    ends = np.concatenate([[0], np.cumsum(column.values.to_numpy(), dtype=np.int64)])
    offsets = column.offsets.to_numpy()
    if (ends[offsets[1:]] - ends[offsets[:-1]] != atoms).any():
        raise DataError("do not sum to the numbers of atoms", "block_lengths")


class _Column:
    """Fast access to one column: numpy views of its values and, for lists, its offsets."""

    def __init__(self, array: pa.Array, field: Field) -> None:
        self.array, self.numeric, self.is_list = array, field.dtype is not None, not is_scalar(field)
        self.present = np.asarray(array.is_valid()) if array.null_count else None
        values = array
        if self.is_list:
            self.offsets = array.offsets.to_numpy()
            values = array.values
        if self.numeric:
            while pa.types.is_fixed_size_list(values.type):
                values = values.values
            flat = values.to_numpy(zero_copy_only=True)
            self.values = flat if field.tail in ((), (-1,)) else flat.reshape(-1, *field.tail)
        else:
            self.values = values

    def get(self, row: int) -> Any:
        if self.present is not None and not self.present[row]:
            return None
        if not self.is_list:
            return self.values[row].item() if self.numeric else self.values[row].as_py()
        start, stop = self.offsets[row], self.offsets[row + 1]
        return self.values[start:stop] if self.numeric else self.values[start:stop].to_pylist()


class BatchView:
    """Items of a record batch without copying: arrays are read-only views of the batch's memory."""

    def __init__(self, batch: pa.RecordBatch, columns: Iterable[str] = STORED) -> None:
        present = [name for name in STORED if name in set(columns) and batch.column(name).null_count < len(batch)]
        self._columns = {name: _Column(batch.column(name), STORED[name]) for name in present}

    def item(self, row: int) -> Item:
        """Build item number `row`."""
        values = {name: column.get(row) for name, column in self._columns.items()}
        if (embeddings := values.get("block_embeddings")) is not None:
            values["block_embeddings"] = embeddings.reshape(len(values["B"]), -1)
        return Item(**values)


def counts_of(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The sidecar rows of a batch: id, group, modality, label, n_atoms, n_blocks, n_torsions of every item."""
    columns = {name: batch.column(name) for name in ("id", "group", "modality", "label")}
    for name, source in COUNTED.items():
        column = batch.column(source)
        lengths = np.where(np.asarray(column.is_valid()), np.diff(column.offsets.to_numpy()), 0)
        columns[name] = pa.array(lengths.astype(np.int32))
    return pa.record_batch(list(columns.values()), names=list(columns))
