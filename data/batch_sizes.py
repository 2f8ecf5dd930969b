"""How many nodes of each kind every graph of a batch has, as plain numbers.

Counted where the batch is made, so that a model on a GPU never has to ask the device for them.
"""

import numpy as np

from data.vocab import GLOBAL, UNKNOWN


def batch_sizes(
    B: np.ndarray,
    block_lengths: np.ndarray,
    segment_ids: np.ndarray,
    lengths: np.ndarray,
    tor_batch: np.ndarray | None = None,
    noisy_segment: np.ndarray | None = None,
    unknown_is_special: bool = False,
) -> list[int]:
    """Numbers of one batch (global blocks included), one list after another.

    Args:
        B, block_lengths, segment_ids: [blocks]. lengths: [graphs]. tor_batch: [torsions]. noisy_segment: [graphs].
        unknown_is_special: count blocks of unknown type with the global ones, as the published program does.

    Returns:
        [graphs, 4] atoms by (segment, special), [graphs, 4] blocks alike, then [graphs] blocks, blocks that are not
        global, torsion bonds and, where given, the noised segment.
    """
    n_graphs = len(lengths)
    graph = np.repeat(np.arange(n_graphs), lengths)
    special = (B == GLOBAL) | (unknown_is_special & (B == UNKNOWN))
    kinds = (graph * 2 + segment_ids) * 2 + special
    bonds = np.zeros(0, np.int64) if tor_batch is None else tor_batch
    counts = [
        np.bincount(kinds, weights=block_lengths, minlength=4 * n_graphs),
        np.bincount(kinds, minlength=4 * n_graphs),
        lengths,
        np.bincount(graph[B != GLOBAL], minlength=n_graphs),
        np.bincount(bonds, minlength=n_graphs),
    ]
    counts += [] if noisy_segment is None else [noisy_segment]
    return np.concatenate(counts).astype(np.int64).tolist()
