"""Items made of random numbers, and a molecule whose bonds are known, for the tests of this folder."""

import numpy as np

from data.item import FIELDS, Item, check_item


def random_item(seed: int = 0, n_blocks: int = 12, split: int | None = None, torsions: bool = True, **changes) -> Item:
    """Two segments of blocks of 4 to 9 atoms; every block is a chain of atoms with up to three rotatable bonds."""
    rng = np.random.default_rng(seed)
    split = n_blocks // 2 if split is None else split
    lengths = rng.integers(4, 10, n_blocks).astype(np.int32)
    n_atoms = int(lengths.sum())
    centres = rng.normal(size=(n_blocks, 3)) * 8
    item = Item(
        id=f"{seed:04d}_A_B",
        X=(np.repeat(centres, lengths, axis=0) + rng.normal(size=(n_atoms, 3)) * 1.5).astype(np.float32),
        A=rng.integers(8, 12, n_atoms).astype(np.uint8),
        B=rng.integers(4, 24, n_blocks).astype(np.uint16),
        block_lengths=lengths,
        segment_ids=(np.arange(n_blocks) >= split).astype(np.uint8),
        atom_positions=rng.integers(0, 15, n_atoms).astype(np.uint8),
        modality=int(rng.integers(0, 8)),
        label=float(np.float32(rng.normal())),
        group=f"family{seed % 3}",
        block_chain=["A" if b < split else "B" for b in range(n_blocks)],
        block_resid=np.arange(n_blocks, dtype=np.int32) - 3,
        block_icode=["" if b % 5 else "A" for b in range(n_blocks)],
        block_resname=["ALA"] * n_blocks,
    )
    item = item.with_(**(chain_torsions(lengths) if torsions else {}))
    return check_item(item.with_(**changes))


def chain_torsions(lengths: np.ndarray) -> dict[str, np.ndarray]:
    """Rotatable bonds (0, 1), (1, 2), (2, 3) of blocks that are chains of atoms; each moves all atoms behind it."""
    bonds, depth, moved = [], [], []
    for start, length in zip(np.cumsum(lengths) - lengths, lengths):
        for level in range(min(3, length - 2)):
            bonds.append((start + level, start + level + 1))
            depth.append(level)
            moved.append(np.arange(start + level + 2, start + length))
    return {
        "tor_bonds": np.array(bonds, np.int32).reshape(-1, 2),
        "tor_depth": np.array(depth, np.uint8),
        "tor_moved_lengths": np.array([len(m) for m in moved], np.int32),
        "tor_moved": np.concatenate(moved).astype(np.int32) if moved else np.zeros(0, np.int32),
    }


def assert_same_item(given: Item, found: Item, fields: tuple[str, ...] = tuple(FIELDS)) -> None:
    """Equal bit for bit, types included."""
    for name in fields:
        a, b = getattr(given, name), getattr(found, name)
        if isinstance(a, np.ndarray):
            assert isinstance(b, np.ndarray), name
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), name
        elif isinstance(a, float):
            assert np.float64(a).tobytes() == np.float64(b).tobytes(), name
        else:
            assert type(a) is type(b), name
            assert a == b, name
