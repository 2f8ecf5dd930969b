"""Which blocks matter: what masking a block, or a first-order estimate of it, changes in a model's result.

The target is the representation of the whole complex, that of one of its sides, or what a model with a head predicts.
"""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from data.item import Item
from data.vocab import ATOM_MASK, GLOBAL, MASK
from models.explained import Explained, Importance, Target
from models.masked_passes import masked_vectors

Method = Literal["mask", "gradient"]
METHODS: tuple[Method, ...] = ("mask", "gradient")
MAX_BLOCKS = 4000
"""Blocks of all copies that are computed at a time: bounds memory at about 1 GB for models of the published sizes."""
PROBES = 8
"""Random directions by which the gradient method measures a change of a representation."""


def block_importance(
    model: Any,
    item: Item,
    target: Target = "complex",
    method: Method = "mask",
    output: int | None = None,
    max_blocks: int = MAX_BLOCKS,
    tolerance: float = 0.0,
) -> Importance:
    """Score every block of an item.

    Args:
        method: `mask` masks each block; `gradient` estimates the same from a few gradients, however many blocks there
            are (see `gradient_scores`).
        output: number of the target, class or label that is explained (`models.answers.output_number`); None: the first
            target, or the likeliest class or label, or of two classes the second.
        max_blocks: of all copies, computed at a time.
        tolerance: of `mask`; 0: scores are exact. Above, atoms that feel less of a mask than this (see `AtomCopies.of`)
            are not computed again: with 0.1 faster, and about as exact as docs/explain.md tells.

    Raises:
        ConfigError: a model without a prediction, or no such output. DataError: the item has no such segment.
    """
    what = Explained(model, target, output)
    what.check(item)
    with torch.inference_mode():
        vectors = masked_vectors(what, item, max_blocks, tolerance)
        before = what.chosen(next(vectors))
        if method == "mask":
            return what.importance(before, torch.cat(list(vectors)))
    return Importance(gradient_scores(what, item), float(before) if what.predicts else None)


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
