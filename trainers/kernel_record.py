"""What a fitted kernel model keeps beside its weights: scale of labels, blocks it has seen, residuals, scores."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.confidence import seen_blocks, seen_kinds
from data.dataset import InterfaceDataset
from data.item import Item
from data.labels import LabelScale
from models.answers import SEEN_BLOCKS, SEEN_KINDS
from models.intervals import CALIBRATION, Calibration, fingerprint
from trainers.kernel_fit import CHOSEN, Choice, Features

TARGET = "label"


def facts_of(
    features: Features,
    pred: np.ndarray,
    items: Sequence[Item],
    manifest: Mapping[str, Any],
    options: argparse.Namespace,
    rows: Sequence[Mapping[str, Any]],
    choices: Sequence[Choice],
) -> dict[str, Any]:
    """Facts for `save_pretrained`.

    Args:
        pred: [items] of regressors that have not seen the group of the item. rows: of the table of scores.
    """
    scale = LabelScale(names=(TARGET,), data_unit=options.unit, unit=options.unit)
    residuals = np.abs(pred - features.labels).round(4).tolist()
    calibration = Calibration(tuple(residuals), tuple(map(fingerprint, features.groups.tolist())), "held-out fold")
    kept = {
        f"unseen groups {row['subset']}".strip(): {
            name: score[0] for name, score in row["scores"].items() if name in ("rmse", "mae", "pearson", "spearman")
        }
        for row in rows
        if row["predictor"] == CHOSEN
    }
    return {
        "license": options.licence,
        "labels": scale.to_dict(),
        SEEN_BLOCKS: sorted(seen_blocks(InterfaceDataset(items))),
        SEEN_KINDS: seen_kinds(InterfaceDataset(items)),
        CALIBRATION: {TARGET: calibration.to_dict()},
        "metrics": kept,
        "training": {
            "command": ["ligare", "fit-affinity", "..."],
            "options": {"seed": options.seed, "folds": options.folds, "repeats": options.repeats},
            "regressions": [choice._asdict() for choice in choices],
            "vocabulary": manifest.get("vocabulary"),
        },
    }
