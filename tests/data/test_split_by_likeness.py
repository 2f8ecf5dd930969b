"""Splits by sequence, scaffold, time and folds keep what is alike together, and the leak report finds what is not."""

import json
import shutil
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from item_factory import random_item

from configs.errors import ConfigError, DataError, StructureError
from data import sequence_clusters
from data.leaks import Facts, leak_report
from data.ligand_similarity import nearest_ligands, scaffold_of
from data.sequence_clusters import cluster_sequences, nearest_sequences
from data.sequence_identity import AMINO_LETTERS, candidates, chance_identity, clean_sequence, identity
from data.shards import ShardReader, write_part
from data.split_sequences import COLUMNS, chains_of, chains_of_table, sequences_of_items, similar_units
from data.splits import Part, split_dates, split_folds
from data.structure_sequences import chains_of_structures
from data.vocab import AMINO_ACIDS, FIRST_MASKABLE
from scripts.split_data import main

LYSOZYME = (
    "KVFGRCELAAAMKRHGLDNYRGYSLGNWVCAAKFESNFNTQATNRNTDGSTDYGILQINSRWWCN"
    "DGRTPGSRNLCNIPCSALLSSDITASVNCAKKIVSDGNGMNAWVAWRNRCKGTDVQAWIRGCRL"
)


def random_sequence(seed: int, length: int = 120) -> str:
    return "".join(np.random.default_rng(seed).choice(list(AMINO_LETTERS), length))


def mutated(sequence: str, share: float, seed: int = 0) -> str:
    rng = np.random.default_rng(seed)
    letters = list(sequence)
    for place in rng.choice(len(letters), round(share * len(letters)), replace=False):
        letters[place] = rng.choice([a for a in AMINO_LETTERS if a != letters[place]])
    return "".join(letters)


# Identity


def test_identity_counts_equal_residues_over_the_shorter_sequence():
    assert identity(LYSOZYME, LYSOZYME) == 1
    changed = LYSOZYME[:60] + "A" + LYSOZYME[61:]  # D -> A at 61, far from the ends
    assert LYSOZYME[60] != "A" and identity(LYSOZYME, changed) == pytest.approx(128 / 129)
    assert identity(LYSOZYME, random_sequence(1, 80) + LYSOZYME[20:110]) == pytest.approx(90 / 129, abs=0.03)
    assert identity(LYSOZYME[:50], LYSOZYME) == 1


def test_unrelated_and_short_sequences_are_not_alike():
    assert all(identity(random_sequence(i), random_sequence(i + 100)) == 0 for i in range(20))
    assert identity("GGGSGGG", "GGGSGGA") == 0 and identity("GGG", "GGG") == 1


def test_the_chance_curve_has_its_published_values():
    assert chance_identity(11) == 1 and chance_identity(451) == 0.195
    assert chance_identity(100) == pytest.approx(0.2898, abs=1e-4)
    assert all(chance_identity(n) >= chance_identity(n + 1) for n in range(12, 300))


def test_only_standard_residues_are_kept():
    assert clean_sequence("mkX-Vu\nB*") == "MKV"


def test_candidates_share_words_and_the_nearest_come_first():
    targets = [random_sequence(1), mutated(LYSOZYME, 0.5), mutated(LYSOZYME, 0.1), "WWW"]
    (found,) = candidates([LYSOZYME], targets)
    assert found.tolist()[:2] == [2, 1] and 3 not in found
    assert [len(row) for row in candidates(["MK", ""], [LYSOZYME])] == [0, 0]


# Clusters


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=6), st.integers(0, 99))
def test_families_are_found_whatever_their_order(sizes, seed):
    families = [mutated(random_sequence(n), 0.3, copy) for n, size in enumerate(sizes) for copy in range(size)]
    truth = np.repeat(np.arange(len(sizes)), sizes)
    order = np.random.default_rng(seed).permutation(len(families))
    found = cluster_sequences([families[i] for i in order], 0.4, "biopython")
    assert all(
        (found[i] == found[j]) == (truth[order[i]] == truth[order[j]]) for i in range(len(order)) for j in range(i)
    )


def test_a_chain_of_neighbours_is_one_cluster_and_the_threshold_counts():
    a = random_sequence(5, 200)
    b, c = mutated(a[:100], 0, 0) + random_sequence(6, 100), ""
    c = b[100:] + random_sequence(7, 100)
    assert identity(a, c) < 0.3
    assert len(set(cluster_sequences([a, b, c], 0.3, "biopython").tolist())) == 1
    assert len(set(cluster_sequences([a, b, c], 0.9, "biopython").tolist())) == 3
    assert cluster_sequences([], 0.3, "biopython").tolist() == []


