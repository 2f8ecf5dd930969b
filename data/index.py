"""The index: a CSV table whose rows say which interfaces to make."""

import csv
import io
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from configs.errors import DataError
from configs.reading import read_text

REQUIRED = ("pdb_id", "pdb_path", "chain1", "chain2")
OPTIONAL = ("lig_code", "lig_smiles", "lig_resi", "label", "group", "ligand_path", "modality")
# Other spellings, for tables that lack ours.
ALIASES = {
    "pdb_id": ("id",),
    "pdb_path": ("path", "protein_path"),
    "chain1": ("chains1",),
    "chain2": ("chains2",),
    "lig_resi": ("lig_resid",),
}
MAX_FIELD = 2**20  # characters
SET_SEPARATOR, NO_LABELS = ";", "-"
REPEATED = {"pdb_path", "chain1", "chain2", "lig_code", "lig_resi", "group", "modality"}  # kept once for all rows


@dataclass(frozen=True, slots=True)
class Row:
    """One row of an index, as text.

    Attributes:
        line: line of the file it is on (the header is line 1).
        pdb_id: unique name of the interface. pdb_path: structure file, relative to the root folder.
        chain1, chain2: chains of either side, joined by `_`. An empty chain1 means all polymer chains.
        lig_code, lig_resi: the ligand of chain2 that is side 2 (residue name; number with insertion code).
        lig_smiles: of the ligand. ligand_path: SDF or MOL2 file with the ligand, in place of lig_code.
        label: measured value. targets: several measured values in its place.
        group: unit for leak-free splits (empty: the file's name).
        modality: kind of complex (empty: found out).
    """

    line: int
    pdb_id: str
    pdb_path: str
    chain1: str = ""
    chain2: str = ""
    lig_code: str = ""
    lig_smiles: str = ""
    lig_resi: str = ""
    label: str = ""
    group: str = ""
    ligand_path: str = ""
    modality: str = ""
    targets: tuple[str, ...] = ()

    def value(self) -> float:
        """The label (NaN: none); DataError when it is no number, or infinite."""
        return number_of(self.label, "label")

    def values(self) -> np.ndarray | None:
        """[targets] the targets (NaN: none); None when there are none. DataError as for `value`."""
        if not self.targets:
            return None
        found = [number_of(text, f"target {number}") for number, text in enumerate(self.targets)]
        return np.array(found, np.float32)


def number_of(text: str, where: str) -> float:
    """A measured value as text, NaN for none."""
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        raise DataError(f"{text!r} is no number", where, hint="names of classes: --label_classes") from None
    if math.isinf(value):
        raise DataError(f"{text!r} is infinite", where, hint="leave it empty where nothing was measured")
    return value


def with_class_numbers(rows: Sequence[Row], classes: Sequence[str] = ()) -> tuple[list[Row], tuple[str, ...]]:
    """Rows whose labels, names of classes, are replaced by class numbers; and the names in the order of the numbers.

    Args:
        classes: the names in the order wanted (default: those found, sorted).

    Raises:
        DataError: a label that is none of the classes, by line; fewer than two classes.
    """
    names = tuple(classes) or tuple(sorted({row.label for row in rows if row.label}))
    if len(names) < 2 or len(set(names)) < len(names):
        raise DataError(f"at least two different classes are needed, found {', '.join(names) or 'none'}", "label")
    numbers = {name: str(number) for number, name in enumerate(names)} | {"": ""}
    for row in rows:
        if row.label not in numbers:
            raise DataError(f"{row.label!r} is none of the classes {', '.join(names)}", f"line {row.line}", "label")
    return [replace(row, label=numbers[row.label]) for row in rows], names


def with_label_sets(rows: Sequence[Row]) -> tuple[list[Row], tuple[str, ...]]:
    """Rows whose labels, sets of names such as `ATP;MG`, become a target of 0 or 1 for each name; and the sorted names.

    `-` is a set without a label; an empty cell says nothing about any.

    Raises:
        DataError: no name at all, or one that can't be told from others: with a comma, or empty, by line.
    """
    sets: list[frozenset[str] | None] = []
    for row in rows:
        names = [name.strip() for name in row.label.split(SET_SEPARATOR)]
        if "," in row.label or ("" in names and row.label) or (NO_LABELS in names and len(names) > 1):
            hint = f"names joined by {SET_SEPARATOR}, without commas; {NO_LABELS} alone for none"
            raise DataError(f"{row.label!r} is no set of labels", f"line {row.line}", "label", hint=hint)
        sets.append(frozenset(names) - {NO_LABELS} if row.label else None)
    every = tuple(sorted({name for one in sets if one is not None for name in one}))
    if not every:
        raise DataError("names no label in any row", "label")
    unknown = ("",) * len(every)
    return [
        replace(row, label="", targets=unknown if one is None else tuple("1" if n in one else "0" for n in every))
        for row, one in zip(rows, sets)
    ], every


