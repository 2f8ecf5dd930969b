"""Real small disks for tests, where the system lets us mount them."""

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A mounted tmpfs that can be filled to the last byte, emptied again, and made read-only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Leave no room."""
        with open(self.path / "ballast", "ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError as error:
                    assert error.errno == errno.ENOSPC  # noqa: PT017

    def make_room(self) -> None:
        (self.path / "ballast").unlink()

    def writable(self, yes: bool) -> None:
        """Lay a read-only view of the disk over it, or take that away; files that are open stay as they are."""
        if yes:
            subprocess.run(["umount", "--lazy", str(self.path)], check=True)
            return
        subprocess.run(["mount", "--bind", str(self.path), str(self.path)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(self.path)], check=True)


@contextmanager
def small_disk(path: Path, size: str = "1m") -> Iterator[SmallDisk]:
    """Mount one; skips the test where that is not allowed."""
    path.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no mount")
    if done.returncode:
        pytest.skip(f"a small disk can't be mounted: {done.stderr.decode().strip()}")
    try:
        yield SmallDisk(path)
    finally:
        while path.is_mount():  # also what a failed test left over it
            subprocess.run(["umount", "--lazy", str(path)], check=True)
