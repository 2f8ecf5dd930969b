"""What training on many GPUs needs: `python -m benchmarks.scaling_model DATA` prints the tables of docs/scaling.md.

Measured are the sizes of real interfaces (DATA), bytes of a block, blocks a second of a loader, parameters of the
models and operations of a training step; the machine is assumed (`Machine`, each number an option). Batches of N ranks
are planned by the program's own sampler, so how evenly they are filled is computed, not assumed.

A step of N ranks takes

    t(N) = t_step * largest(N) + t_reduce(N),   t_reduce(N) = 2 (N - 1) / N * bytes / bandwidth + 2 log2(N) * latency

where largest(N) is the mean over steps of the fullest rank's blocks against the budget. Gradients are shared after the
backward pass in one call, so nothing of t_reduce is hidden behind it.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from benchmarks.tables import table
from data.sampler import BatchSampler
from data.shards import ShardReader

RANKS = (1, 2, 8, 64, 512)
GIGA = 1e9


@dataclass(frozen=True)
class Machine:
    """What is assumed of GPUs, links and storage.

    Attributes:
        teraflops: that a GPU reaches in training, 1e12 operations a second (not its peak).
        inside, between: GB a second at which gradients move inside a node of `node` GPUs, and between nodes.
        latency: microseconds of a message.
        loader: blocks a second of one loader process (docs/benchmarks.md).
    """

    teraflops: float = 15.0
    node: int = 8
    inside: float = 150.0
    between: float = 20.0
    latency: float = 10.0
    loader: float = 170_000.0


@dataclass(frozen=True)
class Work:
    """What is trained.

    Attributes:
        parameters: of the model. gigaflops: of a training step on one block (docs/benchmarks.md).
        budget: blocks of a rank and step. interfaces: of the data set; its sizes are drawn from DATA. lr: on one rank.
    """

    parameters: int = 8_408_316
    gigaflops: float = 1.02
    budget: int = 1000
    interfaces: int = 500_000
    lr: float = 1e-4


class Filling(NamedTuple):
    """How evenly ranks are filled, as parts of the budget: the mean rank, and the fullest of each step."""

    steps: int
    mean: float
    largest: float


def filling(sizes: np.ndarray, budget: int, ranks: int) -> Filling:
    """Plan an epoch as training does; items count as at most a quarter of the budget, as in configs/pretrain.yaml."""
    sampler = BatchSampler(
        {"n_blocks": sizes}, max_blocks=budget, max_blocks_per_item=budget // 4, shuffle=True, world=ranks
    )
    plan = sampler.plan()
    ends = np.concatenate([[0], np.cumsum(sampler.sizes[plan.order], dtype=np.int64)])
    loads = np.diff(ends[plan.bounds]).reshape(-1, ranks) / budget
    return Filling(len(loads), float(loads.mean()), float(loads.max(1).mean()))


def reduce_seconds(parameters: int, ranks: int, machine: Machine) -> float:
    """Seconds to average float32 gradients: a ring inside each node, then one between nodes."""

    def ring(number: int, gigabytes: float) -> float:
        moved = 2 * (number - 1) / number * 4 * parameters
        return moved / (gigabytes * GIGA) + 2 * math.log2(number) * machine.latency * 1e-6 if number > 1 else 0.0

    return ring(min(ranks, machine.node), machine.inside) + ring(-(-ranks // machine.node), machine.between)


def speed_rows(work: Work, machine: Machine, sizes: np.ndarray) -> list[list[str]]:
    """Rows of the table of speeds."""
    rows, alone = [], 0.0
    for ranks in RANKS:
        filled = filling(sizes, work.budget, ranks)
        compute = work.gigaflops * work.budget * GIGA / (machine.teraflops * 1e12)
        reduce = reduce_seconds(work.parameters, ranks, machine)
        seconds = compute * filled.largest + reduce
        rate = ranks * filled.mean * work.budget / seconds
        alone = alone or rate
        hours = filled.steps * seconds / 3600
        rows.append(
            [
                str(ranks),
                f"{1000 * compute * filled.largest:.1f}",
                f"{1000 * reduce:.2f}",
                f"{100 * filled.mean / filled.largest:.1f} %",
                f"{100 * rate / alone / ranks:.1f} %",
                f"{rate:,.0f}",
                f"{filled.steps:,}",
                f"{60 * hours:.2f}",
            ]
        )
    return rows


def need_rows(work: Work, machine: Machine, sizes: np.ndarray, bytes_a_block: float) -> list[list[str]]:
    """Rows of the table of needs."""
    rows = []
    for ranks, (_, compute, reduce, *_) in zip(RANKS, speed_rows(work, machine, sizes)):
        of_rank = work.budget / (float(compute) + float(reduce)) * 1000
        rows.append(
            [
                str(ranks),
                str(-(-ranks // machine.node)),
                f"{of_rank / machine.loader:.2f}",
                f"{of_rank * min(ranks, machine.node) * bytes_a_block / 1e6:,.0f}",
                f"{of_rank * ranks * bytes_a_block / 1e6:,.0f}",
                f"{work.budget * ranks:,}",
                f"{work.budget * ranks / sizes.mean():,.0f}",
                f"{work.lr * math.sqrt(ranks):.1e}",
            ]
        )
    return rows


def gradient_rows(models: dict[str, int], machine: Machine) -> list[list[str]]:
    """Rows of the table of gradients."""
    return [
        [name, f"{n:,}", f"{4 * n / 1e6:.1f}", *(f"{1000 * reduce_seconds(n, r, machine):.2f}" for r in RANKS[1:])]
        for name, n in models.items()
    ]


def tables(reader: ShardReader, work: Work, machine: Machine) -> str:
    """All tables as markdown."""
    sizes = np.random.default_rng(0).choice(reader.counts["n_blocks"], work.interfaces)
    size = sum(entry["bytes"] for entry in reader.manifest["files"])
    bytes_a_block = size / float(reader.counts["n_blocks"].sum())
    models = {"`pretrain_small`": 569_084, "published": work.parameters, "ten times published": 10 * work.parameters}
    gradients = table(
        ["model", "parameters", "gradients, MB", *(f"{ranks} ranks, ms" for ranks in RANKS[1:])],
        gradient_rows(models, machine),
    )
    head = [
        "GPUs",
        "compute, ms",
        "share, ms",
        "evenness",
        "efficiency",
        "blocks a second",
        "steps",
        "minutes an epoch",
    ]
    speeds = table(head, speed_rows(work, machine, sizes))
    head = ["GPUs", "nodes", "loaders a GPU", "MB/s a node", "MB/s in all", "blocks a step", "interfaces a step", "lr"]
    needs = table(head, need_rows(work, machine, sizes, bytes_a_block))
    assumed = ", ".join(f"{f.name} {getattr(machine, f.name):g}" for f in fields(machine))
    about = f"{bytes_a_block:.0f} bytes a block, {sizes.mean():.1f} blocks an interface. Assumed: {assumed}."
    return "\n\n".join([about, gradients, speeds, needs])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of shards of real interfaces")
    for kind in (Work, Machine):
        for option in fields(kind):
            parser.add_argument(f"--{option.name}", type=type(option.default), default=option.default)
    given = vars(parser.parse_args(argv))
    work, machine = Work(**chosen(Work, given)), Machine(**chosen(Machine, given))
    print(tables(ShardReader(given["data"]), work, machine))


def chosen(kind: type[Work] | type[Machine], given: dict[str, Any]) -> dict[str, Any]:
    return {option.name: given[option.name] for option in fields(kind)}


if __name__ == "__main__":
    main()
