"""`ligare atlas` from real structures to tables, networks and maps."""

import os
import re
import shutil
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch

pytest.importorskip("faiss", reason="needs ligare[atlas]")

from data.atlas import Atlas, Origin, Rows
from data.atlas_add import add
from scripts.atlas import main
from scripts.get_embeddings import main as embed

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("INTERFACE_DATA", ROOT.parent / "shared" / "data"))
SHIPPED = str(ROOT / "checkpoints" / "pretrain_small")
MODEL = ["--checkpoint", SHIPPED, "--device", "cpu"]
KEPT = ROOT / "tests" / "fixtures" / "parity" / "PredictionModel"
PUBLISHED = ["--config", str(KEPT / "config.json"), "--weights", str(KEPT / "weights.safetensors"), "--device", "cpu"]
NAMES = ("11as", "102d", "109d")


def made(folder: Path, n: int = 30) -> str:
    rng = np.random.default_rng(0)
    names = [f"i{k}" for k in range(n - 1)] + ["</script><b>"]
    columns = {"modality": ["PP" if k % 2 else "PL" for k in range(n)], "label": [str(k / 2) for k in range(n)]}
    add(folder, Origin("h_graph", "x"), Rows(names, rng.normal(size=(n, 8)), columns))
    return str(folder)


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"INTERFACE_DATA: no folder {DATA}")
def test_real_structures_are_found_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    (tmp_path / "structures").mkdir()
    for name in NAMES:
        shutil.copy(DATA / "pretrain" / "structures" / f"{name}.pdb.gz", tmp_path / "structures")
    atlas, table, out = str(tmp_path / "atlas"), tmp_path / "x.parquet", tmp_path / "near.csv"
    assert main(["build", str(tmp_path / "structures"), *MODEL, "--atlas", atlas]) == 0
    file = str(tmp_path / "structures" / "11as.pdb.gz")
    assert main(["query", file, *MODEL, "--atlas", atlas, "--top", "3", "--out", str(out)]) == 0
    near = pd.read_csv(out)
    assert not (near["query"] == near["id"]).any()
    assert near.columns.tolist()[:5] == ["query", "rank", "id", "similarity", "pdb_path"]
    assert near.groupby("query")["similarity"].is_monotonic_decreasing.all()
    assert embed([str(tmp_path / "structures"), *MODEL, "--out", str(table)]) == 0
    assert main(["build", str(table), "--atlas", atlas]) == 2
    assert "ids already" in capsys.readouterr().err
    before = Atlas(atlas)
    assert main(["build", str(table), "--atlas", atlas, "--known", "replace"]) == 0
    np.testing.assert_allclose(Atlas(atlas).vectors(), before.vectors(), atol=1e-6)
    sides = ["--atlas", str(tmp_path / "sides"), "--representation", "h_interface"]
    assert main(["build", file, *MODEL, *sides]) == 0
    assert all(re.fullmatch(r".+:[12]", name) for name in Atlas(tmp_path / "sides").ids)
    csv = tmp_path / "x.csv"
    assert embed([file, *MODEL, "--out", str(csv), "--representations", "h_graph"]) == 0
    assert main(["build", str(csv), "--atlas", str(tmp_path / "c")]) == 2
    assert "does not tell which model made it" in capsys.readouterr().err
    assert main(["build", str(csv), "--atlas", atlas, *MODEL, "--known", "skip"]) == 0


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"INTERFACE_DATA: no folder {DATA}")
def test_a_published_model_makes_an_atlas_that_no_other_is_mixed_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    atlas, table = str(tmp_path / "atlas"), str(tmp_path / "x.parquet")
    first, *others = (str(DATA / "pretrain" / "structures" / f"{name}.pdb.gz") for name in NAMES)
    rest = [*others, *(str(DATA / "ppi_affinity/pdb" / f"{name}.pdb.gz") for name in ("1wqj", "3eqs", "4j2l"))]
    for file in (first, *rest):
        assert main(["build", file, *PUBLISHED, "--atlas", atlas]) == 0
    made = Atlas(atlas)
    assert (made.width, len(made) >= 8) == (8, True)
    where = ["--atlas", atlas, "--where", "modality=PP", "--out", str(tmp_path / "p")]
    assert main(["network", *where, "--top", "2", "--no_page"]) == 0
    assert {kind for _, kind in nx.read_graphml(tmp_path / "p.graphml").nodes(data="modality")} == {"PP"}
    assert main(["map", "--atlas", atlas, "--out", str(tmp_path / "m"), "--method", "pca"]) == 0
    assert main(["purity", "--atlas", atlas, "--columns", "modality", "--top", "2"]) == 0
    capsys.readouterr()
    assert embed([first, *PUBLISHED, "--out", table, "--representations", "h_graph", "h_interface"]) == 0
    refused = {
        "was made by another model": ["query", first, *MODEL],
        "by another model (checksum": ["build", first, *MODEL],
        "of representation h_graph, these are of z_graph": ["build", first, *PUBLISHED, "--representation", "z_graph"],
        "was not made by the model that --checkpoint": ["build", str(tmp_path / "x_graph.parquet"), *MODEL],
        "of representation h_graph, these are of h_interface": ["build", str(tmp_path / "x_interface.parquet")],
        "has 2 of 2 ids already": ["build", str(tmp_path / "x_graph.parquet")],
    }
    for said, words in refused.items():
        more = ["--rule", "mean_std_global"] if "z_graph" in words else []
        assert main([*words, *more, "--atlas", atlas]) == 2, said
        assert said in capsys.readouterr().err
    assert Atlas(atlas).listed == made.listed


