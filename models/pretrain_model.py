"""The pretraining model: undo the noise, name the masked blocks."""

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from configs.errors import DataError
from models.backbone import Representation
from models.batch_checks import check_bonds
from models.block_embeddings import BlockEmbeddingMixer
from models.config import DenoiseBlockEmbeddingConfig, DenoiseConfig
from models.graph import field as entry
from models.graph import integers, on_host
from models.heads import NoiseHeads
from models.layers.mlp import masked_ffn, scale_ffn
from models.losses import atom_loss, masked_base, masked_loss, squared_error, torsion_loss
from models.outputs import DenoiseOutput
from models.prediction_model import PredictionModel


@dataclass
class Terms:
    """Losses and predictions as the heads make them."""

    terms: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    predictions: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, weight: float, loss: Tensor, base: Tensor, **predictions: Any) -> None:
        self.terms |= {f"{name}_loss": loss, f"{name}_base": base.detach()}
        self.weights[name] = weight
        self.predictions |= predictions

    def total(self, like: Tensor) -> Tensor:
        weighted = [weight * self.terms[f"{name}_loss"] for name, weight in self.weights.items()]
        return sum(weighted, like.new_zeros(()))


class DenoisePretrainModel(PredictionModel):
    """Predict translation, rotation, torsion and atom noise of one segment, and the types of masked blocks.

    Example:
        output = DenoisePretrainModel(DenoiseConfig(...))(batch)
        output.loss.backward()
        output.parts()   # every loss beside its base, to log
    """

    Config: type = DenoiseConfig
    config: DenoiseConfig
    top_scale_noise_ffn: nn.Sequential
    top_translation_scale_ffn: nn.Sequential
    top_rotation_scale_ffn: nn.Sequential

    def __init__(self, config: DenoiseConfig) -> None:
        super().__init__(config)
        hidden, dropout = config.atom_hidden_size, config.dropout
        if config.atom_noise:
            self.top_scale_noise_ffn = scale_ffn(hidden, dropout)
        if config.translation_noise:
            self.top_translation_scale_ffn = scale_ffn(hidden, dropout)
        if config.rotation_noise:
            self.top_rotation_scale_ffn = scale_ffn(hidden, dropout)
        if config.num_masked_block_classes:
            self.masked_ffn = masked_ffn(hidden, config.num_masked_block_classes, dropout)

    def make_bottom(self, config: Any) -> NoiseHeads:
        return NoiseHeads(config)

    @property
    def heads(self) -> NoiseHeads:
        """The atom level with its noise heads."""
        return cast(NoiseHeads, self.encoder.encoder)

    def predict(self, batch: Any, found: Representation) -> DenoiseOutput:
        """Losses and predictions of an encoded batch.

        Raises:
            DataError: the batch lacks the targets of a noise that the model predicts.
        """
        done = Terms()
        if self.config.translation_noise or self.config.rotation_noise:
            self.add_segment_noise(done, batch, found)
        if self.config.torsion_noise:
            self.add_torsion(done, batch, found)
        if self.config.atom_noise:
            self.add_atom_noise(done, batch, found)
        if self.config.num_masked_block_classes:
            self.add_masked(done, batch, found)
        return DenoiseOutput(
            *(found.unit_repr, found.block_repr, found.graph_repr),
            loss=done.total(found.graph_repr),
            terms=done.terms,
            representation=found,
            **done.predictions,
        )

    def add_segment_noise(self, done: Terms, batch: Any, found: Representation) -> None:
        """Translation and rotation of the noised segment."""
        needed(batch, "noisy_segment")
        translation, rotation = self.heads.segment_noise(found.atoms, found.graph)
        if self.config.translation_noise:
            scale = self.top_translation_scale_ffn(found.graph_repr)
            target = -needed(batch, "tr_score").to(scale)
            loss = squared_error(needed(batch, "tr_eps").to(scale)[:, None] * scale * translation, target)
            done.add(
                *("translation", self.config.translation_weight, loss, squared_error(0 * target, target)),
                pred_translation=scale * translation,
                pred_translation_raw=translation,
                translation_scale=scale,
            )
        if self.config.rotation_noise:
            scale = self.top_rotation_scale_ffn(found.graph_repr)
            target = needed(batch, "rot_score").to(scale)
            done.add(
                *("rotation", self.config.rotation_weight),
                *(squared_error(scale * rotation, target), squared_error(0 * target, target)),
                pred_rotation=scale * rotation,
                pred_rotation_raw=rotation,
                rotation_scale=scale,
            )

    def add_torsion(self, done: Terms, batch: Any, found: Representation) -> None:
        """Torsion bonds; a batch without any gives a loss of zero."""
        graph, like = found.graph, found.graph_repr
        owner = integers(batch, "tor_batch")
        if owner is None:
            bonds, owner, target = graph.A.new_zeros(2, 0), graph.A.new_zeros(0), like.new_zeros(0)
        else:
            bonds, target = needed(batch, "tor_edges").long(), needed(batch, "tor_score").to(like)
            if on_host(owner):
                check_bonds(bonds, target, owner, len(graph.A), graph.n_graphs)
        prediction, slots = self.heads.torsion_noise(found.atoms, graph, bonds)
        done.add(
            *("torsion", self.config.torsion_weight),
            torsion_loss(prediction, target, owner, graph.n_graphs),
            torsion_loss(torch.zeros_like(target), target, owner, graph.n_graphs),
            pred_torsion=prediction,
            torsion_slots=slots,
            torsion_target=target,
        )

    def add_atom_noise(self, done: Terms, batch: Any, found: Representation) -> None:
        """Gaussian noise of the atoms of the noised segment."""
        graph, level = found.graph, found.graph.atoms
        kinds = self.edge_embedding_bottom.weight
        raw = self.heads.atom_noise(found.atoms, graph, found.atom_edges, kinds)
        scale = self.top_scale_noise_ffn(found.head_blocks)
        target = needed(batch, "atom_score").to(raw)
        noised = level.segment == needed(batch, "noisy_segment").long()[level.graph]
        scaled = scale[graph.block_of_atom] * raw
        prediction = needed(batch, "atom_eps").to(raw)[level.graph, None] * scaled
        loss, base = (
            atom_loss(p, target, noised, level.graph, graph.n_graphs) for p in (prediction, torch.zeros_like(target))
        )
        done.add(*("atom", self.config.atom_weight, loss, base), pred_atom=scaled, pred_atom_raw=raw, atom_scale=scale)

    def add_masked(self, done: Terms, batch: Any, found: Representation) -> None:
        """Types of the masked blocks; a batch without any gives a loss of zero."""
        rows, labels = masked_rows(batch, found)
        logits = self.masked_ffn(found.head_blocks[rows])
        loss, base = masked_loss(logits, labels), masked_base(logits)
        done.add("masked", self.config.mask_weight, loss, base, masked_logits=logits)


