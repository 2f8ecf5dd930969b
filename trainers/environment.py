"""Where a launch of a run came from and what it ran on, so that its numbers can be traced and made again."""

import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from configs.machine import processor_name

LIBRARIES = ("ligare", "torch", "e3nn", "torch-geometric", "numpy", "scipy", "pyarrow", "safetensors", "rdkit", "gemmi")
# Variables that change how numbers are computed, or how ranks talk.
VARIABLES = ("OMP_", "MKL_", "OPENBLAS_", "CUBLAS_", "CUDA_", "NCCL_", "GLOO_", "TORCH_", "PYTORCH_", "PYTHONHASHSEED")


def provenance() -> dict[str, Any]:
    """Command line, time, versions, and the commit of the source tree when it is a git checkout.

    `uncommitted`: whether tracked files differ from that commit. Both are None without a checkout, also where the
    package lies in a checkout of something else that does not keep its sources.
    """
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    ours = _git("ls-files", "--error-unmatch", "trainers/environment.py") is not None
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".") if ours else None
    return {
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": versions,
        "commit": _git("rev-parse", "HEAD") if ours else None,
        "uncommitted": None if changes is None else bool(changes),
        "world_size": int(os.environ.get("WORLD_SIZE", 1)),
    }


def environment() -> dict[str, Any]:
    """The machine: host, processor, devices, threads, and the variables that numbers may depend on."""
    on_gpu = torch.cuda.is_available()
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "devices": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        if on_gpu
        else [],
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if on_gpu else None,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "variables": {name: value for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES)},
    }


def _git(*words: str) -> str | None:
    source = Path(__file__).resolve().parents[1]
    other = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # those of a hook, say
    told = {"cwd": source, "env": other, "capture_output": True, "text": True, "timeout": 10, "check": True}
    try:
        asked = subprocess.run(["git", *words], **told)  # type: ignore[call-overload]
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip()
