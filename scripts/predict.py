"""What fine-tuned checkpoints predict for interfaces, as a CSV or Parquet table.

    python scripts/predict.py 1abc.pdb --chain1 A --chain2 B --checkpoint affinity_ppi --out predictions.csv
    python scripts/predict.py index.csv --checkpoint fold0 fold1 fold2 --out predictions.csv
    python scripts/predict.py shards --checkpoint runs/version_0/checkpoint/best --out predictions.csv

The input is a structure file, a folder of them, an index CSV (its columns are kept) or a folder of shards. Values are
in the unit of the labels that the model was trained on (--transformed: in that of the transformed labels); of a
classifier, the probability of each class and the likeliest. Several checkpoints make an ensemble: its mean, and the
standard deviation between its members as `spread`. `confidence` is the probability of the likeliest class, or, of
values, the share of blocks that the training set had, where the checkpoint tells it; --confidence_threshold leaves
empty what is less sure. --interval 0.9 adds `low` and `high`, which hold nine of ten truths (docs/confidence.md). Of a
model of sets of labels, the probability of each label and `labels`, those that are likelier than --label_threshold; the
confidence is that in the least certain one. `unseen_kind` names the kind of a complex, such as PDNA, that the training
set had none of; --strict leaves those empty.

Where the input has labels in the unit of the predictions (or class numbers), OUT.scores.json has the scores, the
risk-coverage curve and the share of labels inside the intervals; OUT.coverage.png shows the curve.

Rows come in the order of the input. Nothing is cropped, and batch mates do not change a prediction. What gives no
interface is told in OUT.failures.csv. Exit status: 0 when something was predicted, 2 when nothing was, or the input or
an option is at fault.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from configs.command import command
from configs.options import at_least
from configs.words import count_of
from data.inputs import InputItem, add_input_arguments, input_options, open_inputs
from data.write_table import format_of, nothing_made, open_table, tell_failures
from models.embed import MAX_BLOCKS
from models.load_any import add_model_arguments, load_models, model_options
from models.predict import Predictor, check_threshold
from trainers.labelled import Labelled, tell_scores


@command("predict")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    at_least(options, 1, "max_blocks")
    at_least(options, 0, "bootstrap")
    check_threshold(options.confidence_threshold)
    check_threshold(options.label_threshold, "--label_threshold")
    format_of(options.out, ".csv")
    given = input_options(options)
    predictor = Predictor(load_models(model_options(options)), options.transformed)
    if options.interval is not None:
        predictor.check_intervals(options.interval)
    inputs = open_inputs(given, predictor.vocabulary)
    progress = tqdm(inputs, desc="interfaces", total=inputs.total, disable=not sys.stderr.isatty())
    columns: dict[str, Any] = {}
    unsure, unseen = 0, Counter[str]()
    labelled = Labelled(predictor, options.interval, options.bootstrap)
    with open_table(options.out, ".csv") as writer:
        for found in predictor(progress, options.max_blocks):
            columns = predictor.columns(
                found,
                options.confidence_threshold,
                options.interval,
                options.max_spread,
                options.label_threshold,
                options.strict,
            )
            labelled.add(found)
            unseen.update(filter(None, found.unseen_kinds or ()))
            unsure += sum(value == "" or value != value for value in columns[predictor.answers[0].name])
            writer.write(beside_input(found.entries, columns))
        if not writer.rows:
            raise nothing_made(inputs.failures, given.input)
    print(f"{count_of(writer.rows, 'prediction')} ({', '.join(columns)}) in {options.out}")
    if unsure:
        print(f"{unsure} of them {'is' if unsure == 1 else 'are'} left empty, as asked for")
    if unseen:
        print(notice(predictor, unseen, writer.rows, options.strict), file=sys.stderr)
    if scores := tell_scores(labelled, options.out):
        print(scores)
    if told := tell_failures(options.out, inputs.failures):
        print(told, file=sys.stderr)
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_input_arguments(parser)
    add_model_arguments(parser, several=True)
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, required=True, help="table to write: .csv or .parquet")
    group.add_argument("--transformed", action="store_true", help="values after --label_transform, not before it")
    group.add_argument(
        "--max_spread",
        type=float,
        help="leave empty where the models of an ensemble differ by more, in the unit of the value",
    )
    group.add_argument(
        "--confidence_threshold", type=float, default=0.0, help="leave empty what is less sure (0 to 1; default 0)"
    )
    group.add_argument(
        "--label_threshold",
        type=float,
        default=0.5,
        metavar="P",
        help="probability above which a label of a set counts (default 0.5)",
    )
    group.add_argument("--strict", action="store_true", help="leave empty kinds of complexes that training had none of")
    group.add_argument(
        "--interval",
        type=float,
        metavar="LEVEL",
        help="add `low` and `high`, which hold this share of the truths (0.9)",
    )
    group.add_argument(
        "--bootstrap", type=int, default=200, help="resamples behind the intervals of scores (default 200; 0: none)"
    )
    group.add_argument(
        "--max_blocks", type=int, default=MAX_BLOCKS, help=f"blocks computed at a time (default {MAX_BLOCKS})"
    )
    return parser.parse_args(argv)


def notice(predictor: Predictor, unseen: Mapping[str, int], rows: int, strict: bool) -> str:
    """What to say of complexes of a kind that training had none of."""
    number, kinds = sum(unseen.values()), ", ".join(f"{kind} {n}" for kind, n in sorted(unseen.items()))
    known = ", ".join(sorted(predictor.kinds or ()))
    said = f"note: {number} of {count_of(rows, 'complex', 'complexes')} {'is' if number == 1 else 'are'} of a kind that"
    end = "left empty" if strict else "not to be relied on; --strict leaves them empty"
    return f"{said} training had none of ({kinds}; it had {known}): see the column unseen_kind, predictions are {end}"


def beside_input(entries: Sequence[InputItem], predicted: Mapping[str, Any]) -> dict[str, Any]:
    """Id, the input's own columns as they stand, and the predictions; `predicted NAME` where the input has a NAME."""
    own = {name: [entry.row[name] for entry in entries] for name in entries[0].row if name != "id"}
    taken = {"id", *own}
    ours = {f"predicted {name}" if name in taken else name: values for name, values in predicted.items()}
    return {"id": [entry.name for entry in entries], **own, **ours}


if __name__ == "__main__":
    sys.exit(main())
