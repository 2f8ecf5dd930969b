"""Learn a vocabulary of fragments from a file of SMILES by principal subgraph mining.

Every atom starts as a fragment. The pair of neighbouring fragments that occurs most often, over all molecules, becomes
an entry and is merged wherever it occurs; this is repeated until the vocabulary is large enough. One SMILES a line,
first column of lines divided by white space, comma or tab; a first line that is no SMILES is taken for a heading.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rdkit import Chem, rdBase
from tqdm import tqdm

from configs.command import command
from configs.errors import DataError
from configs.files import atomic_write
from configs.options import at_least
from configs.words import count_of
from data.fragments import AtomGraph, Merging, canonical_order, fragment_name

SHOWN = 10


class Corpus:
    """Molecules that are merged step by step, with the number of every pair of neighbours.

    Attributes:
        counts: name of a union -> occurrences. holders: name -> molecules that hold it.
    """

    def __init__(self, molecules: Iterable[Chem.Mol]) -> None:
        self.graphs: list[AtomGraph] = []
        self.elements: Counter[str] = Counter()
        for molecule in molecules:
            graph = AtomGraph(Chem.RenumberAtoms(molecule, canonical_order(molecule)))
            self.graphs.append(graph)
            self.elements.update(graph.symbol(i) for i in range(len(graph.atoms)))
        self.mergings = [Merging(graph) for graph in self.graphs]
        self.names = [self._pairs(number) for number in range(len(self.graphs))]
        self.counts: Counter[str] = Counter()
        self.holders: dict[str, set[int]] = {}
        for number in range(len(self.graphs)):
            self._count(number, 1)

    def _pairs(self, number: int) -> dict[tuple[int, int], str]:
        graph, merging = self.graphs[number], self.mergings[number]
        return {pair: fragment_name(graph.key(merging.union(pair))) for pair in merging.pairs()}

    def _count(self, number: int, sign: int) -> None:
        for name, times in Counter(self.names[number].values()).items():
            self.counts[name] += sign * times
            holders = self.holders.setdefault(name, set())
            holders.add(number) if sign > 0 else holders.discard(number)

    def most_frequent(self) -> tuple[str, int]:
        """Union that occurs most often (of equals, the first in the alphabet); ("", 0): nothing is left to merge."""
        return min(self.counts.items(), key=lambda entry: (-entry[1], entry[0]), default=("", 0))

    def merge(self, name: str) -> None:
        """Merge a union wherever it occurs."""
        for number in sorted(self.holders[name]):
            self._count(number, -1)
            self.mergings[number].merge([pair for pair, found in self.names[number].items() if found == name], name)
            self.names[number] = self._pairs(number)
            self._count(number, 1)


def learn(molecules: Iterable[Chem.Mol], size: int, progress: bool = False) -> list[tuple[str, int, int]]:
    """Rows (SMILES, atoms, frequency) of a vocabulary of at most `size` entries, single atoms included; the largest
    fragments first, of equal size the more frequent first."""
    corpus = Corpus(molecules)
    rows = [(symbol, 1, times) for symbol, times in corpus.elements.items()]
    learned: dict[str, tuple[str, int, int]] = {}
    with tqdm(total=max(size - len(rows), 0), desc="fragments", unit="", disable=not progress) as bar:
        while len(rows) + len(learned) < size:
            name, frequency = corpus.most_frequent()
            if not frequency:
                break
            if name not in learned:
                atoms = Chem.MolFromSmiles(name, sanitize=False).GetNumAtoms()
                learned[name] = (name, atoms, frequency)
                bar.update()
            corpus.merge(name)
    return sorted([*rows, *learned.values()], key=lambda row: (-row[1], -row[2], row[0]))


def read_molecules(path: Path) -> tuple[list[Chem.Mol], list[str]]:
    """Molecules of a file of SMILES, and a line about every row that was skipped.

    Raises:
        DataError: no text, or not one readable SMILES in it. OSError: no such file.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text", path) from error
    molecules, skipped = [], []
    with rdBase.BlockLogs():
        for number, line in enumerate(lines, 1):
            smiles = re.split(r"[\s,;]", line.strip(), maxsplit=1)[0]
            if not smiles:
                continue
            molecule = Chem.MolFromSmiles(smiles)
            if molecule is not None and molecule.GetNumAtoms():
                molecules.append(Chem.RemoveAllHs(molecule))
            elif number > 1 or "smi" not in smiles.lower():
                skipped.append(f"row {number}: {smiles!r} is no SMILES")
    if not molecules:
        raise DataError("holds no readable SMILES", path, hint="one SMILES a line, in the first column")
    return molecules, skipped


@command("learn_vocabulary")
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("smiles_file", type=Path, help="one SMILES a line")
    parser.add_argument("--size", type=int, default=300, help="entries, single atoms included (default 300)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write; give it as --vocabulary")
    options = parser.parse_args(argv)
    at_least(options, 1, "size")
    molecules, skipped = read_molecules(options.smiles_file)
    for line in skipped[:SHOWN]:
        print(f"skipped {line}", file=sys.stderr)
    if len(skipped) > SHOWN:
        print(f"skipped {count_of(len(skipped) - SHOWN, 'more row')}", file=sys.stderr)
    rows = learn(molecules, options.size, progress=True)
    content = {"method": options.out.stem, "kekulize": False, "fragments": rows}
    atomic_write(options.out, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    made = f"{count_of(len(rows), 'entry', 'entries')} from {count_of(len(molecules), 'molecule')}"
    print(f"{options.out}: {made}, {count_of(len(skipped), 'row')} skipped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
