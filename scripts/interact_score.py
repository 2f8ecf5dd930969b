"""Which residues, nucleotides, ions and ligand fragments of an interface matter to a model: a score for each block.

    python scripts/interact_score.py 1abc.pdb --chain1 A --chain2 B --out scores.csv --pages pages
    python scripts/interact_score.py index.csv --checkpoint MODEL --out scores.parquet --structures scored
    python scripts/interact_score.py shards --checkpoint AFFINITY_MODEL --target prediction --out scores.csv

Without --checkpoint, the small pretrained model is taken that comes with ligare.

--target says what is explained: the representation of the whole complex, that of one side (segment0, segment1), or the
prediction of a fine-tuned model. --method mask masks one block after the other (the type and atoms go, one mask atom
stays at its centre). The score is 1 - cosine between the representations with and without mask, from 0 (no change) to
2; of a prediction, by how much the block raises it, in the unit of the labels. --method gradient estimates the same
from a few gradients: faster for large interfaces, less exact (docs/explain.md).

--structures writes each complex with 100 score / largest score as B-factors (of predictions 50 + 50 score / largest
size; other atoms 0, or 50): colour by B-factor in PyMOL (spectrum b), ChimeraX (color bfactor) or Mol*. --pages writes
an HTML page for each, that opens without a network. What fails is told in OUT.failures.csv.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from configs.command import command
from configs.errors import ConfigError, DataError, StructureError
from configs.files import atomic_write
from configs.options import at_least
from configs.words import count_of
from data.contacts import distance_to_other_side
from data.failures import Failure
from data.inputs import InputItem, add_input_arguments, input_options, open_inputs
from data.vocab import load_vocabulary
from data.write_structure import b_factors, identity, scored_structure, write_structure
from data.write_table import format_of, nothing_made, open_table, tell_failures
from models.answers import output_number
from models.explain import MAX_BLOCKS, METHODS, block_importance
from models.explained import TARGETS, Explained, Importance
from models.load_any import add_model_arguments, load_model, model_options
from models.named import backbone_of
from models.shipped import PRETRAINED
from scripts.complex_page import complex_page, ranks

WORDS = {
    "complex": "1 - cosine of the representation of the complex",
    "segment0": "1 - cosine of the representation of side 1",
    "segment1": "1 - cosine of the representation of side 2",
    "prediction": "what the block adds to the prediction",
}


@command("interact_score")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    at_least(options, 1, "max_blocks")
    at_least(options, 0, "tolerance")
    if options.output is not None and options.target != "prediction":
        what = f"says which prediction is explained, and --target is {options.target}"
        raise ConfigError(what, "--output", hint="--target prediction, of a fine-tuned model")
    format_of(options.out)
    given = input_options(options)
    model = load_model(model_options(options, PRETRAINED))
    vocabulary = backbone_of(model).config.fragmentation_method
    Explained(model, options.target)  # what can't be explained is refused before anything is read
    output = None if options.output is None else output_number(model, options.output)
    inputs = open_inputs(given, vocabulary)
    root = given.root or Path(str(given.input)).parent if inputs.kind == "index" else Path()
    progress = tqdm(inputs, desc="interfaces", total=inputs.total, disable=not sys.stderr.isatty())
    failures: list[Failure] = []
    names: set[str] = set()
    made = 0
    with open_table(options.out) as table:
        for entry in progress:
            try:
                found = block_importance(
                    *(model, entry.item, options.target, options.method, output),
                    *(options.max_blocks, options.tolerance),
                )
                write_views(entry, root, found, options, file_name(entry.name, names))
            except (DataError, StructureError) as error:
                failures.append(Failure(entry.path, "", entry.name, "", str(error)))
                continue
            table.write(columns(entry, found, vocabulary))
            made += 1
        if not made:
            raise nothing_made([*inputs.failures, *failures], given.input)
    print(f"{count_of(table.rows, 'block')} of {count_of(made, 'interface')} in {options.out}")
    if told := tell_failures(options.out, [*inputs.failures, *failures]):
        print(told, file=sys.stderr)
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_input_arguments(parser)
    add_model_arguments(parser, default=PRETRAINED)
    group = parser.add_argument_group("scores")
    group.add_argument("--target", choices=TARGETS, default="complex", help="what is explained (default: complex)")
    group.add_argument("--method", choices=METHODS, default="mask", help="default: mask")
    group.add_argument(
        "--output", metavar="NAME", help="target, class or label to explain (default: the first target, the likeliest)"
    )
    group.add_argument("--max_blocks", type=int, default=MAX_BLOCKS, help="blocks computed at a time: bounds memory")
    group.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        help="of --method mask: atoms that feel less of a mask, relative to their size, are not computed again; 0.1 "
        "is faster for deep models, but errs by up to 4 %% of the largest score (docs/explain.md; default: 0, exact)",
    )
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, required=True, help="table to write: .parquet or .csv")
    group.add_argument("--structures", type=Path, metavar="FOLDER", help="scored structures, one file a complex")
    group.add_argument("--structure_format", choices=("cif", "pdb"), default="cif", help="default: cif")
    group.add_argument("--pages", type=Path, metavar="FOLDER", help="HTML pages, one a complex")
    return parser.parse_args(argv)


def columns(entry: InputItem, found: Importance, vocabulary: str | None) -> dict[str, Any]:
    """The rows of one complex, a block each, in the order of the item. `vocabulary`: that of its blocks."""
    item, names = entry.item, load_vocabulary(vocabulary)
    places = [identity(item, block) for block in range(item.n_blocks)]
    distance = distance_to_other_side(item)
    return {
        "id": [item.id] * item.n_blocks,
        "block": np.arange(item.n_blocks),
        "segment": item.segment_ids.astype(np.int64),
        "chain": [place[0] for place in places],
        "resname": [place[1] for place in places],
        "resid": [place[2] for place in places],
        "icode": [place[3] for place in places],
        "block_type": [names.symbol(block) for block in item.B],
        "score": np.asarray(found.score, np.float64),
        "rank": ranks(found.score),
        "distance": np.where(np.isfinite(distance), distance, np.nan),
        "prediction": np.full(item.n_blocks, np.nan if found.value is None else found.value),
    }


def write_views(entry: InputItem, root: Path, found: Importance, options: argparse.Namespace, name: str) -> None:
    """The structure file and the page of one complex, where they are wanted."""
    source = str(root / entry.path) if entry.path else ""
    if options.structures is None and options.pages is None:
        return
    signed = options.target == "prediction"
    values = b_factors(found.score, signed)
    structure = scored_structure(entry.item, values, 50.0 if signed else 0.0, source, options.model)
    if options.structures is not None:
        write_structure(structure, options.structures / f"{name}.{options.structure_format}")
    if options.pages is not None:
        what = f"Score: {WORDS[options.target]}, by {options.method}"
        what += f"; prediction {found.value:.3f}" if found.value is not None else ""
        page = complex_page(entry.item, found.score, entry.name, what, signed, structure if entry.path else None)
        atomic_write(options.pages / f"{name}.html", page)


def file_name(name: str, taken: set[str]) -> str:
    """A file name of its own for a complex: letters, digits and -_. of its name, numbered where it is taken."""
    plain = re.sub(r"[^\w.-]", "_", name).lstrip(".")[:100] or "complex"
    found, number = plain, 1
    while found in taken:
        number += 1
        found = f"{plain}_{number}"
    taken.add(found)
    return found


if __name__ == "__main__":
    sys.exit(main())
