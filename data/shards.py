"""Data sets on disk: a folder of memory-mapped Arrow files (`data.shard_files` tells the layout), written and read."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa

from configs.errors import DataError
from configs.files import TEMPORARY_PREFIX, sha256_of, write_json
from data.arrow_items import SCHEMA, STORED, BatchView, check_batch, completed, counts_of, items_to_batch
from data.item import Item
from data.shard_files import FORMAT, MANIFEST, REMAKE, SCHEMA_VERSION, check_size, map_arrow, read_manifest, write_arrow

MAX_FILE_BYTES = 64 * 2**20
MAX_FILE_ITEMS = 4096
SMALL_BYTES = 64 * 2**20  # data sets up to this size are always checked against their sha256
REQUIRED = ("id", "X", "A", "B", "block_lengths", "segment_ids")


class ShardWriter:
    """Write items into a folder of shards; leaving the `with` block without an error completes the data set, leaving it
    with one removes what was written.

    Args:
        path: folder, made when absent. It must not hold a data set already, unless `append`.
        vocabulary_fingerprint: `Vocabulary.fingerprint` of the block types of the items.
        vocabulary: name of that vocabulary (for messages). fragmentation_method: as in the encoder options.
        append: add to the data set in `path`. Until the block is left, readers see the old one.
        extra: any further JSON values to keep in the manifest.

    Raises:
        DataError: `path` holds a data set already, or one of another vocabulary; an item that can't be stored.
    """

    def __init__(
        self,
        path: str | Path,
        vocabulary_fingerprint: str = "",
        vocabulary: str | None = None,
        fragmentation_method: str | None = None,
        append: bool = False,
        max_file_bytes: int = MAX_FILE_BYTES,
        max_file_items: int = MAX_FILE_ITEMS,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.max_file_bytes, self.max_file_items = max_file_bytes, max_file_items
        self.vocabulary_fingerprint = vocabulary_fingerprint
        self.extra = extra or {}
        self.description = {
            "vocabulary_fingerprint": vocabulary_fingerprint,
            "vocabulary": vocabulary,
            "fragmentation_method": fragmentation_method,
        }
        self._files: list[dict[str, Any]] = []
        self._counts: list[pa.RecordBatch] = []
        self._items: list[Item] = []
        self._batches: list[pa.RecordBatch] = []
        self._item_bytes = self._batch_bytes = 0
        self._made = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        if (self.path / MANIFEST).exists():
            self._continue() if append else self._refuse()
        for leftover in self.path.glob(f"{TEMPORARY_PREFIX}*"):
            leftover.unlink()
        self._kept = len(self._files)

    def _refuse(self) -> None:
        raise DataError("holds a data set already", self.path, hint="choose another folder or delete this one")

    def _continue(self) -> None:
        old = ShardReader(self.path)
        check_vocabulary(old, self.vocabulary_fingerprint)
        self.extra = {**old.manifest["extra"], **self.extra}
        self._files, self._counts = list(old.manifest["files"]), [old.count_rows]

    def __len__(self) -> int:
        return sum(map(len, self._counts)) + len(self._items)

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._abandon()
            return
        try:
            self.close()
        except BaseException:  # a full disk, say
            self._abandon()
            raise

    def _abandon(self) -> None:
        """Remove what was written, and the folder if it was made for it and is empty."""
        for entry in self._files[self._kept :]:
            (self.path / entry["name"]).unlink(missing_ok=True)
        if len(self._files) > self._kept:
            (self.path / f"counts-{len(self._files):05d}.arrow").unlink(missing_ok=True)
        if self._made:
            with suppress(OSError):
                self.path.rmdir()

    def add(self, item: Item) -> None:
        """Add one item; it is written with a file's worth of others."""
        self._items.append(item)
        self._item_bytes += 20 * item.n_atoms + 64 * item.n_blocks + 12 * item.counts()["moved"]
        if len(self._items) >= 512 or self._item_bytes > self.max_file_bytes // 4:
            self._pack()

    def add_batch(self, batch: pa.RecordBatch) -> None:
        """Add a record batch of items (of another data set) without unpacking it."""
        self._pack()
        self._push(batch)

    def _pack(self) -> None:
        if self._items:
            items, self._items, self._item_bytes = self._items, [], 0
            self._push(items_to_batch(items))

    def _push(self, batch: pa.RecordBatch) -> None:
        for start in range(0, len(batch), self.max_file_items):
            part = batch.slice(start, self.max_file_items)
            waiting = sum(map(len, self._batches))
            full = waiting + len(part) > self.max_file_items or self._batch_bytes + part.nbytes > self.max_file_bytes
            if self._batches and full:
                self._flush()
            self._batches.append(part)
            self._batch_bytes += part.nbytes

    def _flush(self) -> None:
        if self._batches:
            whole = pa.concat_batches(self._batches)
            self._batches, self._batch_bytes = [], 0
            self._counts.append(counts_of(whole))
            self._files.append(write_arrow(self.path / f"items-{len(self._files):05d}.arrow", whole))

    def close(self) -> None:
        """Write what is left, the counts and, last, the manifest."""
        self._pack()
        self._flush()
        counts = pa.concat_batches(self._counts) if self._counts else counts_of(items_to_batch([]))
        entry = write_arrow(self.path / f"counts-{len(self._files):05d}.arrow", counts)
        manifest = {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            **self.description,
            "extra": self.extra,
            "items": len(counts),
            "counts": entry,
            "files": self._files,
        }
        write_json(self.path / MANIFEST, manifest, sealed=True)
        for old in set(self.path.glob("counts-*.arrow")) - {self.path / entry["name"]}:
            old.unlink()


