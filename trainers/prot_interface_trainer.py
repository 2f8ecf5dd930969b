"""An interface from one side only, contrastive against the complex (task `prot_interface`)."""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from configs.errors import DataError
from models.losses import contrastive_loss
from trainers.abs_trainer import Trainer
from trainers.batches import entry
from trainers.gather_rows import gather_rows, tell_missing
from trainers.scores import retrieval_metrics, retrieval_scores

MOST_PAIRS = 4096  # compared with each other at a time in validation: their products fill a matrix


class ProtInterfaceTrainer(Trainer):
    """Trains a `ProteinInterfaceModel` on batches of `data.pairs.collate_pairs`.

    Every pair of a step is compared with every other pair of it, those of other ranks included, so that ranks train as
    one process does on their joint batch. More pairs a step make a harder task: losses of different batch sizes don't
    compare. `loss_base`, the loss of equal embeddings, is log(2 n - 1) for n pairs.

    Validation compares all pairs of the set (in parts of 4,096), whatever the batches: its `loss` is not that of a
    training step. Recall at 1, 5 and 10 and the mean reciprocal rank tell how the first side finds its complex.
    """

    default_monitor = "mean_reciprocal_rank"
    reports = True
    splits_batches = False  # every pair is compared with all others

    def part_counts(self, batch: Any) -> dict[str, tuple[float, float]]:
        """Items; and that all ranks have the same loss, that of all pairs."""
        return super().part_counts(batch) | {"joint": (1.0, 1.0)}

    def loss_terms(self, output: Any) -> dict[str, Tensor]:
        return {"joint": output.loss}

    def metric_names(self) -> Collection[str]:
        return list(pair_metrics(np.eye(2), np.eye(2)))

    def share_step(self, batch: Any, batch_idx: int, val: bool = False) -> Any:
        """The model's output; its loss is that of the pairs of all ranks while training.

        Raises:
            DataError: the batch holds no complexes.
        """
        try:
            output = self.model(batch)
        except (RuntimeError, MemoryError):
            if not val:
                tell_missing()
            raise
        if output.cmplx_pred is None:
            raise DataError("holds no complexes", *list(entry(batch, "id") or ())[:1], hint="collate_pairs makes pairs")
        if not val:
            side, whole = gather_rows(torch.cat([output.pred, output.cmplx_pred], 1)).chunk(2, 1)
            output.loss = contrastive_loss(side, whole)
            output.terms = {"loss_base": output.loss.new_tensor(loss_of_equals(len(side)))}
        return output

    def predictions(self, output: Any, batch: Any) -> Mapping[str, Any]:
        """Both embeddings of every pair, and `id`."""
        found = {"side": output.pred, "complex": output.cmplx_pred}
        return found | ({"id": ids} if (ids := entry(batch, "id")) else {})

    def sample_scores(self, predictions: dict[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """What each pair adds to recall and reciprocal rank, among all candidates: a pair drawn twice is no rival."""
        if not len(predictions.get("side", ())):
            return {}
        found = [
            retrieval_scores((one @ other.T).numpy())
            for one, other in parts_of(predictions["side"], predictions["complex"])
        ]
        return {name: np.concatenate([scores[name] for scores in found]) for name in found[0]}

    def metrics(self, predictions: dict[str, np.ndarray], means: dict[str, float]) -> dict[str, float]:
        """Loss and retrieval over the whole set."""
        if not len(predictions.get("side", ())):
            return {}
        return pair_metrics(predictions["side"], predictions["complex"])


def loss_of_equals(n: int) -> float:
    """The contrastive loss of n pairs whose embeddings are all the same."""
    return math.log(2 * n - 1)


def pair_metrics(side: np.ndarray, complexes: np.ndarray) -> dict[str, float]:
    """Contrastive loss, its base, and retrieval scores of pairs.

    Args:
        side, complexes: [pairs, width], rows of length 1. More than 4,096 pairs are compared in parts of about equal
            size; the scores are means over pairs.
    """
    found: dict[str, float] = {}
    for one, other in parts_of(side, complexes):
        scores = {"loss": float(contrastive_loss(one, other)), "loss_base": loss_of_equals(len(one))}
        scores |= retrieval_metrics((one @ other.T).numpy())
        for name, value in scores.items():
            found[name] = found.get(name, 0.0) + value * len(one) / len(side)
    return found


def parts_of(side: np.ndarray, complexes: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs that are compared with each other, in double precision."""
    for rows in np.array_split(np.arange(len(side)), -(-len(side) // MOST_PAIRS)):
        yield torch.from_numpy(side[rows]).double(), torch.from_numpy(complexes[rows]).double()
