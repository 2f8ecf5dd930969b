"""The pretraining model of the parity specification, written the plain way with stock e3nn: the honest opponent.

Same parameters (names as in published weights), same outputs with `padding="batch"`: what differs is only how the work
is done. Used by scripts/benchmark.py and as an oracle in the tests.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from e3nn import o3
from torch import Tensor, nn

from benchmarks.plain_edges import edges_of
from benchmarks.plain_layers import Convolution, distance_embedder, feature_space, harmonics


class PlainEncoder(nn.Module):
    """One level of message passing."""

    def __init__(self, hidden: int, edge_size: int, n_layers: int) -> None:
        super().__init__()
        self.hidden, self.deep = hidden, n_layers >= 3
        self.edge_embedder = distance_embedder(5.0, edge_size)
        spherical = o3.Irreps("1x0e + 1x1o + 1x2e")
        self.layers = nn.ModuleList(
            Convolution(feature_space(hidden, n), spherical, feature_space(hidden, n + 1), 2 * (hidden + edge_size))
            for n in range(n_layers)
        )
        width = 2 * hidden if self.deep else hidden
        self.out_ffn = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.0), nn.Linear(width, hidden))

    def forward(self, x: Tensor, positions: Tensor, edges: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        vectors = positions[edges[1]] - positions[edges[0]]
        filters, near = harmonics(vectors), self.edge_embedder(vectors.norm(dim=1))
        for layer in self.layers:
            scalars = x[:, : self.hidden]
            features = torch.cat([near, kinds, scalars[edges[0]], scalars[edges[1]]], 1)
            update = layer(x, edges, filters, features, len(x))
            x = F.pad(x, (0, update.shape[1] - x.shape[1])) + update
        z = torch.cat([x[:, : self.hidden], x[:, -self.hidden :]], 1) if self.deep else x[:, : self.hidden]
        return F.normalize(self.out_ffn(z), dim=1), x, z


class PlainNoiseHeads(PlainEncoder):
    """The bottom level with its translation, rotation and torsion heads."""

    def __init__(self, hidden: int, edge_size: int, n_layers: int, k: int) -> None:
        super().__init__(hidden, edge_size, n_layers)
        space, self.k = feature_space(hidden, n_layers), k
        spherical = o3.Irreps("1x0e + 1x1o + 1x2e")
        self.global_denoise_edge_embedder = distance_embedder(20.0, edge_size)
        self.global_denoise_predictor = Convolution(space, spherical, o3.Irreps("2x1o + 2x1e"), edge_size + hidden)
        self.torsion_edge_embedder = distance_embedder(5.0, edge_size)
        self.final_tp_tor = o3.FullTensorProduct(spherical, "1x2e")
        torsion_out = o3.Irreps(f"{hidden}x0o + {hidden}x0e")
        self.tor_bond_conv = Convolution(space, self.final_tp_tor.irreps_out, torsion_out, 2 * hidden + edge_size)
        self.tor_final_layer = nn.Sequential(
            nn.Linear(2 * hidden, hidden, bias=False), nn.Tanh(), nn.Dropout(0.0), nn.Linear(hidden, 1, bias=False)
        )

    def global_noise(self, x: Tensor, positions: Tensor, graph: Tensor, noised: Tensor, size: int) -> Tensor:
        atoms = noised.nonzero()[:, 0]
        centre = positions.new_zeros(size, 3).index_add_(0, graph[atoms], positions[atoms])
        centre = centre / torch.bincount(graph[atoms], minlength=size)[:, None]
        vectors = positions[atoms] - centre[graph[atoms]]
        near = self.global_denoise_edge_embedder(vectors.norm(dim=1))
        features = torch.cat([near, x[atoms, : self.hidden]], 1)
        out = self.global_denoise_predictor(x, torch.stack([graph[atoms], atoms]), harmonics(vectors), features, size)
        return out[:, :6] + out[:, 6:]

    def torsion(self, x: Tensor, z: Tensor, positions: Tensor, graph: Tensor, bonds: Tensor, owner: Tensor) -> Tensor:
        middle = (positions[bonds[0]] + positions[bonds[1]]) / 2
        close = (torch.cdist(middle, positions, compute_mode="donot_use_mm_for_euclid_dist") < 5) & (
            owner[:, None] == graph[None]
        )
        close &= close.cumsum(1) <= self.k
        edges = close.nonzero().T
        vectors = positions[edges[1]] - middle[edges[0]]
        axis = o3.spherical_harmonics(
            "1x2e", positions[bonds[1]] - positions[bonds[0]], normalize=True, normalization="component"
        )
        filters = self.final_tp_tor(harmonics(vectors), axis[edges[0]])
        ends = z[bonds[0], : self.hidden] + z[bonds[1], : self.hidden]
        near = self.torsion_edge_embedder(vectors.norm(dim=1))
        features = torch.cat([near, z[edges[1], : self.hidden], ends[edges[0]]], 1)
        return self.tor_final_layer(self.tor_bond_conv(x, edges, filters, features, bonds.shape[1]))[:, 0]


class _Inner(nn.Module):
    """Only there for the name `encoder.encoder`."""

    encoder: "PlainNoiseHeads"

    def __init__(self, encoder: PlainEncoder) -> None:
        super().__init__()
        self.add_module("encoder", encoder)


class _BlockEmbedding(nn.Module):
    def __init__(self, n_blocks: int, hidden: int) -> None:
        super().__init__()
        self.block_embedding = nn.Embedding(n_blocks, hidden)
        self.atom_embedding = nn.Embedding(121, hidden)


class _CrossAttention(nn.Module):
    """From each block to its atoms, padded with zero rows to the largest block of the batch."""

    query_proj: nn.Linear
    key_proj: nn.Linear
    value_proj: nn.Linear
    output_proj: nn.Linear

    def __init__(self, hidden: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        for name in ("query", "key", "value", "output"):
            setattr(self, f"{name}_proj", nn.Linear(hidden, hidden))

    def forward(self, blocks: Tensor, atoms: Tensor) -> Tensor:
        n, slots, width = atoms.shape
        split = (self.heads, width // self.heads)
        query = self.query_proj(blocks).view(n, 1, *split).transpose(1, 2)
        key = self.key_proj(atoms).view(n, slots, *split).transpose(1, 2)
        value = self.value_proj(atoms).view(n, slots, *split).transpose(1, 2)
        weights = (query @ key.transpose(2, 3) / split[1] ** 0.5).softmax(-1)
        return self.output_proj((weights @ value).transpose(1, 2).reshape(n, width))


class _Pooling(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.attention_layers = nn.ModuleList(nn.MultiheadAttention(hidden, 4, batch_first=True) for _ in range(4))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(4))
        self.graph_repr_fc = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor, kept: Tensor) -> Tensor:
        for attention, norm in zip(self.attention_layers, self.norms, strict=True):
            x = norm(x + attention(x, x, x, need_weights=False)[0])
        return F.normalize(self.graph_repr_fc((x * kept[..., None]).sum(1)), dim=1)


def padded(values: Tensor, row: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """[size, longest, width] rows of `values` that share an index, padded with zeros, and which slots are filled."""
    lengths = torch.bincount(row, minlength=size)
    slots = torch.arange(int(lengths.max()), device=row.device)
    filled = slots[None] < lengths[:, None]
    out = values.new_zeros(size, len(slots), values.shape[1])
    out[filled] = values
    return out, filled


class PlainDenoiseModel(nn.Module):
    """Two levels, torsion, translation, rotation and masked-block heads (`padding="batch"`)."""

    top_translation_scale_ffn: nn.Sequential
    top_rotation_scale_ffn: nn.Sequential

    def __init__(self, hidden: int = 32, edge_size: int = 32, n_layers: int = 4, k: int = 8, n_blocks: int = 440):
        super().__init__()
        self.k, self.weights = k, {"translation": 1.0, "rotation": 0.1, "torsion": 1.0, "masked": 1.0}
        self.block_embedding = _BlockEmbedding(n_blocks, hidden)
        self.edge_embedding_bottom, self.edge_embedding_top = nn.Embedding(4, edge_size), nn.Embedding(4, edge_size)
        self.encoder = _Inner(PlainNoiseHeads(hidden, edge_size, n_layers, k))
        self.top_encoder = _Inner(PlainEncoder(hidden, edge_size, n_layers))
        self.atom_block_attn, self.atom_block_attn_norm = _CrossAttention(hidden), nn.LayerNorm(hidden)
        self.attention_pooling = _Pooling(hidden)
        for name in ("translation", "rotation"):
            layers = [nn.ReLU(), nn.Dropout(0.0), nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(0.0)]
            setattr(self, f"top_{name}_scale_ffn", nn.Sequential(*layers, nn.Linear(hidden, 1, bias=False)))
        classes = n_blocks - 4
        self.masked_ffn = nn.Sequential(
            *(nn.ReLU(), nn.Linear(hidden, hidden), nn.Dropout(0.0)),
            *(nn.ReLU(), nn.Linear(hidden, classes), nn.Dropout(0.0)),
            *(nn.ReLU(), nn.Linear(classes, classes), nn.Dropout(0.0)),
        )

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """Load a published state dict; constants of the library are ignored, missing parameters are refused."""
        mine = self.state_dict()
        wanted = {name for name, _ in self.named_parameters()}
        missing = wanted - set(state)
        if missing:
            raise KeyError(f"weights lack {sorted(missing)[:5]}")
        self.load_state_dict({name: state[name] for name in mine if name in state}, strict=False)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        B, X, lengths = batch["B"], batch["X"], batch["lengths"]
        blocks, graphs = len(B), len(lengths)
        block_of_atom = torch.arange(blocks).repeat_interleave(batch["block_lengths"])
        graph_of_block = torch.arange(graphs).repeat_interleave(lengths)
        special, segment = (B == 3) | (B == 2), batch["segment_ids"]
        graph_of_atom = graph_of_block[block_of_atom]
        edges, kinds = edges_of(
            X, graph_of_atom, segment[block_of_atom], special[block_of_atom], self.k, with_global=False
        )
        atoms = self.block_embedding.atom_embedding(batch["A"])
        unit_repr, features, scalars = self.encoder.encoder(atoms, X, edges, self.edge_embedding_bottom(kinds))

        ordinary = B[block_of_atom] != 3
        slots, _ = padded(unit_repr[ordinary], block_of_atom[ordinary], blocks)
        start = self.block_embedding.block_embedding(B)
        start = self.atom_block_attn_norm(start + self.atom_block_attn(start, slots))
        centre = X.new_zeros(blocks, 3).index_add_(0, block_of_atom, X) / batch["block_lengths"][:, None]
        top_edges, top_kinds = edges_of(centre, graph_of_block, segment, special, self.k, with_global=True)
        block_repr, _, _ = self.top_encoder.encoder(start, centre, top_edges, self.edge_embedding_top(top_kinds))
        graph_repr = self.attention_pooling(*padded(block_repr, graph_of_block, graphs))
        out = {"unit_repr": unit_repr, "block_repr": block_repr, "graph_repr": graph_repr}
        if "noisy_segment" in batch:
            noised = segment[block_of_atom] == batch["noisy_segment"][graph_of_atom]
            out |= self.losses(batch, out, (features, scalars), graph_of_atom, noised)
        return out

    def losses(
        self,
        batch: Mapping[str, Tensor],
        out: dict[str, Tensor],
        bottom: tuple[Tensor, Tensor],
        graph: Tensor,
        noised: Tensor,
    ) -> dict[str, Tensor]:
        """Losses of parity SPEC 6."""
        heads, (features, scalars) = self.encoder.encoder, bottom
        both = heads.global_noise(features, batch["X"], graph, noised, len(batch["lengths"]))
        translation = both[:, :3] * self.top_translation_scale_ffn(out["graph_repr"])
        rotation = both[:, 3:] * self.top_rotation_scale_ffn(out["graph_repr"])
        owner = batch["tor_batch"]
        torsion = heads.torsion(features, scalars, batch["X"], graph, batch["tor_edges"], owner)
        squared, count = (torsion - batch["tor_score"]) ** 2, torch.bincount(owner)
        per_graph = squared.new_zeros(len(count)).index_add_(0, owner, squared) / count.clamp(min=1)
        logits = self.masked_ffn(out["block_repr"][batch["masked_blocks"]])
        parts = {
            "translation": F.mse_loss(batch["tr_eps"][:, None] * translation, -batch["tr_score"]),
            "rotation": F.mse_loss(rotation, batch["rot_score"]),
            "torsion": per_graph.mean(),
            "masked": F.cross_entropy(logits, batch["masked_labels"]),
        }
        total = sum((self.weights[name] * value for name, value in parts.items()), torch.zeros(()))
        return {f"{name}_loss": value for name, value in parts.items()} | {"loss": total, "pred_torsion": torsion}
