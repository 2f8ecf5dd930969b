"""The eight named representations of atoms, blocks, interfaces and complexes (parity SPEC 10).

h: what the model was trained to make, vectors of length 1. z: invariants of the features behind them, made without
weights: scalars, and inner products between the channels of each kind of vector and tensor.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from configs.errors import CheckpointError, ConfigError
from configs.schema import nearest
from data.vocab import GLOBAL
from models.backbone import Backbone, Representation
from models.config import EncoderConfig
from models.encoder import Encoded
from models.layers.irreps import space_of_layer
from models.shipped import PRETRAINED

Level = Literal["atom", "block", "graph", "interface"]
Rule = Literal["mean_std_global", "mean_component_normalized"]
LEVELS: tuple[Level, ...] = get_args(Level)
RULES: tuple[Rule, ...] = get_args(Rule)
REPRESENTATIONS = tuple(f"{kind}_{level}" for kind in "hz" for level in LEVELS)
VECTORS = (1, 2, 3, 4)
"""Blocks of the full feature space that are no scalars: 1o, 2e, 1e, 2o."""
LAYERS_OF_Z = 3
OF_KERNELS = f"take the checkpoint that it was fitted on ({PRETRAINED}, for those that are shipped)"
SMALLEST = 1e-12


@dataclass(frozen=True)
class Wanted:
    """Which representations to make.

    Attributes:
        names: of REPRESENTATIONS. rule: how z of blocks becomes z_graph and z_interface.

    Raises:
        ConfigError: an unknown name or rule (with the nearest), none, or a rule that is left out where it matters, or
            given where it does not.
    """

    names: tuple[str, ...] = ("h_graph",)
    rule: Rule | None = None

    def __post_init__(self) -> None:
        if not self.names:
            raise ConfigError("names none", "--representations", hint=f"known: {', '.join(REPRESENTATIONS)}")
        for name in self.names:
            if name not in REPRESENTATIONS:
                hint = nearest(name, REPRESENTATIONS) or f"known: {', '.join(REPRESENTATIONS)}"
                raise ConfigError(f"unknown representation {name!r}", "--representations", hint=hint)
        if self.rule is not None and self.rule not in RULES:
            raise ConfigError(f"unknown rule {self.rule!r}", "--rule", hint=f"known: {', '.join(RULES)}")
        if self.rule is None and {"z_graph", "z_interface"} & set(self.names):
            what = "z_graph and z_interface need a rule, since the two that are in use give different numbers"
            raise ConfigError(what, "--rule", hint=f"one of {', '.join(RULES)}; --guidance tells which when")
        if self.rule is not None and not {"z_graph", "z_interface"} & set(self.names):
            what = f"says how z_graph and z_interface are made, and neither is among {', '.join(self.names)}"
            raise ConfigError(what, "--rule", hint="leave it out, or name one of them with --representations")

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels of these representations, coarse ones first."""
        return tuple(level for level in LEVELS[::-1] if any(level_of(name) == level for name in self.names))

    def of_level(self, level: Level) -> tuple[str, ...]:
        """The names at one level, in the order asked for."""
        return tuple(name for name in self.names if level_of(name) == level)

    def check(self, config: EncoderConfig) -> None:
        """Refuse what a model can't give; ConfigError."""
        shallow = [name for name in self.names if name.startswith("z")]
        if shallow and config.n_layers < LAYERS_OF_Z:
            what = f"{shallow[0]} needs a model of {LAYERS_OF_Z} layers or more, this one has {config.n_layers}"
            raise ConfigError(what, "--representations", hint="h_atom, h_block, h_graph, h_interface work with every")


def level_of(name: str) -> Level:
    """The level of a representation: what has one vector."""
    return cast(Level, name.partition("_")[2])


