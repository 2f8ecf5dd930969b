"""Split a folder of shards into OUT/train, OUT/valid and OUT/test, or into the folds of a cross-validation
(OUT/fold_0/train, ...), so that nothing related is on both sides; and tell what both sides have in common.

OUT/split.csv lists id, unit and part of every item; OUT/leak_report.json what was found when the parts were compared.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from configs.command import command
from configs.errors import ConfigError
from configs.files import atomic_file, write_json
from configs.options import at_least, require
from data.leaks import Facts, in_words, leak_report
from data.sequence_clusters import Aligner, choose_aligner
from data.shards import ShardReader
from data.split_sequences import COLUMNS, ItemSequences, chains_of_table, sequences_of_items
from data.split_units import SplitOptions, dates_of, smiles_of, units_of
from data.splits import By, Part, refuse_taken, simple_units, split_dates, split_folds, split_groups, write_parts
from data.structure_sequences import chains_of_structures
from data.table import read_table
from data.vocab import MODALITIES


@command("split_data")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    check(options)
    reader = ShardReader(options.data)
    folds = [f"fold_{fold}/" for fold in range(options.folds or 0)] or [""]
    refuse_taken(options.out_path, [f"{fold}{name}" for fold in folds for name in ("train", "valid", "test")])
    chosen = SplitOptions(
        options.split,
        options.index,
        options.smiles_column,
        options.date_column,
        options.identity,
        choose_aligner(options.aligner),
    )
    sequences = smiles = None
    if options.split == "cluster" or not options.no_similarity:
        sequences = find_sequences(options, reader.ids)
        warn_of_blocks(sequences, options.split == "cluster")
    units, parts = make_parts(reader, chosen, sequences, options)
    if has_smiles(options) and not options.no_similarity:
        smiles = smiles_of(reader.ids, chosen)
    facts = Facts(reader.ids, simple_units(reader, "group"), None if options.no_similarity else sequences, smiles)
    reports = compare(facts, parts, chosen.aligner)
    write_parts(reader, parts, options.out_path)
    write_table(options.out_path / "split.csv", reader.ids, units, parts)
    write_json(options.out_path / "leak_report.json", reports)
    tell(parts, reports, options, len(reader))
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of shards")
    parser.add_argument(
        "--split",
        "--by",
        choices=get_args(By),
        default="group",
        help="what stays on one side: group (default): items of a group, or else of a PDB entry; random: nothing; "
        "cluster: proteins of alike sequence; scaffold: ligands of one scaffold; time: the newest items are tested",
    )
    parser.add_argument("--valid_fraction", type=float, default=0.1, help="share of the items (default 0.1)")
    parser.add_argument("--test_fraction", type=float, default=0.0, help="share of the items (default 0: no test set)")
    parser.add_argument("--folds", type=int, help="make this many folds; each is the test set once")
    parser.add_argument("--seed", type=int, default=42, help="of the random order of units")
    parser.add_argument("--out_path", type=Path, required=True, help="folder for the parts")
    parser.add_argument(
        "--sequences",
        type=Path,
        help="CSV with id (or pdb_id), chain, sequence (default: from the blocks of the items)",
    )
    parser.add_argument(
        "--structures", type=Path, help="folder of the index's paths: sequences from the files themselves"
    )
    parser.add_argument("--identity", type=float, default=0.3, help="cluster: identity of alike proteins (default 0.3)")
    parser.add_argument(
        "--aligner", choices=get_args(Aligner), default="auto", help="default: MMseqs2 when installed, else Biopython"
    )
    parser.add_argument("--index", type=Path, help="CSV with the ids of the items and further columns, joined by id")
    parser.add_argument("--smiles_column", default="lig_smiles", help="of the index (default lig_smiles)")
    parser.add_argument("--date_column", help="time: of the index; years, or dates like 2021-05-31")
    parser.add_argument(
        "--no_similarity", action="store_true", help="leave sequences and ligands out of the leak report"
    )
    return parser.parse_args(argv)


def find_sequences(options: argparse.Namespace, identifiers: Sequence[str]) -> ItemSequences:
    """The protein sequences of the items from the best source that is named."""
    known = None
    if options.sequences is not None:
        known = chains_of_table(options.sequences, identifiers, options.index)
    elif options.structures is not None:
        if options.index is None:
            raise ConfigError("is required by --structures", "--index", hint="the CSV that the items were made from")
        known = chains_of_structures(options.index, options.structures, identifiers)
    return sequences_of_items(ShardReader(options.data, COLUMNS), known)


def check(options: argparse.Namespace) -> None:
    """Refuse options that make no sense, alone or together; ConfigError."""
    at_least(options, 0, "seed")
    require(0 < options.identity <= 1, "identity", options.identity, "above 0 and at most 1")
    if options.folds is not None:
        at_least(options, 2, "folds")
        require(0 <= options.valid_fraction < 1, "valid_fraction", options.valid_fraction, "from 0 to below 1")
        require(not options.test_fraction, "test_fraction", options.test_fraction, "left out with --folds")
        if options.split == "time":
            raise ConfigError("can't be used with --split time, which has one order", "--folds")


def has_smiles(options: argparse.Namespace) -> bool:
    """Whether the index has a column of SMILES."""
    return options.index is not None and options.smiles_column in read_table(options.index).columns


def make_parts(
    reader: ShardReader, chosen: SplitOptions, sequences: ItemSequences | None, options: argparse.Namespace
) -> tuple[list[str], dict[str, Part]]:
    """The unit of every item, and the parts."""
    fractions = {"valid": options.valid_fraction}
    if options.test_fraction:
        fractions["test"] = options.test_fraction
    if chosen.by == "time":
        dates = dates_of(reader.ids, chosen)
        return np.datetime_as_string(dates, unit="D").tolist(), split_dates(dates, fractions)
    units = units_of(reader, chosen, sequences)
    if options.folds is not None:
        return units, split_folds(units, options.folds, options.valid_fraction, options.seed)
    return units, split_groups(units, fractions, options.seed)


def compare(facts: Facts, parts: Mapping[str, Part], aligner: Aligner) -> dict[str, Any]:
    """The leak report, or one for each fold."""
    folds = sorted({name.partition("/")[0] for name in parts if "/" in name})
    if not folds:
        return leak_report(facts, parts, aligner)
    inside = {f: {name.partition("/")[2]: p for name, p in parts.items() if name.startswith(f + "/")} for f in folds}
    return {fold: leak_report(facts, of_fold, aligner) for fold, of_fold in inside.items()}


def write_table(path: Path, ids: Sequence[str], units: Sequence[str], parts: Mapping[str, Part]) -> None:
    """id, unit and part of every item; with folds, the part is the fold whose test set has it."""
    part_of_item = np.full(len(ids), "", object)
    for name, part in parts.items():
        if "/" not in name or name.endswith("/test"):
            part_of_item[part.indices] = name.partition("/")[0]
    with atomic_file(path) as temporary:
        pd.DataFrame({"id": ids, "unit": units, "part": part_of_item}).to_csv(temporary, index=False)


def warn_of_blocks(sequences: ItemSequences, clustering: bool) -> None:
    """Say it when sequences are not those of whole chains."""
    if sequences.n_from_blocks:
        what = "clusters and leak report rest" if clustering else "the leak report rests"
        print(
            f"NOTE: for {sequences.n_from_blocks} of {len(sequences.sequences)} items {what} on the residues near the "
            "interface: their whole sequences are not known; --sequences names a table, --structures the files",
            file=sys.stderr,
        )


def tell(parts: Mapping[str, Part], reports: Mapping[str, Any], options: argparse.Namespace, n_items: int) -> None:
    """Print sizes and the leak report."""
    unit = {"group": "groups", "cluster": "clusters", "scaffold": "scaffolds", "time": "dates"}.get(
        options.split, "items"
    )
    width = max(map(len, parts))
    for name, part in parts.items():
        n, folder = len(part.indices), options.out_path / name
        print(f"{name:<{max(width, 6)}} {n:>8} items ({n / n_items:6.1%}) of {part.n_groups} {unit}  {kinds(folder)}")
    for fold, report in reports.items() if options.folds else [("", reports)]:
        for line in in_words({"test": report["test"]} if fold else report):
            print(f"{fold} {line}" if fold else line)


def kinds(path: Path) -> str:
    """How many items of each kind of complex a folder of shards holds, in words."""
    modality, counts = np.unique(ShardReader(path, verify=False).counts["modality"], return_counts=True)
    named = zip(modality.tolist(), counts.tolist())
    return ", ".join(f"{MODALITIES[m] if m >= 0 else 'unknown kind'} {n}" for m, n in named)


if __name__ == "__main__":
    sys.exit(main())
