"""Sets of labels on real structures: from the files to shards, a fine-tuned model, and its predictions."""

import csv
import os
from pathlib import Path

import pandas as pd
import pytest
import torch

import train
from data.dataset import InterfaceDataset
from data.label_sets import read_label_sets
from data.shards import ShardReader
from models import from_pretrained
from scripts import baselines, make_pockets, predict, process_pdbs, split_data

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("INTERFACE_DATA", ROOT.parent / "shared" / "data"))
SHIPPED = ROOT / "checkpoints" / "pretrain_small"
CONTACTS = DATA / "multilabel" / "chain_het_contacts.csv"
ENTRIES = ("1dy3", "1zw5", "3bwm", "1crr", "1i3h", "1sl5", "1lfd")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not CONTACTS.is_file(), reason=f"INTERFACE_DATA: no file {CONTACTS}"),
]

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pockets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pockets of a few entries, with the codes of all that is bound in each."""
    folder = tmp_path_factory.mktemp("pockets")
    with open(CONTACTS, newline="") as file:
        rows = list(csv.DictReader(file))
    with open(folder / "contacts.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row for row in rows if row["pdb_id"] in ENTRIES)
    words = ["--root", str(DATA), "--task", "labels", "--out_path", str(folder / "shards")]
    assert make_pockets.main([str(folder / "contacts.csv"), *words]) == 0
    return folder / "shards"


def test_a_pocket_has_the_codes_of_all_that_is_bound_in_it(pockets: Path) -> None:
    """The kinase 1dy3 holds ATP, two magnesium ions and an analogue of its substrate in one site."""
    with open(pockets / "pockets.csv", newline="") as file:
        listed = {row["id"]: row["class"] for row in csv.DictReader(file)}
    assert listed["1dy3_A_ATP200A"] == "87Y;ATP;MG"
    assert {name: text for name, text in listed.items() if name.startswith("1crr")} == dict.fromkeys(
        ("1crr_A_GDP200A", "1crr_A_MG201A"), "GDP;MG"
    )
    sets = read_label_sets(InterfaceDataset(pockets))
    row = ShardReader(pockets).ids.index("1dy3_A_ATP200A")
    assert [name for name, held in zip(sets.names, sets.values[row]) if held] == ["87Y", "ATP", "MG"]


def test_from_pockets_to_predictions(pockets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = tmp_path / "split"
    parts = ["--valid_fraction", "0.2", "--test_fraction", "0.2", "--split", "random", "--no_similarity"]
    assert split_data.main([str(pockets), "--out_path", str(split), *parts]) == 0
    sets = [word for part in ("train", "valid", "test") for word in (f"--{part}_set", str(split / part))]
    words = ["--config", str(ROOT / "configs" / "multilabel.yaml"), *sets, "--pretrain_ckpt", str(SHIPPED)]
    words += ["--min_obs_per_ligand", "2", "--max_epoch", "1", "--num_workers", "0", "--bootstrap", "5"]
    assert train.main([*words, "--save_dir", str(tmp_path / "runs"), "--gpus", "-1", "--no_progress"]) == 0
    said = "".join(capsys.readouterr())
    assert "82 tensors loaded" in said and "other labels (not learnt, so not scored)" in said

    best = tmp_path / "runs" / "version_0" / "checkpoint" / "best"
    labels = from_pretrained(best).labels
    counts = read_label_sets(InterfaceDataset(split / "train")).observations
    assert labels == tuple(name for name, count in counts.items() if count >= 2) and labels[0] == "MG"
    words = ["--checkpoint", str(best), "--out", str(tmp_path / "found.csv"), "--gpus", "-1"]
    assert predict.main([str(split / "test"), *words]) == 0
    table = pd.read_csv(tmp_path / "found.csv")
    assert list(table["id"]) == ShardReader(split / "test").ids
    assert table[[f"probability {name}" for name in labels]].stack().between(0, 1).all()

    words = ["--task", "multilabel", "--targets", "MG,ATP", "--bootstrap", "0", "--out", str(tmp_path / "floor")]
    assert baselines.main([str(split), *words]) == 0
    assert "composition" in (tmp_path / "floor" / "baselines.md").read_text()
    assert {"target MG", "pred ATP"} <= set(pd.read_csv(tmp_path / "floor" / "mean.csv"))


def test_sets_in_an_index_become_labels(tmp_path: Path) -> None:
    with open(DATA / "pretrain" / "index.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["pdb_id"] == "1dy3"]
    bound = ["ATP;MG", "-", "MG", ""]
    rows = rows[: len(bound)]
    assert len(rows) > 1
    with open(tmp_path / "index.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("pdb_id", "pdb_path", "chain1", "chain2", "lig_code", "lig_resi", "lig_smiles", "bound"))
        for row, labels in zip(rows, bound):
            sides = [row[name].replace(",", "_") for name in ("chains1", "chains2")]
            ligand = [row[name] for name in ("lig_code", "lig_resid", "lig_smiles")]
            writer.writerow((row["id"], row["path"], *sides, *ligand, labels))
    words = ["--data_index_file", str(tmp_path / "index.csv"), "--root", str(DATA), "--out_path", str(tmp_path / "out")]
    assert process_pdbs.main([*words, "--label_columns", "bound", "--label_sets"]) == 0
    reader = ShardReader(tmp_path / "out")
    assert reader.manifest["extra"]["targets"] == ["ATP", "MG"]
    assert [item.targets.tolist() for item in reader][:2] == [[1, 1], [0, 0]]
    assert process_pdbs.main([*words, "--label_sets", "--label_classes"]) == 2
