"""The convolution's inner loops in C, compiled on first use for the processor at hand.

Needs a C compiler (`cc`, `gcc` or `clang`, or the one that the environment variable CC names); without one the same
sums are done by torch, more slowly, and a warning says so. LIGARE_NATIVE=0 turns the compiled form off.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path

from configs.files import atomic_file, atomic_write, sha256_of

SOURCE = Path(__file__).parent / "convolution.c"
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-std=gnu11", "-shared", "-fPIC")
VECTOR = 16
"""Floats in a vector of the source."""


@cache
def library() -> ctypes.CDLL | None:
    """The compiled functions, or None without a compiler."""
    found = compiled(SOURCE)
    return None if found is None else _declared(found)


def turned_off() -> bool:
    """Whether the environment asks for torch's form."""
    return os.environ.get("LIGARE_NATIVE", "1") == "0"


def compiled(source: Path) -> ctypes.CDLL | None:
    """The functions of a source file; None where they can't be had, with a warning unless that was asked for."""
    if turned_off():
        return None
    compiler = _compiler()
    if not compiler:
        slower(f"there is no C compiler ({os.environ.get('CC') or 'gcc or clang'})")
        return None
    try:
        return _loaded(compiler, source)
    except (OSError, subprocess.SubprocessError) as error:
        text = getattr(error, "stderr", None) or str(error)
        name, said = shlex.join(compiler), text.strip().splitlines()
        slower(f"compiling with {name} failed: {said[-1] if said else repr(error)}")
        return None


def slower(reason: str) -> None:
    """Warn that torch does the work."""
    warnings.warn(
        f"convolutions run in their slower form: {reason}; LIGARE_NATIVE=0 chooses it without this warning",
        RuntimeWarning,
        stacklevel=4,
    )


def _compiler() -> list[str]:
    """The command, which may have options (`CC="ccache gcc"`); empty when there is none."""
    for name in [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]:
        program, *options = shlex.split(name) or [""]
        if found := shutil.which(program):
            return [found, *options]
    return []


def _loaded(compiler: list[str], source: Path) -> ctypes.CDLL:
    """The shared library from this user's cache, or made now and, where no cache can be had, for this process alone."""
    what = "\0".join([source.read_text("utf-8"), *FLAGS, *compiler, _run([*compiler, "--version"]), processor()])
    name = f"{source.stem}-{hashlib.sha256(what.encode()).hexdigest()[:16]}.so"
    folder = _cache_folder()
    if folder is not None:
        with suppress(OSError, subprocess.SubprocessError):  # a full disk, or one whose files may not be run
            return _built(compiler, source, folder / name)
    with tempfile.TemporaryDirectory(prefix="ligare-") as scratch:
        return _built(compiler, source, Path(scratch) / name)


def _built(compiler: list[str], source: Path, path: Path) -> ctypes.CDLL:
    checksum = path.with_suffix(".sha256")
    if not _undamaged(path, checksum):
        with atomic_file(path) as made:  # whole or not at all, also when several processes do this
            _run([*compiler, *FLAGS, "-o", str(made), str(source)])
            content = sha256_of(made)
        atomic_write(checksum, content)
    return ctypes.CDLL(str(path))


def _undamaged(path: Path, checksum: Path) -> bool:
    """Whether a library is there and as it was made: one with changed bytes would end the process, not the call."""
    try:
        return sha256_of(path) == checksum.read_text("ascii")
    except (OSError, ValueError):
        return False


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True, timeout=300)
    return done.stdout


def _cache_folder() -> Path | None:
    """A folder that only this user can write to, since what lies there is run; None without one."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ligare"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except (OSError, RuntimeError):  # the home folder is unknown, or can't be written to
        return None
    own = status.st_uid == os.getuid() and not status.st_mode & 0o022 and os.access(folder, os.W_OK)
    return folder if own else None


def processor() -> str:
    """What the processor can do, as far as code for it differs."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return platform.processor() + platform.machine()


class Piece(ctypes.Structure):
    """As in the source."""

    _fields_ = [(name, ctypes.c_int32) for name in ("components", "start", "stride", "channel", "size", "coupling")]


class Output(ctypes.Structure):
    """As in the source."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("dim", "channels", "padded", "start", "stride")),
        *((name, ctypes.c_int32) for name in ("first_piece", "n_pieces")),
        ("weight", ctypes.c_int64),
    ]


class Plan(ctypes.Structure):
    """As in the source."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("n_outputs", "width_in", "width_out", "n_couplings")),
        *((name, ctypes.c_int32) for name in ("hidden", "padded_hidden")),
        ("outputs", ctypes.POINTER(Output)),
        ("pieces", ctypes.POINTER(Piece)),
        ("weight", ctypes.c_void_p),
        ("transposed", ctypes.c_void_p),
    ]


def _declared(loaded: ctypes.CDLL) -> ctypes.CDLL:
    sizes, pointer = [ctypes.c_int64] * 3, ctypes.c_void_p
    loaded.forward.argtypes = [ctypes.POINTER(Plan), *sizes, *[pointer] * 5]
    loaded.backward.argtypes = [ctypes.POINTER(Plan), *sizes, *[pointer] * 9]
    loaded.forward.restype = loaded.backward.restype = ctypes.c_int
    return loaded
