"""The work that is measured: models of the published sizes, and batches of real interfaces."""

from typing import Any

import numpy as np
import torch

from configs.schema import EncoderOptions, NoiseOptions, RunConfig, from_flat
from data.collate import collate_items
from data.crop import crop
from data.dataset import InterfaceDataset
from data.item import FIELDS, Item
from data.noise import PretrainTransform
from data.vocab import load_vocabulary
from models import create_model

PUBLISHED = {
    "atom_hidden_size": 32,
    "block_hidden_size": 32,
    "edge_size": 32,
    "n_layers": 4,
    "k_neighbors": 8,
    "global_message_passing": True,
    "fragmentation_method": "PS_300",
    "torsion_noise": 0.5,
    "translation_noise": 1.0,
    "rotation_noise": 0.25,
    "mask_proportion": 0.1,
    "rot_weight": 0.1,
}
MAX_BLOCKS = 256  # of an item
PLAIN = "plain"
# Ours in several forms: options of a run, on top of the published ones.
VARIANTS: dict[str, dict[str, Any]] = {
    "float32": {},
    "bfloat16": {"projection": "bfloat16"},
    "channelwise": {"conv": "channelwise"},
}
SPACING = 12.0  # Å between the interfaces that a large one is made of

Batch = dict[str, Any]


def published_run(variant: str = "float32", **changes: Any) -> RunConfig:
    """The published sizes and noise."""
    return from_flat(PUBLISHED | VARIANTS[variant] | changes)


def build(model: str, **changes: Any) -> torch.nn.Module:
    """A variant of ours, or the plain model; with the same weights as far as they have the same parameters.

    Args:
        changes: of the options of the run (smaller sizes, in tests).
    """
    from benchmarks.plain_model import PlainDenoiseModel

    run = published_run("float32" if model == PLAIN else model, **changes)
    torch.manual_seed(0)
    ours = create_model(run, load_vocabulary(run.encoder.fragmentation_method))
    if model != PLAIN:
        return ours
    options: EncoderOptions = run.encoder
    plain = PlainDenoiseModel(options.atom_hidden_size, options.edge_size, options.n_layers, options.k_neighbors)
    plain.load_published(ours.state_dict())
    return plain


def items_of(data: str, blocks: int, noise: NoiseOptions) -> list[Item]:
    """Noised real interfaces of `blocks` blocks together (global blocks not counted); the last one is cropped."""
    dataset = InterfaceDataset(data)
    transform, rng = PretrainTransform(noise, MAX_BLOCKS), np.random.default_rng(0)
    items: list[Item] = []
    left = blocks
    while left >= 2:
        for index in rng.permutation(len(dataset)):
            item = crop(dataset.stored(int(index)), min(MAX_BLOCKS, left), rng)
            items.append(transform(item, rng))
            left -= item.n_blocks
            if left < 2:
                break
    return items


def batch_of(items: list[Item], device: torch.device) -> Batch:
    """One batch on a device."""
    batch = collate_items(items)
    values = {key: batch[key] for key in batch.keys()}  # noqa: SIM118 - no mapping
    return {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in values.items()}


def large_interface(data: str, n_atoms: int) -> Item:
    """One interface of about `n_atoms` atoms: real ones side by side, their segments joined to two.

    The local surroundings of every atom, and with them the work, are those of real interfaces.
    """
    dataset = InterfaceDataset(data)
    parts: list[Item] = []
    left, edge = n_atoms, 0.0
    for index in np.random.default_rng(0).permutation(len(dataset)):
        item = dataset.stored(int(index))
        if item.n_atoms > left:
            continue
        X = item.X - item.X.min(0) + np.array([edge, 0, 0], np.float32)
        parts.append(item.with_(X=X))
        edge, left = float(X[:, 0].max()) + SPACING, left - item.n_atoms
        if left < 10:
            break
    return joined(parts, id=f"{n_atoms - left} atoms")


def joined(parts: list[Item], id: str) -> Item:
    """Items as one: segment 0 of all, then segment 1 of all. Only what an encoder reads is kept."""
    whole: dict[str, Any] = {}
    for name in ("X", "A", "B", "block_lengths", "segment_ids"):
        pieces = []
        for segment in (0, 1):
            for item in parts:
                mask = item.segment_ids if FIELDS[name].level == "block" else item.segment_of_atom
                pieces.append(getattr(item, name)[mask == segment])
        whole[name] = np.concatenate(pieces)
    return Item(id=id, **whole)
