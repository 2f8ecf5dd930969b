"""The channelwise convolution computes what e3nn's "uvu" tensor product and linear map compute, edge by edge."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from complexes import as_double, joined, moved, rotation, small_config, some_complexes
from e3nn import o3
from e3nn_oracle import from_e3nn, irreps, to_e3nn
from torch import Tensor

from configs.cli import parse
from configs.errors import CheckpointError, ConfigError
from configs.schema import from_flat
from models import DenoisePretrainModel, from_pretrained, load_published, load_weights_into, save_pretrained
from models.adapters import AdapterConfig, add_adapters, target_weights
from models.layers import channelwise_messages
from models.layers.channelwise import ChannelwiseConvolution
from models.layers.channelwise_paths import ChannelwisePaths, messages_by_edge
from models.layers.harmonics import EDGE_FILTER
from models.layers.irreps import Block, FeatureSpace, space_of_layer
from models.layers.slots import Slots, slots_from_edges
from models.published import published_config

HIDDEN, EDGE = 4, 3
SPACES = [space_of_layer(HIDDEN, n) for n in range(5)]
LAYERS = [pytest.param(SPACES[n], SPACES[n + 1], id=f"layer {n}") for n in range(4)]
LAYERS.append(pytest.param(SPACES[3], SPACES[2], id="to fewer irreps"))
LAYERS.append(pytest.param(SPACES[3], FeatureSpace((Block(2, 1, -1),)), id="one parity only"))


class Problem:
    """A layer in double precision on a graph whose degrees differ; node 5 receives nothing."""

    def __init__(self, space_in: FeatureSpace, space_out: FeatureSpace, n: int = 7, edges: int = 30) -> None:
        torch.manual_seed(0)
        draw = torch.Generator().manual_seed(0)
        parts = (("edge", EDGE), ("receiver", HIDDEN), ("sender", HIDDEN))
        self.layer = ChannelwiseConvolution(space_in, EDGE_FILTER, space_out, parts).double()
        for layer in self.layer.network:
            torch.nn.init.normal_(layer.bias)
        self.n = n
        slots = slots_from_edges(
            torch.randint(0, 5, (edges,), generator=draw), torch.randint(0, n, (edges,), generator=draw), n
        )
        self.slots = Slots(*(v.double() if k == "inverse_count" else v for k, v in vars(slots).items()))
        n_slots = len(slots.sender)
        shapes = {"x": (n, space_in.width), "filters": (n_slots, 9), "attributes": (n_slots, EDGE)}
        shapes |= {"receiver": (n, HIDDEN), "sender": (n, HIDDEN)}
        self.values = {
            name: torch.randn(*shape, generator=draw, dtype=torch.float64).requires_grad_()
            for name, shape in shapes.items()
        }

    def ours(self, **values: Tensor) -> Tensor:
        given = self.values | values
        return self.layer(given.pop("x"), self.slots, **given)

    def edges(self) -> tuple[Tensor, Tensor, Tensor]:
        """Filled slots, their receivers and senders."""
        assert self.slots.filled is not None
        real = self.slots.filled.nonzero()[:, 0]
        return real, self.slots.receiver[real], self.slots.sender[real]

    def by_e3nn(self) -> Tensor:
        """Output by stock e3nn, before the norm."""
        paths, (real, receiver, sender) = self.layer.paths, self.edges()
        values = self.values
        known = torch.cat([values["attributes"][real], values["receiver"][receiver], values["sender"][sender]], 1)
        product, linear = e3nn_layers(paths)
        x = to_e3nn(values["x"], paths.space_in)
        messages = product(x[sender], values["filters"][real], self.layer.weight_network(known))
        count = torch.bincount(receiver, minlength=self.n).clamp(min=1)
        mean = messages.new_zeros(self.n, messages.shape[1]).index_add(0, receiver, messages) / count[:, None]
        return from_e3nn(linear(mean, e3nn_mix(self.layer, linear)), paths.space_out)


def e3nn_layers(paths: ChannelwisePaths) -> tuple[o3.TensorProduct, o3.Linear]:
    """One "uvu" instruction for each block of each path, and the linear map of all messages."""
    middle, instructions = [], []
    blocks = list(zip(paths.space_in.blocks, paths.space_in.channel_starts, strict=True))
    for path in paths.paths:
        inside = [i for i, (b, s) in enumerate(blocks) if b.l == path.l1 and s in range(*path.channels.indices(99))]
        for number, (channels, parity) in zip(inside, path.blocks, strict=True):
            instructions.append((number, path.filter, len(middle), "uvu", True))
            middle.append((channels, (path.l3, parity)))
    filters = o3.Irreps([(1, f) for f in paths.filters])
    product = o3.TensorProduct(
        irreps(paths.space_in), filters, o3.Irreps(middle), instructions, shared_weights=False, internal_weights=False
    )
    linear = o3.Linear(o3.Irreps(middle), irreps(paths.space_out), internal_weights=False, shared_weights=True)
    return product.double(), linear.double()


def e3nn_mix(layer: ChannelwiseConvolution, linear: o3.Linear) -> Tensor:
    """The weights of the linear map in e3nn's order: its rows are those of `mix`, message block by message block."""
    used = [0] * len(layer.mix)
    parts = []
    for instruction in linear.instructions:
        rows = instruction.path_shape[0]
        start = used[instruction.i_out]
        parts.append(layer.mix[instruction.i_out][start : start + rows].flatten())
        used[instruction.i_out] += rows
    return torch.cat(parts)


