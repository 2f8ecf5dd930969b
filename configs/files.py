"""Files that are either complete or absent: atomic writes, checksums, JSON read within limits."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from configs.errors import DataError, LigareError
from configs.reading import read_text

SEAL = "sha256_of_the_rest"
TEMPORARY_PREFIX = ".writing-"
UMASK = os.umask(0o022)  # the system tells the mask only while setting it; done once, so threads don't see the change
os.umask(UMASK)


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power failure (a no-op where folders can't be opened)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`; on success it is flushed to disk and renamed to `path`.

    If the body raises, the temporary file is removed and `path` stays as it was.

    Raises:
        OSError: the folder can't be written to, or the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~UMASK)  # mkstemp makes files that only the owner may read
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def atomic_write(path: str | Path, content: bytes | str) -> None:
    """Write bytes or text (UTF-8) so that a reader sees the old file or the new one, never a part."""
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_json(path: str | Path, value: Any, sealed: bool = False) -> None:
    """Write `value` as indented JSON, atomically.

    Args:
        sealed: add the checksum of the rest to a mapping, which `read_json` compares: for what nobody is meant to edit.
    """
    if sealed:
        value = {**value, SEAL: _checksum(value)}
    atomic_write(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _checksum(value: Mapping[str, Any]) -> str:
    """sha256 of a mapping as JSON, whatever its order and spaces."""
    same = json.loads(json.dumps(value))
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()


def sha256_of(path: str | Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: str | Path, error: type[LigareError] = DataError) -> dict[str, Any]:
    """Read a JSON object from a file of at most --max_json_size bytes.

    Raises:
        LigareError: of type `error`, naming the file: absent, too large, not JSON, not an object, or sealed and
            changed since.
    """
    text = read_text(path, error, "max_json_size")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as broken:
        raise error("is not valid JSON; the file is damaged", path) from broken
    if not isinstance(value, dict):
        raise error("must hold a JSON object", path)
    if _is_broken(value):
        raise error("does not match its own checksum; the file is damaged, or was edited", path)
    value.pop(SEAL, None)
    return value


def _is_broken(value: Mapping[str, Any]) -> bool:
    """Whether the seal of a mapping, if it has one, is not that of the rest; also when the seal's name is damaged."""
    last = next(reversed(value), "") if isinstance(value, dict) else ""
    name = SEAL if SEAL in value else last if isinstance(value.get(last), str) and len(value[last]) == 64 else None
    if name is None:
        return False
    same = value[name] == _checksum({key: entry for key, entry in value.items() if key != name})
    return not same if name == SEAL else same
