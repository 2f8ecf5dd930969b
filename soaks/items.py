"""Small data sets for soaks: chains of blocks of four atoms at random places, with a label."""

from pathlib import Path

import numpy as np

from data.item import Item
from data.shards import write_part
from data.vocab import load_vocabulary


def make_item(seed: int, n_blocks: int = 6) -> Item:
    """Blocks of four atoms, one rotatable bond each; the label is the mean distance of the blocks from their centre."""
    rng = np.random.default_rng(seed)
    starts = np.arange(0, 4 * n_blocks, 4)
    centres = rng.normal(size=(n_blocks, 3)) * 6
    return Item(
        id=f"item{seed}",
        X=(np.repeat(centres, 4, axis=0) + rng.normal(size=(4 * n_blocks, 3))).astype(np.float32),
        A=rng.integers(8, 12, 4 * n_blocks).astype(np.uint8),
        B=rng.integers(4, 10, n_blocks).astype(np.uint16),
        block_lengths=np.full(n_blocks, 4, np.int32),
        segment_ids=(np.arange(n_blocks) >= n_blocks // 2).astype(np.uint8),
        modality=0,
        label=float(np.linalg.norm(centres - centres.mean(0), axis=1).mean()),
        tor_bonds=np.stack([starts + 1, starts + 2], axis=1).astype(np.int32),
        tor_depth=np.zeros(n_blocks, np.uint8),
        tor_moved_lengths=np.ones(n_blocks, np.int32),
        tor_moved=(starts + 3).astype(np.int32),
    )


def make_sets(folder: Path, n_train: int = 24, n_valid: int = 8) -> tuple[Path, Path]:
    """FOLDER/train and FOLDER/valid."""
    vocabulary = load_vocabulary()
    seeds = {"train": range(n_train), "valid": range(n_train, n_train + n_valid)}
    for name, numbers in seeds.items():
        items = [make_item(seed, 4 + seed % 4) for seed in numbers]
        write_part(folder / name, items, vocabulary.fingerprint, vocabulary=vocabulary.name, max_file_items=10)
    return folder / "train", folder / "valid"