@pytest.mark.parametrize(("space_in", "space_out"), LAYERS)
def test_outputs_and_gradients_equal_those_of_e3nn(space_in: FeatureSpace, space_out: FeatureSpace) -> None:
    problem = Problem(space_in, space_out)
    found, wanted = problem.ours(), problem.layer.norm(problem.by_e3nn())
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)  # e3nn holds its constants in single precision
    probe = torch.randn(found.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    sources = [*problem.values.values(), *(p for p in problem.layer.parameters() if p.requires_grad)]
    for mine, theirs in zip(*(torch.autograd.grad((out * probe).sum(), sources) for out in (found, wanted))):
        torch.testing.assert_close(mine, theirs, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(("space_in", "space_out"), LAYERS)
def test_fast_messages_equal_the_formula_edge_by_edge(space_in: FeatureSpace, space_out: FeatureSpace) -> None:
    problem = Problem(space_in, space_out)
    real, receiver, sender = problem.edges()
    values = problem.values
    known = torch.cat([values["attributes"][real], values["receiver"][receiver], values["sender"][sender]], 1)
    weights = problem.layer.weight_network(known)
    total = messages_by_edge(
        problem.layer.paths, values["x"], values["filters"][real], weights, sender, receiver, problem.n
    )
    mean = total / torch.bincount(receiver, minlength=problem.n).clamp(min=1)[:, None]
    fast = problem.layer.messages(values["x"], problem.slots, *(values[name] for name in list(values)[1:]))
    torch.testing.assert_close(fast, mean)


def test_gradients_equal_finite_differences() -> None:
    problem = Problem(SPACES[1], SPACES[2], edges=9)
    names = list(problem.values)

    def output(*tensors: Tensor) -> Tensor:
        return problem.ours(**dict(zip(names, tensors, strict=True)))

    assert torch.autograd.gradcheck(output, tuple(problem.values.values()), fast_mode=True)


def test_gradients_of_the_parameters_equal_finite_differences() -> None:
    problem = Problem(SPACES[2], SPACES[3], edges=9)
    parameters = dict(problem.layer.named_parameters())
    fixed = {name: value.detach() for name, value in problem.values.items()}

    def output(*tensors: Tensor) -> Tensor:
        state = dict(zip(parameters, tensors, strict=True))
        return torch.func.functional_call(
            problem.layer, state, (fixed["x"], problem.slots), dict(list(fixed.items())[1:])
        )

    tensors = tuple(p.detach().requires_grad_() for p in parameters.values())
    assert torch.autograd.gradcheck(output, tensors, fast_mode=True)


def test_dropout_gives_the_same_mask_forwards_and_backwards() -> None:
    problem = Problem(SPACES[0], SPACES[1], edges=9)
    problem.layer.dropout = 0.5

    def output(*tensors: Tensor) -> Tensor:
        torch.manual_seed(3)
        return problem.ours(**dict(zip(problem.values, tensors, strict=True)))

    assert torch.autograd.gradcheck(output, tuple(problem.values.values()), fast_mode=True)


def test_chunk_size_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(SPACES[3], SPACES[4])
    whole = problem.ours()
    gradients = torch.autograd.grad(whole.square().sum(), list(problem.values.values()))
    monkeypatch.setitem(channelwise_messages.CHUNK_BYTES, "cpu", 1)
    parts = problem.ours()
    torch.testing.assert_close(parts, whole)
    again = torch.autograd.grad(parts.square().sum(), list(problem.values.values()))
    for one, other in zip(again, gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_a_node_without_edges_gets_the_bias_of_the_norm() -> None:
    problem = Problem(SPACES[1], SPACES[2])
    torch.nn.init.normal_(problem.layer.norm.affine_bias)
    lonely = problem.ours()[5]
    torch.testing.assert_close(lonely[:HIDDEN], problem.layer.norm.affine_bias)
    assert lonely[HIDDEN:].abs().max() == 0


def test_an_edge_has_as_many_weights_as_paths_times_channels() -> None:
    spaces = [space_of_layer(32, n) for n in range(5)]
    counts = [ChannelwisePaths(a, EDGE_FILTER, b).weight_numel for a, b in pairwise(spaces)]
    assert counts == [96, 288, 480, 576]


def test_an_output_without_a_path_is_refused() -> None:
    with pytest.raises(ValueError, match="no path of the tensor product reaches"):
        ChannelwisePaths(SPACES[0], EDGE_FILTER, FeatureSpace((Block(2, 1, 1),)))


@pytest.mark.parametrize("n", range(4), ids=lambda n: f"layer {n}")
def test_a_new_layer_keeps_unit_variance(n: int) -> None:
    """Inputs of unit variance give edge weights and, for one edge a node, outputs of unit variance in every block."""
    torch.manual_seed(0)
    into, out = space_of_layer(32, n), space_of_layer(32, n + 1)
    layer = ChannelwiseConvolution(into, EDGE_FILTER, out, (("edge", 64),))
    edges, itself = 2000, torch.arange(2000)
    slots = slots_from_edges(itself, itself, edges)
    attributes, x = torch.randn(edges, 64), torch.randn(edges, into.width)
    filters = torch.randn(edges, 9)
    none = x.new_zeros(edges, 0)
    with torch.no_grad():
        assert float(layer.weight_network(attributes).var()) == pytest.approx(1, abs=0.2)
        mixed = layer.mixed(layer.messages(x, slots, filters, attributes, none, none))
    for number in range(len(out.blocks)):
        assert float(out.block_of(mixed, number).square().mean()) == pytest.approx(1, abs=0.25)


# The model


@pytest.fixture(scope="module")
def model() -> DenoisePretrainModel:
    torch.manual_seed(0)
    return DenoisePretrainModel(small_config(conv="channelwise")).double().eval()


@pytest.mark.parametrize("mirror", [1, -1], ids=["rotation", "rotation and reflection"])
def test_features_turn_with_the_complex(model: DenoisePretrainModel, mirror: int) -> None:
    batch, turn = as_double(joined(some_complexes(3))), mirror * rotation(1)
    before, after = model.infer(batch), model.infer(moved(batch, turn, (3.0, -1.0, 2.0)))
    space = space_of_layer(model.config.atom_hidden_size, model.config.n_layers)
    for number, block in enumerate(space.blocks):
        old, new = (space.block_of(found.representation.atoms.features, number) for found in (before, after))
        assert old.abs().max() > 1e-3
        sign = block.p if mirror < 0 else 1
        matrix = sign * o3.Irrep(block.l, 1).D_from_matrix(mirror * turn)
        expected = torch.einsum("ij,njc->nic", matrix.to(old.dtype), old)
        torch.testing.assert_close(new, expected, atol=1e-5, rtol=1e-5)  # e3nn's rotation matrices are float32
    if mirror > 0:
        torch.testing.assert_close(after.graph_repr, before.graph_repr, atol=1e-9, rtol=0)
        torch.testing.assert_close(after.pred_translation, before.pred_translation @ turn.T, atol=1e-9, rtol=0)


def test_a_batch_equals_its_complexes_one_by_one(model: DenoisePretrainModel) -> None:
    graphs = some_complexes(4)
    together, alone = model.infer(joined(graphs)), [model.infer(graph) for graph in graphs]
    for name in ("unit_repr", "block_repr", "graph_repr", "pred_torsion", "pred_atom"):
        expected = torch.cat([getattr(output, name) for output in alone])
        torch.testing.assert_close(getattr(together, name), expected, atol=1e-9, rtol=0)


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    model = DenoisePretrainModel(small_config(conv="channelwise"))
    model(joined(some_complexes(3))).loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.encoder.encoder.layers.parameters())
    assert all(p.grad.abs().max() > 0 for p in model.encoder.encoder.layers[0].mix)


def test_a_saved_model_comes_back_the_same(tmp_path: Any) -> None:
    torch.manual_seed(0)
    model = DenoisePretrainModel(small_config(conv="channelwise")).eval()
    save_pretrained(model, tmp_path / "saved")
    again, batch = from_pretrained(tmp_path / "saved"), some_complexes(1)[0]
    assert again.config == model.config and again.config.conv == "channelwise"
    assert torch.equal(again.infer(batch).graph_repr, model.infer(batch).graph_repr)


def test_weights_of_full_convolutions_leave_all_channelwise_ones_new() -> None:
    full, channelwise = (DenoisePretrainModel(small_config(conv=conv)) for conv in ("full", "channelwise"))
    mine = {name for name in channelwise.state_dict() if ".layers." in name}
    theirs = {name for name in full.state_dict() if ".layers." in name}
    assert mine and not mine & theirs
    report = load_weights_into(channelwise, full.state_dict())
    assert set(report.new) == mine and set(report.left_over) == theirs
    assert "new (initial values): encoder.encoder.layers.0.weight_network.0.weight" in str(report)


def test_published_configurations_have_full_convolutions(tmp_path: Any) -> None:
    from golden import KEPT, recorded_model

    torch.save(recorded_model("tiny/PredictionModel").state_dict(), tmp_path / "weights.pt")
    assert load_published(KEPT / "PredictionModel" / "config.json", tmp_path / "weights.pt").config.conv == "full"


def test_the_published_program_gets_none() -> None:
    with pytest.raises(CheckpointError, match="only full tensor products"):
        published_config(DenoisePretrainModel(small_config(conv="channelwise")).config_dict())


def test_adapters_leave_the_output_and_reach_weight_networks_and_matrices() -> None:
    torch.manual_seed(0)
    model, batch = DenoisePretrainModel(small_config(conv="channelwise")).eval(), some_complexes(1)[0]
    before = model.infer(batch).graph_repr
    names = target_weights(model)
    assert "encoder.encoder.layers.0.weight_network.3.weight" in names
    mixing = target_weights(model, ["*.mix.*"])
    add_adapters(model, AdapterConfig(rank=2, alpha=4.0, weights=(*names, *mixing)))
    torch.testing.assert_close(model.infer(batch).graph_repr, before)
    model(batch).loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if name.endswith("lora_B")}
    assert all(gradients[name].abs().max() > 0 for name in gradients if ".layers.0." in name)
    assert any(".mix." in name for name in gradients) and any(".weight_network." in name for name in gradients)


def test_options() -> None:
    options = ["--atom_hidden_size", "32", "--block_hidden_size", "32"]
    assert parse(options).encoder.conv == "full"
    assert parse([*options, "--conv", "channelwise", "--kernels", "cuequivariance"]).encoder.kernels == "cuequivariance"
    with pytest.raises(ConfigError, match="--kernels: must be torch, or used with conv channelwise, got 'cueq"):
        from_flat({"kernels": "cuequivariance"})
    with pytest.raises(ConfigError, match="conv"):
        from_flat({"conv": "chanelwise"})