def test_the_nearest_sequence_of_another_set():
    targets = [random_sequence(1), mutated(LYSOZYME, 0.2), mutated(LYSOZYME, 0.4)]
    hits = nearest_sequences([random_sequence(9), LYSOZYME], targets, "biopython")
    assert [(hit.query, hit.target) for hit in hits] == [(1, 1)] and 0.7 < hits[0].identity < 0.9


STAND_IN = """#!/usr/bin/env python3
import sys
queries, targets, out = sys.argv[2:5]
if sys.argv[1] != "easy-search" or "-a" not in sys.argv: sys.exit("wrong arguments")
read = lambda path: (open(path).read().replace(">", "").split()[::2], open(path).read().split()[1::2])
(names, sequences), (others, texts) = read(queries), read(targets)
if "MKMKMKMKMKMKMKMK" in sequences: print("no memory"); sys.exit(1)
with open(out, "w") as file:
    for name, one in zip(names, sequences):
        for other, two in zip(others, texts):
            same = sum(a == b for a, b in zip(one, two))
            print(name, other, same, len(one), len(two), sep="\\t", file=file)
"""


def test_mmseqs_is_used_when_installed(tmp_path, monkeypatch):
    (tmp_path / "mmseqs").write_text(STAND_IN)
    (tmp_path / "mmseqs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert sequence_clusters.choose_aligner("auto") == "mmseqs"
    family = [mutated(LYSOZYME, 0.3, seed) for seed in range(3)]
    clusters = cluster_sequences([*family, random_sequence(3, 129)], 0.3)
    assert len(set(clusters[:3].tolist())) == 1 and clusters[3] not in clusters[:3]
    assert [hit.target for hit in nearest_sequences([LYSOZYME], family)] == [0]
    with pytest.raises(DataError, match=r"mmseqs failed: no memory \(--aligner biopython"):
        cluster_sequences(["MK" * 8], 0.3)


def test_mmseqs_that_is_absent_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sequence_clusters.choose_aligner("auto") == "biopython"
    with pytest.raises(ConfigError, match=r"--aligner: the program 'mmseqs' is not on the PATH"):
        sequence_clusters.choose_aligner("mmseqs")


@pytest.mark.skipif(shutil.which("mmseqs") is None, reason="needs the program mmseqs")
def test_mmseqs_and_biopython_agree_on_families():
    sequences = [mutated(random_sequence(n), 0.2, copy) for n in range(4) for copy in range(3)]
    assert (
        cluster_sequences(sequences, 0.4, "mmseqs").tolist() == cluster_sequences(sequences, 0.4, "biopython").tolist()
    )


# Sequences of items


def blocks_of(sequence: str) -> np.ndarray:
    letters = dict(zip("GAVLIFWYDHNEKQMRSTCP", range(20)))
    return np.array([FIRST_MASKABLE + letters[a] for a in sequence], np.uint16)


def protein_item(name: str, first: str, second: str, group: str = ""):
    B = np.concatenate([blocks_of(first), blocks_of(second)])
    return random_item(1, len(B)).with_(
        id=name,
        group=group,
        X=np.zeros((len(B), 3), np.float32),
        A=np.full(len(B), 8, np.uint8),
        B=B,
        block_lengths=np.ones(len(B), np.int32),
        segment_ids=np.repeat([0, 1], [len(first), len(second)]).astype(np.uint8),
        block_chain=["A"] * len(first) + ["B"] * len(second),
        block_resid=np.arange(len(B), dtype=np.int32),
        block_icode=[""] * len(B),
        block_resname=["ALA"] * len(B),
        **dict.fromkeys(("atom_positions", "tor_bonds", "tor_depth", "tor_moved_lengths", "tor_moved")),
    )


def test_letters_follow_the_vocabulary():
    from Bio.Data.IUPACData import protein_letters_3to1

    letters = chains_of(protein_item("x", "GAVLIFWYDHNEKQMRSTCP", "G"))["A"]
    assert [protein_letters_3to1[name.capitalize()] for name in AMINO_ACIDS] == list(letters)


@pytest.fixture
def folder(tmp_path):
    """Six families of four complexes: 1aaa_0..3, 1bbb_0..3, ..."""
    items = []
    for family, entry in enumerate(("1aaa", "1bbb", "1ccc", "1ddd", "1eee", "1fff")):
        for copy in range(4):
            chains = [mutated(random_sequence(10 * family + side, 40), 0.1, copy) for side in (0, 1)]
            items.append(protein_item(f"{entry}_{copy}", *chains, group=f"{entry}{copy}"))
    return write_part(tmp_path / "all", items, "abc")


def test_sequences_come_from_the_table_or_else_from_the_blocks(folder, tmp_path):
    reader = ShardReader(folder, COLUMNS)
    by_blocks = sequences_of_items(reader)
    assert by_blocks.n_from_blocks == 24 and len(by_blocks.sequences[0]) == 2
    rows = ["pdb_id,chain,kind,sequence", f"1AAA,A,protein,{LYSOZYME}", "1aaa,B,protein,MKVX", "1aaa,C,dna,DA-DC"]
    (tmp_path / "chains.csv").write_text("\n".join(rows))
    found = sequences_of_items(reader, chains_of_table(tmp_path / "chains.csv", reader.ids))
    assert found.sequences[:4] == [(LYSOZYME, "MKV")] * 4 and found.n_from_blocks == 20
    (tmp_path / "of_items.csv").write_text(f"id,chain,sequence\n1bbb_1,A,{LYSOZYME}\n1bbb_1,B,MKV\n")
    found = sequences_of_items(reader, chains_of_table(tmp_path / "of_items.csv", reader.ids))
    assert found.sequences[5] == (LYSOZYME, "MKV")
    (tmp_path / "none.csv").write_text("pdb_id,chain,sequence\n9zzz,A,MKV\n")
    with pytest.raises(
        DataError, match=r"none.csv: has the chains of none of the items, the entry of the first would be '1aaa'"
    ):
        sequences_of_items(reader, chains_of_table(tmp_path / "none.csv", reader.ids))


def test_entries_come_from_the_index_when_ids_do_not_tell_them(folder, tmp_path):
    ids = ShardReader(folder).ids
    (tmp_path / "chains.csv").write_text(f"pdb_id,chain,sequence\n2xyz,A,{LYSOZYME}\n2xyz,B,MKV\n")
    pd.DataFrame({"id": ids, "pdb_id": "2XYZ"}).to_csv(tmp_path / "index.csv", index=False)
    found = chains_of_table(tmp_path / "chains.csv", ids, tmp_path / "index.csv")
    assert found.names == ["2xyz"] * 24


def test_sequences_come_from_structure_files(folder, tmp_path):
    line = "ATOM  {0:5d}  CA  {1} {2}{3:4d}    {4:8.3f}   0.000   0.000  1.00  0.00           C"
    residues = [("MET", "A"), ("LYS", "A"), ("VAL", "A"), ("GLY", "B"), ("TRP", "B")]
    lines = [line.format(n, name, chain, n, 3.8 * n) for n, (name, chain) in enumerate(residues, 1)]
    (tmp_path / "some.pdb").write_text("\n".join([*lines, "END", ""]))
    index, ids = tmp_path / "index.csv", ShardReader(folder).ids
    pd.DataFrame({"pdb_id": ids, "pdb_path": "some.pdb"}).to_csv(index, index=False)
    found = sequences_of_items(ShardReader(folder, COLUMNS), chains_of_structures(index, tmp_path, ids))
    assert found.n_from_blocks == 0 and found.sequences == [("GW", "MKV")] * 24
    pd.DataFrame({"pdb_id": ids, "pdb_path": "other.pdb"}).to_csv(index, index=False)
    with pytest.raises(StructureError, match=r"index.csv, item 1aaa_0, .*other.pdb: "):
        chains_of_structures(index, tmp_path, ids)
    pd.DataFrame({"pdb_id": ids, "pdb_path": "../some.pdb"}).to_csv(index, index=False)
    with pytest.raises(StructureError, match=r"\.\./some.pdb: lies outside the root folder"):
        chains_of_structures(index, tmp_path, ids)


def test_items_with_a_cluster_in_common_are_one_unit():
    cluster = {"a": 0, "b": 1, "c": 1, "d": 2, "e": 3}
    units = similar_units([("a", "b"), ("c",), ("d",), ("c", "d"), ("e",), ()], cluster, ["g"] * 6)
    assert len(set(units[:4])) == 1 and len(set(units)) == 3 and units[5] == "group g"


# Commands


def test_the_cluster_split_keeps_families_together_where_groups_do_not(folder, tmp_path, capsys):
    command = [str(folder), "--valid_fraction", "0.2", "--aligner", "biopython", "--out_path"]
    assert main([*command, str(tmp_path / "cluster"), "--split", "cluster"]) == 0
    report = json.loads((tmp_path / "cluster" / "leak_report.json").read_text())["valid"]
    assert report["sequence_identity"]["largest"] == 0 and report["sequence_identity"]["items"] == 4
    said = capsys.readouterr()
    assert "for 24 of 24 items clusters and leak report rest on the residues near the interface" in said.err
    assert "valid         4 items ( 16.7%) of 1 clusters" in said.out
    assert main([*command, str(tmp_path / "group"), "--by", "group"]) == 0
    report = json.loads((tmp_path / "group" / "leak_report.json").read_text())["valid"]
    assert report["shared_groups"] == 0 and report["sequence_identity"]["share_at_least"]["0.5"] == 1
    one, other = report["sequence_identity"]["closest"]
    assert one.split("_")[0] == other.split("_")[0]


def test_every_item_is_tested_in_one_fold(folder, tmp_path):
    out = tmp_path / "folds"
    assert main([str(folder), "--folds", "3", "--split", "cluster", "--out_path", str(out)]) == 2  # no valid set fits
    options = ["--folds", "3", "--split", "cluster", "--valid_fraction", "0.3", "--no_similarity"]
    assert main([str(folder), *options, "--out_path", str(out)]) == 0
    tested = [ShardReader(out / f"fold_{k}" / "test").ids for k in range(3)]
    assert sorted(chain.from_iterable(tested)) == ShardReader(folder).ids and [len(ids) for ids in tested] == [8, 8, 8]
    for k in range(3):
        inside = [set(ShardReader(out / f"fold_{k}" / part).ids) for part in ("train", "valid", "test")]
        assert [len(ids) for ids in inside] == [12, 4, 8] and len(set.union(*inside)) == 24
    table = pd.read_csv(out / "split.csv")
    assert set(table["id"][table["part"] == "fold_1"]) == set(tested[1])
    assert set(json.loads((out / "leak_report.json").read_text())) == {"fold_0", "fold_1", "fold_2"}
    assert main([str(folder), *options, "--out_path", str(out)]) == 2


def write_index(path: Path, ids: list[str], **columns: list[str]) -> Path:
    pd.DataFrame({"pdb_id": [i.split("_")[0] for i in ids], "id": ids, **columns}).to_csv(path, index=False)
    return path


def test_the_scaffold_split_keeps_scaffolds_together(folder, tmp_path):
    ids = ShardReader(folder).ids
    rings = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "c1ccsc1", "C1CCNC1", ""]
    smiles = [f"{rings[n % 6]}{'C' * (n // 6)}" if rings[n % 6] else "" for n in range(24)]
    index = write_index(tmp_path / "index.csv", ids, lig_smiles=smiles)
    options = ["--split", "scaffold", "--index", str(index), "--valid_fraction", "0.3"]
    assert main([str(folder), *options, "--out_path", str(tmp_path / "out")]) == 0
    table = pd.read_csv(tmp_path / "out" / "split.csv").set_index("id")
    scaffolds = {part: {rings[ids.index(i) % 6] for i in rows.index} for part, rows in table.groupby("part")}
    assert scaffolds["train"] & scaffolds["valid"] <= {""}
    report = json.loads((tmp_path / "out" / "leak_report.json").read_text())["valid"]["ligand_similarity"]
    assert 0 < report["largest"] < 1


