"""Whether two runs came to the same, to the last bit: every file of the run folder that tells of the result."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from configs.files import TEMPORARY_PREFIX
from trainers.training_state import read_state

BYTES = ("training_history.json", "checkpoint/topk.json", "final_report.json")


def differences(whole: Path, killed: Path) -> list[str]:
    """What differs between the save_dir of an uninterrupted run and that of a killed one; empty when nothing does."""
    runs = sorted(path.name for path in killed.iterdir())
    if runs != ["version_0"]:
        return [f"{killed} holds {runs} instead of version_0 alone"]
    one, other = whole / "version_0", killed / "version_0"
    return [*of_states(one, other), *of_files(one, other), *of_checkpoints(one, other), *of_events(one, other)]


def of_states(one: Path, other: Path) -> Iterator[str]:
    """Weights, optimiser, moving average, counters, random states."""
    a, b = read_state(one), read_state(other)
    if a.tensors.keys() != b.tensors.keys():
        yield "the states hold other tensors"
        return
    yield from (f"{name} differs" for name, value in a.tensors.items() if not torch.equal(value, b.tensors[name]))
    yield from (f"{name} of the state differs" for name, value in a.values.items() if value != b.values.get(name))


def of_files(one: Path, other: Path) -> Iterator[str]:
    """Logs and tables byte by byte; nothing temporary is left."""
    found = sorted(p.name for pattern in ("*.csv", "*.jsonl") for p in one.glob(pattern))
    for name in [*BYTES, *(name for name in found if name != "launches.jsonl")]:
        if (one / name).exists() and (
            not (other / name).exists() or (one / name).read_bytes() != (other / name).read_bytes()
        ):
            yield f"{name} differs"
    yield from (f"{left} is left over" for left in sorted(other.rglob(f"{TEMPORARY_PREFIX}*")))


def of_checkpoints(one: Path, other: Path) -> Iterator[str]:
    """Which checkpoints were kept, their weights and configurations, and what is told of them."""
    a, b = (sorted(p.name for p in (run / "checkpoint").iterdir()) for run in (one, other))
    if a != b:
        yield f"the checkpoints are {b} instead of {a}"
        return
    if (one / "checkpoint/best").resolve().name != (other / "checkpoint/best").resolve().name:
        yield "another checkpoint is the best"
    for name in (name for name in a if name.startswith("epoch")):
        for file in ("model.safetensors", "config.json"):
            if (one / "checkpoint" / name / file).read_bytes() != (other / "checkpoint" / name / file).read_bytes():
                yield f"checkpoint/{name}/{file} differs"
        told = [json.loads((run / "checkpoint" / name / "manifest.json").read_text())["extra"] for run in (one, other)]
        if told[0]["metrics"] != told[1]["metrics"]:
            yield f"the metrics of checkpoint {name} differ"


def of_events(one: Path, other: Path) -> Iterator[str]:
    """TensorBoard's curves: the same points, each once."""
    a, b = scalars(one), scalars(other)
    if a.keys() != b.keys():
        yield f"TensorBoard has the curves {sorted(b)} instead of {sorted(a)}"
        return
    for name, points in a.items():
        if b[name] != points:
            yield f"TensorBoard's {name} differs: {len(b[name])} points instead of {len(points)}"
        if len({step for step, _ in points}) != len(points):
            yield f"TensorBoard's {name} has steps twice in the uninterrupted run"


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """TensorBoard's curves as it shows them: name -> (step, value)."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events: Any = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    return {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}


def seen(folder: Path) -> tuple[dict[tuple[str, int, int], list[str]], list[str]]:
    """The items of each (rank, epoch, batch) that the notes of `hooked_train` tell, and where they contradict."""
    found: dict[tuple[str, int, int], list[str]] = {}
    wrong = []
    for path in sorted(folder.glob("rank*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # empty, or cut by a kill
                continue
            key = (path.stem, record["epoch"], record["batch"])
            if found.setdefault(key, record["ids"]) != record["ids"]:
                wrong.append(f"{key} had other items the second time")
    return found, wrong
