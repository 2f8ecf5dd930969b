"""Entries of the Protein Data Bank: their ids, whether a file holds one, and the manifest of a folder of them."""

import csv
import io
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from configs.errors import ConfigError, DataError
from configs.files import atomic_write, sha256_of
from configs.limits import beyond, limits
from configs.reading import read_text
from data.index import each_line_of_index

CLASSIC = re.compile(r"[1-9][a-z0-9]{3}")
EXTENDED = re.compile(r"pdb_[0-9]{4}[1-9a-z][a-z0-9]{3}|pdb_[a-z0-9]{8}")
IN_INDEX = re.compile(r"(pdb_[a-z0-9]{8}|[1-9][a-z0-9]{3})(?:[_.-].*)?")  # 1abc_02 is an interface of 1abc
MANIFEST = "manifest.csv"
ENDING = ".cif.gz"
CHUNK = 2**18
ATOMS = b"_atom_site."
HEAD = 2**16  # bytes in which the name of the entry must come


def entry_id(text: str) -> str:
    """An id in lower case: 1abc, or pdb_00001abc; ConfigError for other texts."""
    name = text.strip().lower()
    if not (CLASSIC.fullmatch(name) or EXTENDED.fullmatch(name)):
        raise ConfigError(f"{text!r} is no PDB id", "ID", hint="as in 1abc or pdb_00001abc")
    return name


def entry_ids(given: Iterable[str], ids_file: Path | None = None, index: Path | None = None) -> list[str]:
    """All ids, each once, in order.

    Args:
        given: texts. ids_file: ids between spaces, commas or lines, `#` before comments. index: a CSV with a column
            pdb_id, whose values may have more behind the id (1abc_02).

    Raises:
        ConfigError: texts that are no ids (all are told), or none at all. DataError: a file that can't be read.
    """
    texts, wrong, found = list(given), [], []
    if ids_file is not None:
        lines = read_text(ids_file).splitlines()
        texts += [word for line in lines for word in re.split(r"[\s,;]+", line.partition("#")[0]) if word]
    if index is not None:
        texts += list(_of_index(index))
    for text in texts:
        try:
            found.append(entry_id(text))
        except ConfigError:
            wrong.append(text)
    if wrong:
        shown = ", ".join(repr(text[:40]) for text in wrong[:8]) + (", ..." if len(wrong) > 8 else "")
        raise ConfigError(f"{len(wrong)} are no PDB ids: {shown}", "ID", hint="as in 1abc or pdb_00001abc")
    if not found:
        raise ConfigError("names no entries", "ID", hint="ids, --ids FILE or --index CSV")
    return list(dict.fromkeys(found))


def _of_index(path: Path) -> Iterator[str]:
    lines = each_line_of_index(path)
    _, header = next(lines)
    if "pdb_id" not in header:
        raise DataError("has no column pdb_id", path)
    place = header.index("pdb_id")
    for _, values in lines:
        known = IN_INDEX.fullmatch(values[place].strip().lower())
        yield known[1] if known else values[place]


def check_entry(path: Path, name: str) -> None:
    """Refuse a file that is not the whole mmCIF file of an entry, gzipped.

    Raises:
        DataError: damaged or cut-off gzip data, other text than mmCIF, another entry, no atoms, or beyond
            --max_unpacked_size.
    """
    unpack, most, total = zlib.decompressobj(zlib.MAX_WBITS | 16), limits().max_unpacked_size, 0
    head, tail, has_atoms = b"", b"", False
    with open(path, "rb") as file:
        packed = file.read(CHUNK)
        if packed[:2] != b"\x1f\x8b":
            raise DataError(f"is no gzip data; it starts with {packed[:20]!r}", path)
        try:
            while packed and not unpack.eof:
                part = unpack.decompress(packed, CHUNK)
                total += len(part)
                if total > most:
                    hint = beyond("max_unpacked_size")
                    raise DataError(f"unpacks to more than {most} bytes", path, hint=hint)
                if len(head) < HEAD:
                    head += part
                has_atoms = has_atoms or ATOMS in tail + part
                tail = part[-len(ATOMS) :]
                packed = unpack.unconsumed_tail or (file.read(CHUNK) if not unpack.eof else b"")
        except zlib.error as broken:
            raise DataError(f"is damaged gzip data: {broken}", path) from broken
        if not unpack.eof:
            raise DataError("is cut off: the gzip data has no end", path)
        if unpack.unused_data or file.read(1):
            raise DataError("has something behind the end of the gzip data", path)
    started = re.match(rb"(?:\s|#[^\n]*\n)*data_(\S+)", head[:HEAD])
    if not started:
        raise DataError(f"is no mmCIF file; it starts with {head[:20]!r}", path)
    if _short(started[1].decode("ascii", "replace")) != _short(name):
        raise DataError(f"is the entry {started[1][:20].decode('ascii', 'replace')!r}, not {name}", path)
    if not has_atoms:
        raise DataError("has no atoms", path)


def _short(name: str) -> str:
    """Both forms of an id as one: pdb_00001abc is 1abc."""
    return name.lower().removeprefix("pdb_").removeprefix("0000")


@dataclass(frozen=True)
class Fetched:
    """A row of the manifest: an entry, its file in the folder, bytes, checksum, where it came from and when (UTC)."""

    id: str
    file: str
    size: int
    sha256: str
    url: str
    date: str

    def fault(self, folder: Path) -> str:
        """What is wrong with the file; "" when it is as it came."""
        path = folder / self.file
        if not path.is_file():
            return "is missing"
        if path.stat().st_size != self.size:
            return f"has {path.stat().st_size} bytes, fetched were {self.size}"
        return "" if sha256_of(path) == self.sha256 else "has changed since it was fetched"


def read_manifest(folder: Path) -> dict[str, Fetched]:
    """The manifest of a folder by id, the last row of each; a row that was cut off is left out."""
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    rows = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if entry := _entry_of(row):
                rows[entry.id] = entry
    return rows


def _entry_of(row: Mapping[str, str | None]) -> Fetched | None:
    values = {one.name: row.get(one.name) or "" for one in fields(Fetched)}
    whole = len(values["date"]) == len("2000-01-01T00:00:00Z") and values["size"].isdecimal()
    named = values["file"] == f"{values['id']}{ENDING}" and bool(values["id"]) and "/" not in values["file"]
    return Fetched(**{**values, "size": int(values["size"])}) if whole and named else None  # type: ignore[arg-type]


def note(folder: Path, entry: Fetched) -> None:
    """Add a row to the manifest by a single write."""
    path = folder / MANIFEST
    new = not path.exists()
    with open(path, "ab", buffering=0) as file:
        start = b"" if new or path.read_bytes()[-1:] in (b"\n", b"") else b"\n"  # behind a row that was cut off
        file.write(start + _lines([entry], header=new).encode())


def write_manifest(folder: Path, entries: Mapping[str, Fetched]) -> None:
    """Write the manifest anew, sorted."""
    atomic_write(folder / MANIFEST, _lines([entries[name] for name in sorted(entries)], header=True))


def _lines(entries: Iterable[Fetched], header: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [one.name for one in fields(Fetched)], lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(asdict(entry) for entry in entries)
    return text.getvalue()
