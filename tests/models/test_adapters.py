"""Low-rank adapters change nothing at first, train alone, and can be folded into ordinary weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from complexes import SMALL, joined, some_complexes
from torch import Tensor, nn

from configs.errors import CheckpointError, ConfigError
from models import MODELS, create_model, from_pretrained, save_pretrained
from models.adapters import (
    AdapterConfig,
    LowRank,
    adaptable,
    add_adapters,
    has_adapters,
    merge_adapters,
    merged,
    target_weights,
)
from models.parts import plain_name, role


def make(name: str = "RegressionPredictor", **changes: Any) -> Any:
    torch.manual_seed(0)
    return create_model(name, **({"prot_model": SMALL} if name == "ProteinInterfaceModel" else SMALL | changes))


def adapted(rank: int = 3, alpha: float = 6.0, dropout: float = 0.0) -> Any:
    model = make()
    return add_adapters(model, AdapterConfig(rank, alpha, dropout, target_weights(model)))


def with_values(model: Any) -> Any:
    """Adapters that do something."""
    torch.manual_seed(1)
    for name, p in model.named_parameters():
        if name.endswith("lora_B"):
            nn.init.normal_(p, std=0.05)
    return model


def labelled() -> dict[str, Tensor]:
    return joined(some_complexes(3)) | {"label": torch.tensor([0.5, -1.0, 2.0])}


def test_the_output_is_unchanged_at_the_start() -> None:
    before, after = make()(labelled()), adapted()(labelled())
    assert torch.equal(before.pred, after.pred) and torch.equal(before.graph_repr, after.graph_repr)


def test_they_reach_layers_that_read_their_weights_directly() -> None:
    """Convolutions and self-attention do not call the layers that hold their weights."""
    model = with_values(adapted())
    model(labelled()).loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if ".lora_" in plain_name(name)}
    assert any(".layers.1.fc.3." in name for name in gradients) and any("in_proj_weight" in name for name in gradients)
    missing = [name for name, gradient in gradients.items() if gradient is None or not gradient.any()]
    assert not missing


def test_their_gradients_are_those_of_the_formula() -> None:
    model, whole = with_values(adapted()), with_values(merge_adapters(with_values(adapted())))
    model(labelled()).loss.backward()
    whole.requires_grad_(True)(labelled()).loss.backward()
    for layer in ("encoder.encoder.layers.1.fc.0", "top_encoder.encoder.layers.0.fc.3", "atom_block_attn.key_proj"):
        chain = model.get_submodule(layer).parametrizations.weight[0]
        slope = whole.get_submodule(layer).weight.grad
        close = {"rtol": 1e-4, "atol": 1e-7}
        torch.testing.assert_close(chain.lora_B.grad, 2.0 * slope @ chain.lora_A.T, **close)
        torch.testing.assert_close(chain.lora_A.grad, 2.0 * chain.lora_B.T @ slope, **close)


def test_adapted_weights_stop_training() -> None:
    model = adapted()
    names = {plain_name(name) for name, p in model.named_parameters() if not p.requires_grad}
    assert names == set(target_weights(make()))


@pytest.mark.parametrize("rank", [1, 3, 1000])
def test_the_number_of_parameters(rank: int) -> None:
    """rank (rows + columns) for each weight; a rank above both sides of a weight is cut to the smaller."""
    plain, model = make(), adapted(rank)
    sizes = [dict(plain.named_parameters())[name].shape for name in target_weights(plain)]
    expected = sum(min(rank, *shape) * sum(shape) for shape in sizes)
    added = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in plain.parameters())
    assert added == expected


def test_the_scale_is_alpha_over_rank() -> None:
    weight = torch.randn(4, 5)
    one = LowRank(weight, AdapterConfig(rank=2, alpha=6.0))
    nn.init.normal_(one.lora_B)
    torch.testing.assert_close(one(weight), weight + 3.0 * one.lora_B @ one.lora_A)


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"CompositionModel", "KernelModel"}))
def test_every_model_has_targets_in_its_encoder_only(name: str) -> None:
    changes = {"num_masked_block_classes": 36} if "Mask" in name else {}
    model = make(name, **changes)
    names = target_weights(model)
    assert {role(name) for name in names} == {"encoder"}
    assert sum("in_proj_weight" in name for name in names) == 4 and any(".fc.3.weight" in name for name in names)
    assert not any(name.startswith("cmplx_model.") for name in adaptable(model))


def test_targets_by_pattern() -> None:
    assert target_weights(make(), ("energy_ffn.*", "*.key_proj.weight"))[-1].startswith("energy_ffn.")
    with pytest.raises(
        ConfigError, match=r"--lora_targets: no parameter is named 'atom_attn\.\*' \(did you mean 'atom_bl"
    ):
        target_weights(make(), ("atom_attn.*",))
    with pytest.raises(
        ConfigError, match="no parameter is named"
    ):  # a table, which is looked up rather than multiplied
        target_weights(make(), ("block_embedding.*",))


def test_merged_predicts_the_same_and_is_an_ordinary_model() -> None:
    model = with_values(adapted())
    folded = merged(model)
    expected, found = model(labelled()), folded(labelled())
    assert not torch.equal(expected.pred, make()(labelled()).pred)
    torch.testing.assert_close(found.pred, expected.pred, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.block_repr, expected.block_repr, rtol=0, atol=1e-6)
    assert has_adapters(model) and not has_adapters(folded) and not hasattr(folded, "adapters")
    assert set(folded.state_dict()) == set(make().state_dict())


def test_merging_leaves_the_mode_and_is_free_of_dropout() -> None:
    model = with_values(adapted(dropout=0.5)).train()
    expected = model.eval()(labelled()).pred
    folded = merge_adapters(model.train())
    assert folded.training and folded.top_encoder.training
    torch.testing.assert_close(folded.eval()(labelled()).pred, expected, rtol=0, atol=1e-6)


def test_dropout_leaves_out_input_channels_while_training() -> None:
    weight = torch.zeros(4, 200)
    one = LowRank(weight, AdapterConfig(2, 2.0, dropout=0.25))
    nn.init.ones_(one.lora_B)
    torch.manual_seed(0)
    gone = (one(weight) == 0).all(0)
    assert 20 < gone.sum() < 80
    kept = (one.lora_B @ one.lora_A)[:, ~gone] / 0.75
    torch.manual_seed(0)
    torch.testing.assert_close(one(weight)[:, ~gone], kept)
    torch.testing.assert_close(one.eval()(weight), one.lora_B @ one.lora_A)


def test_a_saved_model_keeps_its_adapters(tmp_path: Path) -> None:
    model = with_values(adapted()).eval()
    save_pretrained(model, tmp_path)
    again = from_pretrained(tmp_path)
    assert torch.equal(again(labelled()).pred, model(labelled()).pred)
    assert again.adapters == model.adapters and has_adapters(again)
    save_pretrained(merged(again), tmp_path / "folded")
    folded = from_pretrained(tmp_path / "folded")
    assert "adapters" not in json.loads((tmp_path / "folded" / "config.json").read_text())
    torch.testing.assert_close(folded(labelled()).pred, model(labelled()).pred, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rnk": 3}, r"unknown key 'rnk' for AdapterConfig"),
        ({"rank": 0}, r"--rank: must be a finite number of at least 1"),
        ({"weights": ["nothing.weight"]}, r"adapters: no parameter is named 'nothing\.weight'"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    from models.persistence import model_from_config

    save_pretrained(adapted(), tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    values["adapters"] |= change
    with pytest.raises(CheckpointError, match=message):
        model_from_config(values, "config.json")


def test_adapters_on_adapters_are_refused() -> None:
    model = adapted()
    with pytest.raises(ConfigError, match="has adapters already"):
        add_adapters(model, AdapterConfig(2, 2.0))
