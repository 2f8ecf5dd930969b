"""The sections of docs/benchmarks.md: each runs its measurements and writes its text."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.notes import (
    ARITHMETIC_NOTE,
    DEVICE_NOTE,
    LOADING_NOTE,
    MODEL_NOTE,
    PROFILE_NOTE,
    REFERENCE,
    REFERENCE_BLOCKS_A_SECOND,
    REFERENCE_NOTE,
    STRUCTURE_NOTE,
    VARIANT_NOTE,
)
from benchmarks.runner import ROOT, Run, in_turn
from benchmarks.tables import (
    Result,
    arithmetic_table,
    device_table,
    figure,
    growth,
    loading_table,
    median,
    model_table,
    profile_table,
    structure_table,
    table,
    variant_table,
)
from benchmarks.work import PLAIN, VARIANTS
from data.index import Row, rows_of_index

PLAIN_PATIENCE = 3  # times the seconds that a measurement of ours may take
TITLES = {True: "Training step", False: "Inference"}


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        data: folder of shards. sizes: blocks in a batch. variant_sizes: the same for the variants of ours.
        train_up_to, plain_up_to: largest batch for a training step, and for the plain model.
        repeat, seconds: repetitions of a measurement, and the seconds after which none is added.
        changes: of the options of the run (smaller models, in tests).
    """

    data: str
    sizes: tuple[int, ...] = (256, 512, 1000, 4000, 16000)
    variant_sizes: tuple[int, ...] = (256, 1000)
    train_up_to: int = 4000
    plain_up_to: int = 512
    repeat: int = 5
    seconds: float = 12.0
    threads: int = 2
    profile_blocks: int = 64
    large_atoms: int = 20_000
    changes: dict[str, Any] = field(default_factory=dict)

    def task(self, model: str, blocks: int, training: bool, **more: Any) -> dict[str, Any]:
        """Options of a measurement of a model."""
        common = {"data": self.data, "threads": self.threads, "changes": self.changes}
        limits = {"repeat": self.repeat, "budget": self.seconds}
        return {"model": model, "blocks": blocks, "training": training} | common | limits | more


def peaks_of(run: Run, plan: Plan, device: str = "cpu") -> dict[str, float]:
    """Operations a second of matrix products by precision, and bytes a second of copies."""
    found = run("peak", threads=plan.threads, device=device)
    return {name: found[name] for name in ("float32", "bfloat16", "copy") if name in found}


def model_section(run: Run, plan: Plan, peaks: dict[str, float]) -> str:
    """Training step and inference against the plain model, the variants, and the arithmetic."""
    parts = ["## Pretraining model, published sizes (hidden 32, edge 32, 4 layers, k 8)", MODEL_NOTE]
    rates: list[tuple[str, Result]] = []
    for training, title in TITLES.items():
        pairs = []
        for size in plan.sizes:
            if training and size > plan.train_up_to:
                continue
            patience = PLAIN_PATIENCE * plan.seconds
            plain = plan.task(PLAIN, size, training, budget=patience) if size <= plan.plain_up_to else None
            pairs.append(in_turn(run, plan.task("float32", size, training), plain))
        rates += [
            (f"{title}, {ours.get('blocks'):,} blocks, float32", ours) for ours, _ in pairs if "error" not in ours
        ]
        what = f"Time of {'a training step' if training else 'inference'}"
        parts += [f"### {title}", model_table(pairs), growth([ours for ours, _ in pairs], what)]
        parts.append(reference_table(training, [ours for ours, _ in pairs]))
    variants = list(variants_in_turn(run, plan))
    if variants:
        parts += ["### Variants", VARIANT_NOTE, variant_table(variants)]
    for label, found in variants:
        rates += [(f"{label}, {name}", result) for name, result in found.items() if name != "float32"]
    products = {name: rate for name, rate in peaks.items() if name != "copy"}
    parts += ["### Share of the matrix-product peak", ARITHMETIC_NOTE, arithmetic_table(rates, products)]
    return joined(parts)


def variants_in_turn(run: Run, plan: Plan) -> Iterator[tuple[str, dict[str, Result]]]:
    """Each size with every variant measured one after another."""
    for training, title in TITLES.items():
        for size in plan.variant_sizes:
            found = {}
            for name in VARIANTS:
                task = plan.task(name, size, training)
                found[name] = run("model", **task)
            yield f"{title}, {size:,} blocks", found


def reference_table(training: bool, results: Sequence[Result]) -> str:
    """Ours beside the figures that are known of the public reference, at about the same sizes."""
    rows = []
    for blocks, (seconds, gigabytes) in REFERENCE[training].items():
        near = [r for r in results if "error" not in r and abs(r["blocks"] / blocks - 1) < 0.1]
        for ours in near[:1]:
            times, less = seconds / median(ours), gigabytes * 1e9 / (ours["peak_gib"] * 2**30)
            known = [f"{blocks:,}", f"{seconds:g}", f"{gigabytes:g}"]
            rows.append([*known, f"{figure(times)} x", f"{less:.1f} x"])
    if not rows:
        return ""
    header = ["reference: blocks", "reference, s", "reference, GB", "ours faster", "ours less memory"]
    return f"{REFERENCE_NOTE}\n\n{table(header, rows)}"