class ShardReader(Sequence[Item]):
    """Read a folder of shards. Opening reads the manifest and maps the counts; items are views of mapped files.

    Args:
        path: folder written by `ShardWriter`.
        columns: fields to read (default: all stored ones); the others come back as None.
        verify: compare every file with its sha256 (default: when the data set is small).

    Attributes:
        manifest: what manifest.json says. vocabulary_fingerprint: of the block types.
        counts: arrays [items]: n_atoms, n_blocks, n_torsions (int32), modality (int8), label (float32).

    Raises:
        DataError: no data set there, an unfinished or damaged one, or one of another schema version; names the file.
    """

    def __init__(self, path: str | Path, columns: Iterable[str] | None = None, verify: bool | None = None) -> None:
        self.path = Path(path)
        self.columns = tuple(STORED) if columns is None else tuple({*REQUIRED, *columns})
        self.manifest = read_manifest(self.path)
        entries = [self.manifest["counts"], *self.manifest["files"]]
        for entry in entries:
            check_size(self.path, entry)
        if verify or (verify is None and sum(entry["bytes"] for entry in entries) <= SMALL_BYTES):
            self.verify()
        self.vocabulary_fingerprint: str = self.manifest["vocabulary_fingerprint"]
        self.count_rows = map_arrow(self.path / self.manifest["counts"]["name"])
        self._ends = np.cumsum([entry["items"] for entry in self.manifest["files"]], dtype=np.int64)
        listed = int(self._ends[-1]) if len(self._ends) else 0
        if not listed == len(self.count_rows) == self.manifest["items"]:
            raise DataError("the numbers of items disagree; the manifest is damaged", self.path / MANIFEST)
        numeric = (name for name in self.count_rows.schema.names if name not in ("id", "group"))
        # DLPack shares the memory as to_numpy does, which imports pandas.
        self.counts = {name: np.from_dlpack(self.count_rows.column(name)) for name in numeric}
        self._views: dict[int, BatchView] = {}

    def verify(self) -> None:
        """Compare every file with its sha256 in the manifest; DataError names the first that differs."""
        for entry in (self.manifest["counts"], *self.manifest["files"]):
            if sha256_of(self.path / entry["name"]) != entry["sha256"]:
                raise DataError("does not match its sha256; it is damaged", self.path / entry["name"], hint=REMAKE)

    def batch(self, file: int) -> pa.RecordBatch:
        """The record batch of items file number `file`."""
        entry = self.manifest["files"][file]
        found = completed(map_arrow(self.path / entry["name"]))
        if not found.schema.equals(SCHEMA) or len(found) != entry["items"]:
            raise DataError("does not hold the documented columns and rows", self.path / entry["name"], hint=REMAKE)
        try:
            check_batch(found)
        except DataError as broken:
            raise DataError(broken.what, self.path / entry["name"], *broken.where, hint=REMAKE) from broken
        return found

    def column(self, file: int, name: str) -> pa.Array:
        """One column of items file number `file`, checked by itself: much sooner than `batch`, which checks all."""
        path = self.path / self.manifest["files"][file]["name"]
        found = map_arrow(path)
        if name not in found.schema.names or found.schema.field(name).type != SCHEMA.field(name).type:
            raise DataError("does not hold the documented columns and rows", path, name, hint=REMAKE)
        try:
            found.column(name).validate(full=True)
        except pa.ArrowException as broken:
            raise DataError("has lists that run over their values", path, name, hint=REMAKE) from broken
        return found.column(name)

    def _view(self, file: int) -> BatchView:
        if file not in self._views:
            self._views[file] = BatchView(self.batch(file), self.columns)
        return self._views[file]

    def __len__(self) -> int:
        return len(self.count_rows)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of {len(self)} in {self.path}")
        index %= len(self)
        file = int(self._ends.searchsorted(index, side="right"))
        return self._view(file).item(index - (int(self._ends[file - 1]) if file else 0))

    def __iter__(self) -> Iterator[Item]:
        return (self[i] for i in range(len(self)))

    @property
    def ids(self) -> list[str]:
        """Id of every item."""
        return self._text("id")

    @property
    def groups(self) -> list[str]:
        """Group of every item ("": none)."""
        return self._text("group")

    def _text(self, name: str) -> list[str]:
        column = self.count_rows.column(name)
        try:
            column.validate(full=True)
        except pa.ArrowException as broken:
            path = self.path / self.manifest["counts"]["name"]
            raise DataError(f"holds damaged text: {broken}", path, name, hint=REMAKE) from broken
        return column.to_pylist()

    def __getstate__(self) -> dict[str, Any]:  # loader processes map the files themselves
        return {"path": self.path, "columns": self.columns}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"], state["columns"], verify=False)  # type: ignore[misc]


