"""Vectors of interfaces from a checkpoint: one for each complex, block or atom, as a Parquet table.

    python scripts/get_embeddings.py shards --checkpoint checkpoints/pretrain_small --out embeddings.parquet

Rows come in the order of the data set. The columns are `id`, where the row comes from, and `embedding` (float32, length
1). Nothing is noised or cropped, and batch mates do not change an embedding.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm import tqdm

from configs.command import command
from configs.files import atomic_file
from configs.options import at_least
from data.collate import collate_items
from data.item import Item
from data.shards import ShardReader, check_vocabulary
from data.vocab import GLOBAL, MODALITIES, load_vocabulary
from models import from_pretrained
from trainers.distributed import choose_device, to_device

LEVELS = {"graph": "graph_repr", "block": "block_repr", "atom": "unit_repr"}


@command("get_embeddings")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    at_least(options, 1, "max_blocks")
    model = from_pretrained(options.checkpoint).eval()
    reader = ShardReader(options.data)
    check_vocabulary(reader, load_vocabulary(model.config.fragmentation_method).fingerprint)
    device = choose_device(options.gpus, -1)
    rows = 0
    with atomic_file(options.out) as temporary:
        rows = write_tables(temporary, tables(model.to(device), reader, options.level, options.max_blocks, device))
    print(f"{rows} {options.level} embeddings of {len(reader)} interfaces in {options.out}")
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of shards (scripts/process_pdbs.py makes one)")
    parser.add_argument("--checkpoint", required=True, help="checkpoint folder, or the name of a model on the hub")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--level", choices=list(LEVELS), default="graph", help="what gets a vector (default: graph)")
    parser.add_argument("--max_blocks", type=int, default=1000, help="blocks computed at a time (default 1000)")
    parser.add_argument(
        "--gpus", type=int, nargs="*", default=(), help="device number, -1: CPU (default: a GPU if any)"
    )
    return parser.parse_args(argv)


def batches(reader: ShardReader, max_blocks: int) -> Iterator[list[Item]]:
    """All items in order, up to `max_blocks` blocks at a time (a larger item comes alone)."""
    waiting: list[Item] = []
    blocks = 0
    for item in tqdm(reader, desc="interfaces", disable=not sys.stderr.isatty()):
        if waiting and blocks + item.n_blocks > max_blocks:
            yield waiting
            waiting, blocks = [], 0
        waiting.append(item)
        blocks += item.n_blocks
    if waiting:
        yield waiting


def tables(
    model: Any, reader: ShardReader, level: str, max_blocks: int, device: torch.device
) -> Iterator[pa.RecordBatch]:
    """Rows of one batch after another."""
    for items in batches(reader, max_blocks):
        batch = collate_items(items)
        with torch.inference_mode():
            vectors = getattr(model.encode(to_device(batch, device)), LEVELS[level]).float().cpu().numpy()
        if level != "graph":  # global nodes are ours, not the file's
            ordinary = batch["B"].cpu().numpy() != GLOBAL
            lengths = batch["block_lengths"].cpu().numpy()
            vectors = vectors[ordinary if level == "block" else np.repeat(ordinary, lengths)]
        yield pa.RecordBatch.from_pydict(columns(items, level) | {"embedding": fixed_lists(vectors)})


def columns(items: list[Item], level: str) -> dict[str, Any]:
    """What each row is: the interface; for blocks and atoms also where it comes from."""
    if level == "graph":
        return {
            "id": [item.id for item in items],
            "group": [item.group for item in items],
            "modality": [MODALITIES[item.modality] if item.modality >= 0 else "" for item in items],
            "label": np.array([item.label for item in items], np.float32),
        }
    repeats = [np.arange(item.n_blocks) if level == "block" else item.block_of_atom for item in items]
    found: dict[str, Any] = {"id": np.repeat([item.id for item in items], [len(rows) for rows in repeats])}
    for name in ("segment_ids", "block_chain", "block_resid", "block_icode", "block_resname"):
        values = [getattr(item, name) for item in items]
        if all(value is not None for value in values):
            found[name] = np.concatenate([np.asarray(v)[rows] for v, rows in zip(values, repeats)])
    return found


def fixed_lists(vectors: np.ndarray) -> pa.FixedSizeListArray:
    """[rows, width] as a column of lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])


def write_tables(path: Path, rows: Iterator[pa.RecordBatch]) -> int:
    """Write record batches to a Parquet file; returns the number of rows."""
    writer, count = None, 0
    try:
        for batch in rows:
            writer = writer or pq.ParquetWriter(path, batch.schema)
            writer.write_batch(batch)
            count += len(batch)
    finally:
        if writer is not None:
            writer.close()
    return count


if __name__ == "__main__":
    sys.exit(main())
