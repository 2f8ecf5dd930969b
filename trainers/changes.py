"""What differs between a run and the command that continues it: named, and refused where it would be another run."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.changes import EVERYTHING, NAMED, changed, refused
from configs.errors import CheckpointError, ConfigError
from configs.files import read_json
from trainers.distributed import say
from trainers.schedules import Schedule

if TYPE_CHECKING:
    from trainers.abs_trainer import Trainer


def tell_changes(trainer: "Trainer") -> list[str]:
    """Check and say what differs from the run that a trainer goes on from; the same on all ranks.

    Further epochs (--resume) are a run of their own, with options of its own.
    """
    state, config = trainer.resume_state, trainer.config
    if state is None or state.run_folder is None:
        return []
    allowed = (EVERYTHING,) if state.further else tuple(config.get("allow_changes", ()))
    curve = getattr(trainer.scheduler, "curve", None)
    ends = isinstance(curve, Schedule) and curve.ends
    changes = check_changes(state.run_folder, config.to_dict(), trainer.facts, allowed, ends)
    for change in changes:
        say(f"changed since the run started: {change}")
    return changes


def check_changes(
    folder: Path,
    options: Mapping[str, Any],
    facts: Mapping[str, Any],
    allowed: Collection[str] = (),
    schedule_ends: bool = False,
) -> list[str]:
    """One sentence for each option, or data set, that is not as in the newest launch of a run. Writes nothing.

    Args:
        folder: of the run. options: all options of the command. facts: `data` and `vocabulary`, the fingerprints.
        allowed: names of options that may differ although the result depends on them; `all`.
        schedule_ends: whether the schedule of learning rates ends with the run.

    Raises:
        ConfigError: some of them would change the result; each with its old and new value.
    """
    before = newest_launch(folder)
    old = before.get("options", {})
    if not old:
        return []
    prints = {name: (fingerprint(name, old, before), fingerprint(name, options, facts)) for name in NAMED}
    same = {name for name, (one, other) in prints.items() if one is not None and one == other}
    other_content = {name for name, (one, new) in prints.items() if one is not None and new is not None and one != new}
    names = sorted({*changed(old, options)} | other_content)
    told = {name: f"--{name} was {old.get(name)!r}, is {options.get(name)!r}" for name in names}
    for name in other_content:
        if old.get(name) == options.get(name):
            told[name] = f"--{name} {old.get(name)} has other content than it had"
    wrong = refused([name for name in names if name not in same], allowed, schedule_ends)
    if wrong:
        hint = f"leave them as they were, choose another --save_dir, or give --allow_changes {' '.join(wrong)}"
        what = "would change what the run comes to"
        raise ConfigError(f"{what}: {'; '.join(told[name] for name in wrong)}", folder, hint=hint)
    return [told[name] for name in names]


def newest_launch(folder: Path) -> dict[str, Any]:
    """What the newest launch of a run recorded; its last whole line, since a kill may have cut the last one."""
    path = folder / "launches.jsonl"
    for line in reversed(path.read_bytes().splitlines() if path.exists() else []):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and isinstance(record.get("options"), dict):
            return record
    path = folder / "train_config.json"
    return read_json(path, error=CheckpointError) if path.exists() else {}


def fingerprint(name: str, options: Mapping[str, Any], facts: Mapping[str, Any]) -> str | None:
    """Of what an option names, as a launch recorded it."""
    if name == "fragmentation_method":
        return facts.get("vocabulary")
    data = facts.get("data") or {}
    return data.get(options.get(name))
