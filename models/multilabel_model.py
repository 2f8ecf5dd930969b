"""Labels of complexes, of which any number may hold: which ligands a pocket takes, say."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from models.backbone import Representation
from models.config import MultiLabelConfig
from models.graph import field as entry
from models.layers.mlp import mlp
from models.losses import bce_loss, best_logits, mean_of_known
from models.outputs import TaskOutput
from models.prediction_model import PredictionModel

LEAST_SHARE = 1e-3
"""Frequencies nearer to 0 or 1 than this count as this."""


class MultiLabelModel(PredictionModel):
    """Probability of each label, whatever the others are."""

    Config: type = MultiLabelConfig
    config: MultiLabelConfig

    def __init__(self, config: MultiLabelConfig) -> None:
        super().__init__(config)
        shape = (config.num_pred_layers, config.atom_hidden_size, config.pred_hidden_size, len(config.labels))
        self.classifier_ffn = mlp(*shape, config.pred_dropout, config.nonlinearity)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels, in the order of the outputs."""
        return self.config.labels

    def start_at(self, frequencies: Sequence[float], loss: Callable[[Tensor, Tensor], Tensor] = bce_loss) -> None:
        """Let a new model say how often each label holds, before it has seen anything (the prior of Lin et al. 2017):
        rare labels need no training to be called rare.

        Args:
            loss: (logits, target) -> loss of each label; the start is where it is least at these frequencies.
        """
        start = best_logits(loss, torch.tensor(frequencies), LEAST_SHARE)
        with torch.no_grad():
            self.classifier_ffn[-1].bias.copy_(start)  # type: ignore[union-attr, operator]

    def head_from(self, source: Any, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights of a model to start from, with its output layer in the order of our labels.

        Labels that it knows keep their rows, others those of this model; of a model of something else the output layer
        is left out, though it may have the same size.
        """
        last = f"classifier_ffn.{len(self.classifier_ffn) - 1}"
        found, mine = dict(weights), self.state_dict()
        place = {name: row for row, name in enumerate(getattr(source, "labels", ()))}
        common = [row for row, name in enumerate(self.labels) if name in place]
        for name in (f"{last}.weight", f"{last}.bias"):
            theirs = found.pop(name, None)
            if theirs is not None and common and theirs.shape[1:] == mine[name].shape[1:]:
                found[name] = mine[name].clone()
                found[name][common] = theirs[[place[self.labels[row]] for row in common]].to(mine[name])
        return found

    def predict(self, batch: Any, found: Representation) -> TaskOutput:
        """`pred` [graphs, labels] probabilities; the loss is the mean cross entropy over the `targets` that are not
        NaN."""
        logits, target = self.classifier_ffn(found.graph_repr), entry(batch, "targets")
        loss = None
        if target is not None:
            known = target.isfinite()
            loss = mean_of_known(bce_loss(logits, target.nan_to_num()), known.to(logits.dtype))
        embeddings = (found.unit_repr, found.block_repr, found.graph_repr)
        return TaskOutput(*embeddings, loss, representation=found, pred=logits.sigmoid(), logits=logits)
