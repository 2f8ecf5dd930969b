"""What `ligare doctor` looks at. Each examination imports what it needs, so that a broken part spoils no other."""

import os
import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from configs.machine import memory_size, processor_name, usable_cores

if TYPE_CHECKING:
    from packaging.requirements import Requirement

NAME = "ligare"
OK, NOTE, BROKEN = "ok", "note", "broken"
LEAST_PYTHON = (3, 11)
GIGABYTE = 2**30
LITTLE_ROOM = 2 * GIGABYTE
# What importing or starting a library may raise where it does not fit the machine.
FAILURES = (ImportError, OSError, RuntimeError, AttributeError, ValueError)
ON_GPU_ONLY = ("cuequivariance", "openequivariance", "scatter")


@dataclass(frozen=True)
class Finding:
    """name: what was looked at. state: ok, note or broken. told: what was found. hint: what to do about it."""

    name: str
    state: str
    told: str
    hint: str = ""


def examine_system() -> Iterator[Finding]:
    """Python, system, processor, memory."""
    right = sys.version_info[:2] >= LEAST_PYTHON
    hint = "" if right else f"Python {'.'.join(map(str, LEAST_PYTHON))} or newer is needed"
    yield Finding("python", OK if right else BROKEN, f"{platform.python_version()} in {sys.prefix}", hint)
    yield Finding("system", OK, platform.platform())
    yield Finding("processor", OK, f"{processor_name()}, {usable_cores()} of {os.cpu_count()} cores usable")
    memory = memory_size()
    if memory:
        little = memory < 4 * GIGABYTE
        yield Finding("memory", NOTE if little else OK, f"{memory / GIGABYTE:.1f} GB")


def examine_packages() -> Iterator[Finding]:
    """Every required package: there, and new enough."""
    try:
        yield Finding(NAME, OK, metadata.version(NAME))
        needed = requirements("")
    except metadata.PackageNotFoundError:
        yield Finding(NAME, BROKEN, "is not installed", "pip install . in its folder")
        return
    good: list[str] = []
    for wanted in needed:
        finding = examine_package(wanted)
        if finding.state == OK:
            good.append(finding.told)
        else:
            yield finding
    yield Finding("packages", OK, ", ".join(good))


def requirements(extra: str) -> list["Requirement"]:
    """What the package asks for, or one of its extras does, on this system."""
    from packaging.requirements import Requirement

    texts = metadata.requires(NAME) or []
    found = [Requirement(text) for text in texts]
    if extra:
        return [
            r
            for r in found
            if r.marker and not r.marker.evaluate({"extra": ""}) and r.marker.evaluate({"extra": extra})
        ]
    return [r for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]


def examine_package(wanted: "Requirement", absent: str = BROKEN) -> Finding:
    """Version of one package; `absent` is the state when it is not there or too old."""
    hint = f"pip install '{wanted.name}{wanted.specifier}'"
    try:
        found = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return Finding(wanted.name, absent, "is not installed", hint)
    if not wanted.specifier.contains(found, prereleases=True):
        return Finding(wanted.name, absent, f"is {found}, {wanted.specifier} is needed", hint)
    return Finding(wanted.name, OK, f"{wanted.name} {found}")


