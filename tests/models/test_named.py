"""The eight named representations, computed again from their definitions with numpy."""

from typing import Any

import numpy as np
import pytest
import torch
from e3nn_oracle import to_e3nn
from golden import RECORDED, recorded_batch, recorded_model, single
from torch import Tensor

from configs.errors import ConfigError
from models import EncoderConfig, PredictionModel
from models.backbone import Representation
from models.layers.irreps import space_of_layer
from models.named import REPRESENTATIONS, RULES, Rule, Wanted, named_representations, segments_of, width_of

GLOBAL = 3
recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recordings in {RECORDED} (INTERFACE_PARITY)")
CASES = [
    ("tiny/PredictionModel", "batch0"),
    pytest.param("PredictionModel", "batch0", marks=(recorded, pytest.mark.real_data)),
    pytest.param("PredictionModel_noglobal", "batch0", marks=(recorded, pytest.mark.real_data)),
]


def represented(model: Any, batch: dict[str, Tensor]) -> Representation:
    with torch.inference_mode():
        return model.encode(batch)


def made(model: Any, batch: dict[str, Tensor], *names: str, rule: Rule | None = None) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        found = named_representations(model, model.encode(batch), Wanted(names, rule))
    return {name: values.numpy() for name, values in found.items()}


def invariants(features: Tensor, hidden: int) -> tuple[np.ndarray, np.ndarray]:
    """Scalars [H 0e | H 0o], and inner products u <= v of 1o, 2e, 1e, 2o, pair by pair, from e3nn's layout."""
    x = to_e3nn(features, space_of_layer(hidden, 3)).double().numpy()
    half, place, products = hidden // 2, hidden, []
    for dim in (3, 5, 3, 5):
        block = x[:, place : place + half * dim].reshape(-1, half, dim)  # e3nn: channel, then component
        place += half * dim
        products += [(block[:, u] * block[:, v]).sum(1) for u in range(half) for v in range(u, half)]
    return np.concatenate([x[:, :hidden], x[:, place : place + hidden]], 1), np.stack(products, 1)


def plain_z(found: Representation, hidden: int) -> tuple[np.ndarray, np.ndarray]:
    """z_atom and z_block, block by block."""
    z_atom = np.concatenate(invariants(found.atoms.features, hidden), 1)
    products = invariants(found.blocks.features, hidden)[1]
    owner = found.graph.block_of_atom.numpy()
    rows = []
    for block, h in enumerate(found.block_repr.double().numpy()):
        own = z_atom[owner == block]
        rows.append(np.concatenate([h, products[block], own.mean(0), own.std(0)]))
    return z_atom, np.stack(rows)


def plain_pool(z: np.ndarray, ordinary: np.ndarray, first_global: int, hidden: int, rule: Rule) -> np.ndarray:
    """One graph, or one segment of it, by the two rules."""
    if rule == "mean_std_global":
        return np.concatenate([z[ordinary].mean(0), z[ordinary].std(0), z[first_global]])
    mean, half = z[ordinary].mean(0), hidden // 2
    cuts = [hidden, hidden + 2 * half * (half + 1)]
    return np.concatenate([part / np.linalg.norm(part) for part in np.split(mean, cuts)])


def plain_attention_pooling(pooling: Any, x: np.ndarray) -> np.ndarray:
    """Four layers of x <- LayerNorm(x + attention(x)), the sum, a linear layer, length 1."""
    for attention, norm in zip(pooling.attention_layers, pooling.norms):
        weight, bias = attention.in_proj_weight.double().numpy(), attention.in_proj_bias.double().numpy()
        q, k, v = np.split(x @ weight.T + bias, 3, axis=1)
        heads = []
        for part in np.split(np.arange(x.shape[1]), 4):
            score = q[:, part] @ k[:, part].T / np.sqrt(len(part))
            score = np.exp(score - score.max(1, keepdims=True))
            heads.append(score / score.sum(1, keepdims=True) @ v[:, part])
        out = attention.out_proj
        x = x + np.concatenate(heads, 1) @ out.weight.double().numpy().T + out.bias.double().numpy()
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        x = x * norm.weight.double().numpy() + norm.bias.double().numpy()
    last = pooling.graph_repr_fc
    pooled = x.sum(0) @ last.weight.double().numpy().T + last.bias.double().numpy()
    return pooled / np.linalg.norm(pooled)


@pytest.mark.parametrize(("name", "batch"), CASES)
def test_h_is_what_the_published_program_computes_for_a_batch_of_one(name: str, batch: str) -> None:
    inputs, expected = recorded_batch(name, batch)
    assert len(inputs["lengths"]) == 1
    found = made(recorded_model(name, padding="own"), inputs, "h_atom", "h_block", "h_graph")
    for ours, theirs in {"h_atom": "unit_repr", "h_block": "block_repr", "h_graph": "graph_repr"}.items():
        np.testing.assert_allclose(found[ours], expected[theirs], atol=1e-5)