def test_the_newest_items_are_tested(folder, tmp_path):
    ids = ShardReader(folder).ids
    index = write_index(tmp_path / "index.csv", ids, date=[f"{2000 + n // 4}-05-0{1 + n % 4}" for n in range(24)])
    options = ["--split", "time", "--index", str(index), "--date_column", "date", "--valid_fraction", "0.25"]
    assert main([str(folder), *options, "--test_fraction", "0.25", "--out_path", str(tmp_path / "out")]) == 0
    read = [ShardReader(tmp_path / "out" / part).ids for part in ("train", "valid", "test")]
    assert read == [ids[:12], ids[12:18], ids[18:]]


def test_items_of_one_date_stay_together():
    parts = split_dates(np.array([1, 1, 1, 2, 2, 2, 3, 3, 3, 4]), {"valid": 0.3, "test": 0.3})
    assert {name: part.indices.tolist() for name, part in parts.items()} == {
        "train": [0, 1, 2, 3, 4, 5],
        "valid": [6, 7, 8],
        "test": [9],
    }
    with pytest.raises(ConfigError, match=r"--valid_fraction: .*the items have 2 dates, 5 items the newest one"):
        split_dates(np.array([1] * 5 + [2] * 5), {"valid": 0.2, "test": 0.2})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=6, max_size=30), st.integers(2, 5), st.integers(0, 9))
