"""Two levels, atoms and blocks, and the pooled representation of a complex (parity SPEC 4.8)."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data.vocab import ATOM_GLOBAL, GLOBAL, MODALITIES, PUBLISHED_MODALITY
from models.batch_checks import check_range
from models.config import EncoderConfig
from models.edges import Edges, neighbour_edges
from models.embeds import Embeds
from models.encoder import Encoded, Encoder, MessagePassing
from models.graph import Graph, integers, on_host, on_same_device, read_graph, runs, starts
from models.hub_model import HubModel
from models.layers.attention import AttentionPooling, BlockAttention, padded_keys, similar_sizes

N_ATOM_TYPES = 121


@dataclass
class Representation:
    """What the backbone makes of a batch.

    Attributes:
        unit_repr: [atoms, H], block_repr: [blocks, H], graph_repr: [graphs, H]; rows of length 1.
        head_blocks: [blocks, H] what heads and pooling see: block_repr, with external block vectors mixed in.
        graph: indices of the batch. atoms, blocks: equivariant features of both levels.
        atom_edges, block_edges: edges of both levels.
    """

    unit_repr: Tensor
    block_repr: Tensor
    graph_repr: Tensor
    head_blocks: Tensor = field(repr=False)
    graph: Graph = field(repr=False)
    atoms: Encoded = field(repr=False)
    blocks: Encoded = field(repr=False)
    atom_edges: Edges = field(repr=False)
    block_edges: Edges = field(repr=False)


class TypeEmbedding(nn.Module):
    """Tables of block and atom types."""

    def __init__(self, n_block_types: int, hidden: int) -> None:
        super().__init__()
        self.block_embedding = nn.Embedding(n_block_types, hidden)
        self.atom_embedding = nn.Embedding(N_ATOM_TYPES, hidden)


def rows_of_modalities(n_rows: int) -> Tensor:
    """[modalities] row of the modality embedding for each kind of complex; with the eight published rows, kinds of our
    own take that of the most similar published kind."""
    if n_rows >= len(MODALITIES):
        return torch.arange(n_rows)
    return torch.tensor([MODALITIES.index(PUBLISHED_MODALITY[name]) for name in MODALITIES])


def full_precision(like: Tensor) -> torch.autocast:
    """Turns torch's automatic mixed precision off: the model's own options say what runs in bfloat16."""
    return torch.autocast(like.device.type, enabled=False)


class Backbone(Embeds, HubModel, nn.Module):
    """The encoder that all models share; parameter names are the published ones.

    A model of a task derives from it, or holds one, and adds its head.
    """

    row_of_modality: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.atom_hidden_size
        self.block_embedding = TypeEmbedding(config.block_types, hidden)
        self.edge_embedding_bottom = nn.Embedding(4, config.edge_size)
        self.edge_embedding_top = nn.Embedding(4, config.edge_size)
        if config.modality_embedding:
            self.modality_embedding = nn.Embedding(config.num_modalities, hidden)
            self.register_buffer("row_of_modality", rows_of_modalities(config.num_modalities), persistent=False)
        self.encoder = Encoder(self.make_bottom(config))
        self.top_encoder = Encoder(MessagePassing(config))
        self.atom_block_attn = BlockAttention(hidden, config.dropout)
        self.atom_block_attn_norm = nn.LayerNorm(hidden)
        self.attention_pooling = AttentionPooling(hidden, config.dropout, config.padding)

    def make_bottom(self, config: EncoderConfig) -> MessagePassing:
        """The atom level; models with noise heads put theirs here."""
        return MessagePassing(config)

    def forward(self, batch: Any) -> Representation:
        return self.encode(batch)

    def encode(self, batch: Any, features: bool = True) -> Representation:
        """Represent a batch.

        Args:
            features: False: equivariant features are not needed, only the embeddings (faster; see MessagePassing).
            batch: mapping or torch-geometric batch with X, A, B, block_lengths, segment_ids, lengths (and modality,
                block_embeddings where the model uses them).

        Raises:
            DataError: the batch lacks something.
        """
        with full_precision(self.edge_embedding_bottom.weight):
            graph = self.read(batch)
            config = self.config
            edges = neighbour_edges(graph.atoms, config.k_neighbors, config.bottom_global_message_passing)
            start = self.block_embedding.atom_embedding(graph.A)
            atoms = self.encoder.encoder(start, graph.atoms, edges, self.edge_embedding_bottom.weight, features)
            return self.from_atoms(batch, graph, atoms, edges, features)

    def read(self, batch: Any) -> Graph:
        """The batch with the indices that this model needs."""
        dtype = self.edge_embedding_bottom.weight.dtype
        graph = read_graph(batch, dtype, unknown_is_special=self.config.unknown_blocks == "global")
        if on_host(graph.B):
            check_range("A", graph.A, N_ATOM_TYPES, "atom types of data/vocabularies")
            check_range("B", graph.B, self.config.block_types, "block types of the model's vocabulary")
        return graph

    def from_atoms(
        self,
        batch: Any,
        graph: Graph,
        atoms: Encoded,
        atom_edges: Edges,
        features: bool = True,
        between_blocks: tuple[Edges, tuple[Tensor, Tensor]] | None = None,
    ) -> Representation:
        """The representation, when the atom level is done: block level and pooling.

        Args:
            between_blocks: edges of the block level and their geometry, where they are known already.
        """
        config, kinds = self.config, self.edge_embedding_top.weight
        block_edges, geometry = between_blocks or (None, None)
        if block_edges is None:
            block_edges = neighbour_edges(graph.blocks, config.k_neighbors, config.global_message_passing)
        start = self.mix_before(self.start_of_blocks(graph, batch), batch)
        start = self.atom_block_attn_norm(start + self.attend_to_atoms(start, atoms.out, graph))
        blocks = self.top_encoder.encoder(start, graph.blocks, block_edges, kinds, features, geometry)
        mixed = self.mix_after(blocks.out, batch)
        pooled = self.pool(mixed, graph)
        return Representation(atoms.out, blocks.out, pooled, mixed, graph, atoms, blocks, atom_edges, block_edges)

    def start_of_blocks(self, graph: Graph, batch: Any) -> Tensor:
        """[blocks, H] embedding of the block types, with that of the kind of complex on global blocks."""
        start = self.block_embedding.block_embedding(graph.B)
        modality = integers(batch, "modality")
        if not self.config.modality_embedding or modality is None:
            return start
        known = (modality >= 0)[graph.graph_of_block] & (graph.B == GLOBAL)
        kinds = self.modality_embedding(self.row_of_modality[modality.clamp(min=0)])[graph.graph_of_block]
        return start + kinds * known[:, None]

    def attend_to_atoms(self, blocks: Tensor, atoms: Tensor, graph: Graph) -> Tensor:
        """[blocks, H] attention of each block to its atoms."""
        takes_part = torch.ones_like(graph.A, dtype=torch.bool)
        if not self.config.bottom_global_message_passing:
            takes_part = graph.A != ATOM_GLOBAL
        padded = padded_keys(self.config.padding, graph.block_of_atom, takes_part, graph.graph_of_block, graph.n_graphs)
        return self.atom_block_attn(blocks, atoms, graph.block_of_atom, takes_part, padded)

    def pool(self, block_repr: Tensor, graph: Graph) -> Tensor:
        """[graphs, H] pooled blocks; without the global ones unless they pass messages."""
        sizes = np.array(graph.lengths_list, np.int64)
        if not self.config.global_message_passing:
            sizes = np.array(graph.ordinary_list, np.int64)
            block_repr = block_repr[(graph.B == GLOBAL).long().argsort(stable=True)[: int(sizes.sum())]]
        return self.pool_sets(block_repr, sizes)

    def pool_sets(self, block_repr: Tensor, sizes: np.ndarray) -> Tensor:
        """[sets, H] pooled blocks of each set; the sets stand one after another. sizes: [sets] blocks."""
        groups = [np.arange(len(sizes))] if self.config.padding == "batch" else similar_sizes(sizes)
        pooled = []
        for chosen in groups:
            owner, slot = runs(sizes[chosen], block_repr)
            rows = on_same_device(starts(sizes)[chosen], block_repr)[owner] + slot
            n_slots = int(sizes[chosen].max(initial=0))
            pooled.append(self.attention_pooling(block_repr[rows], owner, slot, len(chosen), n_slots))
        return torch.cat(pooled)[on_same_device(np.argsort(np.concatenate(groups)), block_repr)]

    def mix_before(self, start: Tensor, batch: Any) -> Tensor:
        """Place for external block vectors before the cross attention."""
        return start

    def mix_after(self, block_repr: Tensor, batch: Any) -> Tensor:
        """Place for external block vectors after the block level."""
        return block_repr
