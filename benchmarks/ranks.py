"""A training step by its parts, on one rank or several: `python -m benchmarks.ranks DATA` starts torchrun itself.

Every rank works on one thread. Before gradients are shared the ranks wait for each other, so that waiting for the
slowest one and moving gradients are told apart.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.tables import figure, table
from benchmarks.work import PUBLISHED
from configs.schema import RunConfig, from_flat
from data.loader import make_loaders
from data.vocab import load_vocabulary
from models import create_model
from trainers.distributed import gather_objects, process_group, rank, say, world_size
from trainers.gradient_step import SharedGradients, share_weights

ROOT = Path(__file__).resolve().parent.parent
SIZES = {
    "small": {"atom_hidden_size": 16, "block_hidden_size": 16, "edge_size": 16, "n_layers": 2},
    "published": {},
}
PARTS = ("load", "compute", "wait", "share", "update")
WARM_UP = 2  # steps


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="folder of shards")
    parser.add_argument("--ranks", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--blocks", type=int, default=250, help="of a batch on one rank")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        with process_group(torch.device("cpu")):
            found = steps_of(options.data, options.size, options.blocks, options.steps)
            say("")
            if rank() == 0:
                print(json.dumps(found))
        return
    print(rank_table([started(options, ranks) for ranks in options.ranks]))


def started(options: argparse.Namespace, ranks: int) -> dict[str, Any]:
    """What rank 0 found out."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    task = ["-m", "benchmarks.ranks", options.data, "--child", "--size", options.size]
    command = [*torchrun, *task, "--blocks", str(options.blocks), "--steps", str(options.steps)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def steps_of(data: str, size: str, blocks: int, steps: int) -> dict[str, Any]:
    """Blocks and seconds of some steps, summed over ranks; seconds by part are means over steps and ranks."""
    torch.set_num_threads(1)
    given = {"train_set": data, "max_n_vertex_per_gpu": blocks, "max_n_vertex_per_item": blocks // 2}
    run: RunConfig = from_flat(PUBLISHED | SIZES[size] | given)
    loader = make_loaders(run, rank(), world_size())[0]
    model = create_model(run, load_vocabulary(run.encoder.fragmentation_method))
    share_weights(model)
    parameters, shared = list(model.parameters()), SharedGradients()
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    batches, times, done = iter(loader), dict.fromkeys(PARTS, 0.0), 0
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            times, done, start = dict.fromkeys(PARTS, 0.0), 0, time.perf_counter()
        marks = [time.perf_counter()]
        batch = next(batches)
        marks.append(time.perf_counter())
        optimizer.zero_grad()
        model(batch).loss.backward()
        marks.append(time.perf_counter())
        if world_size() > 1:
            dist.barrier()
        marks.append(time.perf_counter())
        shared.share(parameters, [False])
        marks.append(time.perf_counter())
        optimizer.step()
        marks.append(time.perf_counter())
        for name, begun, ended in zip(PARTS, marks, marks[1:]):
            times[name] += (ended - begun) / steps
        done += int(batch["lengths"].sum()) - 2 * len(batch["lengths"])  # without the global blocks
    seconds = time.perf_counter() - start
    everywhere = gather_objects((done, times))
    return {
        "ranks": world_size(),
        "parameters": sum(p.numel() for p in parameters),
        "blocks": sum(blocks for blocks, _ in everywhere),
        "seconds": seconds,
        "times": {name: sum(found[name] for _, found in everywhere) / len(everywhere) for name in PARTS},
    }


def rank_table(results: Sequence[dict[str, Any]]) -> str:
    """Throughput, efficiency against the first row, and milliseconds of a step by part."""
    first = results[0]["blocks"] / results[0]["seconds"] / results[0]["ranks"]
    rows = []
    for found in results:
        rate = found["blocks"] / found["seconds"]
        parts = [figure(1000 * found["times"][name]) for name in PARTS]
        rows.append([str(found["ranks"]), figure(rate), f"{100 * rate / first / found['ranks']:.0f} %", *parts])
    header = ["ranks", "blocks a second", "efficiency", *(f"{name}, ms" for name in PARTS)]
    return f"{results[0]['parameters']:,} parameters\n\n{table(header, rows)}"


if __name__ == "__main__":
    main()
