"""Interfaces: which blocks, in which order, with which torsions."""

from pathlib import Path

import numpy as np
import pytest
from structure_texts import LYS, SER, atom, chain_of, dimer, mmcif, residue, write

from configs.errors import DataError, InterfaceError, LigareError, StructureError
from data.discover import discover
from data.geometry import rotation_matrices
from data.index import Row
from data.interface import make_interface
from data.item import Item
from data.partners import name_modality, residue_number, select_chains
from data.prepare import items_of_file, process_row
from data.structure import Structure, read_structure
from data.vocab import MODALITIES, load_vocabulary

VOCABULARY = load_vocabulary()


def structure(tmp_path: Path, lines: list[str] | None = None) -> Structure:
    return read_structure(write(tmp_path / "x.pdb", lines or dimer()))


def make(tmp_path: Path, lines: list[str] | None = None, cutoff: float = 8.0, **fields: str) -> Item:
    row = Row(2, "item", "x.pdb", **fields)
    return process_row(structure(tmp_path, lines), row, VOCABULARY, tmp_path, cutoff)


@pytest.mark.parametrize("cutoff", [3.5, 5.0, 8.0])
def test_an_interface_holds_the_blocks_within_the_cutoff(tmp_path: Path, cutoff: float) -> None:
    found = structure(tmp_path)
    item = make(tmp_path, cutoff=cutoff, chain1="A", chain2="B")
    a, b = (np.flatnonzero((found.chain == c) & found.polymer) for c in "AB")
    distance = np.array(
        [
            [
                np.linalg.norm(
                    found.X[found.atoms_of(np.array([i]))][:, None] - found.X[found.atoms_of(np.array([j]))], axis=2
                ).min()
                for j in b
            ]
            for i in a
        ]
    )
    near = [*a[(distance <= cutoff).any(axis=1)], *b[(distance <= cutoff).any(axis=0)]]
    assert len(near) > 1
    assert item.block_resid is not None
    assert item.block_resid.tolist() == found.resid[near].tolist()
    assert item.block_chain == found.chain[near].tolist()
    np.testing.assert_allclose(item.X, found.X[found.atoms_of(np.array(near))], atol=1e-4)


def test_blocks_keep_their_place_in_the_file(tmp_path: Path) -> None:
    lines = [*chain_of("SER", 3, "A", SER), *residue("LYS", 52, LYS, "B", (0, 6.0, 0), icode="A")]
    item = make(tmp_path, lines, chain1="A", chain2="B")
    assert (item.block_chain[-1], item.block_resid[-1], item.block_icode[-1], item.block_resname[-1]) == (
        "B",
        52,
        "A",
        "LYS",
    )
    assert [VOCABULARY.symbol(b) for b in item.B] == ["SER"] * 3 + ["LYS"]
    assert item.segment_ids.tolist() == [0, 0, 0, 1]
    assert item.A[:2].tolist() == [7 + 2, 6 + 2]


def test_an_ion_is_a_block_of_its_element(tmp_path: Path) -> None:
    item = make(tmp_path, chain1="A", chain2="A", lig_code="ZN", lig_resi="301")
    assert VOCABULARY.symbol(item.B[-1]) == "Zn"
    assert MODALITIES[item.modality] == "Pion"
    assert item.segment_ids.sum() == 1


def test_labels_groups_and_modalities_come_from_the_row(tmp_path: Path) -> None:
    item = make(tmp_path, chain1="A", chain2="B", label="-7.5", group="F1", modality="protein-peptide")
    assert (item.id, item.label, item.group, MODALITIES[item.modality]) == ("item", -7.5, "F1", "Ppeptide")
    assert make(tmp_path, chain1="A", chain2="B").group == "x"  # the name of the file


def test_a_short_chain_beside_a_long_one_is_a_peptide(tmp_path: Path) -> None:
    lines = chain_of("SER", 35, "A", SER) + chain_of("LYS", 5, "B", LYS, shift=(0, 6, 0))
    assert MODALITIES[make(tmp_path, lines, chain1="A", chain2="B").modality] == "Ppeptide"
    assert MODALITIES[make(tmp_path, chain1="A", chain2="B").modality] == "PP"


def test_the_sides_have_the_order_of_the_row(tmp_path: Path) -> None:
    assert make(tmp_path, chain1="B", chain2="A").block_resname[0] == "LYS"


