"""What is explained of a model: the vectors or predictions that are compared with and without a block."""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from configs.errors import ConfigError, DataError
from data.collate import collate_items
from data.item import Item
from models.backbone import Backbone, Representation, full_precision
from models.named import Wanted, named_representations, segments_of
from models.units import scale_of

Target = Literal["complex", "segment0", "segment1", "prediction"]
TARGETS: tuple[Target, ...] = ("complex", "segment0", "segment1", "prediction")


class Importance(NamedTuple):
    """Scores of an item's blocks.

    Attributes:
        score: [blocks] of a representation, 1 - cosine between it and that of the item with the block masked; of a
            prediction, by how much the block raises it (prediction less that with the block masked).
        value: the prediction for the item; None for representations.
    """

    score: np.ndarray
    value: float | None = None


class Explained:
    """What is explained of a model: turns representations into the vectors that are compared."""

    def __init__(self, model: Any, target: Target, output: int | None = None) -> None:
        self.model, self.target, self.output = model, target, output
        self.backbone: Backbone = getattr(model, "prot_model", model)
        self.predicts = target == "prediction"
        self.classes = hasattr(model.config, "num_classes") or hasattr(model.config, "labels")
        self.wanted = Wanted(("h_graph" if target == "complex" else "h_interface",))
        if self.predicts and not hasattr(model, "energy_ffn") and not hasattr(model, "classifier_ffn"):
            hint = f"a {type(model).__name__} predicts no value; targets without a head: complex, segment0, segment1"
            raise ConfigError("needs a model with a head for values or classes", "--target", "prediction", hint=hint)

    def check(self, item: Item) -> None:
        """Refuse an item without the segment, and padding by which the copies would change each other."""
        if self.backbone.config.padding == "batch":
            raise ConfigError("would mix the masked copies of an item", "--padding", "batch", hint="own, or masked")
        if self.target.startswith("segment") and int(self.target[-1]) not in item.segment_ids:
            raise DataError(f"has no {self.target}", item.id)

    def encode(self, items: list[Item]) -> tuple[Representation, Any]:
        batch = self.to_device(collate_items(items).to_dict())
        return self.backbone.encode(batch, features=False), batch

    def to_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        device = self.backbone.edge_embedding_bottom.weight.device
        return {name: value.to(device) for name, value in batch.items() if isinstance(value, Tensor)}

    def vectors(self, found: Representation, batch: Any) -> Tensor:
        """[graphs, H] representations of length 1, or [graphs] predictions in the unit of the labels."""
        with full_precision(found.graph_repr):
            if self.predicts:
                return self.predictions(found, batch)
            vectors = named_representations(self.model, found, self.wanted)[self.wanted.names[0]]
            if self.target == "complex":
                return vectors
            return vectors[segments_of(found)[:, 1] == int(self.target[-1])]

    def predictions(self, found: Representation, batch: Any) -> Tensor:
        unlabelled = {name: value for name, value in batch.items() if name not in ("label", "targets")}
        pred = self.model.predict(unlabelled, found).pred
        facts = getattr(self.model, "facts", {}).get("labels") or {}
        two_classes = pred.ndim == 1 and hasattr(self.model, "classifier_ffn")
        if two_classes:
            pred = torch.stack([1 - pred, pred], 1)
        elif "transform" in facts:
            pred = scale_of(self.model).inverse(pred.reshape(len(pred), -1))
        pred = pred.reshape(len(pred), -1)
        if self.classes and self.output is None:
            return pred
        output = int(two_classes) if self.output is None else self.output
        if not 0 <= output < pred.shape[1]:
            raise ConfigError(f"is not among outputs 0 to {pred.shape[1] - 1}", "--output", str(output))
        return pred[:, output]

    def chosen(self, vectors: Tensor) -> Tensor:
        """What the item itself gives; of a classifier whose class is not named, the class predicted from now on."""
        if not (self.predicts and self.classes and self.output is None):
            return vectors
        self.output = int(vectors[0].argmax())
        return vectors[:, self.output]

    def importance(self, before: Tensor, after: Tensor) -> Importance:
        if self.predicts:
            return Importance((before - after).double().cpu().numpy(), float(before))
        return Importance((1 - F.cosine_similarity(before.double(), after.double())).cpu().numpy())
