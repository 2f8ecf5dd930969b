"""The files of a data set: their layout, manifest and checks.

    manifest.json       schema version, vocabulary fingerprint, and name, items, bytes and sha256 of every other file
    counts-*.arrow      a row an item: id, group, modality, label, n_atoms, n_blocks, n_torsions
    items-00000.arrow   one record batch of items (`data.arrow_items`), uncompressed

The manifest is written last, by renaming: a folder without one is not a data set, whatever else it holds.
"""

import stat
from pathlib import Path
from typing import Any

import pyarrow as pa

from configs.errors import DataError
from configs.files import atomic_file, read_json, sha256_of

SCHEMA_VERSION = 1
FORMAT = "ligare shards"
MANIFEST = "manifest.json"
REMAKE = "make the data set again"


def write_arrow(path: Path, batch: pa.RecordBatch) -> dict[str, Any]:
    """Write a record batch as an Arrow file, atomically; return its manifest entry."""
    with atomic_file(path) as temporary:
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        size, digest = temporary.stat().st_size, sha256_of(temporary)
    return {"name": path.name, "items": len(batch), "bytes": size, "sha256": digest}


def map_arrow(path: Path) -> pa.RecordBatch:
    """The single record batch of an Arrow file, memory-mapped; DataError when it is damaged."""
    try:
        with pa.memory_map(str(path)) as source:
            batch = pa.ipc.open_file(source).get_batch(0)
        batch.validate()
        _ = batch.schema.names  # text, but for damage
    except (pa.ArrowException, OSError, IndexError, UnicodeDecodeError) as broken:
        raise DataError("is not a readable Arrow file; it is damaged", path, hint=REMAKE) from broken
    return batch


def check_size(folder: Path, entry: dict[str, Any]) -> None:
    """Refuse a listed file that is absent or has another size; DataError names it."""
    path = folder / entry["name"]
    try:
        state = path.stat()
    except OSError as absent:
        raise DataError("no such file, but the manifest lists it", path) from absent
    size = state.st_size
    if not stat.S_ISREG(state.st_mode):
        raise DataError("is no regular file", path)
    if size != entry["bytes"]:
        raise DataError(f"is {size} bytes long instead of {entry['bytes']}; it is damaged", path, hint=REMAKE)


def read_manifest(path: Path) -> dict[str, Any]:
    """Read and check the manifest of the data set in folder `path`; DataError when there is none or it is damaged."""
    if not path.is_dir():
        raise DataError("is a file; a folder of shards is needed" if path.exists() else "no such folder", path)
    if not (path / MANIFEST).exists():
        hint = "made by scripts/process_pdbs.py; an interrupted run has none, start it again"
        raise DataError(f"is not a data set: it has no {MANIFEST}", path, hint=hint)
    manifest = read_json(path / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise DataError("is not the manifest of a data set", path / MANIFEST)
    if (version := manifest.get("schema_version")) != SCHEMA_VERSION:
        raise DataError(f"has schema version {version}, this program reads {SCHEMA_VERSION}", path, hint=REMAKE)
    _check_manifest(manifest, path / MANIFEST)
    return manifest


def _check_manifest(manifest: dict[str, Any], path: Path) -> None:
    """Refuse a manifest that lacks a key or names files outside its folder."""
    kinds = {"vocabulary_fingerprint": str, "items": int, "counts": dict, "files": list, "extra": dict}
    well_formed = all(isinstance(manifest.get(name), kind) for name, kind in kinds.items())
    if well_formed:
        entries = [manifest["counts"], *manifest["files"]]
        keys = {"name": str, "items": int, "bytes": int, "sha256": str}
        well_formed = all(
            isinstance(e, dict) and all(isinstance(e.get(k), t) for k, t in keys.items()) for e in entries
        )
    if not well_formed:
        raise DataError("lacks documented entries; it is damaged", path, hint=REMAKE)
    for entry in entries:
        if Path(entry["name"]).name != entry["name"] or entry["items"] < 0:
            raise DataError(f"lists a file it can't have written: {entry['name']!r}", path)
