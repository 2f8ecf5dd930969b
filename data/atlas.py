"""An atlas: vectors of interfaces on disk with what is known of each, searched by cosine.

    ATLAS/atlas.json           what made the vectors, and the list of the parts (sealed by a checksum)
    ATLAS/rows-00000.parquet   ids and columns of a part, all as text
    ATLAS/vectors-00000.faiss  its vectors, of length 1, in the same order (a flat FAISS index)

Parts are never changed, only replaced by others under new names; the new list is the one moment at which an addition
happens. Search is exact. docs/atlas.md compares it with other databases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import ConfigError, DataError
from configs.files import read_json, sha256_of
from configs.options import nearest

FORMAT, LIST = 1, "atlas.json"
INSTALL = "pip install 'ligare[atlas]'"


@dataclass(frozen=True)
class Origin:
    """What made vectors; those of different origins can't be compared.

    Attributes:
        representation: of `models.named.REPRESENTATIONS`. rule: of pooling, "" for those that need none.
        fingerprint: of the model (`models.fingerprint`).
    """

    representation: str
    fingerprint: str
    rule: str = ""


@dataclass(frozen=True)
class Rows:
    """Vectors and what is known of each.

    Attributes:
        ids: [rows], each once. vectors: float32 [rows, width]. columns: name -> texts [rows], "" where there is none.
    """

    ids: list[str]
    vectors: np.ndarray
    columns: dict[str, list[str]]

    def __len__(self) -> int:
        return len(self.ids)

    def taken(self, places: np.ndarray) -> "Rows":
        """Some of the rows."""
        columns = {name: [values[n] for n in places] for name, values in self.columns.items()}
        return Rows([self.ids[n] for n in places], self.vectors[places], columns)

    @classmethod
    def joined(cls, parts: "Sequence[Rows]") -> "Rows":
        """Rows one after the other; a column that a part lacks is empty there."""
        names = dict.fromkeys(name for part in parts for name in part.columns)
        columns = {name: [v for part in parts for v in part.columns.get(name, [""] * len(part))] for name in names}
        return cls([one for part in parts for one in part.ids], np.concatenate([p.vectors for p in parts]), columns)


class Atlas:
    """An atlas that is open for reading. One that is added to meanwhile (`data.atlas_add`) stays as it was here.

    Attributes:
        folder: where it is. origin: of its vectors. width: numbers in a vector. listed: the content of atlas.json.

    Raises:
        DataError: no atlas, of another format, or damaged: every file is compared with its checksum.
        ConfigError: FAISS is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        faiss = library()
        if not (self.folder / LIST).is_file():
            raise DataError("is no atlas", self.folder, hint="ligare atlas build makes one")
        self.listed = read_json(self.folder / LIST)
        if self.listed.get("format") != FORMAT:
            raise DataError(
                f"has format {self.listed.get('format')!r}, this program reads {FORMAT}", self.folder / LIST
            )
        self.origin, self.width = Origin(**self.listed["origin"]), int(self.listed["width"])
        tables, self._indexes = [], []
        for part in self.listed["parts"]:
            for name, expected in part["sha256"].items():
                path = self.folder / name
                if not path.is_file() or sha256_of(path) != expected:
                    raise DataError("is missing or damaged", path, hint="build the atlas again")
            tables.append(pq.read_table(self.folder / part["rows"]))
            self._indexes.append(faiss.read_index(str(self.folder / part["vectors"]), faiss.IO_FLAG_MMAP_IFC))
        table = pa.concat_tables(tables, promote_options="default")
        self.ids: list[str] = table["id"].to_pylist()
        self._table = table.drop_columns("id")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def columns(self) -> list[str]:
        """Names of what is known of the rows, without `id`."""
        return self._table.column_names

    def column(self, name: str) -> list[str]:
        """The texts of a column, "" where a row has none; ConfigError for an unknown one."""
        if name == "id":
            return self.ids
        if name not in self.columns:
            raise ConfigError(f"has no column {name!r}", self.folder, hint=nearest(name, ["id", *self.columns]))
        return [value or "" for value in self._table[name].to_pylist()]

    @cached_property
    def places(self) -> dict[str, int]:
        """Id -> row."""
        return {name: place for place, name in enumerate(self.ids)}

    def place_of(self, name: str) -> int:
        """The row of an id; DataError when there is none."""
        if name not in self.places:
            raise DataError(f"has no {name!r}", self.folder, hint=nearest(name, self.ids[:10_000]))
        return self.places[name]

    def facts(self, place: int) -> dict[str, str]:
        """What is known of a row."""
        return {name: self._table[name][place].as_py() or "" for name in self.columns}

    def vectors(self, places: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """float32 [places, width] vectors of length 1, of all rows or of some."""
        everything = [index.reconstruct_n(0, index.ntotal) for index in self._indexes]
        joined = np.concatenate(everything) if everything else np.empty((0, self.width), np.float32)
        return joined if places is None else joined[np.asarray(places, np.int64)]

    def search(self, queries: np.ndarray, top: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The most similar rows of each query, exactly.

        Args:
            queries: [queries, width], of any length. top: how many. allowed: [rows] which may be found (None: all).

        Returns:
            Rows and cosines, [queries, top], best first; with fewer than `top` rows -1 and -inf follow.
        """
        faiss = library()
        queries, start = unit(queries, self.width, "query"), 0
        places, cosines = [np.full((len(queries), top), -1)], [np.full((len(queries), top), -np.inf, np.float32)]
        for index in self._indexes:
            options: dict[str, Any] = {}
            if allowed is not None:
                bits = np.packbits(allowed[start : start + index.ntotal], bitorder="little")
                options["params"] = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
            found, rows = index.search(queries, min(top, index.ntotal), **options)
            places.append(np.where(rows < 0, -1, rows + start))
            cosines.append(np.where(rows < 0, -np.inf, found))
            start += index.ntotal
        place, cosine = np.concatenate(places, 1), np.concatenate(cosines, 1)
        order = np.argsort(-cosine, axis=1, kind="stable")[:, :top]
        return np.take_along_axis(place, order, 1), np.minimum(np.take_along_axis(cosine, order, 1), 1)

    def check(self, origin: Origin) -> None:
        """Refuse vectors of another origin; DataError says what differs."""
        ours = self.origin
        if ours.fingerprint != origin.fingerprint:
            what = f"was made by another model (checksum {ours.fingerprint}, this one has {origin.fingerprint})"
            raise DataError(what, self.folder, hint="name the model it was made by, or another folder for this one")
        for name in ("representation", "rule"):
            mine, theirs = getattr(ours, name), getattr(origin, name)
            if mine != theirs:
                what = f"holds vectors of {name} {mine or 'none'}, these are of {theirs or 'none'}"
                raise DataError(what, self.folder, hint="only vectors of one kind can be compared")


def unit(vectors: np.ndarray, width: int | None, what: str, ids: Sequence[str] = ()) -> np.ndarray:
    """float32 [rows, width] vectors of length 1; DataError for other widths, none, NaN, infinity and zero vectors."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    if vectors.ndim != 2 or 0 in vectors.shape or (width and vectors.shape[1] != width):
        raise DataError(f"of shape {list(vectors.shape)}, needed: rows of {width or 'some'} numbers", what)
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    wrong = np.flatnonzero(~(np.isfinite(length[:, 0]) & (length[:, 0] > 0)))
    if len(wrong):
        where = ids[wrong[0]] if len(ids) else f"row {wrong[0]}"
        raise DataError("is zero, NaN or infinite, and has no direction", what, where)
    return (vectors / length).astype(np.float32)


def library() -> ModuleType:
    """FAISS; ConfigError when it is not installed."""
    try:
        import faiss
    except ImportError as absent:
        raise ConfigError("an atlas needs FAISS, which is not installed", hint=INSTALL) from absent
    return faiss
