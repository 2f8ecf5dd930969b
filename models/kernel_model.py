"""A small regressor on descriptors and frozen representations: for labels that are too few to train an encoder on.

Each interface becomes a vector: its descriptors (data.descriptors) and what a pretrained encoder says of it. What is
predicted is a weighted sum of its likeness to the training interfaces, which falls with the absolute difference of the
descriptors and the squared distance of the representations: support vector regression (Drucker et al., NIPS 1996); of
several such, fitted by `trainers.kernel_fit`, the mean. The order of the sides makes no difference.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from configs.options import require
from data.descriptors import NAMES, describe
from data.item import Item
from data.vocab import GLOBAL
from models.backbone import Backbone, Representation
from models.config import EncoderConfig
from models.hub_model import HubModel
from models.persistence import load_weights_into
from models.prediction_model import PredictionModel
from models.side_order import TURNED, lead, share_as_named, turned

PARTS = len(TURNED)  # of a representation: the complex, mean and deviation over the blocks of either segment
VARIANCE_FLOOR = 1e-12
EXACT = "donot_use_mm_for_euclid_dist"  # the fast way loses digits of small distances


@dataclass(frozen=True)
class KernelConfig:
    """Sizes of a kernel model. Its features are fixed: a checkpoint of other descriptors does not fit."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """Of the frozen representations."""
    n_supports: int = 1
    """Training interfaces that predictions are compared with."""
    n_descriptors: int = len(NAMES)
    """Numbers of `data.descriptors`."""
    n_members: int = 1
    """Regressions whose mean is the prediction."""
    num_targets: int = 1
    """Values predicted for a complex: one."""

    def __post_init__(self) -> None:
        require(self.n_supports >= 1, "n_supports", self.n_supports, "at least 1")
        require(self.n_members >= 1, "n_members", self.n_members, "at least 1")
        require(self.num_targets == 1, "num_targets", self.num_targets, "1")
        require(self.n_descriptors == len(NAMES), "n_descriptors", self.n_descriptors, f"the {len(NAMES)} known here")

    @property
    def fragmentation_method(self) -> str | None:
        """Name of the vocabulary of the block types."""
        return self.encoder.fragmentation_method

    @property
    def n_representation(self) -> int:
        """Numbers of a frozen representation."""
        return PARTS * self.encoder.block_hidden_size

    @property
    def n_features(self) -> int:
        """Numbers of an interface."""
        return self.n_descriptors + self.n_representation


@dataclass
class KernelOutput:
    """What a kernel model says of a batch.

    Attributes:
        pred: [graphs] values, in the unit of the training labels.
        features: [graphs, n_features] on one scale, of the sides as given. members: [n_members, graphs] what each
            regression says.
    """

    pred: Tensor
    features: Tensor
    members: Tensor


class KernelModel(HubModel, nn.Module):
    """Numbers from descriptors and frozen representations.

    Example:
        model = from_pretrained("checkpoints/affinity_ppi")
        model.infer(batch).pred          # [interfaces], in the unit of the training labels
    """

    Config: type = KernelConfig
    centre: Tensor
    scale: Tensor
    supports: Tensor
    widths: Tensor
    order_slope: Tensor

    def __init__(self, config: KernelConfig) -> None:
        super().__init__()
        self.config = config
        self.frozen = PredictionModel(config.encoder).requires_grad_(False)
        self.register_buffer("centre", torch.zeros(config.n_features))
        self.register_buffer("scale", torch.ones(config.n_features))
        self.register_buffer("supports", torch.zeros(config.n_supports, config.n_features))
        self.register_buffer("widths", torch.ones(config.n_members, 2))
        self.register_buffer("order_slope", torch.zeros(1))
        self.weights = nn.Parameter(torch.zeros(config.n_members, config.n_supports), requires_grad=False)
        self.intercepts = nn.Parameter(torch.zeros(config.n_members), requires_grad=False)

    def config_dict(self) -> dict[str, Any]:
        """The configuration as JSON-serialisable values, with `model_type`."""
        encoder = self.frozen.config_dict()
        return {"model_type": type(self).__name__, **asdict(self.config), "encoder": encoder}

    def features(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Descriptors [graphs, n_descriptors], as signed logarithms, representations [graphs, n_representation], and
        [graphs] how much larger the side named first is (`models.side_order.lead`); float64, before they are brought to
        one scale."""
        with torch.no_grad():
            found, items = self.frozen.encode(batch, features=False), list(items_of(batch))
            plain = torch.as_tensor(describe(items))
            atoms = np.array([np.bincount(item.segment_of_atom, minlength=2) for item in items]).reshape(-1, 2)
            sizes = torch.as_tensor(lead(atoms[:, 0], atoms[:, 1]))
            return plain.sign() * plain.abs().log1p(), representations(batch, found).double().cpu(), sizes

    def forward(self, batch: Any) -> KernelOutput:
        """The model's output for a batch; `pred` [graphs]."""
        descriptors, representation, sizes = self.features(batch)
        given, other = (self.scaled(descriptors, some) for some in (representation, turned(representation)))
        share = torch.as_tensor(share_as_named(sizes.numpy(), float(self.order_slope)))
        members = share * self.said(given) + (1 - share) * self.said(other)
        return KernelOutput(members.mean(0), given, members)

    def scaled(self, descriptors: Tensor, representation: Tensor) -> Tensor:
        """[graphs, n_features] on one scale."""
        features = torch.cat([descriptors, representation], 1)
        return (features - self.centre.double().cpu()) * self.scale.double().cpu()

    def said(self, own: Tensor) -> Tensor:
        """[n_members, graphs] what each regression says of scaled features."""
        supports, blocks = self.supports.double().cpu(), [self.config.n_descriptors, self.config.n_representation]
        (asked, others), (known, known_others) = own.split(blocks, 1), supports.split(blocks, 1)
        squared = torch.cdist(others, known_others, compute_mode=EXACT) ** 2
        distances = torch.stack([torch.cdist(asked, known, p=1), squared])
        likeness = (-torch.einsum("mb,bgs->mgs", self.widths.double().cpu(), distances)).exp()
        found = torch.einsum("mgs,ms->mg", likeness, self.weights.double().cpu())
        return found + self.intercepts.double().cpu()[:, None]

    def infer(self, batch: Any) -> KernelOutput:
        """The output; nothing here depends on the training mode but the encoder."""
        training = self.training
        self.eval()
        try:
            with torch.no_grad():
                return self(batch)
        finally:
            self.train(training)


