"""Affinity as the sum of an energy of every block, and plain regression from the representation of the complex."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from data.vocab import GLOBAL
from models.backbone import Representation
from models.block_embeddings import BlockEmbeddingMixer
from models.config import AffinityConfig, RegressionConfig
from models.graph import field as entry
from models.layers.mlp import mlp
from models.outputs import TaskOutput
from models.prediction_model import PredictionModel


def regression_loss(pred: Tensor, batch: Any) -> Tensor | None:
    """Mean squared error to the labels of the batch; None without labels."""
    label = entry(batch, "label")
    return None if label is None else F.mse_loss(pred, torch.as_tensor(label).to(pred))


def as_targets(values: Tensor, num_targets: int) -> Tensor:
    """[graphs] of a model with one target, [graphs, targets] of one with several."""
    return values.squeeze(1) if num_targets == 1 else values


class AffinityPredictor(BlockEmbeddingMixer, PredictionModel):
    """Sum over blocks of `energy_ffn(block)`; external block vectors are mixed in if there is a size for them."""

    Config: type = AffinityConfig
    config: AffinityConfig

    def __init__(self, config: AffinityConfig) -> None:
        super().__init__(config)
        shape = (config.num_affinity_pred_layers, config.atom_hidden_size, config.affinity_pred_hidden_size)
        self.energy_ffn = mlp(*shape, config.num_targets, config.affinity_pred_dropout, config.nonlinearity)

    def predict(self, batch: Any, found: Representation) -> TaskOutput:
        energies = self.energy_ffn(found.head_blocks)
        counted = energies
        if not self.config.global_message_passing:
            counted = counted.masked_fill((found.graph.B == GLOBAL)[:, None], 0)
        sums = counted.new_zeros(found.graph.n_graphs, self.config.num_targets)
        pred = as_targets(sums.index_add(0, found.graph.graph_of_block, counted), self.config.num_targets)
        return TaskOutput(
            *(found.unit_repr, found.block_repr, found.graph_repr, regression_loss(pred, batch)),
            representation=found,
            pred=pred,
            logits=energies,
        )


class RegressionPredictor(PredictionModel):
    """One number, or one for each target, from the representation of the complex."""

    Config: type = RegressionConfig
    config: RegressionConfig

    def __init__(self, config: RegressionConfig) -> None:
        super().__init__(config)
        hidden = config.atom_hidden_size
        self.energy_ffn = mlp(3, hidden, hidden, config.num_targets, config.dropout)

    def predict(self, batch: Any, found: Representation) -> TaskOutput:
        values = self.energy_ffn(found.graph_repr)
        pred = as_targets(values, self.config.num_targets)
        return TaskOutput(
            *(found.unit_repr, found.block_repr, found.graph_repr, regression_loss(pred, batch)),
            representation=found,
            pred=pred,
            logits=values,
        )