def test_folds_are_of_like_size_and_keep_units_whole(sizes, n_folds, seed):
    units = [f"u{n}" for n, size in enumerate(sizes) for _ in range(size)]
    parts = split_folds(units, n_folds, 0, seed)
    tests = [parts[f"fold_{k}/test"].indices for k in range(n_folds)]
    assert sorted(np.concatenate(tests).tolist()) == list(range(len(units)))
    assert max(map(len, tests)) - min(map(len, tests)) <= max(sizes)
    for k in range(n_folds):
        assert not {units[i] for i in tests[k]} & {units[i] for i in parts[f"fold_{k}/train"].indices}


# Faults


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--split scaffold", "--index: is required by --split scaffold"),
        ("--split time --index {index}", "--date_column: is required by --split time"),
        ("--split time --index {index} --date_column when", "lacks the column 'when' (its columns: pdb_id, id, "),
        (
            "--split time --index {index} --date_column date",
            "item 1aaa_1, column date: 'soon' is no date (23 such items)",
        ),
        ("--split scaffold --index {index}", "item 1aaa_2, column lig_smiles: 'C1CC' is no SMILES (mend it"),
        ("--split scaffold --index {short}", "column id: has no row for 23 of 24 items, the first '1aaa_1'"),
        ("--split scaffold --index {index} --smiles_column none", "holds no SMILES"),
        ("--split time --folds 2", "--folds: can't be used with --split time"),
        ("--folds 99", "--folds: must be from 2 to the number of units, 24, got 99"),
        ("--folds 1", "--folds: must be a finite number of at least 2"),
        ("--folds 2 --test_fraction 0.1", "--test_fraction: must be left out with --folds"),
        ("--split cluster --identity 0", "--identity: must be above 0 and at most 1"),
        ("--split cluster --sequences {index}", "lacks the column 'chain'"),
        ("--split cluster --structures .", "--index: is required by --structures"),
        ("--split cluster --structures . --index {index}", "lacks a column pdb_path or path or protein_path"),
        ("--split cluster --sequences {absent}", "absent: no such file"),
        ("--split scaffold --index {binary}", "binary.csv"),
        ("--split scaffold --index {twice}", "has rows that disagree about '1aaa_1'"),
    ],
)
def test_faults_name_file_column_and_way_out(folder, tmp_path, capsys, options, message):
    ids = ShardReader(folder).ids
    columns = {"lig_smiles": ["CCO", "", "C1CC", *[""] * 21], "date": ["2020", *["soon"] * 23], "none": [""] * 24}
    index = write_index(tmp_path / "index.csv", ids, **columns)
    short = write_index(tmp_path / "short.csv", ids[:1], lig_smiles=["CC"])
    twice = write_index(tmp_path / "twice.csv", [*ids, ids[1]], lig_smiles=["CC"] * 24 + ["CO"])
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x80")
    places = {"index": index, "short": short, "twice": twice, "binary": tmp_path / "binary.csv", "absent": "absent"}
    status = main([str(folder), *options.format(**places).split(), "--out_path", str(tmp_path / "out")])
    said = capsys.readouterr().err.splitlines()[-1]
    assert status == 2 and message in said
    assert not (tmp_path / "out").exists()


