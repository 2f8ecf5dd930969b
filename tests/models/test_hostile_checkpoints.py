"""Checkpoints and configurations made to do harm: refused by name, nothing of them executed, no memory taken."""

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.errors import CheckpointError
from models.persistence import model_from_config
from models.weight_files import read_weights


class Exploit:
    """Pickled, it makes a file where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def torch_file(path: Path, marker: Path) -> None:
    torch.save({"a": torch.zeros(1), "b": Exploit(marker)}, path)


def old_torch_file(path: Path, marker: Path) -> None:
    torch.save(Exploit(marker), path, _use_new_zipfile_serialization=False)


def plain_pickle(path: Path, marker: Path) -> None:
    path.write_bytes(pickle.dumps(Exploit(marker)))


def whole_module(path: Path, marker: Path) -> None:
    module = torch.nn.Linear(1, 1)
    module.exploit = Exploit(marker)  # type: ignore[assignment]
    torch.save(module, path)


@pytest.mark.parametrize("make", [torch_file, old_torch_file, plain_pickle, whole_module])
def test_weights_that_would_run_something_run_nothing(tmp_path: Path, make: Any) -> None:
    marker, path = tmp_path / "executed", tmp_path / "weights.pt"
    make(path, marker)
    with pytest.raises(CheckpointError, match=r"weights\.pt: (holds more than tensors and is not opened|is damaged)"):
        read_weights(path)
    assert not marker.exists()
    _ = pickle.loads(path.read_bytes()) if make is plain_pickle else torch.load(path, weights_only=False)
    assert marker.exists()  # the exploit is a real one


def test_a_compressed_archive_of_weights_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGARE_MAX_WEIGHTS_SIZE", "1M")
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(8 * 2**20))
    with pytest.raises(CheckpointError, match=r"bomb\.pt: unpacks to 8388608 bytes.*--max_weights_size"):
        read_weights(tmp_path / "bomb.pt")


def test_a_tensor_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    torch.save({"table": torch.zeros(1).expand(2**60)}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="table claims 1152921504606846976 numbers and holds fewer"):
        read_weights(tmp_path / "w.pt")


HEADERS = {
    "huge shape": {"w": {"dtype": "F32", "shape": [10**18], "data_offsets": [0, 4]}},
    "huge offsets": {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**62]}},
    "negative": {"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
    "overflow": {"w": {"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 0]}},
    "nested": {"w": {"w": {"w": []}}},
}


@pytest.mark.parametrize("name", HEADERS)
def test_absurd_headers_of_safetensors_are_refused(tmp_path: Path, name: str) -> None:
    header = json.dumps(HEADERS[name]).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(CheckpointError, match=r"w\.safetensors: is damaged"):
        read_weights(tmp_path / "w.safetensors")


def test_a_header_longer_than_its_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(CheckpointError, match="is damaged"):
        read_weights(tmp_path / "w.safetensors")


SMALL = {"model_type": "PredictionModel", "atom_hidden_size": 8, "block_hidden_size": 8, "n_layers": 1}
ABSURD: dict[str, dict[str, Any]] = {
    "hidden": {"atom_hidden_size": 2**30, "block_hidden_size": 2**30},
    "hidden that is only large": {"atom_hidden_size": 4096, "block_hidden_size": 4096},
    "layers": {"n_layers": 10**9},
    "edges": {"edge_size": 10**12},
    "blocks": {"num_block_types": 10**15},
    "kinds": {"num_modalities": 10**15},
    "negative blocks": {"num_block_types": -5},
    "negative kinds": {"num_modalities": -1, "modality_embedding": True},
    "zero": {"atom_hidden_size": 0, "block_hidden_size": 0},
    "no number": {"atom_hidden_size": float("nan")},
    "infinite": {"dropout": float("inf")},
    "infinitely many neighbours": {"k_neighbors": 10**22},
    "a weight that is no number": {"model_type": "DenoisePretrainModel", "torsion_weight": float("nan")},
    "a negative weight": {"model_type": "DenoisePretrainModel", "rotation_weight": -1.0},
    "text": {"n_layers": "3"},
    "list": {"n_layers": [3]},
    "object": {"n_layers": {"__class__": "os.system"}},
    "truth": {"n_layers": True},
    "half": {"n_layers": 1.5},
    "unknown": {"__class__": "os.system"},
    "a type of elsewhere": {"model_type": "os.system"},
    "a long number": {"n_layers": 10**400},
    "a device": {"fragmentation_method": "/dev/zero"},
    "a vocabulary that is none": {"fragmentation_method": "/etc/passwd"},
    "a name that is none": {"fragmentation_method": "x\0y" * 2000},
    "adapters": {"adapters": {"rank": 10**15, "targets": ["x"]}},
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_configurations_are_refused_before_they_take_memory(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError):
        model_from_config(SMALL | ABSURD[name], tmp_path / "config.json")


def test_the_limit_of_sizes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGARE_MAX_PARAMETERS", "10")
    with pytest.raises(CheckpointError, match=r"config\.json: describes a model of about .*--max_parameters"):
        model_from_config(SMALL, tmp_path / "config.json")
