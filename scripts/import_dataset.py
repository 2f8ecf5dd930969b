"""Turn published processed data sets (parquet, .jsonl, .jsonl.gz, .pkl) into shards."""

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.command import command
from configs.files import atomic_write
from configs.words import count_of
from data.import_published import Failure, import_files
from data.plain_pickle import MAX_PICKLE_BYTES
from data.shards import ShardReader
from data.vocab import MODALITIES, load_vocabulary


@command("import_dataset")
def main(argv: Sequence[str] | None = None) -> int:
    """Import; 0 when every row gave an item, 1 when some did not, 2 when nothing could be imported."""
    options = arguments(argv)
    vocabulary = load_vocabulary(options.vocabulary)
    n_items, failures = import_files(options.files, options.out_path, vocabulary, options.modality, options.max_bytes)
    write_failures(options.out_path / "failures.csv", failures)
    blocks = int(ShardReader(options.out_path, verify=False).counts["n_blocks"].sum())
    print(f"{count_of(n_items, 'item')} with {count_of(blocks, 'block')} in {options.out_path}")
    if failures:
        left_out = count_of(len(failures), "row was", "rows were")
        print(f"{left_out} left out, see {options.out_path / 'failures.csv'}; the first ones:")
        for failure in failures[:5]:
            print(f"  {failure.file}, {failure.row}: {failure.reason}")
    return 1 if failures else 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="published files, joined in this order")
    parser.add_argument("--out_path", type=Path, required=True, help="folder of the shards, without a data set in it")
    parser.add_argument(
        "--vocabulary",
        "--fragmentation_method",
        default="PS_300",
        help="that numbers their blocks: PS_300 (default), none, or a JSON file",
    )
    parser.add_argument("--modality", choices=MODALITIES, help="kind of complex of rows that don't tell theirs")
    parser.add_argument(
        "--max_bytes",
        type=int,
        default=MAX_PICKLE_BYTES,
        help="largest pickle or parquet row group read (default 4 GiB)",
    )
    return parser.parse_args(argv)


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """Write the failures as CSV: file, row, reason."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(Failure._fields)
    table.writerows(failures)
    atomic_write(path, text.getvalue())


if __name__ == "__main__":
    sys.exit(main())
