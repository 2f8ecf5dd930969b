"""One measurement, in the process that calls it: seconds (median) and peak resident memory."""

import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from configs.schema import NoiseOptions, RunConfig, from_flat
from data.collate import collate_items
from data.crop import crop
from data.dataset import InterfaceDataset
from data.item import Item
from data.noise import PretrainTransform
from data.prepare import items_of_file
from data.vocab import load_vocabulary
from models import create_model

PUBLISHED = {
    "atom_hidden_size": 32,
    "block_hidden_size": 32,
    "edge_size": 32,
    "n_layers": 4,
    "k_neighbors": 8,
    "global_message_passing": True,
    "fragmentation_method": "PS_300",
    "torsion_noise": 0.5,
    "translation_noise": 1.0,
    "rotation_noise": 0.25,
    "mask_proportion": 0.1,
    "rot_weight": 0.1,
}
MAX_BLOCKS = 256  # of an item


def measure(what: str, threads: int = 2, **options: Any) -> dict[str, Any]:
    """Run the measurement called `what`: train, infer, load, structures or peak."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    result = MEASUREMENTS[what](**options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {**result, "threads": threads, "peak_gib": peak}


def published_run() -> RunConfig:
    """The published sizes and noise."""
    return from_flat(PUBLISHED)


def median_seconds(work: Callable[[], Any], repeat: int) -> float:
    """Median time of `repeat` calls after one that isn't counted."""
    work()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def batch_of(data: str, blocks: int, noise: NoiseOptions) -> dict[str, torch.Tensor]:
    """A noised batch of `blocks` blocks of real interfaces (global blocks not counted); the last one is cropped."""
    dataset = InterfaceDataset(data)
    transform, rng = PretrainTransform(noise, MAX_BLOCKS), np.random.default_rng(0)
    items: list[Item] = []
    left = blocks
    for index in rng.permutation(len(dataset)):
        item = crop(dataset.stored(int(index)), min(MAX_BLOCKS, left), rng)
        items.append(transform(item, rng))
        left -= item.n_blocks
        if left < 2:
            break
    batch = collate_items(items)
    return {key: batch[key] for key in batch.keys() if isinstance(batch[key], torch.Tensor)}  # noqa: SIM118


def build(model: str) -> Any:
    """Ours or the plain model, with the same weights."""
    from benchmarks.plain_model import PlainDenoiseModel

    ours = create_model(published_run(), load_vocabulary("PS_300"))
    if model == "ours":
        return ours
    plain = PlainDenoiseModel()
    plain.load_published(ours.state_dict())
    return plain


def train_step(data: str, blocks: int, model: str, repeat: int) -> dict[str, Any]:
    """Forward and backward of the pretraining loss."""
    batch, net = batch_of(data, blocks, published_run().noise), build(model).train()

    def step() -> None:
        net.zero_grad(set_to_none=True)
        output = net(batch)
        (output["loss"] if isinstance(output, dict) else output.loss).backward()

    return {"seconds": median_seconds(step, repeat), **sizes(batch)}


def inference(data: str, blocks: int, model: str, repeat: int) -> dict[str, Any]:
    """Embeddings of atoms, blocks and complexes, without noise heads."""
    batch, net = batch_of(data, blocks, NoiseOptions()), build(model).eval()
    forward = net if model == "plain" else net.encode
    with torch.inference_mode():
        return {"seconds": median_seconds(lambda: forward(batch), repeat), **sizes(batch)}


def sizes(batch: dict[str, torch.Tensor]) -> dict[str, int]:
    return {"blocks": len(batch["B"]), "atoms": len(batch["A"]), "items": len(batch["lengths"])}


def loading(data: str) -> dict[str, float]:
    """Blocks a second of each stage from shard to batch, one pass over the data set (global blocks not counted)."""
    dataset = InterfaceDataset(data)
    transform = PretrainTransform(published_run().noise, MAX_BLOCKS)
    numbers = np.random.default_rng(0).permutation(len(dataset))[:2000]
    total = int(np.minimum(dataset.counts["n_blocks"][numbers], MAX_BLOCKS).sum())
    rng = np.random.default_rng(0)

    def read() -> list[Item]:
        return [dataset.stored(int(n)) for n in numbers]

    def noised() -> list[Item]:
        return [transform(item, rng) for item in read()]

    def collated() -> None:
        items = noised()
        for start in range(0, len(items), 8):
            collate_items(items[start : start + 8])

    return {work.__name__: total / median_seconds(work, 3) for work in (read, noised, collated)}


def structures(files: list[str]) -> dict[str, float]:
    """Every interface of structure files, found and made into items."""
    start = time.perf_counter()
    items = sum(len(items_of_file(path)) for path in files)
    return {"files": len(files), "items": items, "seconds": time.perf_counter() - start}


def peak() -> dict[str, float]:
    """Single-precision matrix-product speed, GFLOP/s."""
    size = 2048
    left, right = torch.randn(size, size), torch.randn(size, size)
    return {"gflops": 2 * size**3 / median_seconds(lambda: left @ right, 9) / 1e9}


MEASUREMENTS: dict[str, Callable[..., dict[str, Any]]] = {
    "train": train_step,
    "infer": inference,
    "load": loading,
    "structures": structures,
    "peak": peak,
}
