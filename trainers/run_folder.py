"""The folder of one run, save_dir/version_N: its options, how it was launched, and its line-by-line logs."""

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from configs.errors import CheckpointError, ConfigError
from configs.files import atomic_write, read_json, write_json
from trainers.distributed import from_main, is_main
from trainers.folders import remove_leftovers
from trainers.training_state import TrainingState

LIBRARIES = ("ligare", "torch", "e3nn", "torch-geometric", "numpy", "pyarrow", "safetensors")


def new_run_folder(save_dir: str | Path) -> Path:
    """Make the next free folder version_N.

    Raises:
        ConfigError: save_dir can't be written to.
    """
    save_dir = Path(save_dir)
    try:
        save_dir.mkdir(parents=True, exist_ok=True)
        taken = [int(m[1]) for p in save_dir.iterdir() if (m := re.fullmatch(r"version_(\d+)", p.name))]
        number = max(taken, default=-1) + 1
        while True:
            folder = save_dir / f"version_{number}"
            try:
                folder.mkdir()
                return folder
            except FileExistsError:  # another run took it this moment
                number += 1
    except OSError as error:
        raise ConfigError(f"can't make a run folder: {error.strerror}", "--save_dir", save_dir) from error


def choose_run_folder(save_dir: str | Path, state: TrainingState | None) -> Path:
    """The folder of the run that goes on, else a new one; the same on all ranks."""
    if state is not None and state.run_folder is not None and not state.further:
        return state.run_folder
    return Path(from_main(str(new_run_folder(save_dir)) if is_main() else ""))


def prepare_run_folder(folder: Path, options: dict[str, Any], facts: dict[str, Any], changes: Sequence[str]) -> None:
    """Write train_config.json (first launch only) and a line of launches.jsonl; clear leftovers of a kill.

    Args:
        options: all options of the run.
        facts: what else describes the run (data fingerprints, number of parameters).
        changes: one sentence for each option that differs from the launch before.
    """
    for part in (folder, folder / "checkpoint", folder / "training_state"):
        part.mkdir(exist_ok=True)
        remove_leftovers(part)
    record = {"options": options} | facts | provenance()
    path = folder / "train_config.json"
    if not path.exists():
        write_json(path, record)
    LineLog(folder / "launches.jsonl").append(record | {"changed": list(changes)})


def recorded_facts(folder: Path) -> dict[str, Any]:
    """What train_config.json tells about a run, without options left out, to be stored with its weights."""
    path = folder / "train_config.json"
    record = read_json(path, error=CheckpointError) if path.exists() else {}
    options = {name: value for name, value in record.get("options", {}).items() if value is not None}
    return record | {"options": options}


def provenance() -> dict[str, Any]:
    """Command line, time, versions, and the commit of the source tree when it is a git checkout."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": versions,
        "commit": _commit(),
        "world_size": int(os.environ.get("WORLD_SIZE", 1)),
    }


def _commit() -> str | None:
    source = Path(__file__).resolve().parent
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=source, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip()


class LineLog:
    """A file of JSON lines that can be taken back to an earlier length when a run is resumed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: dict[str, Any]) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def size(self) -> int:
        """Length in bytes, once everything written is on the disk."""
        if not self.path.exists():
            return 0
        with open(self.path, "rb+") as file:
            os.fsync(file.fileno())
        return self.path.stat().st_size

    def take_back(self, size: int, source: Path | None = None) -> bool:
        """Keep the first `size` bytes (of `source` when given); False when there are fewer."""
        source = source or self.path
        content = source.read_bytes() if source.exists() else b""
        if size or self.path.exists():
            atomic_write(self.path, content[:size])
        return len(content) >= size