# Ligands and the report


def test_scaffolds_and_similarity_of_ligands():
    assert scaffold_of("Cc1ccccc1CCO") == scaffold_of("OCc1ccccc1") == "c1ccccc1"
    assert scaffold_of("C[C@H](N)C(=O)O") == scaffold_of("C[C@@H](N)C(=O)O") != scaffold_of("CCO")
    assert nearest_ligands(["CCO"], ["c1ccccc1", "OCC"]) == [(1, 1.0)]
    with pytest.raises(DataError, match="'C1CC' is no SMILES"):
        scaffold_of("C1CC")


def test_the_report_counts_what_is_shared():
    parts = {"train": Part(np.array([0, 1]), 2), "test": Part(np.array([2, 3]), 2)}
    smiles = ["CCO", "c1ccccc1", "CCO", ""]
    report = leak_report(Facts(list("abcd"), ["g", "", "g", ""], None, smiles), parts)["test"]
    assert (report["items"], report["shared_ids"], report["shared_groups"]) == (2, 0, 1)
    assert report["ligand_similarity"]["closest"] == ["c", "a"] and report["ligand_similarity"]["items"] == 1
    assert "sequence_identity" not in report
    none = leak_report(Facts(list("aacd"), [""] * 4, None, [""] * 4), parts)["test"]
    assert none["ligand_similarity"] == {"items": 0}
