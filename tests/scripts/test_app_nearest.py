"""Neighbours on the page: the same from an atlas and from tables; vectors of other models are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from configs.errors import DataError
from data.synthetic import make_items
from models import create_model, from_pretrained
from scripts import get_embeddings
from scripts.app import SHIPPED
from scripts.page.nearest import Neighbours

pytest.importorskip("faiss", reason="an atlas needs ligare[atlas]")

torch.set_num_threads(1)
N = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of a few complexes, and their vectors as tables and as an atlas."""
    from data.shards import write_part
    from data.vocab import load_vocabulary
    from scripts import atlas

    folder, vocabulary = tmp_path_factory.mktemp("nearest"), load_vocabulary()
    write_part(folder / "shards", make_items(N), vocabulary.fingerprint, vocabulary=vocabulary.name)
    for ending in ("parquet", "csv"):
        out = ["--representations", "h_graph", "--out", str(folder / f"vectors.{ending}"), "--gpus", "-1"]
        assert get_embeddings.main([str(folder / "shards"), "--checkpoint", str(SHIPPED), *out]) == 0
    assert atlas.main(["build", str(folder / "vectors.parquet"), "--atlas", str(folder / "atlas")]) == 0
    return folder


@pytest.mark.parametrize("name", ["atlas", "vectors.parquet", "vectors.csv"])
def test_the_nearest_come_first_with_what_is_known_of_them(folder: Path, name: str) -> None:
    model = from_pretrained(SHIPPED)
    found = Neighbours(str(folder / name), model)
    assert len(found) == N
    items = make_items(N)
    vectors = np.stack(model.embed(items)["h_graph"])
    near = found.of(vectors[2], top=3)
    expected = np.argsort(-(vectors @ vectors[2]), kind="stable")[:3]
    assert [one["id"] for one in near] == [items[place].id for place in expected]
    assert near[0]["id"] == items[2].id and float(near[0]["cosine"]) == pytest.approx(1, abs=1e-5)
    assert near[0]["modality"]


@pytest.mark.parametrize("name", ["atlas", "vectors.parquet"])
def test_vectors_of_another_model_are_refused(folder: Path, name: str) -> None:
    sizes = {"atom_hidden_size": 16, "block_hidden_size": 16, "edge_size": 4, "k_neighbors": 3, "n_layers": 1}
    other = create_model("PredictionModel", **sizes, num_block_types=452, fragmentation_method="PS_300")
    with pytest.raises(DataError, match=r"model|fingerprint"):
        Neighbours(str(folder / name), other)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    model = from_pretrained(SHIPPED)
    with pytest.raises(DataError, match="no such atlas or table"):
        Neighbours(str(tmp_path / "none"), model)
    with pytest.raises(DataError, match="is no atlas"):
        Neighbours(str(tmp_path), model)
