"""Scores of all blocks of an interface: together, and by one forward pass a block, in the same process in turn."""

import time
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
from models.explain import block_importance, masked_copy

Result = dict[str, Any]
NOTE = """\
The score of every block by masking it (docs/explain.md), on a real interface of about 100 blocks: one call for all
blocks, against collating and encoding the masked copies one after the other with the same model. Both in one process,
in turn, the best of the repetitions; `processor` compares the seconds of the processor, which other work on the machine
changes less. `difference` is the largest between two scores, 1 - cosine."""
MODELS = {"shipped (hidden 16, 2 layers)": "shipped", "published sizes (hidden 32, 4 layers)": "float32"}


def run_explain(clock: Clock, data: str, model: str, blocks: int = 100, repeat: int = 2, **changes: Any) -> Result:
    """Seconds of both ways, and how far their scores are apart."""
    net: Any = from_pretrained("checkpoints/pretrain_small") if model == "shipped" else build(model, **changes)
    net = net.to(clock.device).eval()
    item = nearest_in_size(data, blocks)
    scores: dict[str, np.ndarray] = {}

    def together() -> None:
        scores["together"] = block_importance(net, item).score

    def one_by_one() -> None:
        with torch.inference_mode():
            copies = (item, *(masked_copy(item, block) for block in range(item.n_blocks)))
            found = [net.encode(collate_items([copy]).to(clock.device)).graph_repr for copy in copies]
            before, after = found[0].double(), torch.cat(found[1:]).double()
            scores["one by one"] = (1 - torch.cosine_similarity(before, after)).cpu().numpy()

    together()
    ways = {"one by one": one_by_one, "together": together}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeat):
        for name, way in ways.items():
            start = time.process_time()
            seconds[name] += seconds_of(way, clock, 1)
            processor[name].append(time.process_time() - start)
    apart = float(np.abs(scores["together"] - scores["one by one"]).max())
    largest = float(scores["one by one"].max())
    return {
        "blocks": item.n_blocks,
        "atoms": item.n_atoms,
        "all": seconds,
        "processor": processor,
        "apart": apart,
        "largest": largest,
    }


def nearest_in_size(data: str, blocks: int) -> Item:
    """The first item of a data set whose number of blocks is the nearest to this."""
    dataset = InterfaceDataset(data)
    return dataset.stored(int(np.abs(dataset.counts["n_blocks"].astype(int) - blocks).argmin()))


def explain_section(run: Run, data: str, threads: int) -> str:
    """Rows of the shipped model and of the published sizes."""
    rows = []
    for name, model in MODELS.items():
        found = run("explain", data=data, model=model, threads=threads)
        if "error" in found:
            rows.append([name, found["error"], *[""] * 6])
            continue
        one, all_ = (min(found["all"][way]) for way in ("one by one", "together"))
        cpu, cpu_all = (min(found["processor"][way]) for way in ("one by one", "together"))
        size = f"{found['blocks']} blocks, {found['atoms']} atoms"
        same = f"{found['apart']:.0e} of at most {found['largest']:.0e}"
        rows.append([name, size, figure(one), figure(all_), f"{one / all_:.1f} x", f"{cpu / cpu_all:.1f} x", same])
    header = ["model", "interface", "one by one, s", "together, s", "faster", "processor", "difference"]
    return f"## Explanation of an interface\n\n{NOTE}\n\n" + table(header, rows)