def test_turning_a_side_chain_bond_keeps_all_bond_lengths(tmp_path: Path) -> None:
    item = make(tmp_path, chain1="A", chain2="B")
    bonded = np.linalg.norm(item.X[:, None] - item.X, axis=2) < 1.75
    ends = np.cumsum(item.tor_moved_lengths)
    assert len(ends) > 6
    for (p, q), start, end in zip(item.tor_bonds, ends - item.tor_moved_lengths, ends):
        moved = item.tor_moved[start:end]
        assert len({item.block_of_atom[i] for i in [p, q, *moved]}) == 1
        axis = (item.X[q] - item.X[p]).astype(np.float64)
        turned = item.X.astype(np.float64).copy()
        rotation = rotation_matrices(axis[None] / np.linalg.norm(axis), np.array([1.0]))[0]
        turned[moved] = (turned[moved] - turned[q]) @ rotation.T + turned[q]
        before, after = (np.linalg.norm(X[:, None] - X, axis=2)[bonded] for X in (item.X.astype(np.float64), turned))
        np.testing.assert_allclose(after, before, atol=1e-5)


def test_chi_bonds_of_lysine_have_rising_depth(tmp_path: Path) -> None:
    item = make(tmp_path, chain1="B", chain2="A")
    first = item.block_lengths[0]
    own = item.tor_bonds[:, 0] < first
    assert item.tor_depth[own].tolist() == [0, 1, 2, 3]
    assert item.tor_moved_lengths[own].tolist() == [4, 3, 2, 1]


def test_missing_and_unknown_atoms_leave_only_sound_torsions(tmp_path: Path) -> None:
    short = {name: place for name, place in LYS.items() if name != "CD"}
    strange = {**LYS, "XX1": (1.2, 7.5, 3.2)}
    lines = [
        *chain_of("SER", 3, "A", SER),
        *residue("LYS", 1, short, "B", (0, 6, 0)),
        *residue("LYS", 2, strange, "B", (4, 6, 0)),
    ]
    item = make(tmp_path, lines, chain1="B", chain2="A")
    bonds = [(p, q) for p, q in item.tor_bonds.tolist() if item.segment_of_atom[p] == 0]
    assert bonds == [(1, 4), (4, 5)]


def test_a_disulfide_is_not_torn(tmp_path: Path) -> None:
    cys = {**{n: p for n, p in SER.items() if n != "OG"}, "SG": (1.2, 3.4, 1.0)}
    bonded = {n: (x, 6.8 - y, z) for n, (x, y, z) in cys.items()}
    apart = {n: (x, y + 3.0, z) for n, (x, y, z) in bonded.items()}
    assert cys["SG"] == bonded["SG"]
    bonded = {n: (x, y + 2.05, z) for n, (x, y, z) in bonded.items()}
    for places, n_torsions in ((bonded, 0), (apart, 2)):
        lines = residue("CYS", 1, cys) + residue("CYS", 1, places, "B")
        assert len(make(tmp_path, lines, chain1="A", chain2="B").tor_bonds) == n_torsions


def test_a_base_turns_about_its_glycosidic_bond(tmp_path: Path) -> None:
    names = "P O5' C5' C4' O4' C3' O3' C2' C1' N1 C2 O2 N3 C4 N4 C5 C6".split()
    lines = [atom(n, "DC", "D", 1, (i * 1.4, 5, 0)) for i, n in enumerate(names)] + chain_of("SER", 3, "A", SER)
    item = make(tmp_path, lines, chain1="D", chain2="A")
    mine = item.tor_bonds[item.tor_bonds[:, 0] < len(names)]
    assert [(names[p], names[q]) for p, q in mine] == [("C1'", "N1")]
    assert [names[i] for i in item.tor_moved[: item.tor_moved_lengths[0]]] == "C2 O2 N3 C4 N4 C5 C6".split()
    assert MODALITIES[item.modality] == "PDNA"


BENZENE = [(1.39 * np.cos(k * np.pi / 3), 1.39 * np.sin(k * np.pi / 3), 0.0) for k in range(6)]


def with_benzene(resname: str = "BNZ") -> list[str]:
    ring = [atom(f"C{i}", resname, "A", 401, (x + 4, y + 5, z), hetero=True) for i, (x, y, z) in enumerate(BENZENE)]
    return [*chain_of("SER", 4, "A", SER), *ring]


def test_a_ligand_falls_into_fragments(tmp_path: Path) -> None:
    item = make(tmp_path, with_benzene(), chain1="A", chain2="A", lig_code="BNZ", lig_resi="401", lig_smiles="c1ccccc1")
    ligand = item.segment_ids == 1
    assert [VOCABULARY.symbol(b) for b in item.B[ligand]] == ["c1ccccc1"]
    assert MODALITIES[item.modality] == "PL"
    assert set(np.array(item.block_resname)[ligand]) == {"BNZ"}


