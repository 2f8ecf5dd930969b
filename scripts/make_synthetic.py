"""Make the built-in data set: computed complexes of peptides and drug-like molecules, as OUT/train and OUT/valid.

No experimental structures: two partners are built with RDKit, pushed together, and minimised with MMFF94; the label is
their MMFF94 interaction energy in vacuum (kcal/mol). It serves to try out every part of the package.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rdkit import Chem

from configs.command import check_processes, command
from configs.errors import ConfigError, DataError
from configs.files import atomic_write
from configs.options import at_least
from configs.words import count_of
from data.item import Item
from data.shard_files import MANIFEST
from data.shards import write_part
from data.splits import split_groups
from data.synthetic import make_complex, make_items
from data.vocab import MODALITIES, load_vocabulary


@command("make_synthetic")
def main(argv: Sequence[str] | None = None) -> int:
    make(arguments(argv))
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out_path", type=Path, required=True, help="folder for train/ and valid/")
    parser.add_argument("-n", "--n_items", type=int, default=300, help="complexes to make (default 300)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same data (default 0)")
    parser.add_argument("--n_jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--valid_fraction", type=float, default=0.15, help="held out, whole groups (default 0.15)")
    parser.add_argument(
        "--vocabulary",
        "--fragmentation_method",
        default="PS_300",
        help="fragments of the molecules: PS_300 (default), none, or a JSON file",
    )
    parser.add_argument("--write_structures", action="store_true", help="also write PDB and SDF files and an index.csv")
    return parser.parse_args(argv)


def make(options: argparse.Namespace) -> None:
    """Make the items, split them by group and write them.

    Raises:
        DataError: a number of items that can't be split, or a folder that holds data already.
        ConfigError: an option that makes no sense, or a share that no group fits.
    """
    if options.n_items < 2:
        raise DataError(f"needs at least 2 complexes, got {options.n_items}", "--n_items")
    at_least(options, 0, "seed")
    check_processes(options.n_jobs)
    if not 0 < options.valid_fraction < 1:
        raise ConfigError(f"must be between 0 and 1, got {options.valid_fraction}", "--valid_fraction")
    for name in ("train", "valid"):
        if (options.out_path / name / MANIFEST).exists():
            raise DataError("holds a data set already", options.out_path / name, hint="choose another --out_path")
    vocabulary = load_vocabulary(options.vocabulary)
    options.out_path.mkdir(parents=True, exist_ok=True)  # if it can't be made, better before the work than after it
    items = make_items(options.n_items, options.seed, options.n_jobs, vocabulary, progress=True)
    parts = split_groups([item.group for item in items], {"valid": options.valid_fraction}, options.seed)
    for name, part in parts.items():
        chosen = [items[i] for i in part.indices]
        write_part(
            options.out_path / name,
            chosen,
            vocabulary.fingerprint,
            vocabulary=vocabulary.name,
            fragmentation_method=vocabulary.name,
            extra={"made_by": "make_synthetic", "seed": options.seed},
        )
        print(describe(name, chosen))
    if options.write_structures:
        write_structures(options.out_path / "structures", options.n_items, options.seed)


def describe(name: str, items: Sequence[Item]) -> str:
    """One line: how many items of which kinds, and how large."""
    kinds = ", ".join(
        f"{MODALITIES[m]} {sum(i.modality == m for i in items)}" for m in sorted({i.modality for i in items})
    )
    groups, blocks = len({item.group for item in items}), np.mean([item.n_blocks for item in items])
    return f"{name:<6} {len(items):>5} complexes in {count_of(groups, 'group')} ({kinds}), {blocks:.0f} blocks each"


def write_structures(folder: Path, n_items: int, seed: int) -> None:
    """Write the complexes as files that `process_pdbs.py` reads: peptides as PDB, molecules as SDF, and index.csv.

    Molecule-molecule complexes are one PDB file with a residue for each.
    """
    rows = ["pdb_id,pdb_path,chain1,chain2,lig_code,lig_smiles,lig_resi,ligand_path,label,group"]
    for index in range(n_items):
        pair = make_complex(index, seed)
        name = f"synthetic_{seed}_{index:05d}"
        molecules = [Chem.RemoveAllHs(pair.first), Chem.RemoveAllHs(pair.second)]
        smiles = Chem.MolToSmiles(molecules[1]) if pair.modality != "Ppeptide" else ""
        chain2, ligand_path, code, number = "B", "", "", ""
        if pair.modality == "PL":
            chain2, ligand_path = "", f"{name}.sdf"
            atomic_write(folder / ligand_path, Chem.MolToMolBlock(molecules.pop()) + "$$$$\n")
        elif pair.modality == "CSD":
            code, number = "LIB", "1"
        text = pdb_text(molecules)
        atomic_write(folder / f"{name}.pdb", text)
        rows.append(
            f"{name},{name}.pdb,A,{chain2},{code},{smiles},{number},{ligand_path},{pair.energy:.3f},{pair.group}"
        )
    atomic_write(folder / "index.csv", "\n".join(rows) + "\n")


def pdb_text(molecules: Sequence[Chem.Mol]) -> str:
    """PDB records of molecules as chains A, B, ...; those that are no peptides become residues LIA, LIB, ..."""
    lines: list[str] = []
    for letter, molecule in zip("ABCD", molecules):
        copy = Chem.Mol(molecule)
        for number, atom in enumerate(copy.GetAtoms(), 1):
            info = atom.GetPDBResidueInfo()
            if info is None:
                atom_name = f"{atom.GetSymbol()}{number}"
                info = Chem.AtomPDBResidueInfo(f" {atom_name:<3}"[:4], number, "", f"LI{letter}", 1, letter)
                info.SetIsHeteroAtom(True)
            info.SetChainId(letter)
            atom.SetMonomerInfo(info)
        block = Chem.MolToPDBBlock(copy, flavor=2 | 8)
        lines += [line for line in block.splitlines() if line.startswith(("ATOM", "HETATM"))] + ["TER"]
    return "\n".join([*lines, "END", ""])


if __name__ == "__main__":
    sys.exit(main())
