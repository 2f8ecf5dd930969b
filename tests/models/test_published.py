"""What we write for the published program has the entries that stock e3nn makes itself."""

import torch
from complexes import small_config
from e3nn import o3
from e3nn_oracle import plain_convolution

from models import DenoisePretrainModel
from models.layers.convolution import Convolution
from models.published import library_constants, published_config


def test_constants_are_those_of_stock_e3nn() -> None:
    model = DenoisePretrainModel(small_config(atom_noise=True, n_layers=3))
    constants = dict(library_constants(model))
    convolutions = {name: module for name, module in model.named_modules() if isinstance(module, Convolution)}
    expected = {
        f"{name}.tp.{entry}": value
        for name, module in convolutions.items()
        for entry, value in plain_convolution(module).tp.state_dict().items()
    }
    axis = o3.FullTensorProduct("1x0e + 1x1o + 1x2e", "1x2e").state_dict()
    expected |= {f"encoder.encoder.final_tp_tor.{entry}": value for entry, value in axis.items()}
    assert constants.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(constants[name], value.float(), atol=1e-7, rtol=0, msg=name)


def test_an_activation_is_stored_as_the_published_program_does() -> None:
    base = DenoisePretrainModel(small_config(num_block_types=None)).config_dict()
    names = ("nonlinearity", "num_pred_layers", "pred_dropout", "pred_hidden_size")
    for given, stored in (("relu", "relu"), ("elu", None)):
        values = base | dict(zip(names, (given, 2, 0.0, 8))) | {"model_type": "ClassifierModel"}
        config, notes = published_config(values)
        assert config["nonlinearity"] == stored
        assert any("elu" in note and "can't read it back" in note for note in notes) == (stored is None)


def test_a_nested_configuration_stays_nested() -> None:
    inner = DenoisePretrainModel(small_config(num_block_types=None)).config_dict() | {"model_type": "PredictionModel"}
    config, notes = published_config({"model_type": "ProteinInterfaceModel", "prot_model": inner})
    assert set(config) == {"model_type", "prot_model"}
    assert config["prot_model"]["model_type"] == "PredictionModel"
    assert "padding" not in config["prot_model"] and any("padding" in note for note in notes)
