"""Content of files from anywhere: regular files only, within limits, unpacked where they are gzip, in their folder."""

import io
import os
import stat
import zlib
from gzip import BadGzipFile, GzipFile
from pathlib import Path

from configs.errors import DataError, LigareError
from configs.limits import check_limit, limits

GZIP = b"\x1f\x8b"
CHUNK = 2**20
# Opening a pipe without a writer would wait for one for ever.
FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def read_bytes(path: str | Path, error: type[LigareError] = DataError, option: str = "max_file_size") -> bytes:
    """All bytes of a regular file.

    Args:
        error: type of the errors. option: the limit of `configs.limits.Limits` that holds.

    Raises:
        LigareError: of type `error`: no such file, a folder, pipe or device, too large, or it can't be read.
    """
    try:
        handle = os.open(path, FLAGS)
    except OSError as failed:
        what = "no such file" if isinstance(failed, FileNotFoundError) else f"can't be read: {failed.strerror}"
        raise error(what, path) from failed
    except ValueError as impossible:  # a NUL in the name
        raise error("is no name of a file", repr(str(path))) from impossible
    try:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            raise error(f"is {'a folder' if stat.S_ISDIR(state.st_mode) else 'no regular file'}", path)
        check_limit("is {} bytes long", state.st_size, option, error, path)
        return io.FileIO(handle, closefd=False).readall()
    except OSError as failed:
        raise error(f"can't be read: {failed.strerror}", path) from failed
    finally:
        os.close(handle)


def unpacked(content: bytes, path: str | Path, error: type[LigareError] = DataError) -> bytes:
    """The content of a file, unpacked where it is gzip by content (its name doesn't matter).

    Raises:
        LigareError: of type `error`: damaged, gzip inside gzip, or it unpacks to more than --max_unpacked_size.
    """
    if content[:2] != GZIP:
        return content
    parts, total, most = [], 0, limits().max_unpacked_size
    try:
        with GzipFile(fileobj=io.BytesIO(content)) as file:
            while total <= most and (part := file.read(CHUNK)):
                parts.append(part)
                total += len(part)
    except (BadGzipFile, EOFError, zlib.error) as broken:
        raise error(f"is damaged gzip data: {broken}", path, hint="cut off? copy it again") from broken
    if total > most:
        check_limit("unpacks to {} bytes or more", total, "max_unpacked_size", error, path)
    if parts and parts[0][:2] == GZIP:
        raise error("is gzip data inside gzip data", path, hint="unpack it once")
    return b"".join(parts)


def read_text(path: str | Path, error: type[LigareError] = DataError, option: str = "max_file_size") -> str:
    """Text of a file in UTF-8 (a byte order mark is dropped), unpacked where it is gzip.

    Raises:
        LigareError: of type `error`, as for `read_bytes` and `unpacked`, and for other text than UTF-8.
    """
    content = unpacked(read_bytes(path, error, option), path, error)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        hint = "save it as UTF-8" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise error("is not UTF-8 text", path, hint=hint) from wrong


def path_inside(root: str | Path, name: str, error: type[LigareError] = DataError) -> Path:
    """The file that a row names, which must lie in the root folder, links followed, unless --allow_outside_root.

    Raises:
        LigareError: of type `error`: it lies elsewhere.
    """
    path = Path(root) / name
    if limits().allow_outside_root:
        return path
    try:
        real, base = os.path.realpath(path), os.path.realpath(root)
    except ValueError as impossible:
        raise error("is no name of a file", repr(name)) from impossible
    if os.path.commonpath([real, base]) != base:
        hint = "move it there, or --allow_outside_root (LIGARE_ALLOW_OUTSIDE_ROOT=1) if you trust the table"
        raise error(f"lies outside the root folder {root}", name, hint=hint)
    return path
