"""Affinity as the sum of an energy of every block, and plain regression from the representation of the complex."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from data.vocab import GLOBAL
from models.backbone import Representation
from models.block_embeddings import BlockEmbeddingMixer
from models.config import AffinityConfig, EncoderConfig
from models.graph import field as entry
from models.layers.mlp import mlp
from models.outputs import TaskOutput
from models.prediction_model import PredictionModel


def regression_loss(pred: Tensor, batch: Any) -> Tensor | None:
    """Mean squared error to the labels of the batch; None without labels."""
    label = entry(batch, "label")
    return None if label is None else F.mse_loss(pred, torch.as_tensor(label).to(pred))


class AffinityPredictor(BlockEmbeddingMixer, PredictionModel):
    """Sum over blocks of `energy_ffn(block)`; external block vectors are mixed in if there is a size for them."""

    Config: type = AffinityConfig
    config: AffinityConfig

    def __init__(self, config: AffinityConfig) -> None:
        super().__init__(config)
        shape = (config.num_affinity_pred_layers, config.atom_hidden_size, config.affinity_pred_hidden_size, 1)
        self.energy_ffn = mlp(*shape, config.affinity_pred_dropout, config.nonlinearity)

    def predict(self, batch: Any, found: Representation) -> TaskOutput:
        energies = self.energy_ffn(found.head_blocks)
        counted = energies.squeeze(1)
        if not self.config.global_message_passing:
            counted = counted.masked_fill(found.graph.B == GLOBAL, 0)
        pred = counted.new_zeros(found.graph.n_graphs).index_add(0, found.graph.graph_of_block, counted)
        return TaskOutput(
            *(found.unit_repr, found.block_repr, found.graph_repr, regression_loss(pred, batch)),
            representation=found,
            pred=pred,
            logits=energies,
        )


class RegressionPredictor(PredictionModel):
    """One number from the representation of the complex."""

    Config: type = EncoderConfig

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        hidden = config.atom_hidden_size
        self.energy_ffn = mlp(3, hidden, hidden, 1, config.dropout)

    def predict(self, batch: Any, found: Representation) -> TaskOutput:
        values = self.energy_ffn(found.graph_repr)
        pred = values.squeeze(1)
        return TaskOutput(
            *(found.unit_repr, found.block_repr, found.graph_repr, regression_loss(pred, batch)),
            representation=found,
            pred=pred,
            logits=values,
        )
