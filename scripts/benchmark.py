"""Measure this package against the same work done the plain way, in one run, and write docs/benchmarks.md.

Every figure of a model comes from a process of its own (times after a warm-up, peak memory), ours and the plain program
(benchmarks/) in turn, with the same weights and the same batches of real interfaces.
"""

import argparse
import json
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]  # benchmarks/ is no installed package

from benchmarks.atlas_search import atlas_section  # noqa: E402
from benchmarks.explanations import explain_section  # noqa: E402
from benchmarks.runner import Run, in_own_process  # noqa: E402
from benchmarks.scale import scale_section  # noqa: E402
from benchmarks.sections import (  # noqa: E402
    Plan,
    device_section,
    large_section,
    loading_section,
    model_section,
    peaks_of,
    profile_section,
    structure_section,
)
from configs.command import command  # noqa: E402
from configs.errors import ConfigError  # noqa: E402
from configs.files import atomic_write  # noqa: E402

SECTIONS = ("model", "large", "profile", "load", "structures", "explain", "atlas", "gpu", "scale")


@command("benchmark")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    if options.child:
        from benchmarks.measure import measure

        print(json.dumps(measure(**json.loads(options.child))))
        return 0
    if not (Path(options.data) / "manifest.json").is_file():
        raise ConfigError("is not a folder of shards; make one with scripts/process_pdbs.py", "--data", options.data)
    if options.index and not options.index.is_file():
        raise ConfigError("no such file", "--index", options.index)
    sections: list[str] = []
    for section in written(options, in_own_process):
        sections.append(section + "\n")
        if options.out:  # after every section: a run takes a quarter of an hour
            atomic_write(options.out, "\n".join(sections))
    return 0


def written(options: argparse.Namespace, run: Run) -> Iterator[str]:
    """The sections asked for, each printed as soon as it is there."""
    wanted = ("profile",) if options.profile else options.sections or SECTIONS
    chosen: dict[str, Any] = {name: getattr(options, name) for name in NUMBERS}
    chosen |= {name: tuple(getattr(options, name)) for name in ("sizes", "variant_sizes")}
    plan = Plan(data=str(Path(options.data).resolve()), **chosen)
    peaks = peaks_of(run, plan)
    if "float32" not in peaks:
        raise ConfigError("a first measurement failed", "benchmark", hint='try it with --child \'{"what": "peak"}\'')
    makers = {
        "model": lambda: model_section(run, plan, peaks),
        "large": lambda: large_section(run, plan),
        "profile": lambda: profile_section(run, plan, peaks),
        "load": lambda: loading_section(run, plan),
        "structures": lambda: structure_section(run, options.index, options.root, options.files),
        "explain": lambda: explain_section(run, plan.data, plan.threads),
        "atlas": lambda: atlas_section(run),
        "gpu": lambda: device_section(run, plan),
        "scale": lambda: scale_section(str(options.large_data)),
    }
    absent = {"structures": not options.index, "gpu": not has_gpu(), "scale": not options.large_data}
    for section in ("about", *wanted):
        if absent.get(section):
            continue
        text = about(options, plan, peaks) if section == "about" else makers[section]()
        print(f"\n{text}\n", flush=True)
        yield text


NUMBERS = "train_up_to plain_up_to repeat seconds threads profile_blocks large_atoms".split()


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, default = parser.add_argument, Plan("")
    add("--data", default="", help="folder of shards to take batches from")
    add("--index", type=Path, help="index of structures, to time their processing (left out: not done)")
    add("--root", type=Path, default=Path(), help="folder that the paths of the index are relative to")
    add("--files", type=int, default=24, help="structure files to compare on")
    add("--large_data", type=Path, help="set of scripts/make_large_set.py to open, plan and read (left out: not done)")
    add("--sizes", type=int, nargs="+", default=default.sizes, help="blocks in a batch")
    add("--variant_sizes", type=int, nargs="*", default=default.variant_sizes, help="blocks, for the variants of ours")
    add("--train_up_to", type=int, default=default.train_up_to, help="largest batch for a training step of ours")
    add("--plain_up_to", type=int, default=default.plain_up_to, help="largest batch for the plain model (512: 15 GB)")
    add("--repeat", type=int, default=default.repeat, help="repetitions of a measurement")
    add("--seconds", type=float, default=default.seconds, help="after which a measurement is not repeated again")
    add("--threads", type=int, default=default.threads)
    add("--large_atoms", type=int, default=default.large_atoms, help="atoms of the one large interface")
    add("--profile_blocks", type=int, default=default.profile_blocks, help="blocks of the profiled training step")
    add("--profile", action="store_true", help="only tell where the time of a training step goes")
    add("--sections", nargs="+", choices=SECTIONS, help="only these sections")
    add("--out", type=Path, help="markdown file to write")
    add("--child", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def about(options: argparse.Namespace, plan: Plan, peaks: dict[str, float]) -> str:
    """The head: machine, peaks, and how to repeat the run."""
    import torch

    names = ["sizes", "variant_sizes", *NUMBERS, "files"]
    defaults = vars(arguments([]))
    chosen = {name: getattr(options, name) for name in names if getattr(options, name) != defaults[name]}
    words = [f"--{n} {' '.join(map(str, v)) if isinstance(v, list) else v}" for n, v in chosen.items()]
    run = " ".join(
        ["python scripts/benchmark.py --data shards --index data/pretrain/interfaces.csv --root data", *words]
    )
    return (
        "# Benchmarks\n\n"
        f"{platform.machine()}, {plan.threads} threads, torch {torch.__version__}. Measured peaks of this machine: "
        f"{peaks['float32'] / 1e9:,.0f} GFLOP/s for float32 matrix products, {peaks['bfloat16'] / 1e9:,.0f} for "
        f"bfloat16, {peaks['copy'] / 1e9:.0f} GB/s for copies. To repeat (nothing else should run meanwhile):\n\n"
        "```bash\n"
        "python scripts/process_pdbs.py --data_index_file data/pretrain/interfaces.csv --root data --out_path shards\n"
        f"{run} --out docs/benchmarks.md\n"
        "```"
    )


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    sys.exit(main())
