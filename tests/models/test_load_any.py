"""A model is found by folder, published files or name; for the device and the padding asked for."""

import shutil
from pathlib import Path

import pytest
from golden import KEPT

from configs.errors import CheckpointError, ConfigError
from models import DenoisePretrainModel, PredictionModel, ProteinInterfaceModel
from models.config import EncoderConfig, InterfaceConfig
from models.load_any import ModelOptions, choose_device, device_of_number, load_model, load_models, set_padding

OURS = str(Path(__file__).parents[2] / "checkpoints" / "pretrain_small")
PUBLISHED = KEPT / "PredictionModel"


def test_ours_and_published_ones_load_alike() -> None:
    config, weights = str(PUBLISHED / "config.json"), str(PUBLISHED / "weights.safetensors")
    found = load_models(ModelOptions((OURS, str(PUBLISHED)), (config,), (weights,)))
    assert [type(model) for model in found] == [DenoisePretrainModel, PredictionModel, PredictionModel]
    assert [model.config.padding for model in found] == ["masked", "own", "own"]
    assert not any(model.training for model in found)


def test_padding_can_be_chosen_for_every_part_of_a_model() -> None:
    model = load_model(ModelOptions((OURS,), padding="own"))
    assert (model.config.padding, model.attention_pooling.padding) == ("own", "own")
    sizes = {"atom_hidden_size": 8, "block_hidden_size": 8, "edge_size": 4, "n_layers": 1, "num_block_types": 440}
    pair = ProteinInterfaceModel(InterfaceConfig(EncoderConfig(**sizes)))  # type: ignore[arg-type]
    set_padding(pair, "own")
    assert {pair.config.prot_model.padding, pair.cmplx_model.config.padding, pair.prot_model.config.padding} == {"own"}
    with pytest.raises(ConfigError, match="known: masked, own, batch"):
        set_padding(pair, "none")  # type: ignore[arg-type]


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    shutil.copy(PUBLISHED / "config.json", tmp_path)
    with pytest.raises(CheckpointError, match="holds a configuration, but no weights"):
        load_model(ModelOptions((str(tmp_path),)))
    with pytest.raises(CheckpointError, match="gone: no such folder"):
        load_model(ModelOptions((str(tmp_path / "gone"),)))
    with pytest.raises(ConfigError, match="--checkpoint: name a model"):
        ModelOptions()
    with pytest.raises(ConfigError, match="2 files, but 1 of weights"):
        ModelOptions(config=("a", "b"), weights=("c",))
    with pytest.raises(ConfigError, match="one model is needed"):
        load_model(ModelOptions((OURS, OURS)))


def test_devices_have_names_and_numbers() -> None:
    assert choose_device("cpu").type == "cpu"
    assert (device_of_number([-1]), device_of_number([1])) == ("cpu", "cuda:1")
    with pytest.raises(ConfigError, match="'tpux' is no device"):
        choose_device("tpux")
    with pytest.raises(ConfigError, match="cuda:99 is not there"):
        choose_device("cuda:99")
    with pytest.raises(ConfigError, match="names 2 devices"):
        device_of_number([0, 1])
