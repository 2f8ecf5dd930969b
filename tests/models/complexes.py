"""Made-up complexes: random clouds of atoms in two segments, with the targets of every noise."""

from typing import Any

import torch
from torch import Tensor

from models import DenoiseConfig

SMALL: dict[str, Any] = {
    "atom_hidden_size": 8,
    "block_hidden_size": 8,
    "edge_size": 6,
    "n_layers": 3,
    "k_neighbors": 4,
    "global_message_passing": True,
    "num_block_types": 40,
}
ALL_NOISE = {"atom_noise": True, "num_masked_block_classes": 36}


def small_config(**changes: Any) -> DenoiseConfig:
    return DenoiseConfig(**(SMALL | ALL_NOISE | changes))


def complex_of(generator: torch.Generator, blocks: tuple[int, ...] = (5, 4), atoms: int = 4) -> dict[str, Tensor]:
    """One graph as a batch; `blocks` ordinary blocks in each segment, up to `atoms` atoms each."""
    X, A, B, lengths, segments = [], [], [], [], []
    for segment, count in enumerate(blocks):
        sizes = torch.randint(1, atoms + 1, (count,), generator=generator)
        centres = 3.0 * torch.randn(count, 3, generator=generator) + torch.tensor([6.0 * segment, 0, 0])
        points = centres.repeat_interleave(sizes, 0) + torch.randn(int(sizes.sum()), 3, generator=generator)
        X += [points.mean(0, keepdim=True), points]
        A += [torch.tensor([2]), torch.randint(3, 20, (len(points),), generator=generator)]
        B += [torch.tensor([3]), torch.randint(4, 40, (count,), generator=generator)]
        lengths += [torch.tensor([1]), sizes]
        segments.append(torch.full((count + 1,), segment))
    batch = {"X": torch.cat(X), "A": torch.cat(A), "B": torch.cat(B), "block_lengths": torch.cat(lengths)}
    batch |= {"segment_ids": torch.cat(segments), "lengths": torch.tensor([len(batch["B"])])}
    return batch | targets(batch, generator)


def targets(batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Made-up noise targets of one graph."""
    n_atoms, n_blocks = len(batch["A"]), len(batch["B"])
    segment = int(batch["segment_ids"].max()) if torch.rand((), generator=generator) < 0.5 else 0
    of_atom = batch["segment_ids"].repeat_interleave(batch["block_lengths"])
    chosen = ((of_atom == segment) & (batch["A"] != 2)).nonzero()[:, 0]
    away = torch.cdist(batch["X"][chosen[:3]], batch["X"][chosen])
    away[away == 0] = torch.inf
    # Both ends of a bond are equally far from its middle, so both have to be among its k nearest atoms.
    bonds = torch.stack([chosen[:3], chosen[away.argmin(1)]])
    masked = torch.zeros(n_blocks, dtype=torch.bool)
    masked[1] = True
    return {
        "noisy_segment": torch.tensor([segment]),
        "tr_eps": torch.rand(1, generator=generator),
        "tr_score": torch.randn(1, 3, generator=generator),
        "rot_score": torch.randn(1, 3, generator=generator),
        "atom_eps": torch.rand(1, generator=generator),
        "atom_score": torch.randn(n_atoms, 3, generator=generator),
        "tor_edges": bonds,
        "tor_score": torch.randn(bonds.shape[1], generator=generator),
        "tor_batch": torch.zeros(bonds.shape[1], dtype=torch.long),
        "masked_blocks": masked,
        "masked_labels": batch["B"][masked] - 4,
        "modality": torch.randint(0, 8, (1,), generator=generator),
    }


def joined(graphs: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Several graphs as one batch."""
    out = {name: torch.cat([g[name] for g in graphs]) for name in graphs[0] if name != "tor_edges"}
    starts = torch.tensor([0, *(len(g["A"]) for g in graphs)]).cumsum(0).tolist()
    out["tor_edges"] = torch.cat([g["tor_edges"] + start for g, start in zip(graphs, starts)], 1)
    out["tor_batch"] = torch.cat([torch.full_like(g["tor_batch"], i) for i, g in enumerate(graphs)])
    return out


def some_complexes(n: int, seed: int = 0) -> list[dict[str, Tensor]]:
    """Graphs of different sizes."""
    generator = torch.Generator().manual_seed(seed)
    return [complex_of(generator, (3 + i, 6 - i % 3), 3 + i) for i in range(n)]


def rotation(seed: int) -> Tensor:
    """A random proper rotation, float64."""
    matrix, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    return matrix * torch.sign(torch.linalg.det(matrix))


def moved(batch: dict[str, Tensor], turn: Tensor, shift: tuple[float, float, float] = (0, 0, 0)) -> dict[str, Tensor]:
    """The same complex elsewhere; `turn` may hold a reflection."""
    X = batch["X"].double() @ turn.T + torch.tensor(shift, dtype=torch.float64)
    return batch | {"X": X.to(batch["X"].dtype)}


def as_double(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Coordinates in double precision, so that moving a complex rounds nothing that float32 would."""
    return batch | {"X": batch["X"].double()}
