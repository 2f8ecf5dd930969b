"""Labelled pockets from a table of what is bound to which chain: the type of the ligand or ion, all of them, or bound
or not.

    python scripts/make_pockets.py DATA/multilabel/chain_het_contacts.csv --root DATA --task type --out_path shards

An item is a pocket without what it binds: the residues of one chain within 8 Å of a ligand, ion or sugar. Groups that
are bonded to the chain or to each other (glycans) are left out, and so are additives. An item's group is the family of
its chain, for scripts/split_data.py and scripts/cross_validate.py.

--task type: the label is the code of the ligand or ion (class names are kept with the data set, for
multiclass_classifier). Codes with too few families or items are left out.
--task labels: the labels are the codes of all that is bound in the pocket: of what has at least half of its
own residues in it (multilabel). A code that is not there was not seen, which does not prove that it does not bind.
--task bound: the label is 1 for the pocket of a ligand or sugar of 6 or more heavy atoms, and 0 for as many residues of
the same chain around a copy of that ligand laid elsewhere on its surface (binary_classifier). Nothing is bound within
8 Å of the copy; that nothing was seen there does not prove that nothing binds. Only full entries count.

At most --most_per_entry pockets of a code come from an entry and --most_per_family from a family. What went where is in
OUT_PATH/pockets.csv.
"""

import argparse
import csv
import io
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from configs.command import command
from configs.errors import ConfigError, DataError, LigareError, StructureError
from configs.files import atomic_write
from configs.options import at_least
from configs.reading import path_inside
from data.interface import CUTOFF
from data.item import Item
from data.label_sets import COMPLETE
from data.pockets import bound_group, decoy_residues, pocket_item, residues_near, residues_of_chain
from data.shards import ShardWriter
from data.structure import Structure, read_structure
from data.vocab import load_vocabulary

COLUMNS = (
    *("pdb_id", "path", "chain", "chain_kind", "family", "het_code", "category", "het_chain", "het_resid"),
    *("n_contact_residues", "covalent", "full_pdb_entry"),
)
CATEGORIES = {"type": {"ligand", "ion", "sugar"}, "labels": {"ligand", "ion", "sugar"}, "bound": {"ligand", "sugar"}}
MOST_SHOWN = 30
LEAST_ATOMS = 6  # of a ligand in --task bound


class Contact(NamedTuple):
    """A row of the table: something bound to a chain."""

    path: str
    chain: str
    family: str
    code: str
    number: str
    het_chain: str
    pdb_id: str

    @property
    def name(self) -> str:
        return f"{self.pdb_id}_{self.chain}_{self.code}{self.number}{self.het_chain}"


class Pocket(NamedTuple):
    """An item still without a label, the contact it comes from, and the codes of all that is bound in it."""

    contact: Contact
    item: Item
    bound: bool
    codes: frozenset[str] = frozenset()


