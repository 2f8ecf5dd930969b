"""From nothing to a pretrained checkpoint in a few minutes, on data that this script makes itself.

Makes molecular complexes with RDKit (`data.synthetic`), pretrains a small model on them with `configs/quickstart.yaml`,
embeds the held-out complexes, draws the curves and prints a report. Run it again to start afresh.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from configs.command import command
from configs.errors import ConfigError
from configs.files import atomic_write

ROOT = Path(__file__).resolve().parent.parent
MARKER = ".made-by-quickstart"


@command("quickstart")
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out_path", type=Path, default=Path("quickstart"), help="where everything goes")
    parser.add_argument("--n_items", type=int, default=300, help="complexes to make (default 300)")
    parser.add_argument("--n_jobs", type=int, default=2, help="processes that make them (default 2)")
    parser.add_argument("--max_epoch", type=int, help="epochs of pretraining (default: the configuration's)")
    return quickstart(parser.parse_args(argv))


def quickstart(options: argparse.Namespace) -> int:
    """The steps, each the same command that a user would type, then the report."""
    import train
    from scripts import evaluate_pretraining, get_embeddings, make_synthetic, plot_training

    out: Path = options.out_path
    start_afresh(out)
    start = time.perf_counter()

    print("1/4  Making built-in complexes: peptides and drug-like molecules, brought into contact by RDKit")
    made = make_synthetic.main(
        ["--out_path", str(out / "data"), "-n", str(options.n_items), "--seed", "0", "--n_jobs", str(options.n_jobs)]
    )
    if made:
        return made
    data_seconds = time.perf_counter() - start

    print("\n2/4  Pretraining: denoise torsions, translation and rotation, name masked blocks")
    arguments = ["--config", str(ROOT / "configs" / "quickstart.yaml"), "--save_dir", str(out / "runs"), "--gpus", "-1"]
    arguments += ["--train_set", str(out / "data" / "train"), "--valid_set", str(out / "data" / "valid")]
    if options.max_epoch:
        arguments += ["--max_epoch", str(options.max_epoch)]
    trained = train.main(arguments)
    if trained:
        return trained
    run = out / "runs" / "version_0"
    train_seconds = time.perf_counter() - start - data_seconds

    print("\n3/4  Embedding the held-out complexes")
    best, vectors = run / "checkpoint" / "best", out / "embeddings.parquet"
    embed = [str(out / "data" / "valid"), "--checkpoint", str(best), "--out", str(vectors), "--gpus", "-1"]
    failed = get_embeddings.main(embed)

    print("\n4/4  Report")
    picture = out / "training.png"
    failed = failed or plot_training.main([str(run), "--out", str(picture)])
    failed = failed or evaluate_pretraining.main([str(run), "--draws", "2"])
    if failed:
        return failed
    total = time.perf_counter() - start
    print(f"built-in data   {out / 'data'}  ({data_seconds:.0f} s; made by computer, not experimental structures)")
    print(f"checkpoint      {best}  ({train_seconds:.0f} s of training)")
    print(f"embeddings      {vectors}")
    print(f"curves          {picture}")
    print(f"all in          {total:.0f} s")
    print("\nSo short a run learns torsions first. What half an hour on real interfaces teaches: docs/results.md")
    print("Next, your own structures: python scripts/process_pdbs.py --structures FOLDER --out_path shards")
    return 0


def start_afresh(out: Path) -> None:
    """Empty the folder of an earlier quickstart; refuse to touch any other folder that holds something."""
    marker = out / MARKER
    if out.exists() and any(out.iterdir()):
        if not marker.exists():
            raise ConfigError("is not empty and not made by the quickstart; choose another", "--out_path", out)
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    atomic_write(marker, "Made by the quickstart, which empties this folder when it is run again.\n")


if __name__ == "__main__":
    sys.exit(main())
