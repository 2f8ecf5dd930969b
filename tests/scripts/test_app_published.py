"""The page with published checkpoints and an atlas of theirs, asked for real complexes at the address ::1."""

import os
import socket
from pathlib import Path

import pytest
import torch
from page_server import Server

from models import create_model
from models.published import save_published
from scripts.main import main
from tests.models.golden import KEPT

pytest.importorskip("uvicorn", reason="the page needs ligare[app]")
pytest.importorskip("starlette", reason="the page needs ligare[app]")
pytest.importorskip("faiss", reason="an atlas needs ligare[atlas]")

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("INTERFACE_DATA", ROOT.parent / "shared" / "data"))
FILES = [DATA / "ppi_affinity" / "pdb" / f"{name}.pdb.gz" for name in ("1wqj", "3eqs", "4j2l")]
MODEL = ["--config", str(KEPT / "PredictionModel/config.json")]
MODEL += ["--weights", str(KEPT / "PredictionModel/weights.safetensors")]
SIZES = {"atom_hidden_size": 8, "block_hidden_size": 8, "edge_size": 4, "k_neighbors": 3, "n_layers": 1}


def loopback() -> str:
    """::1 where there is one."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return "127.0.0.1"
    return "::1"


@pytest.mark.real_data
@pytest.mark.skipif(not FILES[0].is_file(), reason="no real data (INTERFACE_DATA)")
def test_published_models_serve_the_page(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    save_published(create_model("AffinityPredictor", **SIZES, fragmentation_method="PS_300"), tmp_path / "predictor")
    atlas, table = str(tmp_path / "atlas"), tmp_path / "found.csv"
    for file in FILES:
        assert main(["atlas", "build", str(file), *MODEL, "--atlas", atlas, "--device", "cpu"]) == 0
    file, chains = FILES[1], {"chain1": "A", "chain2": "B"}
    words = ["predict", str(file), "--chain1", "A", "--chain2", "B", "--checkpoint", str(tmp_path / "predictor")]
    assert main([*words, "--out", str(table), "--device", "cpu"]) == 0
    server = Server(*MODEL, "--predictor", str(tmp_path / "predictor"), "--atlas", atlas, "--host", loopback())
    assert server.ask("settings")[1]["model"] == "PredictionModel"
    status, seen = server.look(file.name, file.read_bytes())
    assert status == 200 and [chain["name"] for chain in seen["chains"]] == ["A", "B"]
    for target in ("complex", "prediction"):
        status, result = server.analyse(token=seen["token"], file=seen["file"], target=target, **chains)
        assert status == 200, result
    assert result["neighbours"][0]["id"].startswith("3eqs") and float(result["neighbours"][0]["cosine"]) > 0.9999
    (prediction,) = result["predictions"]
    assert prediction["value"] == f"{float(table.read_text().splitlines()[1].split(',')[-1]):.3f}"
    server.end()
