"""What models return: one documented object each."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.backbone import Representation
from models.layers.slots import Slots

PUBLISHED_TERMS = {"tor_loss": "torsion_loss"}
"""Published names of terms that have another one here."""
NOISE_TERMS = tuple(
    f"{noise}_{what}" for noise in ("torsion", "translation", "rotation", "atom") for what in ("loss", "base")
)
OF_PRETRAINING = (*NOISE_TERMS, "masked_loss", "masked_base")


OF_REPRESENTATION: dict[str, Callable[[Representation], Tensor]] = {
    "batch_id": lambda found: found.graph.graph_of_block,
    "block_id": lambda found: found.graph.block_of_atom,
    "bottom_edges": lambda found: found.atom_edges.listed()[0],
    "bottom_edge_type": lambda found: found.atom_edges.listed()[1],
    "top_edges": lambda found: found.block_edges.listed()[0],
    "top_edge_type": lambda found: found.block_edges.listed()[1],
}
"""Attributes of an output that are made when asked for."""


@dataclass
class PredictionOutput:
    """Embeddings of a batch.

    Attributes:
        unit_repr: [atoms, H], block_repr: [blocks, H], graph_repr: [graphs, H]; rows of length 1.
        loss: scalar to minimise, or None where the model has none.
        terms: named scalars, also reachable as attributes (`output.torsion_loss`, or `output.tor_loss` as published).
        representation: features, edges and indices behind the embeddings. Of it, as the published program names them:
            batch_id [blocks] complex of each block, block_id [atoms] block of each atom, bottom_edges and top_edges
            [2, edges] receivers and senders among atoms and blocks, bottom_edge_type and top_edge_type [edges].
    """

    unit_repr: Tensor
    block_repr: Tensor
    graph_repr: Tensor
    loss: Tensor | None = None
    terms: dict[str, Tensor] = field(default_factory=dict)
    representation: Representation | None = field(default=None, repr=False)

    def parts(self) -> dict[str, Tensor]:
        """Everything to log: the loss and its named terms."""
        return ({} if self.loss is None else {"loss": self.loss}) | self.terms

    def __getattr__(self, name: str) -> Tensor:
        terms = self.__dict__.get("terms", {})
        ours = PUBLISHED_TERMS.get(name, name)
        if ours in terms:
            return terms[ours]
        found = self.__dict__.get("representation")
        if name in OF_REPRESENTATION and found is not None:
            return OF_REPRESENTATION[name](found)
        raise AttributeError(f"{type(self).__name__} has no {name!r}; its terms are {', '.join(terms) or 'none'}")


@dataclass
class TaskOutput(PredictionOutput):
    """Embeddings and the prediction of a task; loss is None where the batch has no label.

    Attributes:
        pred: [graphs] value or probability, [graphs, targets] values, [graphs, classes] probabilities, or
            [masked, classes] of masked blocks.
        logits: what the head gives before sigmoid or softmax; energies [blocks, targets] of an affinity predictor.
    """

    pred: Tensor | None = None
    logits: Tensor | None = None


@dataclass
class MaskedOutput(TaskOutput):
    """Embeddings and the types of masked blocks: pred [masked, classes] probabilities, logits before softmax."""

    @property
    def masked_logits(self) -> Tensor | None:
        """The logits, under the name that they have in pretraining."""
        return self.logits

    @property
    def pred_blocks(self) -> Tensor | None:
        """The prediction, under the name that it has in pretraining."""
        return self.pred


@dataclass
class InterfaceOutput(PredictionOutput):
    """Embeddings of the protein's side, and how they match those of the complexes.

    Attributes:
        pred: [graphs, H] the protein's side in the common space. cmplx_pred: [graphs, H] the complexes.
        cmplx_graph_repr: [graphs, H] what the frozen encoder says of the complexes. prot_ffn_out, cmplx_ffn_out: before
            scaling to length 1. None where the batch holds no complexes.
    """

    pred: Tensor | None = None
    prot_ffn_out: Tensor | None = None
    cmplx_pred: Tensor | None = None
    cmplx_graph_repr: Tensor | None = None
    cmplx_ffn_out: Tensor | None = None

    def __getattr__(self, name: str) -> Tensor:
        if name in ("prot_unit_repr", "prot_block_repr", "prot_graph_repr"):  # as the published program names them
            return getattr(self, name.removeprefix("prot_"))
        return super().__getattr__(name)


@dataclass
class DenoiseOutput(PredictionOutput):
    """Embeddings, losses and predictions of a pretraining step; what the model or batch lacks is None.

    Terms: `<name>_loss` and `<name>_base` (the loss of predicting nothing) for torsion, translation, rotation, atom and
    masked; those of a noise that is off are zero as attributes, and absent from `terms`.

    Attributes:
        pred_translation, pred_rotation: [graphs, 3] scaled; `..._raw` before scaling, `..._scale` [graphs, 1].
        pred_torsion: [bonds]. torsion_slots: the neighbours used, as laid out. torsion_target: [bonds].
        pred_atom: [atoms, 3] scaled, pred_atom_raw before, atom_scale [blocks, 1].
        masked_logits: [masked, classes].
    """

    pred_translation: Tensor | None = None
    pred_translation_raw: Tensor | None = None
    translation_scale: Tensor | None = None
    pred_rotation: Tensor | None = None
    pred_rotation_raw: Tensor | None = None
    rotation_scale: Tensor | None = None
    pred_torsion: Tensor | None = None
    torsion_slots: Slots | None = field(default=None, repr=False)
    torsion_target: Tensor | None = field(default=None, repr=False)
    pred_atom: Tensor | None = None
    pred_atom_raw: Tensor | None = None
    atom_scale: Tensor | None = None
    masked_logits: Tensor | None = None

    def __getattr__(self, name: str) -> Tensor:
        loss = self.__dict__.get("loss")
        if loss is not None and PUBLISHED_TERMS.get(name, name) in OF_PRETRAINING:
            return self.terms.get(PUBLISHED_TERMS.get(name, name), loss.new_zeros(()))
        return super().__getattr__(name)

    @property
    def tor_base(self) -> Tensor:
        """Mean square of the torsion targets over all bonds, as the published program logs it; `torsion_base` is a mean
        over complexes, as the loss."""
        target = self.graph_repr.new_zeros(0) if self.torsion_target is None else self.torsion_target
        return target.square().sum() / max(len(target), 1)

    @property
    def torsion_edges(self) -> Tensor | None:
        """[2, pairs] bond and atom of every neighbour that the torsion head used."""
        slots = self.torsion_slots
        return None if slots is None else torch.stack([slots.receiver, slots.sender])[:, slots.filled]

    tor_edge_index = torsion_edges

    @property
    def pred_blocks(self) -> Tensor | None:
        """[masked, classes] probabilities of the types of the masked blocks."""
        return None if self.masked_logits is None else self.masked_logits.softmax(1)
