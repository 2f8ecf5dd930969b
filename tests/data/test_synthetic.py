"""The built-in data: well-formed, the same everywhere, and split by groups."""

import csv

import numpy as np
import pytest
from rdkit import Chem

from configs.errors import DataError
from data.arrow_items import items_to_batch
from data.geometry import turn_bonds
from data.item import check_item
from data.ligand import ligand_from_file
from data.peptides import CONFORMATIONS, build_peptide
from data.shards import ShardReader
from data.synthetic import make_items
from data.vocab import MODALITIES, UNKNOWN, load_vocabulary
from scripts.make_synthetic import main


@pytest.fixture(scope="module")
def items():
    return make_items(6, seed=3)


def test_items_are_well_formed(items):
    for item in items:
        check_item(item)
        assert (item.B != UNKNOWN).all()
        assert np.isfinite(item.label)
        assert len(item.tor_bonds)
    assert [MODALITIES[item.modality] for item in items] == ["Ppeptide", "PL", "CSD"] * 2
    assert len({item.id for item in items}) == 6


def test_partners_touch_and_do_not_overlap(items):
    for item in items:
        first, second = (item.X[item.segment_of_atom == s] for s in (0, 1))
        nearest = np.linalg.norm(first[:, None] - second[None], axis=2).min()
        assert 2.2 < nearest < 4.5


def test_an_item_depends_on_seed_and_number_alone(items):
    parallel = make_items(3, seed=3, n_jobs=2)
    assert items_to_batch(parallel).equals(items_to_batch(items[:3]))
    assert not np.array_equal(make_items(1, seed=4)[0].X, items[0].X)


def test_items_of_a_group_are_different_poses_of_the_same_partners(items):
    first, again = items[0], items[3]
    assert first.group == again.group
    assert first.block_resname == again.block_resname
    assert not np.allclose(first.X, again.X)


def test_torsions_turn_side_chains_rigidly(items):
    item = items[0]
    angles = np.random.default_rng(0).uniform(-3, 3, len(item.tor_bonds))
    turned = turn_bonds(item.X, item.tor_bonds, item.tor_depth, item.tor_moved_lengths, item.tor_moved, angles)
    near = np.linalg.norm(item.X[:, None] - item.X[None], axis=2)
    i, j = np.nonzero(np.triu((near > 0) & (near < 1.7)))
    np.testing.assert_allclose(np.linalg.norm(turned[i] - turned[j], axis=1), near[i, j], atol=2e-4)
    moved = np.linalg.norm(turned - item.X, axis=1) > 0.01
    for block in np.unique(item.block_of_atom[moved]):
        assert not moved[item.block_of_atom == block][:2].any(), "N and CA of a residue stay"


@pytest.mark.parametrize("conformation", CONFORMATIONS)
def test_peptides_have_natural_handedness_and_fold(conformation):
    peptide = build_peptide("AKLDFWEV", conformation, np.random.default_rng(0))
    drawn = Chem.MolToSmiles(Chem.RemoveHs(peptide))
    Chem.AssignStereochemistryFrom3D(peptide)
    assert Chem.MolToSmiles(Chem.RemoveHs(peptide)) == drawn
    ca = [a.GetIdx() for a in peptide.GetAtoms() if a.GetPDBResidueInfo().GetName().strip() == "CA"]
    ends = peptide.GetConformer().GetPositions()[[ca[0], ca[-1]]]
    length = float(np.linalg.norm(ends[1] - ends[0]))
    assert (length < 17) if conformation == "helix" else (length > 17)


def test_script_writes_split_shards_and_structures(tmp_path, capsys):
    arguments = ["--out_path", str(tmp_path), "-n", "6", "--n_jobs", "1", "--valid_fraction", "0.4"]
    assert main([*arguments, "--write_structures"]) == 0
    train, valid = (ShardReader(tmp_path / name) for name in ("train", "valid"))
    assert len(train) + len(valid) == 6
    assert not set(train.groups) & set(valid.groups)
    assert train.vocabulary_fingerprint == load_vocabulary("PS_300").fingerprint
    with (tmp_path / "structures" / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    for row in rows:
        assert (tmp_path / "structures" / row["pdb_path"]).is_file()
        if row["ligand_path"]:
            assert ligand_from_file(tmp_path / "structures" / row["ligand_path"]).GetNumAtoms() > 3
    assert main(arguments) == 2
    assert "holds a data set already" in capsys.readouterr().err


def test_bad_number_is_refused(tmp_path, capsys):
    assert main(["--out_path", str(tmp_path / "x"), "-n", "1"]) == 2
    assert "--n_items: needs at least 2" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    with pytest.raises(DataError, match="no such vocabulary"):
        load_vocabulary("PS_none")