WRONG: dict[str, tuple[dict[str, str], type[LigareError], str]] = {
    "chain": ({"chain1": "A", "chain2": "Q"}, StructureError, r"x.pdb: has no chain 'Q' \(its chains: A, B\)"),
    "ligand": (
        {"chain1": "A", "chain2": "A", "lig_code": "STI"},
        StructureError,
        r"has no ligand STI in chain A \(its ligands: ZN 301 in chain A\)",
    ),
    "ligand number": (
        {"chain1": "A", "chain2": "A", "lig_code": "ZN", "lig_resi": "7"},
        StructureError,
        "has no ligand ZN 7",
    ),
    "number": (
        {"chain1": "A", "chain2": "A", "lig_code": "ZN", "lig_resi": "x"},
        DataError,
        "lig_resi: 'x' is no residue number",
    ),
    "smiles": (
        {"chain1": "A", "chain2": "A", "lig_code": "ZN", "lig_smiles": "C(("},
        StructureError,
        r"chain A residue 301 ZN: the SMILES 'C\(\(' can't be parsed",
    ),
    "same": ({"chain1": "A", "chain2": "A"}, InterfaceError, "chain A and chain A share residues"),
    "none": ({"chain1": "A"}, DataError, "chain2: names no second partner"),
    "label": ({"chain1": "A", "chain2": "B", "label": "tight"}, DataError, "label: 'tight' is no number"),
    "infinite": ({"chain1": "A", "chain2": "B", "label": "inf"}, DataError, "label: 'inf' is infinite"),
    "modality": (
        {"chain1": "A", "chain2": "B", "modality": "protein-cheese"},
        DataError,
        "unknown modality 'protein-cheese'",
    ),
    "ligand file": ({"chain1": "A", "ligand_path": "none.sdf"}, StructureError, r"none.sdf"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_row_is_told_what_is_wrong(tmp_path: Path, fault: str) -> None:
    fields, error, message = WRONG[fault]
    with pytest.raises(error, match=message):
        make(tmp_path, **fields)


def test_partners_without_contact_are_refused_with_their_distance(tmp_path: Path) -> None:
    lines = residue("SER", 1, SER) + residue("SER", 1, SER, "B", (30, 0, 0))
    with pytest.raises(
        InterfaceError, match=r"no heavy atom of chain A is within 8 Å of chain B; the closest are 27\.\d Å"
    ):
        make(tmp_path, lines, chain1="A", chain2="B")


def test_chains_can_be_joined_and_named_with_underscores(tmp_path: Path) -> None:
    found = structure(tmp_path)
    assert len(select_chains(found, "A_B").residues) == len(select_chains(found, "").residues) == 12


def test_a_glycan_is_all_sugars_of_the_chain(tmp_path: Path) -> None:
    sugars = [atom("C1", n, "G", i, (i * 4.0, 5, 0), hetero=True) for i, n in enumerate(["NAG", "BMA", "SO4"])]
    item = make(tmp_path, chain_of("SER", 4, "A", SER) + sugars, chain1="A", chain2="G", lig_code="NAG-BMA")
    assert np.array(item.block_resname)[item.segment_ids == 1].tolist() == ["NAG", "BMA"]
    assert MODALITIES[item.modality] == "Pglycan"


def test_residue_numbers_may_be_written_by_spreadsheets() -> None:
    assert residue_number("301.0") == (301, "")
    assert residue_number("-4B") == (-4, "B")


def test_all_spellings_of_a_modality_are_known() -> None:
    assert name_modality("protein-RNA") == name_modality("PRNA") == "PRNA"


def test_without_an_index_pairs_ligands_and_ions_are_found(tmp_path: Path) -> None:
    lines = dimer() + [atom(f"C{i}", "GOL", "A", 500, (1.5 * i, 4, 1), hetero=True) for i in range(3)]
    path = write(tmp_path / "1abc.pdb", lines)
    kinds = {item.id: MODALITIES[item.modality] for item in items_of_file(path)}
    assert sorted(kinds.values()) == ["PP", "Pion"]
    assert [name.endswith("-ZN") for name in kinds] == [False, True]
    more = {item.id for item in items_of_file(path, additives=True)}
    assert any(name.endswith("GOL") for name in more - kinds.keys())


def test_a_free_amino_acid_is_told_from_those_of_the_chain(tmp_path: Path) -> None:
    free = residue("SER", 301, SER, "A", (5.0, 8.0, 0.0), hetero=True)
    item = make(tmp_path, [*chain_of("SER", 6, "A", SER), *free], chain1="A", chain2="A", lig_code="SER")
    assert item.block_resid is not None
    assert set(item.block_resid[item.segment_ids == 1].tolist()) == {301}
    assert set(item.block_resid[item.segment_ids == 0].tolist()) <= set(range(1, 7))


def test_a_copy_with_its_chains_in_the_other_order_is_a_copy(tmp_path: Path) -> None:
    """Two equal chains that touch with different ends, and again far away, named the other way round."""
    right, left = (3.7 * 4, 7.0, 0.0), (0.0, 0.0, 0.0)
    away = np.array([0.0, 300.0, 0.0])
    lines = [*chain_of("SER", 9, "A", SER, left), *chain_of("SER", 9, "B", SER, right)]
    lines += [*chain_of("SER", 9, "C", SER, right + away), *chain_of("SER", 9, "D", SER, left + away)]
    found = structure(tmp_path, lines)
    assert [pair.name for pair in discover(found, copies=True)] == ["A_B", "C_D"]
    assert [pair.name for pair in discover(found)] == ["A_B"]


def test_copies_of_an_interface_count_once(tmp_path: Path) -> None:
    copy = [
        line[:21] + {"A": "C", "B": "D"}[line[21]] + line[22:46] + f"{float(line[46:54]) + 200:8.3f}" + line[54:]
        for line in dimer()
    ]
    found = structure(tmp_path, dimer() + copy)
    assert len(discover(found, copies=True)) == 2 * len(discover(found))


def test_partners_may_be_made_by_hand(tmp_path: Path) -> None:
    found = structure(tmp_path)
    item = make_interface(found, (select_chains(found, "A"), select_chains(found, "B")), VOCABULARY, id="mine")
    assert (item.id, MODALITIES[item.modality]) == ("mine", "other")


ZINC = {"ZN": (0.0, 0.0, 0.0)}
RING = {f"C{i}": place for i, place in enumerate(BENZENE)}


def test_residues_of_the_chain_are_no_ligand_without_a_number(tmp_path: Path) -> None:
    """A ligand that the file lacks, but whose name its chain has all over."""
    lines = [*chain_of("SER", 6, "A", SER), *residue("ZN", 301, ZINC, "A", (5.0, 4.0, 0.0), hetero=True)]
    with pytest.raises(StructureError, match=r"has no ligand SER \(its ligands: ZN 301 in chain A\)"):
        make(tmp_path, lines, lig_code="SER")


def test_copies_of_a_ligand_at_several_places_are_no_partner(tmp_path: Path) -> None:
    far = (3.7 * 8, 8.0, 0.0)
    chain = chain_of("SER", 9, "A", SER)
    near, away = (
        residue("BNZ", number, RING, "A", place, hetero=True) for number, place in ((401, (0.0, 8.0, 0.0)), (402, far))
    )
    lines = [*chain, *near, *away]
    with pytest.raises(DataError, match=r"has 2 copies of ligand BNZ at several places .*BNZ 401 in chain A, BNZ 402"):
        make(tmp_path, lines, chain1="A", lig_code="BNZ")
    item = make(tmp_path, lines, chain1="A", lig_code="BNZ", lig_resi="402")
    assert item.block_resid is not None
    assert set(item.block_resid[item.segment_ids == 1].tolist()) == {402}
    # copies side by side are one place, and those of another partner are not asked about
    beside = residue("BNZ", 402, RING, "A", (0.0, 8.0, 4.0), hetero=True)
    item = make(tmp_path, [*chain, *near, *beside], chain1="A", lig_code="BNZ")
    assert set(item.block_resid[item.segment_ids == 1].tolist()) == {401, 402}
    elsewhere = residue("BNZ", 402, RING, "A", (0.0, 80.0, 0.0), hetero=True)
    item = make(tmp_path, [*chain, *near, *elsewhere], chain1="A", lig_code="BNZ")
    assert set(item.block_resid[item.segment_ids == 1].tolist()) == {401}


def test_chains_of_an_mmcif_file_are_told_by_the_author_s_ids(tmp_path: Path) -> None:
    row = "ATOM {0} N N . SER {1} 1 1 ? {0}.0 0.0 0.0 1.0 1 {2} 1"  # label_asym_id, auth_asym_id
    (tmp_path / "x.cif").write_text(mmcif([row.format(1, "A", "Q"), row.format(9, "B", "R")]))
    found = read_structure(tmp_path / "x.cif")
    with pytest.raises(
        StructureError, match=r"has no chain 'B' \(its chains: Q, R by the author's ids, auth_asym_id\)"
    ):
        select_chains(found, "B")