def check_vocabulary(reader: ShardReader, fingerprint: str) -> None:
    """Refuse a data set whose block types are numbered by another vocabulary."""
    if reader.vocabulary_fingerprint != fingerprint:
        raise DataError(
            f"was made with vocabulary {reader.manifest.get('vocabulary')} ({reader.vocabulary_fingerprint}), "
            f"expected {fingerprint}",
            reader.path,
            hint="check --fragmentation_method, or process the structures again",
        )


def write_part(path: str | Path, items: Iterable[Item], vocabulary_fingerprint: str = "", **options: Any) -> Path:
    """Write items as one complete data set (a part of a larger one, made by one process); return its folder.

    Options are those of `ShardWriter`.
    """
    with ShardWriter(path, vocabulary_fingerprint, **options) as writer:
        for item in items:
            writer.add(item)
    return Path(path)


def merge_parts(parts: Iterable[str | Path], out: str | Path, vocabulary_fingerprint: str = "", **options: Any) -> Path:
    """Join data sets, in the order given, into one at `out`; return its folder. The parts stay as they are.

    Options are those of `ShardWriter`.

    Raises:
        DataError: a part is damaged or was made with another vocabulary.
    """
    with ShardWriter(out, vocabulary_fingerprint, **options) as writer:
        for part in parts:
            reader = ShardReader(part)
            check_vocabulary(reader, vocabulary_fingerprint)
            for file in range(len(reader.manifest["files"])):
                writer.add_batch(reader.batch(file))
    return Path(out)


def copy_items(reader: ShardReader, indices: np.ndarray, out: str | Path) -> Path:
    """Copy the items with these (ascending) indices into a new data set with the same description."""
    described = ("vocabulary_fingerprint", "vocabulary", "fragmentation_method", "extra")
    options = {name: reader.manifest[name] for name in described if name in reader.manifest}
    with ShardWriter(out, **options) as writer:
        start = 0
        for file, entry in enumerate(reader.manifest["files"]):
            inside = indices[(indices >= start) & (indices < start + entry["items"])] - start
            if len(inside):
                writer.add_batch(reader.batch(file).take(pa.array(inside)))
            start += entry["items"]
    return Path(out)
