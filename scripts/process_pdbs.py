"""Turn structure files (PDB, mmCIF; plain or gzip) into shards of interfaces.

With --data_index_file, every row of a CSV says one interface. Its columns: pdb_id (unique name), pdb_path, chain1,
chain2 (several chains joined by _; empty chain1: all polymer chains), lig_code, lig_resi, lig_smiles (a ligand of
chain2 as the second partner; codes joined by - without a number: all sugars of the chain), label; optional: group (unit
for splits), ligand_path (SDF or MOL2 file as the second partner), modality (found out when empty).

Labels are numbers: a measured value, or the number of a class. --label_columns names another column, or several whose
values become the targets of a regression; with --label_classes the labels are names of classes, with --label_sets sets
of names (`ATP;MG`, `-` for none of them, empty where nothing is known).

With --structures, a folder or a file is searched: every pair of chains and every ligand, ion and glycan in contact.

A run can be stopped at any time; the same command continues it. Rows that give no interface are listed in
OUT_PATH/failures.csv with file, row and reason; among them those of files that take too long, or that end the process
that reads them three times.

Exit code: 0 when interfaces were made (also when some rows were refused), 2 for bad arguments, an unreadable index, or
when nothing could be made, 130 when interrupted.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.command import check_processes, command
from configs.errors import ConfigError, LigareError
from configs.limits import add_limit_flags, use_limits
from data.backends import NAMES, Backend
from data.index import rows_of_index, structure_files, with_class_numbers, with_label_sets
from data.interface import CUTOFF
from data.label_sets import COMPLETE
from data.partners import name_modality
from data.prepare import PrepareOptions, Task, tasks_of_files, tasks_of_rows
from data.prepare_parallel import Report, prepare
from data.supervise import Limits


@command("process_pdbs", interrupted="interrupted; the same command continues")
def main(argv: Sequence[str] | None = None) -> int:
    """Process; see the exit codes above."""
    options = arguments(argv)
    use_limits(options)
    chosen = PrepareOptions(
        cutoff=options.cutoff,
        vocabulary=options.vocabulary,
        model=options.model,
        additives=options.keep_additives,
        copies=options.keep_copies,
    )
    limits = Limits(options.seconds_per_file, options.memory_per_process)
    backend = Backend(options.backend, options.n_jobs, options.address, limits)
    tasks, root, labels = read_tasks(options)
    report = prepare(tasks, root, options.out_path, chosen, backend, label_facts=labels)
    print(summary(report, options.out_path))
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data_index_file", type=Path, help="CSV that says which interfaces to make")
    source.add_argument("--structures", type=Path, help="folder or file whose interfaces are found without an index")
    parser.add_argument("--out_path", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--root", type=Path, help="folder of the index's paths (default: that of the index file)")
    parser.add_argument(
        "--label_columns", nargs="+", default=[], metavar="NAME", help="column with labels (default label), or several"
    )
    parser.add_argument(
        "--label_classes", nargs="*", metavar="NAME", help="labels are names of classes: in this order, or sorted"
    )
    parser.add_argument("--label_sets", action="store_true", help="labels are sets of names joined by ; as in ATP;MG")
    parser.add_argument("--label_unit", default="", help="unit of the labels, kept with the data")
    parser.add_argument("--n_jobs", type=int, default=1, help="processes (default 1; -1: all cores)")
    parser.add_argument("--backend", choices=NAMES, default=NAMES[0], help="processes of this machine, or a cluster")
    parser.add_argument(
        "--address", help="of a running cluster: tcp://HOST:8786 (Dask), HOST:6379 or auto (Ray); none: started here"
    )
    parser.add_argument("--seconds_per_file", type=float, default=600, help="then a file is refused (default 600)")
    parser.add_argument("--memory_per_process", type=float, default=4, help="GiB that a file may need (default 4)")
    parser.add_argument("--cutoff", type=float, default=CUTOFF, help="Å between heavy atoms of the sides (default 8)")
    parser.add_argument(
        "--vocabulary",
        "--fragmentation_method",
        default="PS_300",
        help="fragments of ligands: PS_300 (default), none, or a JSON file",
    )
    parser.add_argument("--model", type=int, default=0, help="model of each structure, counted from 0 (default 0)")
    parser.add_argument(
        "--keep_additives", action="store_true", help="with --structures: glycerol, sulfate, ... are partners too"
    )
    parser.add_argument("--keep_copies", action="store_true", help="with --structures: repeated interfaces too")
    add_limit_flags(parser, "max_file_size", "max_unpacked_size", "max_atoms", "allow_outside_root")
    return parser.parse_args(argv)


def read_tasks(options: argparse.Namespace) -> tuple[list[Task], Path, dict[str, Any]]:
    """What to do, the folder that paths are relative to, and what the labels are."""
    check_processes(options.n_jobs)
    labels: dict[str, Any] = {"label_unit": options.label_unit} if options.label_unit else {}
    if options.data_index_file is not None:
        root = options.root or options.data_index_file.parent
        rows = rows_of_index(options.data_index_file, options.label_columns)
        if len(options.label_columns) > 1:
            labels["targets"] = options.label_columns
        if options.label_classes is not None:
            if len(options.label_columns) > 1:
                raise ConfigError("classes are read from one column", "--label_columns")
            rows, classes = with_class_numbers(rows, options.label_classes)
            labels["classes"] = list(classes)
        if options.label_sets:
            if len(options.label_columns) > 1 or options.label_classes is not None:
                hint = "leave out --label_classes, and name one of --label_columns"
                raise ConfigError("reads sets from one column", "--label_sets", hint=hint)
            rows, names = with_label_sets(rows)
            labels |= {"targets": list(names), COMPLETE: True}
        return tasks_of_rows(rows), root, labels
    files = structure_files(options.structures)
    root = options.structures if options.structures.is_dir() else options.structures.parent
    return tasks_of_files(files, root), root, labels


def summary(report: Report, out: Path) -> str:
    """The closing table: what was made and refused, by kind of complex."""
    refused: Counter[str] = Counter()
    for name, number in report.refused.items():
        refused[modality_or_unknown(name)] += number
    rows = [("modality", "made", "refused")]
    rows += [(name, str(report.made[name]), str(refused[name])) for name in {**report.made, **refused}]
    rows.append(("all", str(report.made.total()), str(refused.total())))
    lines = [f"{name:<12}{made:>9}{failed:>9}" for name, made, failed in rows]
    if report.unknown:
        named = ", ".join(f"{name} {number}" for name, number in report.unknown.most_common(10))
        lines.append(f"blocks of unknown type: {report.unknown.total()} ({named})")
    lines.append(f"in {out}")
    if report.failures:
        lines.append(f"refused rows and reasons: {out / 'failures.csv'}; the first:")
        lines += [f"  {f.pdb_id or f.file}: {f.reason}" for f in report.failures[:3]]
    return "\n".join(lines)


def modality_or_unknown(name: str) -> str:
    """Our name of a kind of complex as an index spells it; `?` where it says nothing sensible."""
    try:
        return name_modality(name) if name else "?"
    except LigareError:
        return "?"


if __name__ == "__main__":
    sys.exit(main())
