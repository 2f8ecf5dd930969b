"""Files of JSON lines, written a line at a time, that can be taken back to where a stored state knew them."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from configs.command import in_words
from configs.files import atomic_write
from trainers.distributed import say


class LineLog:
    """A file of JSON lines that can be taken back to an earlier length when a run is resumed.

    A line that can't be written is kept and written with the next one, so that a disk that was full for a while costs
    no line; what was written of it is cut off again.

    Attributes:
        waiting: lines that are not in the file yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.waiting: list[str] = []
        self._checked = False
        self._sum: Any = None  # of the content so far, once it is known

    def append(self, record: dict[str, Any]) -> None:
        """Add a line; when it can't be written, say so and let it wait."""
        self.waiting.append(json.dumps(record) + "\n")
        try:
            self.flush()
        except OSError as error:
            if len(self.waiting) == 1:
                say(f"WARNING: {in_words(error)}; the lines of {self.path.name} wait until they can be written")

    def flush(self) -> None:
        """Write the lines that wait; OSError if they still can't be."""
        if not self.waiting:
            return
        content = "".join(self.waiting).encode()
        with open(self.path, "ab", buffering=0) as file:
            size = file.tell()
            if not self._checked and not _ends_a_line(self.path, size):
                content = b"\n" + content  # a kill cut the line before
            try:
                written = file.write(content)
                if written != len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            except OSError:
                file.truncate(size)
                raise
        self.waiting, self._checked = [], True
        if self._sum is not None:
            self._sum.update(content)

    def size(self) -> int:
        """Length in bytes, once everything is on the disk; OSError if it can't be brought there."""
        self.flush()
        if not self.path.exists():
            return 0
        with open(self.path, "rb+") as file:
            os.fsync(file.fileno())
        return self.path.stat().st_size

    def records(self) -> Iterator[dict[str, Any]]:
        """What the lines hold; damaged ones are left out."""
        for line in self.path.read_bytes().splitlines() if self.path.exists() else ():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                yield record

    def digest(self) -> str:
        """sha256 of the content."""
        if self._sum is None:
            self._sum = hashlib.sha256(self.path.read_bytes() if self.path.exists() else b"")
        return self._sum.hexdigest()

    def take_back(self, size: int, source: Path | None = None, digest: str | None = None) -> bool:
        """Keep the first `size` bytes (of `source` when given); False when they are not those of `digest`.

        Args:
            digest: sha256 of what there should be; None: only the length is compared.
        """
        source = source or self.path
        content = (source.read_bytes() if source.exists() else b"")[:size]
        if size or self.path.exists():
            atomic_write(self.path, content)
        self._sum = hashlib.sha256(content)
        return len(content) == size and digest in (None, self._sum.hexdigest())


def _ends_a_line(path: Path, size: int) -> bool:
    if not size:
        return True
    with open(path, "rb") as file:
        file.seek(size - 1)
        return file.read(1) == b"\n"