def test_rows_of_the_atlas_are_asked_for_by_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    atlas, out = made(tmp_path / "a"), tmp_path / "o.csv"
    assert main(["query", "--atlas", atlas, "--id", "i1", "i2", "--where", "modality=PP", "--out", str(out)]) == 0
    table = pd.read_csv(out)
    assert (
        set(table["modality"]) == {"PP"} and len(table) == 20 and "i1" not in set(table[table["query"] == "i1"]["id"])
    )
    assert main(["query", "--atlas", atlas, "--id", "i1", "--apart", "modality", "--out", str(out)]) == 0
    assert set(pd.read_csv(out)["modality"]) == {"PL"}
    assert main(["query", "--atlas", atlas, "--id", "nobody"]) == 2
    assert main(["query", "--atlas", atlas]) == 2
    assert "nobody" in capsys.readouterr().err


def test_a_network_is_graphml_and_a_page_that_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="needs ligare[atlas]")
    atlas = made(tmp_path / "a")
    assert main(["network", "--atlas", atlas, "--top", "3", "--out", str(tmp_path / "n.html")]) == 0
    graph = nx.read_graphml(tmp_path / "n.graphml")
    assert len(graph) == 30 and graph.nodes["i1"]["modality"] == "PP" and min(dict(graph.degree).values()) >= 3
    page = (tmp_path / "n.html").read_text()
    assert "default-src 'none'" in page and not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    assert "</script><b>" not in page
    for told in ('"legendgrouptitle":{"text":"edges"}', '"legendgrouptitle":{"text":"modality"}', '"name":"PP (15)"'):
        assert told in page


@pytest.mark.parametrize("method", ["pca", "tsne", "umap"])
def test_a_map_is_a_picture_a_page_and_a_table(method: str, tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="needs ligare[atlas]")
    if method == "umap":
        pytest.importorskip("umap", reason="needs ligare[map]")
    out = ["--atlas", made(tmp_path / "a"), "--out", str(tmp_path / "m"), "--method", method, "--neighbours", "5"]
    assert main(["map", *out, "--color", "label"]) == 0
    table = pd.read_csv(tmp_path / "m.csv")
    assert len(table) == 30 and np.isfinite(table[["map_x", "map_y"]].to_numpy()).all()
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "m.html").stat().st_size > 1e6
    assert main(["map", *out, "--color", "modalty"]) == 2


def test_what_is_missing_is_told_with_the_way_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    assert main(["query", "--atlas", str(tmp_path), "--id", "x"]) == 2
    assert "pip install 'ligare[atlas]'" in capsys.readouterr().err


def test_purity_is_printed_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["purity", "--atlas", made(tmp_path / "a"), "--columns", "modality", "--top", "5"]) == 0
    assert re.search(r"\| modality \| 30 \| \d+\.\d % \| 48\.3 % \|", capsys.readouterr().out)
