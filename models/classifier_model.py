"""Classes of complexes."""

from typing import Any

import torch
import torch.nn.functional as F

from models.backbone import Representation
from models.config import ClassifierConfig, MultiClassConfig
from models.graph import field as entry
from models.graph import integers
from models.layers.mlp import mlp, relu_linear
from models.outputs import TaskOutput
from models.prediction_model import PredictionModel


class ClassifierModel(PredictionModel):
    """Probability of the positive one of two classes."""

    Config: type = ClassifierConfig

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__(config)
        shape = (config.num_pred_layers, config.atom_hidden_size, config.pred_hidden_size, 1)
        self.classifier_ffn = mlp(*shape, config.pred_dropout, config.nonlinearity)

    def predict(self, batch: Any, found: Representation) -> TaskOutput:
        logits, label = self.classifier_ffn(found.graph_repr), entry(batch, "label")
        loss = None
        if label is not None:
            loss = F.binary_cross_entropy_with_logits(logits.squeeze(1), torch.as_tensor(label).to(logits))
        embeddings = (found.unit_repr, found.block_repr, found.graph_repr)
        return TaskOutput(*embeddings, loss, representation=found, pred=logits.squeeze(1).sigmoid(), logits=logits)


class MultiClassClassifierModel(PredictionModel):
    """Probabilities of several classes."""

    Config: type = MultiClassConfig

    def __init__(self, config: MultiClassConfig) -> None:
        super().__init__(config)
        hidden = config.atom_hidden_size
        self.classifier_ffn = relu_linear(hidden, hidden, hidden, hidden // 2, config.num_classes)

    def predict(self, batch: Any, found: Representation) -> TaskOutput:
        logits, label = self.classifier_ffn(found.graph_repr), integers(batch, "label")
        loss = None if label is None else F.cross_entropy(logits, label)
        embeddings = (found.unit_repr, found.block_repr, found.graph_repr)
        return TaskOutput(*embeddings, loss, representation=found, pred=logits.softmax(1), logits=logits)
