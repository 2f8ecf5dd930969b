"""Vectors of complexes, sides, blocks or atoms, as a Parquet or CSV table.

    python scripts/get_embeddings.py 1abc.pdb --chain1 A --chain2 B --out x.parquet
    python scripts/get_embeddings.py index.csv --checkpoint MODEL --out x.parquet --representations h_graph h_block
    python scripts/get_embeddings.py shards --checkpoint MODEL --out x.csv
    python scripts/get_embeddings.py --guidance

Without --checkpoint, the small pretrained model is taken that comes with ligare.

The input is a structure file, a folder of them, an index CSV (its columns are kept) or a folder of shards; without
chains or a ligand, every interface of a structure is found. Rows come in the order of the input. Nothing is noised or
cropped, and batch mates do not change a vector.

--representations names some of h_atom h_block h_graph h_interface z_atom z_block z_graph z_interface (--guidance tells
which serves what). Those of one level are columns of the table OUT. Of several levels, each gets a table of its own,
with the level in its name: OUT_graph, OUT_block, ...

What gives no interface is told in OUT.failures.csv. Exit status: 0 when something was embedded, 2 when nothing was, or
the input or an option is at fault.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from configs.command import command
from configs.errors import ConfigError
from configs.options import at_least
from configs.words import count_of
from data.inputs import add_input_arguments, input_options, open_inputs
from data.write_table import format_of, nothing_made, open_table, tell_failures
from models.embed import MAX_BLOCKS, embed_items
from models.fingerprint import fingerprint
from models.guidance import guidance
from models.load_any import add_model_arguments, load_model, model_options
from models.named import REPRESENTATIONS, RULES, Level, Wanted, backbone_of
from models.shipped import PRETRAINED

OLD_LEVELS = ("graph", "block", "atom")


@command("get_embeddings")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    if options.guidance:
        config = (
            backbone_of(load_model(model_options(options))).config if options.checkpoint or options.config else None
        )
        print(guidance(config))
        return 0
    if options.out is None:
        raise ConfigError("is required", "--out", hint="a file that ends in .parquet or .csv")
    at_least(options, 1, "max_blocks")
    wanted = Wanted(tuple(options.representations or (f"h_{options.level}",)), options.rule)
    paths = tables_of(options.out, wanted)
    given = input_options(options)
    model = load_model(model_options(options, PRETRAINED))
    wanted.check(backbone_of(model).config)
    inputs = open_inputs(given, backbone_of(model).config.fragmentation_method)
    column = None if options.representations else f"h_{options.level}"
    record = {
        "model": fingerprint(model),
        "rule": options.rule or "",
        "columns": {"embedding": column} if column else {},
    }
    progress = tqdm(inputs, desc="interfaces", total=inputs.total, disable=not sys.stderr.isatty())
    made = 0
    with ExitStack() as stack:
        writers = {level: stack.enter_context(open_table(path, record=record)) for level, path in paths.items()}
        for found in embed_items(model, progress, wanted, options.max_blocks):
            for level, writer in writers.items():
                writer.write(renamed(found.table(level, inputs.vocabulary), column))
            made += len(found.entries)
        if not made:
            raise nothing_made(inputs.failures, given.input)
    for level, path in paths.items():
        rows = count_of(writers[level].rows, f"{level} embedding")
        print(f"{rows} of {count_of(made, 'interface')} in {path}")
    if told := tell_failures(options.out, inputs.failures):
        print(told, file=sys.stderr)
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_input_arguments(parser)
    add_model_arguments(parser, default=PRETRAINED)
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, help="table to write: .parquet or .csv")
    group.add_argument("--representations", nargs="+", metavar="NAME", help=f"some of {', '.join(REPRESENTATIONS)}")
    group.add_argument("--rule", choices=RULES, help="how blocks make z_graph and z_interface")
    group.add_argument(
        "--level", choices=OLD_LEVELS, default="graph", help="the same as --representations h_LEVEL (default graph)"
    )
    group.add_argument("--guidance", action="store_true", help="tell which representation serves what, and its size")
    group.add_argument(
        "--max_blocks", type=int, default=MAX_BLOCKS, help=f"blocks computed at a time (default {MAX_BLOCKS})"
    )
    return parser.parse_args(argv)


def tables_of(out: Path, wanted: Wanted) -> dict[Level, Path]:
    """The file of each level: `out` itself, or several beside it with the level in their names."""
    format_of(out)
    if len(wanted.levels) == 1:
        return {wanted.levels[0]: out}
    return {level: out.with_stem(f"{out.stem}_{level}") for level in wanted.levels}


def renamed(columns: dict[str, Any], column: str | None) -> dict[str, Any]:
    """Columns with the vectors under the name `embedding`, where no representation was named."""
    return {"embedding" if name == column else name: values for name, values in columns.items()}


if __name__ == "__main__":
    sys.exit(main())