def representations(batch: Any, found: Representation) -> Tensor:
    """[graphs, 5 H] the vector of each complex, then mean and deviation over the blocks of segment 0 and of segment 1
    (zeros for a segment without blocks)."""
    graphs = len(found.graph_repr)
    graph = torch.repeat_interleave(torch.arange(graphs, device=found.block_repr.device), batch["lengths"])
    ordinary, blocks = batch["B"] != GLOBAL, found.block_repr.double()
    parts = [found.graph_repr.double()]
    for segment in (0, 1):
        chosen = ordinary & (batch["segment_ids"] == segment)
        own, place = blocks[chosen], graph[chosen]
        number = torch.bincount(place, minlength=graphs).clamp_min(1)[:, None]
        sums = [blocks.new_zeros(graphs, blocks.shape[1]).index_add(0, place, own**power) / number for power in (1, 2)]
        parts += [sums[0], (sums[1] - sums[0] ** 2).clamp_min(VARIANCE_FLOOR).sqrt()]
    return torch.cat(parts, 1)


def items_of(batch: Any) -> Iterator[Item]:
    """The interfaces of a batch again, without their global nodes."""
    blocks = {name: batch[name].cpu().numpy() for name in ("B", "block_lengths", "segment_ids")}
    atoms = {name: batch[name].cpu().numpy() for name in ("X", "A")}
    lengths = batch["lengths"].cpu().numpy()
    ordinary = blocks["B"] != GLOBAL
    of_atom = np.repeat(ordinary, blocks["block_lengths"])
    block_end = np.cumsum(lengths)
    atom_end = np.concatenate([[0], np.cumsum(blocks["block_lengths"])])[block_end]
    for b0, b1, a0, a1 in zip(block_end - lengths, block_end, np.concatenate([[0], atom_end[:-1]]), atom_end):
        own = {name: values[b0:b1][ordinary[b0:b1]] for name, values in blocks.items()}
        own |= {name: values[a0:a1][of_atom[a0:a1]] for name, values in atoms.items()}
        yield Item(id="", **own)


def frozen_encoder(model: Any) -> PredictionModel:
    """The encoder of a model, alone."""
    own: Backbone = getattr(model, "prot_model", model)
    values = {f.name: getattr(own.config, f.name) for f in fields(EncoderConfig)}
    encoder = PredictionModel(EncoderConfig(**values))
    load_weights_into(encoder, own.state_dict())
    return encoder.eval()
