"""Scores of all blocks of an interface: together, and by one forward pass a block, in the same process in turn."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.clock import Clock, seconds_of
from benchmarks.runner import Run
from benchmarks.tables import figure, table
from benchmarks.work import build
from data.collate import collate_items
from data.dataset import InterfaceDataset
from data.item import Item
from models import from_pretrained
from models.explain import block_importance
from models.masked_passes import masked_copy

Result = dict[str, Any]
NOTE = """\
The score of every block by masking it (docs/explain.md), on a real interface of about 100 blocks: one call for all
blocks, against collating and encoding the masked copies one after the other with the same model: `one by one` with all
equivariant features, as `model.encode` does; `embeddings only` without those of the last layers, which scores do not
need. All in one process, in turn, the best of the repetitions; `processor` compares the seconds of the processor, which
other work on the machine changes less. `difference` is the largest between two scores, 1 - cosine."""
SHIPPED, PUBLISHED = "shipped (hidden 16, 2 layers)", "published sizes (hidden 32, 4 layers, random weights)"
MODELS = {
    SHIPPED: ("shipped", 0.0),
    PUBLISHED: ("float32", 0.0),
    f"{PUBLISHED}, `--tolerance 0.1`": ("float32", 0.1),
}
ONE_BY_ONE, EMBEDDINGS, TOGETHER = "one by one", "embeddings only", "together"


def run_explain(
    clock: Clock, data: str, model: str, blocks: int = 100, repeat: int = 2, tolerance: float = 0.0, **changes: Any
) -> Result:
    """Seconds of all ways, and how far their scores are apart."""
    net: Any = from_pretrained("checkpoints/pretrain_small") if model == "shipped" else build(model, **changes)
    net = net.to(clock.device).eval()
    item = nearest_in_size(data, blocks)
    scores: dict[str, np.ndarray] = {}

    def together() -> None:
        scores[TOGETHER] = block_importance(net, item, tolerance=tolerance).score

    def one_by_one(name: str, features: bool) -> None:
        with torch.inference_mode():
            copies = (item, *(masked_copy(item, block) for block in range(item.n_blocks)))
            found = [net.encode(collate_items([copy]).to(clock.device), features).graph_repr for copy in copies]
            before, after = found[0].double(), torch.cat(found[1:]).double()
            scores[name] = (1 - torch.cosine_similarity(before, after)).cpu().numpy()

    together()
    ways: dict[str, Callable[[], None]] = {
        ONE_BY_ONE: partial(one_by_one, ONE_BY_ONE, True),
        EMBEDDINGS: partial(one_by_one, EMBEDDINGS, False),
        TOGETHER: together,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeat):
        for name, way in ways.items():
            start = time.process_time()
            seconds[name] += seconds_of(way, clock, 1)
            processor[name].append(time.process_time() - start)
    apart = float(np.abs(scores[TOGETHER] - scores[ONE_BY_ONE]).max())
    size = {"blocks": item.n_blocks, "atoms": item.n_atoms}
    return {"all": seconds, "processor": processor, "apart": apart, "largest": float(scores[ONE_BY_ONE].max())} | size


def nearest_in_size(data: str, blocks: int) -> Item:
    """The first item of a data set whose number of blocks is the nearest to this."""
    dataset = InterfaceDataset(data)
    return dataset.stored(int(np.abs(dataset.counts["n_blocks"].astype(int) - blocks).argmin()))


def explain_section(run: Run, data: str, threads: int) -> str:
    """Rows of the shipped model and of the published sizes."""
    rows = []
    for name, (model, tolerance) in MODELS.items():
        found = run("explain", data=data, model=model, tolerance=tolerance, threads=threads)
        if "error" in found:
            rows.append([name, found["error"], *[""] * 5])
            continue
        seconds, processor = ({way: min(times) for way, times in found[kind].items()} for kind in ("all", "processor"))
        ways = (ONE_BY_ONE, EMBEDDINGS)
        faster = [" / ".join(f"{by[way] / by[TOGETHER]:.1f} x" for way in ways) for by in (seconds, processor)]
        size = f"{found['blocks']} blocks, {found['atoms']} atoms"
        same = f"{found['apart']:.0e} of at most {found['largest']:.0e}"
        taken = [" / ".join(figure(seconds[way]) for way in ways), figure(seconds[TOGETHER])]
        rows.append([name, size, *taken, *faster, same])
    one = f"{ONE_BY_ONE} / {EMBEDDINGS}"
    header = ["model", "interface", f"{one}, s", "together, s", "faster", "processor", "difference"]
    return f"## Explanation of an interface\n\n{NOTE}\n\n" + table(header, rows)
