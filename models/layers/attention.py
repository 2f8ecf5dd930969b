"""Attention from blocks to their atoms, and among the blocks of a graph (parity SPEC 4.8), in three padding modes.

`masked`: padding never takes part. `own`: each graph is padded as if alone in its batch. `batch`: padded over the
batch, as the published program does. n identical padded keys add n exp(score of the padded key) to a softmax
denominator and the padded value, weighted alike, to the sum; so padding is counted, not stored (except for pooling
under `batch`).
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs.schema import Padding

HEADS = 4
PADDED, SPARE = 1.5, 1 << 16
"""Graphs pooled together may have this factor more pairs of blocks than alone, or so many pairs more (measured)."""


class BlockAttention(nn.Module):
    """From each block (one query) to its atoms."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.query_proj = nn.Linear(hidden, hidden)
        self.key_proj = nn.Linear(hidden, hidden)
        self.value_proj = nn.Linear(hidden, hidden)
        self.output_proj = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, blocks: Tensor, atoms: Tensor, block_of_atom: Tensor, takes_part: Tensor, padded: Tensor
    ) -> Tensor:
        """[blocks, H].

        Args:
            blocks: [blocks, H]. atoms: [atoms, H]. block_of_atom: [atoms].
            takes_part: [atoms] whether an atom is a key.
            padded: [blocks] number of padded keys that each block sees.
        """
        split = (HEADS, blocks.shape[1] // HEADS)
        query = self.query_proj(blocks).unflatten(1, split) * split[1] ** -0.5
        key, value = self.key_proj(atoms).unflatten(1, split), self.value_proj(atoms).unflatten(1, split)
        score = (query[block_of_atom] * key).sum(2).masked_fill(~takes_part[:, None], -torch.inf)  # [atoms, heads]
        padded_score = (query * self.key_proj.bias.view(split)).sum(2)  # [blocks, heads]
        has_padding = (padded > 0)[:, None]
        with torch.no_grad():  # the shift cancels
            top = torch.where(has_padding, padded_score, -torch.inf)
            index = block_of_atom[:, None].expand(-1, HEADS)
            top = top.scatter_reduce(0, index, score, "amax").clamp(min=torch.finfo(top.dtype).min)
        weight = (score - top[block_of_atom]).exp()
        # where() keeps a large unused score out of exp and of its gradient
        padded_weight = torch.where(has_padding, padded_score - top, -torch.inf).exp() * padded[:, None]
        total = padded_weight.index_add(0, block_of_atom, weight)
        total = torch.where(total > 0, total, torch.ones_like(total))
        share = self.dropout(weight / total[block_of_atom])
        mixed = (padded_weight / total)[..., None] * self.value_proj.bias.view(split)
        mixed = mixed.index_add(0, block_of_atom, share[..., None] * value)
        return self.dropout(self.output_proj(mixed.flatten(1)))


def padded_keys(
    padding: Padding, block_of_atom: Tensor, takes_part: Tensor, graph_of_block: Tensor, n_graphs: int
) -> Tensor:
    """[blocks] number of padded keys that each block sees in cross attention."""
    n_blocks = len(graph_of_block)
    count = torch.zeros(n_blocks, dtype=torch.long, device=block_of_atom.device)
    count = count.index_add(0, block_of_atom, takes_part.long())
    if padding == "masked":
        return torch.zeros_like(count)
    if padding == "batch":
        return count.max() - count
    largest = count.new_zeros(n_graphs).scatter_reduce(0, graph_of_block, count, "amax")
    return largest[graph_of_block] - count


class SelfAttention(nn.Module):
    """Multi-head self-attention with the parameter names of torch's."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * hidden, hidden))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * hidden))
        self.out_proj = nn.Linear(hidden, hidden)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[graphs, slots, H] -> the same; mask [graphs, 1, 1, slots] is true for the keys that count."""
        parts = F.linear(x, self.in_proj_weight, self.in_proj_bias).unflatten(2, (3, HEADS, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class AttentionPooling(nn.Module):
    """Four layers of self-attention over the blocks of a graph, then their sum: [graphs, H] of length 1."""

    def __init__(self, hidden: int, dropout: float, padding: Padding) -> None:
        super().__init__()
        self.padding = padding
        self.attention_layers = nn.ModuleList(SelfAttention(hidden, dropout) for _ in range(4))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(4))
        self.graph_repr_fc = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, graph: Tensor, slot: Tensor, n_graphs: int, n_slots: int) -> Tensor:
        """Pool blocks.

        Args:
            x: [blocks, H]. graph: [blocks]. slot: [blocks] place of each block among those of its graph.
            n_slots: blocks of the largest graph.
        """
        rows = graph * n_slots + slot
        filled = torch.zeros(n_graphs * n_slots, dtype=torch.bool, device=x.device).index_fill(0, rows, True)
        filled = filled.view(n_graphs, n_slots)
        x = x.new_zeros(n_graphs * n_slots, x.shape[1]).index_copy(0, rows, x).view(n_graphs, n_slots, -1)
        mask = None if self.padding == "batch" or n_graphs == 1 else filled[:, None, None]
        for attention, norm in zip(self.attention_layers, self.norms, strict=True):
            x = norm(x + self.dropout(attention(x, mask)))
        total = (x * filled[..., None]).sum(1)
        return F.normalize(self.graph_repr_fc(total), dim=1, eps=1e-12)


def similar_sizes(sizes: np.ndarray) -> list[np.ndarray]:
    """Numbers of the graphs to pool together, so that small ones are not padded to the size of a large one.

    Args:
        sizes: [graphs] blocks.
    """
    pairs = sizes.astype(np.int64) ** 2
    if len(pairs) * pairs.max(initial=0) <= PADDED * pairs.sum() + SPARE:
        return [np.arange(len(sizes))]
    order = np.argsort(pairs, kind="stable")
    groups, first, needed = [], 0, 0
    for last, number in enumerate(order.tolist()):
        needed += int(pairs[number])
        if last > first and (last + 1 - first) * int(pairs[number]) > PADDED * needed + SPARE:
            groups.append(order[first:last])
            first, needed = last, int(pairs[number])
    return [*groups, order[first:]]
