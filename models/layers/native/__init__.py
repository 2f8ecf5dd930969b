"""The convolution's inner loops in C, compiled on first use for the processor at hand.

Needs a C compiler (`cc`, `gcc` or `clang`, or the one that the environment variable CC names); without one the same
sums are done by torch, more slowly, and a warning says so. LIGARE_NATIVE=0 turns the compiled form off.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parent / "convolution.c"
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-std=gnu11", "-shared", "-fPIC")
VECTOR = 16
"""Floats in a vector of the source."""


@cache
def library() -> ctypes.CDLL | None:
    """The compiled functions, or None without a compiler."""
    if os.environ.get("LIGARE_NATIVE", "1") == "0":
        return None
    compiler = _compiler()
    if compiler is None:
        _slower("there is no C compiler (gcc or clang)")
        return None
    try:
        return _declared(ctypes.CDLL(str(_compiled(compiler))))
    except (OSError, subprocess.SubprocessError) as error:
        text = getattr(error, "stderr", None) or str(error)
        _slower(f"compiling with {compiler} failed: {text.strip().splitlines()[-1] if text.strip() else error!r}")
        return None


def _slower(reason: str) -> None:
    warnings.warn(
        f"convolutions run in their slower form: {reason}; LIGARE_NATIVE=0 chooses it without this warning",
        RuntimeWarning,
        stacklevel=3,
    )


def _compiler() -> str | None:
    named = os.environ.get("CC")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def _compiled(compiler: str) -> Path:
    """The shared library, from this user's cache or made now."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    what = "\0".join([SOURCE.read_text(), *FLAGS, compiler, version, _processor()])
    folder = _cache_folder()
    path = folder / f"convolution-{hashlib.sha256(what.encode()).hexdigest()[:16]}.so"
    if not path.is_file():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / path.name
            command = [compiler, *FLAGS, "-o", str(made), str(SOURCE)]
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
            made.replace(path)  # whole or not at all, also when several processes do this
    return path


def _cache_folder() -> Path:
    """A folder that only this user can write to: what lies there is run."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "ligare"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid == os.getuid() and not status.st_mode & 0o022 and os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="ligare-"))


def _processor() -> str:
    """Tells processors apart that need code of their own."""
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
