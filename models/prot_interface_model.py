"""Retrieval: the protein's side of an interface finds the complex it belongs to."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs.errors import DataError
from models.backbone import Representation, full_precision
from models.config import InterfaceConfig, config_to_dict
from models.embeds import Embeds
from models.hub_model import HubModel
from models.layers.mlp import relu_linear
from models.losses import contrastive_loss
from models.outputs import InterfaceOutput
from models.prediction_model import PredictionModel, as_batch

COMPLEX, PROTEIN = "cmplx_", "prot_"


class ProteinInterfaceModel(Embeds, HubModel, nn.Module):
    """Two encoders, a frozen one for whole complexes and one for segment 0 alone, and a contrastive loss.

    A batch holds the arrays of both with the prefixes `cmplx_` and `prot_` (cmplx_X, prot_X, ...). Without complexes,
    or with plain names (X, A, B, ...), the protein's side alone is embedded.
    """

    Config: type = InterfaceConfig

    def __init__(self, config: InterfaceConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.prot_model.atom_hidden_size
        self.cmplx_model = PredictionModel(config.prot_model).requires_grad_(False)
        self.prot_model = PredictionModel(config.prot_model)
        self.cmplx_ffn = start_apart(relu_linear(hidden, hidden, hidden, hidden))
        self.prot_ffn = start_apart(relu_linear(hidden, hidden, hidden, hidden))

    def config_dict(self) -> dict[str, Any]:
        """The configuration as JSON-serialisable values, with `model_type`."""
        values = config_to_dict(self.config, type(self).__name__)
        values["prot_model"] = config_to_dict(self.config.prot_model, PredictionModel.__name__)
        return values

    def train(self, mode: bool = True) -> "ProteinInterfaceModel":
        """Training mode; the frozen encoder stays in evaluation mode."""
        super().train(mode)
        self.cmplx_model.eval()
        return self

    def encode(self, batch: Any) -> Representation:
        """Representation of the protein's side."""
        return self.prot_model.encode(part_of(batch, PROTEIN) or batch)

    def forward(self, batch: Any = None, **entries: Any) -> InterfaceOutput:
        """Embeddings and, where the batch holds complexes, the contrastive loss."""
        batch = as_batch(batch, entries)
        found = self.encode(batch)
        with full_precision(found.unit_repr):
            raw = self.prot_ffn(found.graph_repr)
            pred = F.normalize(raw, dim=1)
            complexes = self.of_complexes(batch)
            loss = contrastive_loss(pred, complexes["cmplx_pred"]) if complexes else None
            embeddings = (found.unit_repr, found.block_repr, found.graph_repr)
            parts: dict[str, Any] = {"pred": pred, "prot_ffn_out": raw} | complexes
            return InterfaceOutput(*embeddings, loss, representation=found, **parts)

    def of_complexes(self, batch: Any) -> dict[str, Tensor]:
        """Embeddings of the whole complexes; empty where the batch holds none."""
        inputs = part_of(batch, COMPLEX)
        if not inputs:
            return {}
        with torch.no_grad():
            graph_repr = self.cmplx_model.encode(inputs).graph_repr
        raw = self.cmplx_ffn(graph_repr)
        return {"cmplx_graph_repr": graph_repr, "cmplx_ffn_out": raw, "cmplx_pred": F.normalize(raw, dim=1)}

    infer = PredictionModel.infer


def start_apart(head: nn.Sequential) -> nn.Sequential:
    """Initial weights of a head that keep different inputs different: orthogonal, of gain sqrt(2), without biases.

    torch's own biases are as large as what comes from inputs of length 1: all embeddings would start within a cosine of
    0.999 of each other, next to where all are equal and the contrastive loss has no slope.
    """
    for layer in head:
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, 2**0.5)
            nn.init.zeros_(layer.bias)
    return head


def part_of(batch: Any, prefix: str) -> dict[str, Any]:
    """The entries of a batch whose names have a prefix, without it.

    Raises:
        DataError: what was given is no batch.
    """
    if not isinstance(batch, Mapping) and not hasattr(batch, "keys"):
        raise DataError(f"is a {type(batch).__name__}", "batch", hint="give a mapping or a torch-geometric batch")
    names = [name for name in batch.keys() if name.startswith(prefix)]  # noqa: SIM118 - torch-geometric has keys()
    return {name.removeprefix(prefix): batch[name] for name in names}
