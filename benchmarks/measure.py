"""One measurement, in the process that calls it: seconds of every repetition, and peak memory."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import plain_loading
from benchmarks.arithmetic import copy_rate, counting, product_rate
from benchmarks.atlas_search import run_atlas
from benchmarks.clock import Clock, seconds_of
from benchmarks.explanations import run_explain
from benchmarks.step_profile import profile_step
from benchmarks.traffic import Traffic
from benchmarks.work import MAX_BLOCKS, PLAIN, VARIANTS, batch_of, build, items_of, large_interface, published_run
from configs.schema import NoiseOptions
from data.collate import collate_items
from data.dataset import InterfaceDataset
from data.item import Item
from data.noise import PretrainTransform
from data.vocab import load_vocabulary

WARM_UP = 64  # blocks of the batch that goes first
SMALL_INTERFACE = 500  # atoms
LOADED_ITEMS = 1000
BATCH_ITEMS = 8

Result = dict[str, Any]


def measure(what: str, threads: int = 2, device: str = "cpu", **options: Any) -> Result:
    """Run the measurement called `what`, a key of `MEASUREMENTS`."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    clock = Clock(device)
    result = MEASUREMENTS[what](clock, **options)
    return {"peak_gib": clock.peak_gib(), **result}


def step_of(net: nn.Module, training: bool, plain: bool) -> Callable[[Any], None]:
    """What is timed: forward and backward of the pretraining loss, or the embeddings without the noise heads."""
    encode: Any = net if plain else net.encode

    def train(batch: Any) -> None:
        net.zero_grad(set_to_none=True)
        output = net(batch)
        (output["loss"] if isinstance(output, dict) else output.loss).backward()

    def infer(batch: Any) -> None:
        with torch.inference_mode():
            encode(batch)

    net.train(training)
    return train if training else infer


def run_model(
    clock: Clock,
    data: str,
    blocks: int,
    model: str,
    training: bool,
    repeat: int,
    budget: float,
    changes: dict[str, Any] | None = None,
) -> Result:
    """A training step or inference.

    Two calls on a small batch go first. `flops` is what the products of full convolutions need, `traffic` (on a GPU)
    the bytes that operations read and write.
    """
    changes = changes or {}
    noise = published_run(**changes).noise if training else NoiseOptions()
    net = build(model, **changes).to(clock.device)
    step = step_of(net, training, model == PLAIN)
    small, batch = (batch_of(items_of(data, n, noise), clock.device) for n in (min(blocks, WARM_UP), blocks))
    for _ in range(2):
        step(small)
    clock.reset_peak()
    result: Result = {"blocks": len(batch["B"]), "atoms": len(batch["A"]), "items": len(batch["lengths"])}
    with counting(net) as counted:  # a few additions a convolution
        result["seconds"] = seconds_of(lambda: step(batch), clock, repeat, budget)
    result["peak_gib"] = clock.peak_gib()
    if model != PLAIN and VARIANTS[model].get("conv", "full") == "full":
        total = counted.training if training else counted.forward
        result["flops"] = total // len(result["seconds"])
    if clock.backend is not None:
        with Traffic() as traffic:
            step(batch)
        result["traffic"] = traffic.bytes
    return result


def large(clock: Clock, data: str, n_atoms: int, model: str, changes: dict[str, Any] | None = None) -> Result:
    """Embedding of one large interface, after that of a small one."""
    net = build(model, **changes or {}).to(clock.device)
    step = step_of(net, False, False)
    step(batch_of([large_interface(data, min(n_atoms, SMALL_INTERFACE))], clock.device))
    item = large_interface(data, n_atoms)
    batch = batch_of([item], clock.device)
    clock.reset_peak()
    seconds = seconds_of(lambda: step(batch), clock, 1)
    return {"atoms": item.n_atoms, "blocks": item.n_blocks, "seconds": seconds, "peak_gib": clock.peak_gib()}


