"""The files of users: each upload has a folder of its own under a name that nobody guesses, for a while."""

import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

from scripts.page.pool import Refused
from scripts.page.results import GONE

STRUCTURES = (".pdb", ".ent", ".cif", ".mmcif", ".pdbx")
LIGANDS = (".sdf", ".mol", ".mol2")
TOKEN = re.compile(r"[\w-]{32}")
LONGEST = 60  # characters of a file name; each may be four bytes, of 255


class Uploads:
    """Folders of uploads below `root`.

    Args:
        largest: bytes of a file. keep: seconds that a folder stays. most: folders; the oldest go first.
    """

    def __init__(self, root: Path, largest: int, keep: float = 3600.0, most: int = 100) -> None:
        self.root, self.largest, self.keep, self.most = root, largest, keep, most

    def new(self) -> str:
        """The token of a new, empty folder; removes old ones."""
        self.clean()
        token = secrets.token_urlsafe(24)
        (self.root / token).mkdir()
        return token

    def folder(self, token: str) -> Path:
        """The folder of a token; Refused when there is none (any more)."""
        if not TOKEN.fullmatch(token) or not (self.root / token).is_dir():
            raise Refused(404, GONE)
        return self.root / token

    def checked(self, name: str, endings: tuple[str, ...], size: int) -> str:
        """The name for a file of so many bytes (0: not told); Refused for another ending, and for too many."""
        found = plain(name, endings)
        self._check(found, size)
        return found

    async def store(self, token: str, name: str, content: AsyncIterator[bytes]) -> str:
        """Write a file as it comes in, under a checked name; returns that.

        Raises:
            Refused: an empty file, or more bytes than allowed. Nothing of it stays.
        """
        path, size = self.folder(token) / name, 0
        try:
            with path.open("wb") as file:
                async for chunk in content:
                    size += len(chunk)
                    self._check(name, size)
                    file.write(chunk)
            if not size:
                raise Refused(400, f"{name}: is empty")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return name

    def _check(self, name: str, size: int) -> None:
        if size > self.largest:
            most = f"{self.largest / 2**20:g} MB"
            raise Refused(413, f"{name}: is larger than {most}, the limit here (--max_upload)")

    def clean(self) -> None:
        """Remove folders that are too old, or too many."""
        folders = sorted(self.root.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
        for place, folder in enumerate(folders):
            if place >= self.most - 1 or time.time() - folder.stat().st_mtime > self.keep:
                shutil.rmtree(folder, ignore_errors=True)


def plain(name: str, endings: tuple[str, ...]) -> str:
    """A file name without folders and odd characters; Refused unless it has one of the endings (.gz may follow)."""
    found = re.sub(r"[^\w.-]", "_", name.replace("\\", "/").rpartition("/")[2]).lstrip(".-")[-LONGEST:]
    packed = found.lower().endswith(".gz")
    if not found.lower().removesuffix(".gz").endswith(endings):
        raise Refused(
            400, f"{found or 'the file'}: is of unknown kind (known: {', '.join(endings)}, and those with .gz)"
        )
    stem, dot, ending = found.removesuffix(".gz" if packed else "").rpartition(".")
    return f"{stem or 'upload'}{dot}{ending}{'.gz' if packed else ''}"