@pytest.mark.parametrize(("name", "batch"), CASES)
@torch.no_grad()
def test_h_interface_is_the_learned_pooling_of_one_side(name: str, batch: str) -> None:
    inputs, _ = recorded_batch(name, batch)
    model = recorded_model(name, padding="own")
    found = represented(model, inputs)
    blocks, segments = found.block_repr.double().numpy(), inputs["segment_ids"].numpy()
    counts = np.full(len(blocks), True) if model.config.global_message_passing else inputs["B"].numpy() != GLOBAL
    expected = [plain_attention_pooling(model.attention_pooling, blocks[(segments == s) & counts]) for s in (0, 1)]
    np.testing.assert_allclose(made(model, inputs, "h_interface")["h_interface"], expected, atol=1e-5)
    assert segments_of(found).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(("name", "batch"), CASES)
def test_z_of_atoms_and_blocks_follow_their_definition(name: str, batch: str) -> None:
    inputs, _ = recorded_batch(name, batch)
    model = recorded_model(name, padding="own")
    z_atom, z_block = plain_z(represented(model, inputs), model.config.atom_hidden_size)
    found = made(model, inputs, "z_atom", "z_block")
    np.testing.assert_allclose(found["z_atom"], z_atom, atol=1e-5 * np.abs(z_atom).max())
    np.testing.assert_allclose(found["z_block"], z_block, atol=1e-5 * np.abs(z_block).max())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("name", "batch"), CASES)
def test_z_of_graphs_and_sides_follow_the_named_rule(name: str, batch: str, rule: Rule) -> None:
    inputs, _ = recorded_batch(name, batch)
    model = recorded_model(name, padding="own")
    hidden = model.config.atom_hidden_size
    z = plain_z(represented(model, inputs), hidden)[1]
    ordinary, segments = inputs["B"].numpy() != GLOBAL, inputs["segment_ids"].numpy()
    first_global = int(np.flatnonzero(~ordinary)[0])
    found = made(model, inputs, "z_graph", "z_interface", rule=rule)
    whole = plain_pool(z, ordinary, first_global, hidden, rule)
    sides = [plain_pool(z, ordinary & (segments == side), first_global, hidden, rule) for side in (0, 1)]
    np.testing.assert_allclose(found["z_graph"], [whole], atol=1e-5 * np.abs(whole).max())
    np.testing.assert_allclose(found["z_interface"], sides, atol=1e-5 * np.abs(sides).max())


@pytest.mark.parametrize("rule", RULES)
def test_batch_mates_change_nothing(rule: Rule) -> None:
    inputs, _ = recorded_batch("tiny/PredictionModel", "batch1")
    model = recorded_model("tiny/PredictionModel", padding="own")
    together = made(model, inputs, *REPRESENTATIONS, rule=rule)
    alone = [made(model, single(inputs, graph), *REPRESENTATIONS, rule=rule) for graph in range(len(inputs["lengths"]))]
    assert len(alone) > 1
    for name, values in together.items():
        expected = np.concatenate([one[name] for one in alone])
        np.testing.assert_allclose(values, expected, atol=2e-5 * np.abs(expected).max(), err_msg=name)


def test_turning_the_complex_changes_nothing() -> None:
    inputs, _ = recorded_batch("tiny/PredictionModel", "batch0")
    model = recorded_model("tiny/PredictionModel", padding="own").double()
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    turn = turn * torch.det(turn)
    turned = inputs | {"X": inputs["X"].double() @ turn.T + 3.0}
    before = made(model, inputs | {"X": inputs["X"].double()}, *REPRESENTATIONS, rule="mean_std_global")
    after = made(model, turned, *REPRESENTATIONS, rule="mean_std_global")
    for name in REPRESENTATIONS:
        np.testing.assert_allclose(after[name], before[name], atol=1e-6 * np.abs(before[name]).max(), err_msg=name)


@pytest.mark.parametrize("rule", RULES)
def test_sizes_are_told_beforehand(rule: Rule) -> None:
    inputs, _ = recorded_batch("tiny/PredictionModel", "batch0")
    model = recorded_model("tiny/PredictionModel")
    for name, values in made(model, inputs, *REPRESENTATIONS, rule=rule).items():
        assert values.shape[1] == width_of(name, model.config, rule), name


@pytest.mark.parametrize(
    ("names", "rule", "message"),
    [
        ((), None, "names none"),
        (("h_grahp",), None, "unknown representation 'h_grahp'.*h_graph"),
        (("z_graph",), None, "need a rule.*mean_std_global, mean_component_normalized"),
        (("z_graph",), "median", "unknown rule 'median'"),
    ],
)
def test_what_can_not_be_asked_for_is_named(names: tuple[str, ...], rule: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Wanted(names, rule)


def test_a_shallow_model_has_no_z() -> None:
    config = EncoderConfig(atom_hidden_size=8, block_hidden_size=8, edge_size=4, n_layers=2, num_block_types=440)
    inputs, _ = recorded_batch("tiny/PredictionModel", "batch0")
    with pytest.raises(ConfigError, match="z_block needs a model of 3 layers or more, this one has 2"):
        made(PredictionModel(config).eval(), inputs, "z_block")
