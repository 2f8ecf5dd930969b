"""Measure this package against the same model written the plain way, on the same work, in one run.

Every figure comes from a process of its own (time after a warm-up, peak resident memory), ours and the plain e3nn model
(benchmarks/) in turn, with the same weights and the same batches of real interfaces. Prints tables and, with --out,
writes them.
"""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from configs.command import command
from configs.errors import ConfigError
from configs.files import atomic_write

ROOT = Path(__file__).resolve().parent.parent
OURS_ONLY_ABOVE = 512  # blocks; the plain model needs over 20 GB for a training step of 1000


@command("benchmark")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    if options.child:
        from benchmarks.measure import measure

        print(json.dumps(measure(**json.loads(options.child))))
        return 0
    if not (Path(options.data) / "manifest.json").is_file():
        raise ConfigError("is not a folder of shards; make one with scripts/process_pdbs.py", "--data", options.data)
    sections = [about(), model_section(options), loading_section(options)]
    if options.structures:
        sections.append(structure_section(options))
    text = "\n\n".join(sections) + "\n"
    print(text)
    if options.out:
        atomic_write(options.out, text)
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="", help="folder of shards to take batches from")
    parser.add_argument("--structures", type=Path, nargs="*", help="structure files to time processing on")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1000, 4000], help="blocks in a batch")
    parser.add_argument("--plain_up_to", type=int, default=OURS_ONLY_ABOVE, help="largest batch for the plain model")
    parser.add_argument("--repeat", type=int, default=3, help="timed repetitions of ours (the median is shown)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="markdown file to write")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def child(**task) -> dict:
    """Run one measurement in a process of its own; a process killed for memory gives {"error": ...}."""
    command = [sys.executable, "-m", "scripts.benchmark", "--child", json.dumps(task)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = "out of memory" if done.returncode < 0 else (done.stderr.strip().splitlines() or ["failed"])[-1]
        return {"error": reason}
    print(".", end="", file=sys.stderr, flush=True)
    return json.loads(done.stdout.splitlines()[-1])


def about() -> str:
    import torch

    peak = child(what="peak", threads=2)
    if "error" in peak:
        raise ConfigError(f"a first measurement failed: {peak['error']}", "benchmark")
    return (
        "# Benchmarks\n\n"
        f"{platform.machine()}, {peak['threads']} threads, torch {torch.__version__}; float32 matrix product at "
        f"{peak['gflops']:.0f} GFLOP/s. Made by `python scripts/benchmark.py` (see its --help). Medians; memory is "
        "the peak of the whole process."
    )


def cell(result: dict) -> tuple[str, str]:
    if "error" in result:
        return result["error"], ""
    return f"{result['seconds']:.2f} s", f"{result['peak_gib']:.2f} GiB"


def ratio(plain: dict, ours: dict, key: str) -> str:
    return "" if "error" in plain or "error" in ours else f"{plain[key] / ours[key]:.1f} x"


def model_section(options: argparse.Namespace) -> str:
    """Training step and inference at several sizes."""
    lines = ["## Pretraining model, published sizes (hidden 32, edge 32, 4 layers, k 8), float32"]
    for what, title in (("train", "Training step (forward and backward)"), ("infer", "Inference")):
        lines += [
            "",
            f"### {title}",
            "",
            "| blocks | atoms | plain | ours | faster | plain memory | ours memory | less |",
        ]
        lines.append("|---|---|---|---|---|---|---|---|")
        sizes, seconds = [], []
        for size in options.sizes:
            common = {"what": what, "blocks": size, "data": str(options.data), "threads": options.threads}
            ours = child(model="ours", repeat=options.repeat, **common)
            plain = child(model="plain", repeat=1, **common) if size <= options.plain_up_to else {"error": "not run"}
            (plain_time, plain_memory), (our_time, our_memory) = cell(plain), cell(ours)
            if "error" not in ours:
                sizes.append(ours["blocks"])
                seconds.append(ours["seconds"])
            counted = [str(ours.get("blocks", size)), str(ours.get("atoms", ""))]
            times = [plain_time, our_time, ratio(plain, ours, "seconds")]
            memory = [plain_memory, our_memory, ratio(plain, ours, "peak_gib")]
            lines.append(f"| {' | '.join(counted + times + memory)} |")
        if len(sizes) > 1:
            slope = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
            lines += ["", f"Time grows as blocks to the power {slope:.2f} (log-log slope of ours)."]
    return "\n".join(lines)


def loading_section(options: argparse.Namespace) -> str:
    """Item to noised, collated batch."""
    result = child(what="load", data=str(options.data), threads=1)
    return "\n".join(
        [
            "## Data loading, one process",
            "",
            "| step | blocks a second |",
            "|---|---|",
            f"| read from shards | {result['read']:,.0f} |",
            f"| read, crop, noise, mask | {result['noised']:,.0f} |",
            f"| read, crop, noise, mask, collate | {result['collated']:,.0f} |",
        ]
    )


def structure_section(options: argparse.Namespace) -> str:
    """Structure file to items: every interface in it, one process."""
    result = child(what="structures", files=[str(path) for path in options.structures], threads=1)
    files, items = result["files"] / result["seconds"], result["items"] / result["seconds"]
    return (
        "## Structure files, one process\n\n"
        f"{result['files']} files, {result['items']} interfaces found and made in {result['seconds']:.2f} s: "
        f"{files:.1f} files a second, {items:.1f} items a second."
    )


if __name__ == "__main__":
    sys.exit(main())
