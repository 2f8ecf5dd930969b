"""What a fine-tuned checkpoint predicts for the interfaces of a folder of shards, as a CSV.

    python scripts/predict.py shards --checkpoint runs/version_0/checkpoint/best --out predictions.csv

Values are in the unit of the labels that the model was trained on (--transformed: in that of the transformed labels);
of a classifier, the probability of each class and the likeliest. Rows come in the order of the data set. Nothing is
cropped, and batch mates do not change a prediction.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from configs.command import command
from configs.errors import CheckpointError
from configs.files import atomic_write
from configs.options import at_least
from data.collate import collate_items
from data.shards import ShardReader, check_vocabulary
from data.vocab import load_vocabulary
from models import AffinityPredictor, ClassifierModel, MultiClassClassifierModel, RegressionPredictor, from_pretrained
from models.units import class_names, class_probabilities, predict_in_unit, scale_of
from scripts.get_embeddings import batches
from trainers.distributed import choose_device, to_device

REGRESSION = (AffinityPredictor, RegressionPredictor)
CLASSIFICATION = (ClassifierModel, MultiClassClassifierModel)


@command("predict")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    at_least(options, 1, "max_blocks")
    model = from_pretrained(options.checkpoint)
    if not isinstance(model, REGRESSION + CLASSIFICATION):
        hint = "fine-tune it first; scripts/get_embeddings.py gives vectors"
        raise CheckpointError(f"holds a {type(model).__name__}, which predicts no label", options.checkpoint, hint=hint)
    reader = ShardReader(options.data)
    check_vocabulary(reader, load_vocabulary(model.config.fragmentation_method).fingerprint)
    table = predictions(model, reader, options)
    atomic_write(options.out, table.to_csv(index=False))
    print(f"{len(table)} predictions ({', '.join(table.columns[1:])}) in {options.out}")
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of shards (scripts/process_pdbs.py makes one)")
    parser.add_argument("--checkpoint", required=True, help="checkpoint folder, or the name of a model on the hub")
    parser.add_argument("--out", type=Path, required=True, help="CSV file to write")
    parser.add_argument("--transformed", action="store_true", help="values after --label_transform, not before it")
    parser.add_argument("--max_blocks", type=int, default=1000, help="blocks computed at a time (default 1000)")
    parser.add_argument(
        "--gpus", type=int, nargs="*", default=(), help="device number, -1: CPU (default: a GPU if any)"
    )
    return parser.parse_args(argv)


def predictions(model: Any, reader: ShardReader, options: argparse.Namespace) -> pd.DataFrame:
    """A row for each item: its id and one column a target, or one a class and the likeliest class."""
    device = choose_device(options.gpus, -1)
    model.to(device)
    regression = isinstance(model, REGRESSION)
    ids, rows = [], []
    for items in batches(reader, options.max_blocks):
        batch = to_device(collate_items(items), device)
        if regression:
            found = predict_in_unit(model, batch, of_data=not options.transformed)
        else:
            found = class_probabilities(model, batch)
        ids += [item.id for item in items]
        rows.append(found.cpu().numpy())
    if regression:
        scale = scale_of(model)
        unit = scale.unit if options.transformed else scale.data_unit
        names = [f"{name} ({unit})" if unit else name for name in scale.names]
    else:
        names = [f"probability {name}" for name in class_names(model)]
    values = np.concatenate(rows) if rows else np.zeros((0, len(names)))
    table = pd.DataFrame({"id": ids} | {name: values[:, number] for number, name in enumerate(names)})
    if not regression:
        table["class"] = [class_names(model)[number] for number in values.argmax(1)]
    return table


if __name__ == "__main__":
    sys.exit(main())