@command("make_pockets")
def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    at_least(options, 1, "min_families", "min_items", "most_per_entry", "most_per_family", "every")
    at_least(options, 0, "seed")
    at_least(options, 0.1, "cutoff")
    contacts = read_contacts(options.table, options.task)
    found = list(pockets(contacts, options))
    if not found:
        raise DataError("gave no pocket", options.table)
    if options.task == "labels":
        return write_sets(options, found)
    if options.task == "type":
        labels, classes = label_by_code(found, options.min_families, options.min_items)
    else:
        labels, classes = [int(pocket.bound) for pocket in found], ["decoy", "bound"]
    kept = [(pocket, label) for pocket, label in zip(found, labels) if label is not None]
    items = [(pocket, pocket.item.with_(label=float(label)), (label, classes[label])) for pocket, label in kept]
    write(options, items, {"classes": classes})
    for number, name in enumerate(classes):
        of_class = [pocket for pocket, label in kept if label == number]
        families = len({pocket.item.group for pocket in of_class})
        blocks = np.median([pocket.item.n_blocks for pocket in of_class])
        print(f"{number:>3} {name:<6}{len(of_class):>6} items of {families:>4} families, median {blocks:.0f} residues")
    print(f"{len(kept)} items in {options.out_path}")
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="CSV of contacts: chain_het_contacts.csv")
    parser.add_argument("--root", type=Path, required=True, help="folder that the table's paths are relative to")
    parser.add_argument("--task", choices=sorted(CATEGORIES), required=True, help="what the label is")
    parser.add_argument("--out_path", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--cutoff", type=float, default=CUTOFF, help="Å around what is bound (default 8)")
    parser.add_argument("--min_families", type=int, default=5, help="of a code (default 5)")
    parser.add_argument("--min_items", type=int, default=15, help="of a code (default 15)")
    parser.add_argument("--most_per_entry", type=int, default=2, help="pockets of a code of an entry (default 2)")
    parser.add_argument("--most_per_family", type=int, default=10, help="pockets of a code of a family (default 10)")
    parser.add_argument("--every", type=int, default=1, help="read every so many-th file only (default 1: all)")
    parser.add_argument("--vocabulary", default="PS_300", help="block vocabulary (default PS_300)")
    parser.add_argument("--seed", type=int, default=0, help="of the places of decoys")
    return parser.parse_args(argv)


def read_contacts(table: Path, task: str) -> list[Contact]:
    """The rows that count, each bound group once: with the chain that it touches most.

    Raises:
        DataError: no such file, or one without the columns of the table.
    """
    try:
        with open(table, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text", table) from error
    if not rows or (missing := sorted(set(COLUMNS) - set(rows[0]))):
        raise DataError(f"lacks the columns {', '.join(missing)}" if rows else "has no rows", table)
    best: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        wanted = row["chain_kind"] == "protein" and row["category"] in CATEGORIES[task] and row["covalent"] == "0"
        if not wanted or not row["family"] or (task == "bound" and row["full_pdb_entry"] != "1"):
            continue
        key = (row["path"], row["het_chain"], row["het_resid"], row["het_code"])
        if key not in best or int(row["n_contact_residues"]) > int(best[key]["n_contact_residues"]):
            best[key] = row
    names = ("path", "chain", "family", "het_code", "het_resid", "het_chain", "pdb_id")
    return sorted((Contact(*(row[name] for name in names)) for row in best.values()), key=lambda c: (c.path, c.name))


def pockets(contacts: Sequence[Contact], options: argparse.Namespace) -> Iterator[Pocket]:
    """Pockets, and for --task bound a decoy for each; what can't be made is counted on stderr."""
    by_file: dict[str, list[Contact]] = defaultdict(list)
    for contact in contacts:
        by_file[contact.path].append(contact)
    paths = list(by_file)[:: options.every]
    of_entry: Counter[tuple[str, str]] = Counter()
    of_family: Counter[tuple[str, str]] = Counter()
    refused: Counter[str] = Counter()
    for path in tqdm(paths, unit=" files", disable=not sys.stderr.isatty()):
        try:
            structure = read_structure(path_inside(options.root, path, StructureError))
        except StructureError as error:
            refused[str(error)] += len(by_file[path])
            continue
        bound = codes_by_residues(structure, by_file[path], options.cutoff) if options.task == "labels" else []
        for contact in by_file[path]:
            entry, family = (contact.pdb_id, contact.code), (contact.family, contact.code)
            if of_entry[entry] >= options.most_per_entry or of_family[family] >= options.most_per_family:
                continue
            try:
                made = list(pockets_of(structure, contact, options, bound))
            except LigareError as error:
                refused[" ".join(str(error).split()[-4:])] += 1
                continue
            of_entry[entry] += bool(made)
            of_family[family] += bool(made)
            yield from made
    if refused:
        print("left out: " + ", ".join(f"{n} by {name}" for name, n in refused.items()), file=sys.stderr)


def codes_by_residues(structure: Structure, contacts: Sequence[Contact], cutoff: float) -> list[tuple[str, set[int]]]:
    """Code and residues of everything that is bound in a file, as far as it is there."""
    found = []
    for contact in contacts:
        try:
            group = bound_group(structure, contact.code, contact.number, contact.het_chain)
        except LigareError:
            continue  # its own pocket is refused and counted
        chain = residues_of_chain(structure, contact.chain)
        found.append((contact.code, set(residues_near(structure, chain, group, cutoff).tolist())))
    return found


def pockets_of(
    structure: Structure,
    contact: Contact,
    options: argparse.Namespace,
    neighbours: Sequence[tuple[str, set[int]]] = (),
) -> Iterator[Pocket]:
    """The pocket of a contact, and its decoy for --task bound; nothing where the ligand is small or has no decoy.

    Args:
        neighbours: code and residues of everything bound in the file, of which those in the pocket are its codes.
    """
    vocabulary = load_vocabulary(options.vocabulary)
    ligand = bound_group(structure, contact.code, contact.number, contact.het_chain)
    chain = residues_of_chain(structure, contact.chain)
    sites = {True: residues_near(structure, chain, ligand, options.cutoff)}
    if options.task == "bound":
        if len(ligand) < LEAST_ATOMS:
            return
        rng = np.random.default_rng((options.seed, *contact.name.encode()))
        decoy = decoy_residues(structure, chain, ligand, rng, options.cutoff)
        if decoy is None:
            return
        sites[False] = decoy
    for bound, residues in sites.items():
        name = contact.name if bound else f"{contact.name}_decoy"
        item = pocket_item(structure, residues, vocabulary, id=name, label=float("nan"), group=contact.family)
        inside = set(residues.tolist())
        codes = {code for code, own in neighbours if 2 * len(own & inside) >= max(len(own), 1)}
        yield Pocket(contact, item, bound, frozenset(codes | {contact.code}))


def label_by_code(found: Sequence[Pocket], families: int, items: int) -> tuple[list[int | None], list[str]]:
    """Class numbers (None: its code is too rare) and the codes of the classes, the most frequent first.

    Raises:
        ConfigError: fewer than two codes are frequent enough.
    """
    of_code: dict[str, list[Pocket]] = defaultdict(list)
    for pocket in found:
        of_code[pocket.contact.code].append(pocket)
    counts = {code: (len(some), len({pocket.item.group for pocket in some})) for code, some in of_code.items()}
    classes = [code for code, (n, kinds) in counts.items() if n >= items and kinds >= families]
    classes.sort(key=lambda code: (-counts[code][0], code))
    if len(classes) < 2:
        raise ConfigError(f"leave {len(classes)} codes", "--min_families, --min_items", hint="two are needed")
    number = {code: i for i, code in enumerate(classes)}
    return [number.get(pocket.contact.code) for pocket in found], classes


def write_sets(options: argparse.Namespace, found: Sequence[Pocket]) -> int:
    """Write pockets with all their codes as labels, and tell how many have each."""
    names = sorted({code for pocket in found for code in pocket.codes})
    kept = []
    for pocket in found:
        targets = np.array([name in pocket.codes for name in names], np.float32)
        kept.append((pocket, pocket.item.with_(targets=targets), ("", ";".join(sorted(pocket.codes)))))
    write(options, kept, {"targets": names, COMPLETE: True})
    counts = Counter(code for pocket in found for code in pocket.codes)
    for name, count in counts.most_common(MOST_SHOWN):
        families = {pocket.item.group for pocket in found if name in pocket.codes}
        print(f"{name:<6}{count:>6} items of {len(families):>4} families")
    print(f"{len(names)} labels in all; {len(found)} items in {options.out_path}")
    return 0


def write(
    options: argparse.Namespace, kept: Iterable[tuple[Pocket, Item, tuple[Any, Any]]], labels: dict[str, Any]
) -> None:
    """The shards, and a table of what they hold.

    Args:
        kept: pockets, their items with labels, and the columns `label` and `class`. labels: what the labels are.
    """
    vocabulary = load_vocabulary(options.vocabulary)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("id", "path", "chain", "family", "het_code", "label", "class", "residues"))
    extra = labels | {"made_by": "make_pockets", "task": options.task, "seed": options.seed}
    name = vocabulary.name
    writer = ShardWriter(
        options.out_path, vocabulary.fingerprint, vocabulary=name, fragmentation_method=name, extra=extra
    )
    with writer:
        for pocket, item, told in kept:
            contact = pocket.contact
            writer.add(item)
            numbers = [f"{n}{code}" for n, code in zip(item.block_resid.tolist(), item.block_icode)]  # type: ignore[union-attr,arg-type]
            shown = (contact.path, contact.chain, contact.family, contact.code, *told)
            table.writerow((item.id, *shown, " ".join(dict.fromkeys(numbers))))
    atomic_write(options.out_path / "pockets.csv", text.getvalue())


if __name__ == "__main__":
    sys.exit(main())
