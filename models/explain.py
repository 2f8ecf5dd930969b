"""Which blocks matter: what masking a block, or a first-order estimate of it, changes in a model's result.

The target is the representation of the whole complex, that of one of its sides, or what a model with a head predicts.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from configs.errors import ConfigError, DataError
from data.collate import collate_items
from data.item import Item
from data.masking import apply_mask
from data.vocab import ATOM_MASK, GLOBAL, MASK
from models.backbone import Backbone, Representation, full_precision
from models.encoder import Encoded
from models.graph import Graph
from models.masked_batch import CollatedItem
from models.masked_copies import AtomCopies, BlockCopies
from models.named import Wanted, named_representations, segments_of
from models.units import scale_of

Target = Literal["complex", "segment0", "segment1", "prediction"]
Method = Literal["mask", "gradient"]
TARGETS: tuple[Target, ...] = ("complex", "segment0", "segment1", "prediction")
METHODS: tuple[Method, ...] = ("mask", "gradient")
MAX_BLOCKS = 4000
"""Blocks of all copies that are computed at a time: bounds memory at about 1 GB for models of the published sizes."""
PROBES = 8
"""Random directions by which the gradient method measures a change of a representation."""


class Importance(NamedTuple):
    """Scores of an item's blocks.

    Attributes:
        score: [blocks] of a representation, 1 - cosine between it and that of the item with the block masked; of a
            prediction, by how much the block raises it (prediction less that with the block masked).
        value: the prediction for the item; None for representations.
    """

    score: np.ndarray
    value: float | None = None


def block_importance(
    model: Any,
    item: Item,
    target: Target = "complex",
    method: Method = "mask",
    output: int | None = None,
    max_blocks: int = MAX_BLOCKS,
) -> Importance:
    """Score every block of an item.

    Args:
        method: `mask` masks each block; `gradient` estimates the same from a few gradients, however many blocks there
            are (see `gradient_scores`).
        output: number of the target, class or label that is explained (`models.answers.output_number`); None: the first
            target, or the likeliest class or label, or of two classes the second.
        max_blocks: of all copies, computed at a time.

    Raises:
        ConfigError: a model without a prediction, or no such output. DataError: the item has no such segment.
    """
    what = Explained(model, target, output)
    what.check(item)
    with torch.inference_mode():
        vectors = masked_vectors(what, item, max_blocks)
        before = what.chosen(next(vectors))
        if method == "mask":
            return what.importance(before, torch.cat(list(vectors)))
    return Importance(gradient_scores(what, item), float(before) if what.predicts else None)


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
        if pred.ndim == 2 and self.classes:
            return pred if self.output is None else pred[:, self.output]
        facts = getattr(self.model, "facts", {}).get("labels") or {}
        if "transform" in facts:
            pred = scale_of(self.model).inverse(pred.reshape(len(pred), -1))
        if pred.ndim == 1:
            return 1 - pred if self.output == 0 and hasattr(self.model, "classifier_ffn") else pred
        if not 0 <= (self.output or 0) < pred.shape[1]:
            raise ConfigError(f"is not below {pred.shape[1]}", "--output", str(self.output))
        return pred[:, self.output or 0]

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


def masked_vectors(what: Explained, item: Item, max_blocks: int = MAX_BLOCKS) -> Iterator[Tensor]:
    """What is explained: first of the item, then of it with each block masked in turn, some copies at a time."""
    backbone, at_a_time = what.backbone, max(1, max_blocks // item.n_blocks)
    if backbone.config.bottom_global_message_passing:  # a mask then moves every atom's neighbourhood
        yield what.vectors(*what.encode([item]))
        for start in range(0, item.n_blocks, at_a_time):
            stop = min(item.n_blocks, start + at_a_time)
            yield what.vectors(*what.encode([masked_copy(item, block) for block in range(start, stop)]))
        return
    collated = CollatedItem(item)
    with full_precision(backbone.edge_embedding_bottom.weight):
        shared = AtomCopies(backbone, collated, features=False)
        all_ordinary = int(shared.graph.blocks.special.sum()) == collated.n_blocks - item.n_blocks
        between_blocks = BlockCopies(backbone, shared.graph.blocks) if all_ordinary else None  # else masks change edges

        def vectors(batch: dict[str, Tensor], graph: Graph, atoms: Encoded) -> Tensor:
            between = None if between_blocks is None else between_blocks.of(graph.blocks)
            return what.vectors(backbone.from_atoms(batch, graph, atoms, shared.edges, False, between), batch)

        yield vectors(what.to_device(collated.batch()), shared.graph, shared.result)
        for start in range(0, item.n_blocks, at_a_time):
            blocks = collated.ordinary[start : start + at_a_time]
            masked = collated.masked(blocks)
            batch = what.to_device(masked.batch)
            yield vectors(batch, backbone.read(batch), shared.of(blocks, masked))


def masked_copy(item: Item, block: int) -> Item:
    """The item with one block masked."""
    return apply_mask(item, np.arange(item.n_blocks) == block)


def gradient_scores(what: Explained, item: Item) -> np.ndarray:
    """[blocks] first-order estimate of what masking changes: gradient times (input less that of a masked block).

    Inputs are the start features: those of the types of a block's atoms, and of the block. That its atoms are also
    fewer and elsewhere is not seen. A prediction takes one gradient. The cosine between two representations h of
    length 1 has none where they are equal; to second order 1 - cosine = |J d|^2 / 2, with J the derivative of h and d
    the difference of the inputs, and |J d|^2 is the mean of (v J d)^2 over normal random v: `PROBES` gradients, with
    the same v for every block and item.
    """
    probes = 1 if what.predicts else PROBES
    backbone, seen = what.backbone, {}
    tables = {"atom": backbone.block_embedding.atom_embedding, "block": backbone.block_embedding.block_embedding}

    def catch(name: str) -> Any:
        def hook(module: Any, arguments: Any, out: Tensor) -> Tensor:
            seen[name] = out.detach().requires_grad_()
            return seen[name]

        return hook

    hooks = [table.register_forward_hook(catch(name)) for name, table in tables.items()]
    trained = [weight for weight in what.model.parameters() if weight.requires_grad]
    try:
        for weight in trained:  # their gradients would be made for nothing
            weight.requires_grad_(False)
        found, batch = what.encode([item] * probes)
        vectors = what.vectors(found, batch)
        if not what.predicts:
            generator = torch.Generator().manual_seed(0)
            directions = torch.randn(vectors.shape, generator=generator, dtype=torch.float64)
            vectors = vectors * directions.to(vectors)
        gradients = dict(zip(tables, torch.autograd.grad(vectors.sum(), [seen[name] for name in tables])))
    finally:
        for hook in hooks:
            hook.remove()
        for weight in trained:
            weight.requires_grad_(True)
    masks = {"atom": ATOM_MASK, "block": MASK}
    with torch.no_grad():
        changes = {name: (gradients[name] * (seen[name] - tables[name].weight[masks[name]])).sum(1) for name in tables}
        total = changes["block"].double().index_add(0, found.graph.block_of_atom, changes["atom"].double())
        each = total[found.graph.B != GLOBAL].view(probes, item.n_blocks)
        return (each[0] if what.predicts else each.square().mean(0) / 2).cpu().numpy()