def rows_of_index(path: str | Path, label_columns: Sequence[str] = ()) -> list[Row]:
    """Read an index file.

    Values are text as they stand (the ion `NA` stays one). Repeated ids get `_2`, `_3`, ... appended.

    Args:
        label_columns: the column with labels (default: `label`), or several whose values become targets.

    Raises:
        DataError: the file is absent, is no UTF-8 text, has no rows, lacks a column, or a row has another number of
            values than the header; names the line or column.
    """
    path = Path(path)
    lines = each_line_of_index(path)
    _, header = next(lines)
    columns = _columns(header, path)
    for name in label_columns:
        if name not in header:
            hint = f"its columns: {shortened(header)}"
            raise DataError(f"lacks the column {name!r} of --label_columns", path, hint=hint)
    if len(label_columns) == 1:
        columns["label"] = header.index(label_columns[0])
    rows, seen = [], dict[str, int]()
    for number, values in lines:
        if len(values) != len(header):
            raise DataError(f"has {len(values)} values for {len(header)} columns", path, f"line {number}")
        fields = {
            name: sys.intern(values[column]) if name in REPEATED else values[column] for name, column in columns.items()
        }
        fields["pdb_id"] = _unique(fields["pdb_id"] or f"line_{number}", seen)
        several = label_columns if len(label_columns) > 1 else ()
        targets = tuple(values[header.index(name)] for name in several)
        rows.append(Row(line=number, **fields, targets=targets))
    return rows


def each_line_of_index(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and values of the header and of every row, blanks around values removed.

    Raises:
        DataError: the file is absent, is no UTF-8 text or no CSV, or has no rows.
    """
    text = read_text(path)
    if "\0" in text:
        raise DataError("holds NUL characters; it is damaged or no text", path)
    csv.field_size_limit(MAX_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""))
    found = 0
    try:
        for values in reader:
            if any(values):
                found += 1
                yield reader.line_num, [value.strip() for value in values]
    except csv.Error as error:
        raise DataError(f"is not CSV: {error}", path, f"line {reader.line_num}") from error
    if found < 2:
        raise DataError("has no rows" if found else "is empty", path, hint=f"a CSV with columns {', '.join(REQUIRED)}")


def shortened(header: list[str], most: int = 400) -> str:
    """Names of columns for a message."""
    text = ", ".join(header)
    return text if len(text) <= most else f"{text[:most]}... ({len(header)} in all)"


def _columns(header: list[str], path: Path) -> dict[str, int]:
    """Where each of our columns is; DataError for a missing or repeated one."""
    found = {}
    if repeated := [name for name, number in Counter(header).items() if name and number > 1]:
        raise DataError(f"has the column {repeated[0]!r} twice", path)
    for name in (*REQUIRED, *OPTIONAL):
        spelling = next((s for s in (name, *ALIASES.get(name, ())) if s in header), None)
        if spelling is not None:
            found[name] = header.index(spelling)
        elif name in REQUIRED and not (name.startswith("chain") and "ligand_path" in header):
            other = next((mark for mark in (";", "\t", "|") if len(header) == 1 and mark in header[0]), None)
            hint = (
                f"its columns: {shortened(header)}" if other is None else f"separate values by commas, not by {other!r}"
            )
            raise DataError(f"lacks the column {name!r}", path, hint=hint)
    if "id" in header:  # beside it, pdb_id names the entry, which several rows may share
        found["pdb_id"] = header.index("id")
    return found


def _unique(name: str, seen: dict[str, int]) -> str:
    candidate = name
    while candidate in seen:
        seen[name] += 1
        candidate = f"{name}_{seen[name]}"
    seen[candidate] = 1
    return candidate


SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif", ".pdbx")


def structure_files(path: str | Path) -> list[Path]:
    """The structure files in a folder and its sub-folders, sorted; or the single file given.

    Raises:
        DataError: no such file or folder, or no structure files in it.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError("no such file or folder", path)
    found = sorted(_structures_among(p for p in path.rglob("*") if p.is_file()))
    if not found:
        raise DataError("holds no structure files", path, hint=f"names end in {', '.join(SUFFIXES)}, or those with .gz")
    return found


def stem_of(path: str | Path) -> str:
    """Name of a structure file without its endings: 1abc of x/1abc.pdb.gz."""
    name = Path(path).name
    return name.removesuffix(".gz").rsplit(".", 1)[0] or name


def _structures_among(paths: Iterable[Path]) -> list[Path]:
    return [p for p in paths if p.name.lower().removesuffix(".gz").endswith(SUFFIXES) and not p.name.startswith(".")]
