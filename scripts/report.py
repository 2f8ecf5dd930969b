"""One HTML page of a run: scores with intervals, curves, predictions, errors, data, environment, options, model card.

    python scripts/report.py runs/version_0
    python scripts/report.py results/mine/scratch --out scratch.html

RUN is a folder of train.py (save_dir/version_N), of any task, finished, stopped or still running; or a folder of
scripts/cross_validate.py. The page is one file that opens without a network. What a run does not have is said in its
place; what is damaged is left out and named at the top.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.command import command
from configs.files import atomic_write
from scripts.folds_page import folds_context, is_cross_validation
from scripts.run_page import render, run_context
from trainers.run_record import read_run_folder


@command("report")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    folder: Path = options.run
    context = folds_context(folder) if is_cross_validation(folder) else run_context(read_run_folder(folder))
    out = options.out or folder / "report.html"
    atomic_write(out, render(context))
    print(f"{context['title']} ({context['state']}): written to {out}")
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder, or folder of a cross-validation")
    parser.add_argument("--out", type=Path, help="page to write (default: report.html in RUN)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
