"""Published checkpoints become ours and come back with the same keys, shapes and numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from models import MODELS, create_model, from_pretrained
from scripts.convert_checkpoint import main
from tests.models.golden import RECORDED, published_files

RECORDED_NAMES = sorted(path.parent.name for path in RECORDED.glob("*/config.json"))
HERE = ["tiny/DenoisePretrainModel", "tiny/PredictionModel"]
SMALL: dict[str, Any] = {"atom_hidden_size": 8, "block_hidden_size": 8, "edge_size": 4, "n_layers": 2, "k_neighbors": 3}


def there_and_back(tmp_path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    ours, back = tmp_path / "ours", tmp_path / "back"
    assert main([str(tmp_path / "published"), "--out_path", str(ours)]) == 0
    assert main([str(ours), "--to", "published", "--out_path", str(back)]) == 0
    assert sorted(path.name for path in back.iterdir()) == ["config.json", "weights.pt"]
    return json.loads((back / "config.json").read_text()), torch.load(back / "weights.pt", weights_only=True)


@pytest.mark.skipif(not RECORDED_NAMES, reason="no recorded fixtures; INTERFACE_PARITY names their folder")
@pytest.mark.parametrize("name", RECORDED_NAMES)
def test_a_recorded_checkpoint_comes_back_key_by_key(name: str, tmp_path: Path) -> None:
    config, state = published_files(name, tmp_path / "published")
    if config["model_type"] not in MODELS:
        pytest.skip(f"no model {config['model_type']}")
    config_back, state_back = there_and_back(tmp_path)
    assert config_back == config
    assert {key: value.shape for key, value in state_back.items()} == {key: v.shape for key, v in state.items()}
    for key, value in state.items():
        torch.testing.assert_close(state_back[key], value, atol=1e-6 if "._compiled" in key else 0, rtol=0, msg=key)
        assert state_back[key].dtype == torch.float32


@pytest.mark.parametrize("name", HERE)
def test_a_kept_checkpoint_comes_back(name: str, tmp_path: Path) -> None:
    config, state = published_files(name, tmp_path / "published")
    config_back, state_back = there_and_back(tmp_path)
    assert config_back == config
    assert all(torch.equal(state_back[key], value) for key, value in state.items())
    assert state_back["encoder.encoder.layers.0.tp.output_mask"].tolist() == [1.0] * 40
    assert state_back["encoder.encoder.layers.1.tp._compiled_main_left_right._w3j_1_2_1"].shape == (3, 5, 3)


def test_our_folder_says_where_it_came_from(tmp_path: Path) -> None:
    published_files("tiny/PredictionModel", tmp_path / "published")
    arguments = [
        "--config",
        str(tmp_path / "published/config.json"),
        "--weights",
        str(tmp_path / "published/weights.pt"),
    ]
    assert main([*arguments, "--license", "mit", "--padding", "masked", "--out_path", str(tmp_path / "ours")]) == 0
    model = from_pretrained(tmp_path / "ours")
    assert model.config.padding == "masked"
    assert set(model.facts["converted_from"]) == {"config.json", "weights.pt"}
    card = (tmp_path / "ours/README.md").read_text()
    assert 'license: "mit"' in card and "Converted from published files" in card
    again = load_file(tmp_path / "ours/model.safetensors")
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())


def test_lost_behaviour_and_kinds_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = create_model("DenoisePretrainModel", **SMALL, modality_embedding=True)
    made.save_pretrained(tmp_path / "ours")
    assert main([str(tmp_path / "ours"), "--to", "published", "--out_path", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "padding was 'masked'; the published program behaves as 'batch'" in told
    assert "the 8 published ones are kept" in told
    state = torch.load(tmp_path / "out/weights.pt", weights_only=True)
    assert torch.equal(state["modality_embedding.weight"], made.modality_embedding.weight[:8])
    assert "padding" not in json.loads((tmp_path / "out/config.json").read_text())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"modality_embedding": True}, "has no modality embedding"),
        ({"num_block_types": 7}, "block types"),
    ],
)
def test_what_the_published_program_lacks_is_refused(
    options: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create_model("PredictionModel", **SMALL, **options).save_pretrained(tmp_path / "ours")
    assert main([str(tmp_path / "ours"), "--to", "published", "--out_path", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]


def test_bad_arguments_write_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published_files("tiny/PredictionModel", tmp_path / "published")
    full, out = str(tmp_path / "published"), str(tmp_path / "out")
    assert main([full, "--out_path", full]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main(["--out_path", out]) == 2
    assert "both --config and --weights" in capsys.readouterr().err
    assert main([str(tmp_path / "absent"), "--out_path", out]) == 2
    assert "no such file" in capsys.readouterr().err
    assert not Path(out).exists()


def test_weights_that_would_run_code_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published_files("tiny/PredictionModel", tmp_path / "published")

    class Hostile:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "executed",)

    torch.save({"weight": Hostile()}, tmp_path / "published/weights.pt")
    assert main([str(tmp_path / "published"), "--out_path", str(tmp_path / "out")]) == 2
    assert "holds more than tensors and is not opened" in capsys.readouterr().err
    assert not (tmp_path / "executed").exists() and not (tmp_path / "out").exists()
