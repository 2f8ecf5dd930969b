"""`model.embed`: one line from a file, a folder, an index or items to a frame; what batches do not change."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from golden import KEPT

from configs.errors import ConfigError, DataError, StructureError
from data.collate import collate_items
from data.failures import Failure
from data.inputs import InputItem, InputOptions, open_inputs
from data.vocab import GLOBAL
from models import from_pretrained
from models.embed import batches, embed_items
from models.load_any import load_checkpoint, set_padding
from models.named import REPRESENTATIONS, Wanted

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("INTERFACE_DATA", ROOT.parent / "shared" / "data"))
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"INTERFACE_DATA: no folder {DATA}"),
]
OURS, PUBLISHED = ROOT / "checkpoints" / "pretrain_small", KEPT / "PredictionModel"
PICKED = ("102d_01", "11as_01", "1lru_03", "2c2m_04", "3cqw_01")  # one of each kind


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five real interfaces and a row that fails, with a column of the user's."""
    table = (DATA / "pretrain" / "interfaces.csv").read_text().splitlines()
    rows = [f"{line},note {number}" for number, line in enumerate(table) if line.split(",")[0] in PICKED]
    path = tmp_path_factory.mktemp("index") / "index.csv"
    broken = "broken,pretrain/structures/11as.pdb.gz,A,Q,,,,,,oh"
    path.write_text("\n".join([f"{table[0]},note", *rows[:2], broken, *rows[2:]]) + "\n")
    return path


@pytest.fixture(scope="module")
def entries(index: Path) -> list[InputItem]:
    return list(open_inputs(InputOptions(index, root=DATA)))


@pytest.mark.parametrize("checkpoint", [OURS, PUBLISHED], ids=["ours", "published"])
def test_three_lines_give_a_frame_of_a_structure(checkpoint: Path) -> None:
    model = load_checkpoint(checkpoint)
    frame = model.embed(DATA / "pretrain/structures/11as.pdb.gz", chain1="A", chain2="B")
    assert (frame.index.name, list(frame.index)) == ("id", ["11as"])
    assert frame["modality"].tolist() == ["PP"]
    matrix = np.stack(frame["h_graph"])
    assert matrix.shape == (1, model.config.atom_hidden_size)
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, rtol=1e-5)


def test_every_name_equals_the_model_on_each_interface_alone(entries: list[InputItem]) -> None:
    model = load_checkpoint(PUBLISHED)
    frame = model.embed([entry.item for entry in entries], ["h_graph"])
    blocks, atoms = (model.embed([entry.item for entry in entries], name)[name] for name in ("h_block", "h_atom"))
    for entry in entries:
        batch = collate_items([entry.item])
        with torch.no_grad():
            alone = model.encode(batch)
        ordinary = batch["B"] != GLOBAL
        of_atoms = ordinary.repeat_interleave(batch["block_lengths"])
        np.testing.assert_allclose(frame["h_graph"][entry.name], alone.graph_repr[0], atol=1e-5)
        np.testing.assert_allclose(np.stack(blocks[entry.name]), alone.block_repr[ordinary], atol=1e-5)
        np.testing.assert_allclose(np.stack(atoms[entry.name]), alone.unit_repr[of_atoms], atol=1e-5)


@pytest.mark.parametrize("padding", ["own", "masked", "batch"])
def test_batch_size_changes_nothing_whatever_the_padding(entries: list[InputItem], padding: str) -> None:
    model = load_checkpoint(PUBLISHED)
    set_padding(model, padding)  # type: ignore[arg-type]
    wanted = Wanted(REPRESENTATIONS, "mean_component_normalized")
    (together,) = embed_items(model, entries, wanted, max_blocks=10**6)
    alone = list(embed_items(model, entries, wanted, max_blocks=1))
    assert len(alone) == len(entries)
    for name, values in together.vectors.items():
        expected = np.concatenate([one.vectors[name] for one in alone])
        np.testing.assert_allclose(values, expected, atol=2e-5 * np.abs(expected).max(), err_msg=name)
    assert model.config.padding == padding


def test_columns_of_an_index_are_kept_and_failures_told(index: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = from_pretrained(OURS)
    frame = model.embed(index, "h_graph", root=DATA)
    assert sorted(frame.index) == sorted(PICKED)
    assert list(frame)[:5] == ["pdb_id", "pdb_path", "chain1", "chain2", "lig_code"]
    assert all(frame["note"].str.startswith("note "))
    (failure,) = frame.attrs["failures"]
    assert (failure["row"], failure["pdb_id"]) == ("4", "broken")
    assert "its chains: A, B" in failure["reason"]
    assert "1 failed" in caplog.text


def test_frames_come_one_batch_at_a_time(index: Path) -> None:
    model = from_pretrained(OURS)
    failures: list[Failure] = []
    frames = model.embed_many(index, "h_interface", root=DATA, max_blocks=1, failures=failures)
    first = next(frames)
    assert len(set(first.index)) == 1
    assert first["segment_ids"].tolist() == [0, 1]
    rest = list(frames)
    assert [len(frame) for frame in rest] == [2] * 4
    assert [failure.pdb_id for failure in failures] == ["broken"]
    pd.testing.assert_index_equal(pd.concat([first, *rest]).index, model.embed(index, "h_interface", root=DATA).index)


def test_atoms_and_blocks_say_where_they_come_from() -> None:
    model = from_pretrained(OURS)
    frame = model.embed(DATA / "pretrain/structures/11as.pdb.gz", "h_atom", chain1="A", lig_code="ASN")
    assert list(frame)[:6] == ["block", "segment_ids", "block_chain", "block_resid", "block_icode", "block_resname"]
    ligand = frame[frame["segment_ids"] == 1]
    assert set(ligand["block_resname"]) == {"ASN"}
    assert set(ligand["block_resid"]) == {331}
    assert {"CA", "CB", "ND2"} <= set(ligand["atom_name"])
    assert dict(zip(ligand["atom_name"], ligand["element"]))["ND2"] == "N"


def test_what_can_not_be_embedded_is_named() -> None:
    model = from_pretrained(OURS)
    path = DATA / "pretrain/structures/11as.pdb.gz"
    with pytest.raises(StructureError, match=r"has no chain 'Z' \(its chains: A, B\)"):
        model.embed(path, chain1="Z", chain2="B")
    with pytest.raises(DataError, match=r"no interface could be made; the first of 1 reasons: .*gone"):
        model.embed([path.parent / "102d.pdb.gz"], chain1="A", ligand_path="gone.sdf")
    with pytest.raises(ConfigError, match="have vectors of graph and block"):
        model.embed(path, ["h_block", "h_graph"])
    with pytest.raises(ConfigError, match="z_graph needs a model of 3 layers"):
        model.embed(path, "z_graph", rule="mean_std_global")


def test_a_model_in_training_stays_in_training(entries: list[InputItem]) -> None:
    model = from_pretrained(OURS).train()
    model.embed(entries[0].item)
    assert model.training
    assert not next(iter(model.parameters())).is_inference()


def test_batches_hold_so_many_blocks(entries: list[InputItem]) -> None:
    sizes = [entry.item.n_blocks for entry in entries]
    found = [[entry.item.n_blocks for entry in some] for some in batches(entries, max(sizes))]
    assert [size for some in found for size in some] == sizes
    assert all(sum(some) <= max(sizes) for some in found)
    assert len(found) < len(sizes)
    with pytest.raises(ConfigError, match="--max_blocks"):
        list(batches(entries, 0))