def large_section(run: Run, plan: Plan) -> str:
    """Embedding of one very large interface."""
    found = run("large", data=plan.data, n_atoms=plan.large_atoms, model="float32", changes=plan.changes)
    title = "## One large interface, embedded\n\n"
    if "error" in found:
        return f"{title}{plan.large_atoms:,} atoms: {found['error']}."
    return (
        f"{title}{found['atoms']:,} atoms in {found['blocks']:,} blocks, made of real interfaces side by side: "
        f"{figure(median(found))} s, {found['peak_gib']:.2f} GiB at the peak of the whole process."
    )


def loading_section(run: Run, plan: Plan) -> str:
    """Item to noised, collated batch."""
    found = run("load", data=plan.data, threads=1)
    body = found["error"] if "error" in found else loading_table(found, REFERENCE_BLOCKS_A_SECOND)
    return joined(["## Data loading, one process", LOADING_NOTE, body])


def sample_rows(index: Path, n: int) -> list[Row]:
    """About `n` rows over the whole index that name two sides of chains, one a file."""
    first: dict[str, Row] = {}
    for row in rows_of_index(index):
        if row.chain2 and not row.lig_code and not row.ligand_path:
            first.setdefault(row.pdb_path, row)
    rows = list(first.values())
    return rows[:: max(1, len(rows) // n)][:n]


def structure_section(run: Run, index: Path, root: Path, n: int) -> str:
    """Structure file to item: one interface of each of some files, and the whole index from start to end."""
    rows = [asdict(row) for row in sample_rows(index, n)]
    found = run("structures", rows=rows, root=str(root), threads=1)
    parts = ["## Structure file to item, one process", STRUCTURE_NOTE]
    if "error" in found:
        return joined([*parts, found["error"]])
    files = found["files"]
    each = statistics.median(min(file["plain"]) / min(file["ours"]) for file in files)
    same = sum(file["same"] for file in files)
    said = f"Median of the ratios: {each:.1f} x. Same blocks and atoms in {same} of {len(files)} files."
    return joined([*parts, structure_table(files), said, whole_index(index, root)])


def whole_index(index: Path, root: Path) -> str:
    """Seconds of scripts/process_pdbs.py on a whole index with one process and with two."""
    rows, files = [], len({row.pdb_path for row in rows_of_index(index)})
    for jobs in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            where = ["--data_index_file", str(index.resolve()), "--root", str(root.resolve())]
            command = [sys.executable, "scripts/process_pdbs.py", *where, "--out_path", f"{folder}/shards"]
            start = time.perf_counter()
            done = subprocess.run([*command, "--n_jobs", str(jobs)], cwd=ROOT, capture_output=True, check=False)
            seconds = time.perf_counter() - start
        if done.returncode:
            return "Processing the whole index failed."
        rows.append([str(jobs), f"{seconds:.1f}", f"{files / seconds:.0f}", f"{files / seconds / jobs:.0f}"])
    header = ["processes", "seconds", "structures a second", "structures a second and process"]
    return f"The whole index ({files:,} files), from files to shards, start of the program included:\n\n" + table(
        header, rows
    )


def profile_section(run: Run, plan: Plan, peaks: dict[str, float]) -> str:
    """Where the time of a training step goes, and how much of it is arithmetic."""
    task = {"data": plan.data, "blocks": plan.profile_blocks, "model": "float32", "changes": plan.changes}
    found = run("profile", threads=1, **task)
    parts = ["## Where the time goes", PROFILE_NOTE.format(blocks=found.get("blocks", plan.profile_blocks))]
    if "error" in found:
        return joined([*parts, found["error"]])
    step = median(found)
    floor = {name: found["flops"] * plan.threads / rate for name, rate in peaks.items() if name != "copy"}
    said = ", ".join(f"{figure(s)} s at the {name} peak of one core" for name, s in floor.items())
    reached, left = 100 * floor["float32"] / step, step / floor["float32"]
    bound = (
        f"The step takes {figure(step)} s. Its two products need {figure(found['flops'] / 1e9)} GFLOP: {said}. In "
        f"float32 {reached:.0f} % of the peak is reached, so without fewer operations or a lower precision at most a "
        f"factor {left:.1f} is left; what the table shows beside the two products, and the aggregate that the "
        "backward pass makes again, stands in its way."
    )
    return joined([*parts, profile_table(found), bound])


def device_section(run: Run, plan: Plan, device: str = "cuda") -> str:
    """Times, memory and shares of the peaks on a GPU."""
    peaks = peaks_of(run, plan, device)
    results = []
    for training, title in TITLES.items():
        for name in VARIANTS:
            sizes = [size for size in plan.sizes if not training or size <= plan.train_up_to]
            tasks = (plan.task(name, size, training, device=device) for size in sizes)
            results += [(f"{title}, {name}", run("model", **task)) for task in tasks]
    speed = (
        f"Measured peaks: {peaks['float32'] / 1e12:.1f} TFLOP/s in float32, {peaks['bfloat16'] / 1e12:.1f} in "
        f"bfloat16, {peaks['copy'] / 1e9:,.0f} GB/s for copies."
    )
    return joined(["## GPU", speed, DEVICE_NOTE, device_table(results, peaks)])


def joined(parts: Sequence[str]) -> str:
    return "\n\n".join(part for part in parts if part)