class DenoisePretrainModelWithBlockEmbedding(BlockEmbeddingMixer, DenoisePretrainModel):
    """Pretraining with external vectors of every block (`block_embeddings` of the batch)."""

    Config = DenoiseBlockEmbeddingConfig


def masked_rows(batch: Any, found: Representation) -> tuple[Tensor, Tensor]:
    """[masked] rows of the masked blocks and their labels; none where the batch has none.

    Raises:
        DataError: not as many labels as masked blocks.
    """
    masked, labels = entry(batch, "masked_blocks"), integers(batch, "masked_labels")
    if masked is None or labels is None:
        return found.graph.B.new_zeros(0), found.graph.B.new_zeros(0)
    masked = torch.as_tensor(masked)
    if on_host(masked) and int(masked.sum()) != len(labels):
        raise DataError(f"masked_blocks marks {int(masked.sum())} blocks, masked_labels has {len(labels)}", "batch")
    # argsort in place of nonzero(): the number of masked blocks is known from the labels
    return masked.logical_not().to(torch.uint8).argsort(stable=True)[: len(labels)], labels


def needed(batch: Any, name: str) -> Tensor:
    """An entry of the batch that a head can't do without."""
    value = entry(batch, name)
    if value is None:
        raise DataError(f"lacks {name}", "batch", hint="the model predicts this noise; switch the noise on in the data")
    return torch.as_tensor(value)
