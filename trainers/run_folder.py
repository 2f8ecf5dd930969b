"""The folder of one run, save_dir/version_N: its options, how it was launched, and its line-by-line logs."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.errors import CheckpointError, ConfigError
from configs.files import read_json, write_json
from trainers.distributed import on_main
from trainers.environment import environment, provenance
from trainers.folders import remove_leftovers
from trainers.line_log import LineLog
from trainers.run_lock import hold
from trainers.training_state import RUN_NAME, TrainingState, find_restart, read_state


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


def restart_state(save_dir: str | Path, resumed_from: str | None = None) -> TrainingState | None:
    """The newest complete state to go on from, on all ranks; its folder is locked for as long as the state is there.

    Args:
        resumed_from: as for `find_restart`.
    """
    mine: list[TrainingState] = []

    def find() -> Path | None:
        found = find_restart(save_dir, resumed_from)
        if found is not None and found.run_folder is not None:
            mine.append(found)  # holds the lock until this call is over
            hold(found.run_folder, found)
            found = find_restart(save_dir, resumed_from)  # again: whoever held the lock may have stored more
        if found is None or found.run_folder is None:
            return None
        hold(found.run_folder, found)
        mine[:] = [found]
        return found.path

    path = on_main(find)
    return None if path is None else mine[0] if mine else read_state(path)


def choose_run_folder(save_dir: str | Path, state: TrainingState | None, owner: object, restart: bool = False) -> Path:
    """The folder of the run that goes on, else a new one; the same on all ranks, and locked until `owner` is gone.

    Args:
        restart: take the newest folder again if its run ended before there was anything to go on from.
    """
    if state is not None and state.run_folder is not None and not state.further:
        folder = state.run_folder
        on_main(lambda: hold(folder, owner))
        return folder
    return Path(on_main(lambda: str(_make(save_dir, owner, restart))))


def _make(save_dir: str | Path, owner: object, restart: bool) -> Path:
    if restart and (folder := unbegun(save_dir)) is not None:
        hold(folder, owner)
        if unbegun(save_dir) == folder:  # still, after the wait for whoever held it
            for name in ("train_config.json", "launches.jsonl"):
                (folder / name).unlink(missing_ok=True)
            return folder
    folder = new_run_folder(save_dir)
    hold(folder, owner)
    return folder


def unbegun(save_dir: str | Path) -> Path | None:
    """The newest run folder, if its run was ended before it stored a state or logged a step."""
    runs = [path for path in Path(save_dir).glob("version_*") if RUN_NAME.fullmatch(path.name)]
    newest = max(runs, key=lambda path: int(path.name.partition("_")[2]), default=None)
    if newest is None or any((newest / "training_state").glob("epoch*")):
        return None
    log = newest / "history.jsonl"
    return None if log.exists() and log.stat().st_size else newest


def prepare_run_folder(
    folder: Path, options: dict[str, Any], facts: dict[str, Any], changes: Sequence[str], launches: LineLog
) -> None:
    """Write train_config.json (first launch only) and a line of launches.jsonl; clear leftovers of a kill.

    Only the line tells of the machine: train_config.json goes with the weights wherever they are published.

    Args:
        options: all options of the run.
        facts: what else describes the run (data fingerprints, number of parameters).
        changes: one sentence for each option that differs from the launch before.
        launches: the log of the launches; a line that finds the disk full waits there until it is flushed again.
    """
    for part in (folder, folder / "checkpoint", folder / "training_state"):
        part.mkdir(exist_ok=True)
        remove_leftovers(part)
    record = {"options": options} | facts | provenance()
    path = folder / "train_config.json"
    if not path.exists():
        write_json(path, record, sealed=True)
    launches.append(record | {"changed": list(changes), "environment": environment()})


def recorded_facts(folder: Path) -> dict[str, Any]:
    """What train_config.json tells about a run, without options left out, to be stored with its weights."""
    path = folder / "train_config.json"
    record = read_json(path, error=CheckpointError) if path.exists() else {}
    options = {name: value for name, value in record.get("options", {}).items() if value is not None}
    return record | {"options": options}
