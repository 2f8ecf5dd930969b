"""Faults of the published program that must not come back, where no other test looks for them.

The numbers are those of the list of its faults. Tested elsewhere: padding (1), neighbours of torsion bonds (4), vectors
of either segment (6), torsions in masked blocks (7), new noise in every epoch (8), the best metric (9), models of NMR
files (12), ranks (14), resuming (17), files read once for all their rows (21).
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import models.graph
import models.layers.chunks
import models.layers.native
import train
from configs.cli import parse
from configs.schema import RunConfig, from_flat
from data.collate import collate_items
from data.dataset import InterfaceDataset
from data.index import Row
from data.item import Item
from data.loader import make_loaders
from data.noise import PretrainTransform
from data.prepare import process_row
from data.shards import write_part
from data.structure import read_structure
from data.vocab import FIRST_MASKABLE, GLOBAL, UNKNOWN, load_vocabulary
from models import create_model

ROOT = Path(__file__).parent.parent
SIZES: dict[str, Any] = {"atom_hidden_size": 8, "block_hidden_size": 8, "edge_size": 4, "k_neighbors": 3, "n_layers": 1}
NOISE = {"torsion_noise": 0.5, "translation_noise": 1.0, "rotation_noise": 0.25, "mask_proportion": 0.3}
VOCABULARY = load_vocabulary(None)


def make_item(seed: int, n_blocks: int = 8, torsions: bool = True) -> Item:
    """Chains of four atoms as blocks, in two segments; the vector of each block is its own type."""
    rng = np.random.default_rng(seed)
    starts = np.arange(0, 4 * n_blocks, 4)
    centres = rng.normal(size=(n_blocks, 3)) * 5
    kinds = rng.integers(FIRST_MASKABLE, 24, n_blocks).astype(np.uint16)
    item = Item(
        id=f"{seed}_x",
        X=(np.repeat(centres, 4, axis=0) + rng.normal(size=(4 * n_blocks, 3))).astype(np.float32),
        A=rng.integers(8, 12, 4 * n_blocks).astype(np.uint8),
        B=kinds,
        block_lengths=np.full(n_blocks, 4, np.int32),
        segment_ids=(np.arange(n_blocks) >= n_blocks // 2).astype(np.uint8),
        modality=0,
        block_embeddings=np.repeat(kinds[:, None], 3, axis=1).astype(np.float32),
    )
    if not torsions:
        return item
    return item.with_(
        tor_bonds=np.stack([starts + 1, starts + 2], axis=1).astype(np.int32),
        tor_depth=np.zeros(n_blocks, np.uint8),
        tor_moved_lengths=np.ones(n_blocks, np.int32),
        tor_moved=(starts + 3).astype(np.int32),
    )


def run_of(**options: Any) -> RunConfig:
    return from_flat(SIZES | NOISE | options)


def shards(folder: Path, **changes: Any) -> Path:
    return write_part(folder, [make_item(seed, 6 + seed % 4, **changes) for seed in range(6)], VOCABULARY.fingerprint)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("kind", ["ordinary", "global"])
def test_2_unknown_blocks_are_ordinary_blocks(kind: str) -> None:
    """With the same row in the embedding, an unknown block counts as any other; as published, it does not."""
    batch = collate_items([make_item(0)])
    model = create_model(run_of(unknown_blocks=kind, mask_proportion=0, torsion_noise=0), VOCABULARY).eval()
    kind_of_block = int(batch.B[2])
    table = model.block_embedding.block_embedding.weight.data
    table[UNKNOWN] = table[kind_of_block]
    other = batch.clone()
    other.B = torch.where(batch.B.eq(kind_of_block), UNKNOWN, batch.B)
    with torch.no_grad():
        found = model.encode(batch).graph_repr, model.encode(other).graph_repr
    assert torch.allclose(*found, atol=1e-6) == (kind == "ordinary")


def pdb_line(name: str, residue: str, chain: str, number: int, x: float, y: float, element: str) -> str:
    record = "HETATM" if residue in ("ZN", "CA") else "ATOM  "
    place = f"{x:8.3f}{y:8.3f}{0:8.3f}"
    atom_name = name if len(element) == 2 else f" {name}"
    return f"{record}    1 {atom_name:<4} {residue:>3} {chain}{number:>4}    {place}  1.00  0.00          {element:>2}"


def test_3_names_of_nucleotides_and_ions_are_no_elements_and_need_no_flag(tmp_path: Path) -> None:
    atoms = {"P": "P", "O5'": "O", "C5'": "C", "C4'": "C", "C3'": "C", "O3'": "O", "C1'": "C"}
    lines = []
    for chain, y, names in (("A", 0.0, ("A", "C", "G", "U")), ("B", 5.0, ("DA", "DC", "DG", "DT"))):
        for number, residue in enumerate(names, 1):
            sugar = atoms | ({"O2'": "O"} if chain == "A" else {})
            lines += [
                pdb_line(n, residue, chain, number, 6.0 * number + 0.8 * i, y, e)
                for i, (n, e) in enumerate(sugar.items())
            ]
    lines += [pdb_line("ZN", "ZN", "C", 1, 8, 2.5, "ZN"), pdb_line("CA", "CA", "C", 2, 14, 2.5, "CA")]
    (tmp_path / "x.pdb").write_text("\n".join([*lines, "END", ""]))
    item = process_row(read_structure(tmp_path / "x.pdb"), Row(2, "x", "x.pdb", "A", "B_C"), load_vocabulary())
    assert [load_vocabulary().symbol(b) for b in item.B] == "RA RC RG RU DA DC DG DT Zn Ca".split()


def test_5_vectors_of_blocks_stay_with_their_blocks_through_cropping_and_masking(tmp_path: Path) -> None:
    run = run_of(train_set=str(shards(tmp_path / "s")), batch_size=3, max_n_vertex_per_item=5)
    loader, _ = make_loaders(run, vocabulary=VOCABULARY)
    blocks = 0
    for batch in loader:
        kinds = batch.B.clone()
        kinds[batch.masked_blocks] = batch.masked_labels + FIRST_MASKABLE
        own = kinds != GLOBAL
        kinds[batch.masked_blocks] = 0  # the vector of a masked block would tell its type
        assert torch.equal(batch.block_embeddings[own], kinds[own][:, None].float().expand(-1, 3))
        blocks += int(own.sum())
    assert blocks == 6 * 5


def test_11_a_nonlinearity_is_read_back() -> None:
    for name in ("relu", "gelu", "elu"):
        saved = json.loads(json.dumps(parse(["--pred_nonlinearity", name]).flat()))
        assert from_flat(saved).head.pred_nonlinearity == name


def test_13_weights_files_hold_parameters_only() -> None:
    model = create_model(run_of(modality_embedding=True, atom_noise=0.1), VOCABULARY)
    constants = set(model.state_dict()) - {name for name, _ in model.named_parameters()}
    assert {name.rpartition(".")[2] for name in constants} == {"offset"}  # centres of distances, in published files too


@pytest.mark.parametrize(
    ("case", "options", "changes"),
    [
        ("no torsion bonds in the data", {}, {"torsions": False}),
        ("a batch limit smaller than an item", {"max_n_vertex_per_gpu": 3, "batch_size": None}, {}),
        ("atom noise", {"task": "pretrain_gaussian", "atom_noise": 0.3}, {}),
        ("atom noise alone", {"atom_noise": 0.3, **dict.fromkeys(NOISE, 0.0)}, {}),
        ("vectors of blocks", {"block_embedding_size": 3}, {}),
        ("vectors of blocks of either segment", {"block_embedding0_size": 3, "block_embedding1_size": 2}, {}),
    ],
)
def test_15_pretraining_runs_to_its_checkpoint(tmp_path: Path, case: str, options: dict, changes: dict) -> None:
    folder = str(shards(tmp_path / "s", **changes))
    given = {"train_set": folder, "valid_set": folder, "save_dir": str(tmp_path / "runs"), "batch_size": 2}
    given |= SIZES | NOISE | {"max_epoch": 1, "gpus": -1} | options
    flags = [text for name, value in given.items() if value is not None for text in (f"--{name}", str(value))]
    assert train.main([*flags, "--no_progress", "--no_use_tensorboard"]) == 0
    history = (tmp_path / "runs" / "version_0" / "history.jsonl").read_text().splitlines()
    last = json.loads(history[-1])
    assert last["event"] == "epoch"
    assert np.isfinite(last["valid"]["loss"])
    assert (tmp_path / "runs" / "version_0" / "checkpoint" / "best" / "model.safetensors").is_file()  # of epoch 0 (9)
    assert ("atom_loss" in last["valid"]) == ("atom" in case)


def test_16_nothing_demands_a_gpu() -> None:
    for path in (p for room in ("data", "models", "trainers") for p in (ROOT / room).rglob("*.py")):
        assert ".cuda(" not in path.read_text(), path


def test_19_noise_needs_no_tables_on_disk_or_in_memory(tmp_path: Path) -> None:
    code = (
        "import resource, numpy as np, scipy.special, scipy.spatial, torch\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "from data import igso3, wrapped_normal\n"
        "import data.noise, train\n"
        "wrapped_normal.score(np.linspace(-3, 3, 1000), 0.5)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert not list(tmp_path.iterdir())
    assert int(done.stdout) < 700 * 1024  # kB; nearly all of it is PyTorch's and e3nn's own code


def test_20_batches_are_planned_without_making_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(train_set=str(shards(tmp_path / "s")), max_n_vertex_per_gpu=12, shuffle=True)

    def forbidden(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(InterfaceDataset, "__getitem__", forbidden)
    loader, _ = make_loaders(run, vocabulary=VOCABULARY)
    lengths = []
    for epoch in range(3):
        loader.batch_sampler.set_epoch(epoch)
        lengths.append(len(loader))
    assert min(lengths) > 1


class Asked(TorchDispatchMode):
    """Counts what would make the host wait for the device: single numbers, and results whose size depends on values."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "_unique2", "equal", "is_nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        name = function._schema.name.split("::")[1]
        masked = name in ("index", "index_put", "index_put_") and any(
            isinstance(a, torch.Tensor) and a.dtype == torch.bool for a in (arguments[1] or [])
        )
        if name in self.WAITING or masked:
            self.found.append(name)
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("padding", ["masked", "own", "batch"])
def test_22_a_step_never_asks_the_device_for_numbers(padding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (models.graph, models.backbone, models.pretrain_model):  # go the way of batches that lie on a GPU
        monkeypatch.setattr(module, "on_host", lambda _: False)
    monkeypatch.setattr(models.graph, "batch_sizes", None)
    monkeypatch.setattr(models.layers.chunks, "sum_again", lambda _: False)
    monkeypatch.setattr(models.layers.native, "library", lambda: None)
    run = run_of(atom_noise=0.1, modality_embedding=True, padding=padding)
    transform = PretrainTransform(run.noise)
    batch = collate_items([transform(make_item(seed), np.random.default_rng(seed)) for seed in range(3)])
    model = create_model(run, VOCABULARY).train()
    lists, tolist = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: lists.append(len(tensor)) or tolist(tensor))
    with Asked() as asked:
        model(batch).loss.backward()
    assert asked.found == []
    assert lists == []
    with Asked() as asked:
        assert float(torch.ones(2)[torch.tensor([True, False])].sum()) == 1
    assert asked.found == ["index", "_local_scalar_dense"]


def test_22_nothing_is_printed_and_no_debugger_is_left_in() -> None:
    for path in (p for room in ("data", "models") for p in (ROOT / room).rglob("*.py")):
        text = path.read_text()
        assert not re.search(r"\bprint\((?!.*file=sys\.stderr)", text), path
        assert "breakpoint(" not in text and "set_trace" not in text, path


def test_23_no_account_is_built_in() -> None:
    assert parse([]).train.wandb_entity is None