def width_of(name: str, config: EncoderConfig, rule: Rule | None = None) -> int:
    """Numbers in one vector of a representation."""
    hidden = config.atom_hidden_size
    products = 4 * (hidden // 2) * (hidden // 2 + 1) // 2
    atom = 2 * hidden + products
    block = hidden + products + 2 * atom
    pooled = 3 * block if rule == "mean_std_global" else block
    return {"z_atom": atom, "z_block": block, "z_graph": pooled, "z_interface": pooled}.get(name, hidden)


def backbone_of(model: Any) -> Backbone:
    """The encoder of a model; of the retrieval model, that of sides. CheckpointError for a model without one."""
    found = model if isinstance(model, Backbone) else getattr(model, "prot_model", None)
    if found is None:
        hint = f"`ligare predict` tells what it predicts; {PRETRAINED}, which is shipped, has vectors"
        if hasattr(model, "frozen"):
            hint = f"`ligare predict` tells what it predicts; for vectors and scores of blocks {OF_KERNELS}"
        what = f"is a {type(model).__name__}, which has no vectors of its own"
        raise CheckpointError(what, getattr(model, "source", "model"), hint=hint)
    return found


def vocabulary_of(model: Any) -> str | None:
    """Name of the vocabulary of the block types that a model knows."""
    config = getattr(model.config, "prot_model", model.config)
    return config.fragmentation_method


def named_representations(model: Any, found: Representation, wanted: Wanted) -> dict[str, Tensor]:
    """The representations of a batch by name.

    Args:
        model: that made `found`.

    Returns:
        [atoms, width], [blocks, width] with global nodes among them, [graphs, width], or [segments, width]: the
        segments that have blocks, graph after graph (`segments_of` tells which they are).

    Raises:
        ConfigError: the model is too shallow.
    """
    backbone = backbone_of(model)
    wanted.check(backbone.config)
    made: dict[str, Tensor] = {
        "h_atom": found.unit_repr,
        "h_block": found.block_repr,
        "h_graph": found.graph_repr,
    }
    if "h_interface" in wanted.names:
        made["h_interface"] = pool_segments(backbone, found)
    if any(name.startswith("z") for name in wanted.names):
        hidden = backbone.config.atom_hidden_size
        if "z_atom" in wanted.names:
            made["z_atom"] = torch.cat(list(parts_of_atoms(found.atoms, hidden)), 1)
        if wanted.names != ("z_atom",):
            made["z_block"] = z_of_blocks(found, hidden)
        if wanted.rule is not None and "z_graph" in wanted.names:
            made["z_graph"] = pool_z(made["z_block"], found, hidden, wanted.rule, by_segment=False)
        if wanted.rule is not None and "z_interface" in wanted.names:
            made["z_interface"] = pool_z(made["z_block"], found, hidden, wanted.rule, by_segment=True)
    return {name: made[name] for name in wanted.names}


def segments_of(found: Representation) -> np.ndarray:
    """[segments, 2] graph and segment number of every segment that has blocks, graph after graph."""
    key = (found.graph.graph_of_block * 2 + found.graph.segment_ids).cpu().numpy()
    present = np.unique(key)
    return np.stack([present // 2, present % 2], 1)


def pool_segments(backbone: Backbone, found: Representation) -> Tensor:
    """[segments, H] the learned pooling over the blocks of each segment alone.

    Global blocks take part as they do in `graph_repr`: when they pass messages.
    """
    graph = found.graph
    key = (graph.graph_of_block * 2 + graph.segment_ids).cpu().numpy()
    if not backbone.config.global_message_passing:
        ordinary = graph.B != GLOBAL
        key = key[ordinary.cpu().numpy()]
        return backbone.pool_sets(found.head_blocks[ordinary], np.unique(key, return_counts=True)[1])
    return backbone.pool_sets(found.head_blocks, np.unique(key, return_counts=True)[1])


def inner_products(features: Tensor, hidden: int) -> Iterator[Tensor]:
    """[nodes, h(h+1)/2] for each kind of vector and tensor: products of the pairs u <= v of its h channels."""
    space = space_of_layer(hidden, LAYERS_OF_Z)
    for number in VECTORS:
        x = space.block_of(features, number)  # (nodes, 2l+1, h)
        u, v = torch.triu_indices(x.shape[2], x.shape[2], device=x.device)
        yield (x.transpose(1, 2) @ x)[:, u, v]


def parts_of_atoms(atoms: Encoded, hidden: int) -> Iterator[Tensor]:
    """z_atom, a part after the other: the scalars, and the products of each kind."""
    yield atoms.scalars
    yield from inner_products(atoms.features, hidden)


def z_of_blocks(found: Representation, hidden: int) -> Tensor:
    """[blocks, width] h_block, products of the features of blocks, mean and deviation of z over the block's atoms.

    Sums are made in float64: the deviation is a difference of two close numbers.
    """
    owner, n_blocks = found.graph.block_of_atom, len(found.graph.B)
    means, deviations = [], []
    for part in parts_of_atoms(found.atoms, hidden):
        mean, deviation = mean_and_deviation(part, owner, n_blocks)
        means.append(mean)
        deviations.append(deviation)
    return torch.cat([found.block_repr, *inner_products(found.blocks.features, hidden), *means, *deviations], 1)


def mean_and_deviation(values: Tensor, owner: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """[n, width] mean and population standard deviation of the rows of each owner; zero where it has none."""
    wide = values.double()
    count = wide.new_zeros(n).index_add(0, owner, wide.new_ones(len(owner))).clamp(min=1)[:, None]
    mean = wide.new_zeros(n, wide.shape[1]).index_add(0, owner, wide) / count
    square = wide.new_zeros(n, wide.shape[1]).index_add(0, owner, wide * wide) / count
    deviation = (square - mean * mean).clamp(min=0).sqrt()
    return mean.to(values.dtype), deviation.to(values.dtype)


def pool_z(z_block: Tensor, found: Representation, hidden: int, rule: Rule, by_segment: bool) -> Tensor:
    """[graphs or segments, width] z of blocks pooled over the ordinary blocks by one of two rules.

    `mean_std_global`: mean, deviation, and z of the graph's first global block. `mean_component_normalized`: the mean,
    each of its three parts (h_block, products of blocks, atoms) divided by its length.
    """
    graph = found.graph
    owner, graph_of_row = graph.graph_of_block, torch.arange(graph.n_graphs, device=graph.B.device)
    if by_segment:
        rows, owner = (graph.graph_of_block * 2 + graph.segment_ids).unique(return_inverse=True)
        graph_of_row = rows // 2
    ordinary = graph.B != GLOBAL
    mean, deviation = mean_and_deviation(z_block[ordinary], owner[ordinary], len(graph_of_row))
    if rule == "mean_std_global":
        places = torch.arange(len(graph.B), device=graph.B.device)[~ordinary]
        first = places.new_zeros(graph.n_graphs).scatter_reduce(
            0, graph.graph_of_block[~ordinary], places, "amin", include_self=False
        )
        return torch.cat([mean, deviation, z_block[first[graph_of_row]]], 1)
    products = 4 * (hidden // 2) * (hidden // 2 + 1) // 2
    sizes: Sequence[int] = (hidden, products, mean.shape[1] - hidden - products)
    return torch.cat([F.normalize(part, dim=1, eps=SMALLEST) for part in mean.split(list(sizes), 1)], 1)
