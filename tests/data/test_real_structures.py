"""Real structures: read like Biopython reads them, and nearly all of the known interfaces are made."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from configs.errors import LigareError
from data.discover import discover
from data.index import Row, rows_of_index
from data.interface import Partner
from data.item import check_item
from data.partners import name_modality, select_chains, select_ligand
from data.prepare import PrepareOptions, items_of_file, process_row, process_task, tasks_of_rows
from data.structure import Structure, read_structure
from data.vocab import MODALITIES, UNKNOWN, load_vocabulary

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("INTERFACE_DATA", ROOT.parent / "shared" / "data"))
PARITY = Path(os.environ.get("INTERFACE_PARITY", ROOT.parent / "shared" / "parity"))
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"INTERFACE_DATA: no folder {DATA}"),
]


def sample(table: str, step: int) -> list[Row]:
    return rows_of_index(DATA / table / "interfaces.csv")[::step]


@pytest.mark.parametrize(
    ("table", "step"), [("pretrain", 40), ("crystals", 20), ("pl_affinity", 40), ("ppi_affinity", 25)]
)
def test_nearly_all_known_interfaces_are_made(table: str, step: int) -> None:
    done = [d.result for task in tasks_of_rows(sample(table, step)) for d in process_task(task, DATA, PrepareOptions())]
    items = [result for result in done if hasattr(result, "X")]
    assert len(items) >= 0.99 * len(done), [result for result in done if not hasattr(result, "X")]
    for item in items:
        check_item(item)
        assert set(item.segment_ids.tolist()) == {0, 1}
    assert Counter(b for item in items for b in item.B.tolist())[UNKNOWN] == 0


def test_a_file_with_text_in_the_charge_columns_is_read() -> None:
    paths = {row.pdb_path for row in rows_of_index(DATA / "ppi_affinity" / "interfaces.csv") if "1atn" in row.pdb_path}
    assert paths
    assert all(read_structure(DATA / path).n_residues > 600 for path in paths)


@pytest.mark.parametrize("step", [400])
def test_atoms_agree_with_biopython(tmp_path: Path, step: int) -> None:
    import gzip

    from Bio.PDB import MMCIFParser, PDBParser

    for row in sample("pretrain", step):
        path = DATA / row.pdb_path
        parser = MMCIFParser(QUIET=True) if ".cif" in path.name else PDBParser(QUIET=True)
        with gzip.open(path, "rt") as text:
            theirs = parser.get_structure("x", text)[0]
        ours = read_structure(path)
        chains = {str(c): str(a) for c, a in zip(ours.chain, ours.chain)}
        assert set(chains) <= {chain.id.strip() for chain in theirs}
        expected = {}
        for residue in theirs.get_residues():
            atoms = [a for a in residue if a.element not in ("H", "D")]
            if (
                residue.get_resname().strip() not in ("HOH", "DOD")
                and atoms
                and not any(a.is_disordered() for a in atoms)
            ):
                _, number, icode = residue.id
                key = (residue.get_parent().id.strip(), number, icode.strip(), residue.get_resname().strip())
                expected[key] = np.array(sorted(a.coord.tolist() for a in atoms))
        found = {}
        for i in range(ours.n_residues):
            key = (str(ours.chain[i]), int(ours.resid[i]), str(ours.icode[i]), str(ours.resname[i]))
            found[key] = np.array(sorted(ours.X[ours.starts[i] : ours.starts[i + 1]].tolist()))
        assert expected.keys() <= found.keys(), path
        for key, X in expected.items():
            np.testing.assert_allclose(found[key], X, atol=1e-3, err_msg=f"{path} {key}")


def test_broken_files_give_a_typed_error_or_sound_items() -> None:
    outcomes: Counter[str] = Counter()
    for path in sorted((DATA / "malformed" / "files").iterdir()):
        try:
            for item in items_of_file(path):
                check_item(item)
            outcomes["read"] += 1
        except LigareError as error:
            outcomes["refused" if path.name in str(error) else "unnamed"] += 1
    assert outcomes["read"] >= 68
    assert outcomes["refused"] <= 20
    assert not outcomes["unnamed"]


@pytest.mark.skipif(not PARITY.is_dir(), reason=f"INTERFACE_PARITY: no folder {PARITY}")
def test_blocks_agree_with_recorded_ones_of_a_protein_dna_complex() -> None:
    """Every recorded block of 1LCD (first model) is one of ours: same type, same atoms, same coordinates."""
    recorded = np.load(PARITY / "PredictionModel" / "batch2_edge_cases.npz")
    path = DATA / "malformed" / "files" / "biopython__1LCD.pdb.gz"
    item = process_row(read_structure(path), Row(2, "x", "", "A", "B_C"), load_vocabulary(), cutoff=50.0)

    def described(B: np.ndarray, A: np.ndarray, X: np.ndarray, lengths: np.ndarray) -> set[tuple]:
        starts = np.cumsum(lengths) - lengths
        spans = [slice(start, start + length) for start, length in zip(starts, lengths)]
        rounded = np.round(X.astype(np.float64), 2) + 0.0
        return {(int(b), tuple(sorted(zip(A[s].tolist(), map(tuple, rounded[s]))))) for b, s in zip(B, spans)}

    ours = described(item.B, item.A, item.X, item.block_lengths)
    first, last = np.cumsum(recorded["lengths"])[:2]
    atom = int(recorded["block_lengths"][:first].sum())
    blocks = (
        recorded["B"][first:last],
        recorded["A"][atom:],
        recorded["X"][atom:],
        recorded["block_lengths"][first:last],
    )
    residues = {block for block in described(*blocks) if block[0] > 3}
    assert len(residues) > 40
    assert residues <= ours


def test_the_interfaces_of_the_table_are_found_without_it() -> None:
    found, missing = 0, []
    for row in sample("pretrain", 60):
        structure = read_structure(DATA / row.pdb_path)
        partners = [{where(structure, side) for side in pair.partners} for pair in discover(structure, copies=True)]
        if row.lig_code:
            ligand = select_ligand(structure, row.lig_code, row.lig_resi, row.chain2)
            there = any(where(structure, ligand) <= side for pair in partners for side in pair)
        else:
            there = {
                where(structure, select_chains(structure, chain)) for chain in (row.chain1, row.chain2)
            } in partners
        found += there
        missing += [] if there else [row.pdb_id]
    assert found > 40
    assert len(missing) <= 1, missing


def where(structure: Structure, partner: Partner) -> frozenset[str]:
    """The residues of a ligand, or the chains of a polymer partner."""
    if partner.molecules:
        return frozenset(map(structure.place, partner.residues.tolist()))
    return frozenset(structure.chain[partner.residues].tolist())


def test_modalities_found_agree_with_those_of_the_table() -> None:
    rows = sample("pretrain", 60)
    options = PrepareOptions()
    agree = []
    for task in tasks_of_rows([replace(row, modality="") for row in rows]):
        by_line = {row.line: row for row in rows}
        for done in process_task(task, DATA, options):
            expected = process_row_modality(by_line[done.place[0]])
            agree.append(hasattr(done.result, "X") and MODALITIES[done.result.modality] == expected)
    assert np.mean(agree) > 0.9


def process_row_modality(row: Row) -> str:
    return name_modality(row.modality)
