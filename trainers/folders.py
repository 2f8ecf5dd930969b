"""Folders that are complete or absent: filled under a temporary name, with a manifest of checksums, then renamed."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from configs.command import in_words
from configs.errors import CheckpointError
from configs.files import TEMPORARY_PREFIX, atomic_write, read_json, sha256_of, sync_folder, write_json
from trainers.distributed import say

MANIFEST = "manifest.json"


@contextmanager
def complete_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; on success it takes the place of `path`, on failure `path` stays as it was.

    Raises:
        OSError: the disk is full or can't be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=path.parent))
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with open(file, "rb+") as handle:
                    os.fsync(handle.fileno())
        temporary.chmod(0o755)
        sync_folder(temporary)
        if path.exists():
            retired = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=path.parent)) / "retired"
            os.replace(path, retired)
            os.replace(temporary, path)
            shutil.rmtree(retired.parent)
        else:
            os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def remove_folder(folder: Path) -> None:
    """Delete a folder; a kill leaves all of it, or remains under a temporary name (`remove_leftovers`)."""
    retired = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=folder.parent))
    with suppress(OSError):  # gone already, or it can't be deleted
        os.replace(folder, retired / "retired")
    shutil.rmtree(retired, ignore_errors=True)


def write_manifest(folder: Path) -> None:
    """List size and sha256 of every file of a folder in its manifest."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name != MANIFEST)
    listed = {f.name: {"bytes": f.stat().st_size, "sha256": sha256_of(f)} for f in files}
    write_json(folder / MANIFEST, {"files": listed}, sealed=True)


def verify_manifest(folder: Path) -> None:
    """Compare a folder with its manifest.

    Raises:
        CheckpointError: naming the file that is absent or differs.
    """
    listed = read_json(folder / MANIFEST, error=CheckpointError).get("files")
    if not isinstance(listed, dict):
        raise CheckpointError("lists no files", folder / MANIFEST)
    for name, entry in listed.items():
        file = folder / name
        if Path(name).name != name or not isinstance(entry, dict):
            raise CheckpointError("is damaged", folder / MANIFEST)
        if not file.is_file():
            raise CheckpointError("is missing", file)
        if sha256_of(file) != entry.get("sha256"):
            raise CheckpointError("does not match its checksum; the file is damaged", file)


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files and folders that an interrupted write left directly in `folder`."""
    for leftover in folder.glob(TEMPORARY_PREFIX + "*"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def write_if_possible(path: Path, content: str) -> None:
    """Write a file that is written again with every epoch; on a full disk say that it is not up to date."""
    try:
        atomic_write(path, content)
    except OSError as error:
        say(f"WARNING: {path.name} is not up to date: {in_words(error)}")


def as_os_error(error: Exception, path: object) -> OSError:
    """What a library says of a full disk, as the system says it."""
    text = str(error)
    found = text.partition("os error ")[2].partition(")")[0]
    if not found.isdigit():
        return OSError(errno.EIO, text, str(path))
    return OSError(int(found), os.strerror(int(found)), str(path))
