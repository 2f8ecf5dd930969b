"""Make a data set of any size out of the items of another one, to try out how programs behave with millions of items.

Every item is one of DATA, drawn at random, under a new id, its atoms shifted at random by 0.05 Å and its label by 1 %:
sizes and kinds are as in DATA, and nothing is to be learned that isn't there. Two million items take minutes and, by
default, less than 10 GB.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from configs.command import command
from configs.errors import DataError
from configs.options import at_least
from configs.words import count_of
from data.arrow_items import SCHEMA
from data.shards import MAX_FILE_ITEMS, ShardReader, ShardWriter

SHIFT, LABEL_SHARE = 0.05, 0.01
SPARE = 1.1  # of the disk that the items will need


@command("make_large_set")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    for name in ("n_items", "most_blocks", "most_templates"):
        at_least(options, 1, name)
    at_least(options, 0, "seed")
    reader = ShardReader(options.data)
    templates = read_templates(reader, options.most_blocks, options.most_templates)
    check_disk(options.out_path, options.n_items * templates.nbytes / len(templates))
    described: dict[str, Any] = {name: reader.manifest.get(name) for name in ("vocabulary", "fragmentation_method")}
    extra = {"made_by": "make_large_set", "seed": options.seed, "like": str(options.data)}
    writer = ShardWriter(options.out_path, reader.vocabulary_fingerprint, extra=extra, **described)
    with writer, tqdm(total=options.n_items, unit=" items", unit_scale=True, mininterval=1) as bar:
        for batch in variations(templates, options.n_items, options.seed):
            writer.add_batch(batch)
            bar.update(len(batch))
    print(f"{count_of(options.n_items, 'item')} like {len(templates)} of {options.data} in {options.out_path}")
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of shards")
    parser.add_argument("--out_path", type=Path, required=True, help="folder of the large set")
    parser.add_argument("-n", "--n_items", type=int, default=2_000_000, help="items to make (default 2,000,000)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same data (default 0)")
    parser.add_argument(
        "--most_blocks", type=int, default=40, help="larger items of DATA are left out, to save disk (default 40)"
    )
    parser.add_argument("--most_templates", type=int, default=1000, help="of DATA that are used (default 1000)")
    return parser.parse_args(argv)


def read_templates(reader: ShardReader, most_blocks: int, most: int) -> pa.RecordBatch:
    """The first `most` items of at most `most_blocks` blocks; DataError when there are none."""
    chosen = np.flatnonzero(reader.counts["n_blocks"] <= most_blocks)[:most]
    if not len(chosen):
        raise DataError(f"has no items of at most {most_blocks} blocks", reader.path, hint="raise --most_blocks")
    parts, start = [], 0
    for file, entry in enumerate(reader.manifest["files"]):
        inside = chosen[(chosen >= start) & (chosen < start + entry["items"])] - start
        parts.append(reader.batch(file).take(pa.array(inside)))
        start += entry["items"]
    return pa.concat_batches(parts)


def check_disk(out: Path, size: float) -> None:
    """Refuse to fill the disk; DataError says what is needed."""
    nearest = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(nearest).free
    if size * SPARE > free:
        needed = f"{size * SPARE / 2**30:.1f} GiB"
        raise DataError(
            f"needs {needed}, {free / 2**30:.1f} GiB are free", out, hint="lower --n_items or --most_blocks"
        )


def variations(templates: pa.RecordBatch, n_items: int, seed: int) -> Iterator[pa.RecordBatch]:
    """Record batches of altogether `n_items` items, each a file's worth."""
    rng = np.random.default_rng(seed)
    for start in range(0, n_items, MAX_FILE_ITEMS):
        stop = min(start + MAX_FILE_ITEMS, n_items)
        drawn = rng.integers(len(templates), size=stop - start)
        yield varied(templates.take(pa.array(drawn)), drawn, start, rng)


def varied(batch: pa.RecordBatch, drawn: np.ndarray, start: int, rng: np.random.Generator) -> pa.RecordBatch:
    """The same items with coordinates, labels and ids of their own; those of one template are one group."""
    columns = {name: batch.column(name) for name in SCHEMA.names}
    places = columns["X"]
    flat = places.values.values.to_numpy()
    shift = rng.standard_normal(len(flat), dtype=np.float32) * np.float32(SHIFT)
    atoms = pa.FixedSizeListArray.from_arrays(pa.array(flat + shift), 3)
    columns["X"] = pa.ListArray.from_arrays(places.offsets, atoms)
    labels = columns["label"].to_numpy(zero_copy_only=False)
    noise = 1 + LABEL_SHARE * rng.standard_normal(len(labels), dtype=np.float32)
    columns["label"] = pa.array(labels * noise, pa.float32())
    columns["id"] = pa.array([f"large_{number:08d}" for number in range(start, start + len(batch))])
    columns["group"] = pa.array([f"like_{number:04d}" for number in drawn.tolist()])
    return pa.record_batch(list(columns.values()), schema=SCHEMA)


if __name__ == "__main__":
    sys.exit(main())