def loading(clock: Clock, data: str, items: int = LOADED_ITEMS) -> Result:
    """Blocks a second from shard to batch, ours by stage and plain in turn (global blocks not counted).

    The plain way starts from lists in memory; making those isn't counted.
    """
    dataset, noise = InterfaceDataset(data), published_run().noise
    transform = PretrainTransform(noise, MAX_BLOCKS)
    numbers = np.random.default_rng(0).permutation(len(dataset))[:items]
    total = int(np.minimum(dataset.counts["n_blocks"][numbers], MAX_BLOCKS).sum())
    records = [plain_loading.record_of(dataset.stored(int(n))) for n in numbers]

    def read() -> list[Item]:
        return [dataset.stored(int(n)) for n in numbers]

    def noised() -> list[Item]:
        rng = np.random.default_rng(0)
        return [transform(item, rng) for item in read()]

    def collated() -> None:
        done = noised()
        for start in range(0, len(done), BATCH_ITEMS):
            collate_items(done[start : start + BATCH_ITEMS])

    def plain() -> None:
        rng = np.random.default_rng(0)
        done = [plain_loading.noised(record, noise, MAX_BLOCKS, rng) for record in records]
        for start in range(0, len(done), BATCH_ITEMS):
            plain_loading.collated(done[start : start + BATCH_ITEMS])

    works = (read, noised, collated, plain)
    seconds: dict[str, list[float]] = {work.__name__: [] for work in works}
    for work in (*works, *works, collated):
        seconds[work.__name__] += seconds_of(work, clock, 1)
    return {"blocks": total, "seconds": seconds}


def structures(clock: Clock, rows: list[dict[str, Any]], root: str, repeat: int = 3) -> Result:
    """Structure file to item, ours and plain in turn on each file; the best of `repeat`."""
    # the readers are large, and would count as memory of the models
    from benchmarks.plain_structures import plain_interface
    from data.index import Row
    from data.prepare import process_row
    from data.structure import read_structure

    vocabulary, files = load_vocabulary("PS_300"), []
    for row in (Row(**values) for values in rows):
        path, chains = Path(root) / row.pdb_path, (row.chain1, row.chain2)
        ours, plain = [], []
        for _ in range(repeat):
            start = time.perf_counter()
            item = process_row(read_structure(path), row, vocabulary, Path(root))
            middle = time.perf_counter()
            other = plain_interface(path, chains, vocabulary)
            ours.append(middle - start)
            plain.append(time.perf_counter() - middle)
        same = item.B.tolist() == other.B and item.A.tolist() == other.A
        files.append({"id": row.pdb_id, "atoms": item.n_atoms, "ours": ours, "plain": plain, "same": same})
    return {"files": files}


def run_peak(clock: Clock) -> Result:
    """Speed of matrix products in both precisions, and of copies."""
    rates = {name: product_rate(dtype, clock) for name, dtype in PRECISIONS.items()}
    return {**rates, "copy": copy_rate(clock), "device": str(clock.device)}


def run_profile(clock: Clock, data: str, blocks: int, model: str, changes: dict[str, Any] | None = None) -> Result:
    """Seconds of a training step by group of work."""
    changes = changes or {}
    net = build(model, **changes).to(clock.device)
    step = step_of(net, True, False)
    batch = batch_of(items_of(data, blocks, published_run(**changes).noise), clock.device)
    step(batch)
    seconds = seconds_of(lambda: step(batch), clock, 3)
    with counting(net) as counted:
        groups = profile_step(net, lambda: step(batch), clock)
    return {"blocks": len(batch["B"]), "seconds": seconds, "groups": groups, "flops": counted.training}


PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MEASUREMENTS: dict[str, Callable[..., Result]] = {
    "model": run_model,
    "large": large,
    "load": loading,
    "structures": structures,
    "peak": run_peak,
    "profile": run_profile,
    "explain": run_explain,
    "atlas": run_atlas,
}
