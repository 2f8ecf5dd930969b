"""The checkpoints that come with ligare are found by name from any folder, in a clone and in an installed package."""

import re
import tomllib
from pathlib import Path

import pytest
import torch

from configs.cli import read_yaml
from configs.errors import CheckpointError
from models import from_pretrained, load_checkpoint
from models.shipped import PLACE, SHIPPED, shipped_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)


def test_all_of_them_are_known_and_go_into_the_package() -> None:
    assert {path.name for path in PLACE.iterdir() if path.is_dir()} == set(SHIPPED)
    packaging = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "checkpoints*" in packaging["packages"]["find"]["include"]
    assert "*/*" in packaging["package-data"]["checkpoints"]


@pytest.mark.parametrize("name", SHIPPED)
def test_they_load_by_name_and_by_the_path_that_documents_give(name: str) -> None:
    for spelling in (name, f"checkpoints/{name}"):
        assert shipped_folder(spelling) == PLACE / name
        assert load_checkpoint(spelling).source == spelling


def test_a_folder_of_the_user_goes_first(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "pretrain_small").mkdir(parents=True)
    assert shipped_folder("checkpoints/pretrain_small") is None
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        from_pretrained("checkpoints/pretrain_small")


def test_other_names_are_no_shipped_ones_and_the_error_lists_those() -> None:
    assert shipped_folder("runs/pretrain_small") is None and shipped_folder("somebody/affinity_ppi") is None
    with pytest.raises(CheckpointError, match=re.escape(f"shipped ones have the names {', '.join(SHIPPED)}")):
        from_pretrained("pretrain_smal")


def test_a_file_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text("x")
    with pytest.raises(CheckpointError, match=r"model\.txt: is a file; the folder of a checkpoint is needed"):
        from_pretrained("model.txt")


def test_configurations_of_the_package_are_found_from_any_folder(tmp_path: Path) -> None:
    assert read_yaml("configs/pretrain.yaml")["lr"]
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "pretrain.yaml").write_text("lr: 7\n")
    assert read_yaml("configs/pretrain.yaml") == {"lr": 7}
