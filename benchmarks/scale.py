"""What a data set costs that doesn't fit into memory: opening it, planning an epoch, and reading through one.

`python -m benchmarks.scale WHAT OPTIONS` is one measurement in a fresh process, so that its memory is its own.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import figure, table
from data.shards import ShardReader

ROOT = Path(__file__).resolve().parent.parent
BUDGET = 1000  # blocks a batch
SAMPLES = 10  # of the memory, over an epoch
READ_ITEMS = 400_000

Result = dict[str, Any]


def memory() -> dict[str, float]:
    """Memory of this process now, MiB: `own` (nobody else's) and `mapped` (pages of files, which the system may take
    back at any time)."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    kilobytes = {name: int(lines[name].split()[0]) for name in ("RssAnon", "RssFile", "VmHWM")}
    return {
        "own": kilobytes["RssAnon"] / 1024,
        "mapped": kilobytes["RssFile"] / 1024,
        "peak": kilobytes["VmHWM"] / 1024,
    }


def opening(data: str, training: bool) -> Result:
    """Open a data set: the reader alone, or as training does (which imports torch)."""
    kind: Any = ShardReader
    if training:
        from data.dataset import InterfaceDataset as kind
    before, start = memory(), time.perf_counter()
    found = kind(data)
    opened = time.perf_counter() - start
    blocks = int(found.counts["n_blocks"].sum())  # maps the counts, too
    return {"items": len(found), "blocks": blocks, "seconds": opened, "before": before, "after": memory()}


def planning(data: str, world: int, **how: Any) -> Result:
    """Plan an epoch of shuffled batches for several ranks; the second, as the first comes with opening."""
    from data.dataset import InterfaceDataset
    from data.sampler import BatchSampler

    sampler = BatchSampler(InterfaceDataset(data).counts, shuffle=True, world=world, **how)
    before, start = memory(), time.perf_counter()
    sampler.set_epoch(1)
    steps = len(sampler)
    return {"seconds": time.perf_counter() - start, "steps": steps, "before": before, "after": memory()}


def reading(data: str, items: int) -> Result:
    """Read so many items in the shuffled order of an epoch, and look at the memory on the way."""
    from data.dataset import InterfaceDataset
    from data.sampler import BatchSampler

    dataset = InterfaceDataset(data)
    sampler = BatchSampler(dataset.counts, max_blocks=BUDGET, shuffle=True)
    found, done, blocks = [memory()], 0, 0
    start = time.perf_counter()
    for keys in sampler:
        for key in keys:
            item = dataset[key]
            blocks += item.n_blocks
            item.X.sum()  # touches the pages
        done += len(keys)
        if done * SAMPLES >= items * len(found):
            found.append(memory())
        if done >= items:
            break
    seconds = time.perf_counter() - start
    return {"items": done, "blocks": blocks, "seconds": seconds, "memory": found}


def growth(found: Sequence[dict[str, float]], name: str) -> float:
    """MiB that a kind of memory grew over the second half of a reading."""
    half = [sample[name] for sample in found[len(found) // 2 :]]
    return float(np.max(half) - half[0])


MEASUREMENTS = {"opening": opening, "planning": planning, "reading": reading}


def fresh(what: str, **options: Any) -> Result:
    """One measurement in a process of its own; RuntimeError with what it said when it fails."""
    command = [sys.executable, "-m", "benchmarks.scale", what, json.dumps(options)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def scale_section(data: str) -> str:
    """The measurements of a large set, as markdown."""
    reader, training = (fresh("opening", data=data, training=way) for way in (False, True))
    rows = [
        opening_row("open with `ShardReader`", reader),
        opening_row("open with `InterfaceDataset` (imports torch)", training),
    ]
    plans: list[tuple[str, dict[str, int]]] = [
        (f"plan an epoch, {BUDGET} blocks a rank, 8 ranks", {"world": 8, "max_blocks": BUDGET}),
        ("the same, 512 ranks", {"world": 512, "max_blocks": BUDGET}),
        ("plan an epoch, 8 items a step, 1 rank", {"world": 1, "batch_size": 8}),
    ]
    for name, how in plans:
        found = fresh("planning", data=data, **how)
        rows.append([name, f"{figure(found['seconds'])} s", mib(found["after"]["peak"]), f"{found['steps']:,} steps"])
    read = fresh("reading", data=data, items=READ_ITEMS)
    own, mapped = (growth(read["memory"], name) for name in ("own", "mapped"))
    rate = (
        f"{figure(read['items'] / read['seconds'])} items, {figure(read['blocks'] / read['seconds'])} blocks a second"
    )
    rows.append([f"read {read['items']:,} items in shuffled order", f"{figure(read['seconds'])} s", "", rate])
    samples = [[f"{i * 10} %", mib(found["own"]), mib(found["mapped"])] for i, found in enumerate(read["memory"])]
    size = sum(file.stat().st_size for file in Path(data).iterdir()) / 2**30
    head = f"{reader['items']:,} items, {reader['blocks']:,} blocks, {size:.1f} GiB on disk."
    note = (
        f"Memory of the reading process. In its second half its own grows by {own:.1f} MiB; the mapped pages of the "
        f"files (+{mapped:.0f} MiB) belong to the page cache, which the system takes back when it needs memory:"
    )
    return "\n\n".join(
        [
            f"## Data sets larger than memory\n\n{head}",
            table(["", "time", "peak of the process", ""], rows),
            note,
            table(["read", "own", "mapped files"], samples),
        ]
    )


def opening_row(name: str, found: Result) -> list[str]:
    more = found["after"]["own"] - found["before"]["own"]
    return [name, f"{figure(found['seconds'])} s", mib(found["after"]["peak"]), f"{more:.1f} MiB of its own for it"]


def mib(value: float) -> str:
    return f"{value:,.0f} MiB"


if __name__ == "__main__":
    print(json.dumps(MEASUREMENTS[sys.argv[1]](**json.loads(sys.argv[2]))))  # type: ignore[operator]
