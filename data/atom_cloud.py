"""A made-up interface of any size, as dense as a protein, to measure and test with; needs no chemistry program."""

import numpy as np

from data.item import Item, check_item

VOLUME = 16.0
"""Å^3 an atom: about that of heavy atoms in a protein."""
SPREAD = 1.3
"""Standard deviation of the atoms of a block, Å."""
BLOCK_TYPES, ATOM_TYPES = (4, 24), (3, 20)
"""Types are drawn from these ranges."""


def atom_cloud(n_atoms: int, atoms_a_block: int = 8, seed: int = 0) -> Item:
    """Blocks of equally many atoms in a ball, which a plane cuts into two segments; one torsion bond a block.

    Args:
        n_atoms: at least two blocks of them; rounded down to whole blocks.
    """
    rng = np.random.default_rng(seed)
    n_blocks = n_atoms // atoms_a_block
    radius = (n_blocks * atoms_a_block * VOLUME * 3 / (4 * np.pi)) ** (1 / 3)
    directions = rng.normal(size=(n_blocks, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    centres = directions * radius * rng.uniform(size=(n_blocks, 1)) ** (1 / 3)
    centres = centres[np.argsort(centres[:, 0])]
    shape = (n_blocks, atoms_a_block, 3)
    first = np.arange(n_blocks, dtype=np.int32) * atoms_a_block
    bonds = np.stack([first, first + 1], 1)[: n_blocks if atoms_a_block > 2 else 0]
    return check_item(
        Item(
            id=f"atom_cloud-{n_atoms}-{atoms_a_block}-{seed}",
            X=(centres[:, None] + rng.normal(0, SPREAD, shape)).reshape(-1, 3).astype(np.float32),
            A=rng.integers(*ATOM_TYPES, n_blocks * atoms_a_block).astype(np.uint8),
            B=rng.integers(*BLOCK_TYPES, n_blocks).astype(np.uint16),
            block_lengths=np.full(n_blocks, atoms_a_block, np.int32),
            segment_ids=(np.arange(n_blocks) >= n_blocks // 2).astype(np.uint8),
            tor_bonds=bonds,
            tor_depth=np.zeros(len(bonds), np.uint8),
            tor_moved_lengths=np.ones(len(bonds), np.int32),
            tor_moved=bonds[:, 1] + 1,
        )
    )