def examine_kernel() -> Iterator[Finding]:
    """The compiled convolution: made, or torch in its place."""
    try:
        from models.layers import native
        from models.layers.native import bfloat16
    except FAILURES as error:
        yield Finding("convolution", BROKEN, f"can't be imported: {error}")
        return
    for name, kernel in (("float32", native), ("bfloat16", bfloat16)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            kernel.library.cache_clear()
            made = kernel.library() is not None
        if made:
            yield Finding(name, OK, "compiled for this processor")
        elif native.turned_off():
            yield Finding(name, NOTE, "turned off by LIGARE_NATIVE=0: torch does the work, more slowly")
        else:
            told = str(said[-1].message) if said else "could not be compiled"
            yield Finding(name, OK if "avx512" in told else NOTE, told)


def examine_devices() -> Iterator[Finding]:
    """GPUs, and whether they compute."""
    try:
        import torch
    except FAILURES as error:
        yield Finding("torch", BROKEN, f"can't be imported: {error}", "install it anew (pytorch.org tells how)")
        return
    if not torch.cuda.is_available():
        driver = shutil.which("nvidia-smi") is not None
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU"
        told = f"none; torch {torch.__version__} is built for {built}"
        hint = "there is an NVIDIA driver: install torch for CUDA (pytorch.org tells how)" if driver else ""
        yield Finding("GPU", NOTE if driver else OK, told, hint)
        return
    for number in range(torch.cuda.device_count()):
        name, about = f"cuda:{number}", torch.cuda.get_device_properties(number)
        told = f"{about.name}, {about.total_memory / GIGABYTE:.0f} GB, CUDA {torch.version.cuda}"
        try:
            torch.ones(64, 64, device=name).mm(torch.ones(64, 64, device=name)).sum().item()
            yield Finding(name, OK, told)
        except FAILURES as error:
            yield Finding(name, BROKEN, f"{told}: {str(error).splitlines()[0]}", "does torch fit the driver?")


def examine_extras() -> Iterator[Finding]:
    """What can be installed beside, and the line for it."""
    try:
        extras = metadata.metadata(NAME).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return
    for extra in extras:
        wanted = [r for r in requirements(extra) if r.name != NAME]
        found = [examine_package(one, NOTE) for one in wanted]
        lacking = [one for one in found if one.state != OK]
        if not lacking:
            yield Finding(extra, OK, ", ".join(one.told for one in found))
            continue
        told = "; ".join(f"{one.name} {one.told}" for one in lacking)
        only = " (for GPUs)" if extra in ON_GPU_ONLY else ""
        yield Finding(extra, NOTE, told + only, f"pip install '{NAME}[{extra}]'")


def examine_places() -> Iterator[Finding]:
    """Room, and whether it can be written to: temporary files, this folder, shared memory of loader processes."""
    places = {
        "temporary files": Path(tempfile.gettempdir()),
        "this folder": Path.cwd(),
        "shared memory": Path("/dev/shm"),
    }
    for name, folder in places.items():
        if not folder.is_dir():
            continue
        free = shutil.disk_usage(folder).free
        told = f"{folder}: {free / GIGABYTE:.1f} GB free"
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            state = BROKEN if name == "temporary files" else NOTE
            yield Finding(name, state, f"{told}, can't be written to: {error.strerror}", "TMPDIR names another folder")
            continue
        little = free < LITTLE_ROOM
        hint = ""
        if little:
            hint = "--num_workers 0 needs none" if name == "shared memory" else "checkpoints and shards need room"
        yield Finding(name, NOTE if little else OK, told, hint)


def examine_threads() -> Iterator[Finding]:
    """Threads of torch, and the variables that set them."""
    try:
        import torch
    except FAILURES:
        return
    threads, cores = torch.get_num_threads(), usable_cores()
    given = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ}
    told = f"torch uses {threads}, {cores} cores are usable" + "".join(f", {n}={v}" for n, v in given.items())
    hint = f"OMP_NUM_THREADS={cores} is faster" if threads > cores else ""
    yield Finding("threads", NOTE if hint else OK, told, hint)


def examine_numbers() -> Iterator[Finding]:
    """A tiny model against its recorded embeddings."""
    from configs.errors import LigareError

    try:
        from models.self_check import self_check

        for one in self_check():
            told = f"differs by {one.off:.1g} from the published embeddings (at most {one.limit:g})"
            hint = "" if one.right else "LIGARE_NATIVE=0 leaves out the compiled form; does that help?"
            yield Finding(one.how, OK if one.right else BROKEN, told, hint)
    except (*FAILURES, LigareError) as error:
        yield Finding("self-check", BROKEN, f"{type(error).__name__}: {error}")


EXAMINATIONS: dict[str, Callable[[], Iterator[Finding]]] = {
    "System": examine_system,
    "Packages": examine_packages,
    "Compiled convolution": examine_kernel,
    "Devices": examine_devices,
    "Extras": examine_extras,
    "Room": examine_places,
    "Threads": examine_threads,
    "Numbers": examine_numbers,
}
