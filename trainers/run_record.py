"""What a run folder tells about its run, whether that has ended, goes on, or was stopped; parts may be absent."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs.changes import default_values
from configs.errors import ConfigError, LigareError
from configs.files import read_json, sha256_of
from configs.reading import read_text
from configs.schema import model_defaults
from data.shard_files import MANIFEST, map_arrow, read_manifest
from data.splits import group_of
from data.vocab import MODALITIES
from models.card import CARD
from trainers.line_log import LineLog
from trainers.progress import PROGRESS
from trainers.report import REPORT

CHECKPOINTS = "checkpoint"
QUIET = 600.0  # seconds without a line in its logs, after which a run without a report counts as stopped
SETS = ("train_set", "train_set2", "train_set3", "valid_set", "valid_set2", "valid_set3", "test_set")


@dataclass
class RunRecord:
    """What was read of one run.

    Attributes:
        folder: of the run. config: train_config.json. launches, history, bad_steps: the lines of those logs.
        final: final_report.json; progress: progress.json; finetune: finetune.json (each empty where absent).
        tables: name of a set ("valid", "test") -> the file with its predictions. card: the model card's text.
        notes: what was damaged and is left out.
    """

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    launches: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    bad_steps: list[dict[str, Any]] = field(default_factory=list)
    final: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
    finetune: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, Path] = field(default_factory=dict)
    card: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def options(self) -> dict[str, Any]:
        """All options of the run."""
        found = self.config.get("options")
        return found if isinstance(found, dict) else {}

    @property
    def task(self) -> str:
        return str(self.options.get("task") or "")

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The records of finished epochs."""
        return [record for record in self.history if record.get("event") == "epoch"]

    @property
    def warnings(self) -> list[str]:
        """What changed from launch to launch, and how many steps were skipped, in words."""
        found = [f"launch {n}: {told}" for n, one in enumerate(self.launches, 1) for told in one.get("changed") or []]
        last = self.epochs[-1] if self.epochs else {}
        if last.get("skipped_steps"):
            found.append(f"{last['skipped_steps']} steps were skipped up to epoch {last.get('epoch')}")
        return found

    def state(self, now: float | None = None) -> str:
        """finished, running or stopped, as far as the files tell: a run ends with its report, if it makes one."""
        planned, done = self.options.get("max_epoch"), len(self.epochs)
        if self.final or (isinstance(planned, int) and done >= planned):
            return "finished"
        logs = [self.folder / name for name in ("history.jsonl", "launches.jsonl", "training_state", "checkpoint")]
        latest = max((path.stat().st_mtime for path in logs if path.exists()), default=0.0)
        return "running" if (time.time() if now is None else now) - latest < QUIET else "stopped"


def read_run_folder(folder: Path) -> RunRecord:
    """Everything that is there; what is damaged is told in `notes`.

    Raises:
        ConfigError: not a run folder: it has neither train_config.json nor history.jsonl.
    """
    if not folder.is_dir():
        raise ConfigError("no such folder" if not folder.exists() else "is a file; a run folder is needed", folder)
    if not any((folder / name).is_file() for name in ("train_config.json", "history.jsonl")):
        inside = sorted(path.name for path in folder.glob("version_*"))
        hint = f"it holds {', '.join(inside)}: name one of them" if inside else "train.py makes save_dir/version_N"
        raise ConfigError("is not a run folder: it has no train_config.json and no history.jsonl", folder, hint=hint)
    record = RunRecord(folder)
    record.config = _json(record, "train_config.json")
    record.final, record.progress = _json(record, REPORT), _json(record, PROGRESS)
    record.finetune = _json(record, "finetune.json")
    for name in ("launches", "history", "bad_steps"):
        setattr(record, name, _lines(record, f"{name}.jsonl"))
    record.tables = {p.stem.removeprefix("predictions_"): p for p in sorted(folder.glob("predictions_*.csv"))}
    record.card = _card(record)
    return record


def _json(record: RunRecord, name: str) -> dict[str, Any]:
    path = record.folder / name
    if not path.is_file():
        return {}
    try:
        return read_json(path)
    except LigareError as error:
        record.notes.append(f"{name} {error.what}")
        return {}


def _lines(record: RunRecord, name: str) -> list[dict[str, Any]]:
    path = record.folder / name
    if not path.is_file():
        return []
    found = list(LineLog(path).records())
    lines = sum(1 for line in path.read_bytes().splitlines() if line.strip())
    if lines > len(found):
        record.notes.append(f"{name} has {lines - len(found)} damaged lines, which are left out")
    return found


def _card(record: RunRecord) -> str:
    """The model card of the best checkpoint, or of the newest."""
    folder = record.folder / CHECKPOINTS
    names = ["best"]
    if (folder / "topk.json").is_file():
        names += [str(_json(record, f"{CHECKPOINTS}/topk.json").get("best"))]
    names += sorted((path.name for path in folder.glob("epoch*")), reverse=True)
    for name in names:
        path = folder / name / CARD
        if path.is_file():
            try:
                return read_text(path, option="max_json_size")
            except LigareError as error:
                record.notes.append(f"{CHECKPOINTS}/{name}/{CARD} {error.what}")
    return ""


def changed_options(options: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Name, value and default of every option that differs from its default; options without one have None."""
    defaults = default_values() | model_defaults(options.get("model"))
    pairs = [(name, value, defaults.get(name)) for name, value in options.items()]
    return [(name, value, usual) for name, value, usual in pairs if _plain(value) != _plain(usual)]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def data_sets(record: RunRecord) -> Iterator[dict[str, Any]]:
    """role, path, sha256; and items, groups and modalities where the same data still lie there, else a note."""
    fingerprints: Mapping[str, Any] = record.config.get("data") or {}
    roles = {record.options[name]: name for name in SETS if record.options.get(name)}
    for path in dict.fromkeys([*roles, *fingerprints]):
        row: dict[str, Any] = {"role": roles.get(path, ""), "path": path, "sha256": fingerprints.get(path, "")}
        try:
            row |= sizes_of(Path(path), str(row["sha256"]))
        except LigareError as error:
            row["note"] = f"{error.what}; sizes can't be told"
        yield row


def sizes_of(folder: Path, sha256: str = "") -> dict[str, Any]:
    """Items, groups and items by modality of a folder of shards; a note in their place when it has changed.

    Raises:
        LigareError: no such folder, or it is damaged.
    """
    manifest = read_manifest(folder)
    if sha256 and sha256_of(folder / MANIFEST) != sha256:
        return {"note": "has changed since the run"}
    counts = map_arrow(folder / manifest["counts"]["name"])
    columns = {name: counts.column(name).to_pylist() for name in ("id", "group", "modality")}
    groups = {group_of(name, group or "") for name, group in zip(columns["id"], columns["group"])}
    kinds: dict[str, int] = {}
    for kind in columns["modality"]:
        name = MODALITIES[kind] if 0 <= kind < len(MODALITIES) else "not told"
        kinds[name] = kinds.get(name, 0) + 1
    return {"items": manifest["items"], "groups": len(groups), "modalities": dict(sorted(kinds.items()))}


def as_text(value: Any) -> str:
    """An option's value as one would give it."""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return " ".join(map(as_text, value)) or "(none)"
    return "-" if value is None else json.dumps(value)
