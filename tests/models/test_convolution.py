"""The fast convolution computes what e3nn's tensor product with a weight tensor for every edge computes."""

import pytest
import torch
from e3nn_oracle import from_e3nn, plain_convolution, to_e3nn

from models.layers import torch_kernel
from models.layers.convolution import Convolution
from models.layers.harmonics import EDGE_FILTER, AxisFilter, spherical_harmonics
from models.layers.irreps import Block, FeatureSpace, space_of_layer
from models.layers.paths import TensorProductPaths
from models.layers.slots import bucketed, slots_from_edges

HIDDEN, EDGE = 4, 3
VECTORS = FeatureSpace((Block(2, 1, -1), Block(2, 1, 1)))
TORSION = FeatureSpace((Block(HIDDEN, 0, -1), Block(HIDDEN, 0, 1)))


def layers() -> list:
    return list(_layers())


def _layers():
    spaces = [space_of_layer(HIDDEN, n) for n in range(5)]
    for n in range(4):
        yield pytest.param(spaces[n], EDGE_FILTER, spaces[n + 1], id=f"layer {n}")
    yield pytest.param(spaces[1], EDGE_FILTER, VECTORS, id="segment head after one layer")
    yield pytest.param(spaces[3], EDGE_FILTER, VECTORS, id="segment head")
    yield pytest.param(spaces[3], AxisFilter.irreps, TORSION, id="torsion head")


def problem(space_in, filters, space_out, seed=0, n=7, edges=30):
    """A convolution in double precision and random inputs; degrees differ, node 5 receives nothing."""
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    parts = (("edge", EDGE), ("receiver", HIDDEN), ("sender", HIDDEN))
    layer = Convolution(space_in, filters, space_out, parts).double()
    receiver = torch.randint(0, 5, (edges,), generator=g)
    sender = torch.randint(0, n, (edges,), generator=g)
    width = sum(2 * degree + 1 for degree, _ in filters)
    shapes = {"x": (n, space_in.width), "filters": (edges, width), "attributes": (edges, EDGE)}
    shapes |= {"receiver": (n, HIDDEN), "sender": (n, HIDDEN)}
    values = {
        name: torch.randn(*shape, generator=g, dtype=torch.float64).requires_grad_() for name, shape in shapes.items()
    }
    return layer, receiver, sender, values


def ours(layer, receiver, sender, values):
    n = len(values["x"])
    order = receiver.argsort(stable=True)
    slots = slots_from_edges(receiver, sender, n)
    real = slots.filled.nonzero()[:, 0]
    start = (torch.bincount(receiver, minlength=n).cumsum(0) - torch.bincount(receiver, minlength=n))[slots.receiver]
    within = torch.zeros_like(slots.receiver)
    for node in range(n):  # the slots of a node are in the order of its edges
        mine = (slots.receiver == node).nonzero()[:, 0]
        within[mine] = torch.arange(len(mine))
    edge = torch.zeros_like(slots.receiver)
    edge[real] = order[(start + within)[real]]
    return layer(
        values["x"], slots, values["filters"][edge], values["attributes"][edge], values["receiver"], values["sender"]
    )


def plain(layer, receiver, sender, values):
    oracle = plain_convolution(layer).double()
    features = torch.cat([values["attributes"], values["receiver"][receiver], values["sender"][sender]], 1)
    x = to_e3nn(values["x"], layer.paths.space_in)
    out = oracle(x, torch.stack([receiver, sender]), values["filters"], features, len(x))
    return from_e3nn(out, layer.paths.space_out), oracle


@pytest.mark.parametrize(("space_in", "filters", "space_out"), layers())
def test_outputs_and_gradients_equal_those_of_e3nn(space_in, filters, space_out) -> None:
    layer, receiver, sender, values = problem(space_in, filters, space_out)
    out = ours(layer, receiver, sender, values)
    expected, oracle = plain(layer, receiver, sender, values)
    torch.testing.assert_close(out, expected, atol=1e-7, rtol=1e-6)  # e3nn holds its constants in single precision
    probe = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad((out * probe).sum(), [*values.values(), layer.fc[0].weight, layer.fc[3].weight])
    wanted = torch.autograd.grad((expected * probe).sum(), [*values.values(), oracle.fc[0].weight, oracle.fc[3].weight])
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


def test_gradients_equal_finite_differences() -> None:
    layer, receiver, sender, values = problem(
        space_of_layer(HIDDEN, 1), EDGE_FILTER, space_of_layer(HIDDEN, 2), edges=9
    )
    names = list(values)

    def output(*tensors):
        return ours(layer, receiver, sender, dict(zip(names, tensors, strict=True)))

    assert torch.autograd.gradcheck(output, tuple(values.values()), fast_mode=True)


def test_gradients_of_the_weights_equal_finite_differences() -> None:
    layer, receiver, sender, values = problem(
        space_of_layer(HIDDEN, 0), EDGE_FILTER, space_of_layer(HIDDEN, 1), edges=9
    )
    parameters = dict(layer.named_parameters())

    def output(*tensors):
        state = dict(zip(parameters, tensors, strict=True))
        with torch.nn.utils.stateless._reparametrize_module(layer, state):
            return ours(layer, receiver, sender, {name: value.detach() for name, value in values.items()})

    assert torch.autograd.gradcheck(
        output, tuple(p.detach().requires_grad_() for p in parameters.values()), fast_mode=True
    )


def test_chunk_size_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, receiver, sender, values = problem(space_of_layer(HIDDEN, 3), EDGE_FILTER, space_of_layer(HIDDEN, 4))
    whole = ours(layer, receiver, sender, values)
    gradient = torch.autograd.grad(whole.square().sum(), values["x"])[0]
    monkeypatch.setitem(torch_kernel.CHUNK_BYTES, "cpu", 1)
    parts = ours(layer, receiver, sender, values)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts.square().sum(), values["x"])[0], gradient)


def test_a_node_without_edges_gets_the_bias_of_the_norm() -> None:
    layer, receiver, sender, values = problem(space_of_layer(HIDDEN, 1), EDGE_FILTER, space_of_layer(HIDDEN, 2))
    torch.nn.init.normal_(layer.norm_layer.affine_bias)
    lonely = ours(layer, receiver, sender, values)[5]
    torch.testing.assert_close(lonely[:HIDDEN], layer.norm_layer.affine_bias)
    assert lonely[HIDDEN:].abs().max() == 0


def test_dropout_gives_the_same_mask_forwards_and_backwards() -> None:
    layer, receiver, sender, values = problem(
        space_of_layer(HIDDEN, 0), EDGE_FILTER, space_of_layer(HIDDEN, 1), edges=9
    )
    layer.dropout = 0.5

    def output(*tensors):
        torch.manual_seed(3)
        return ours(layer, receiver, sender, dict(zip(values, tensors, strict=True)))

    assert torch.autograd.gradcheck(output, tuple(values.values()), fast_mode=True)


def test_an_output_without_a_path_is_refused() -> None:
    with pytest.raises(ValueError, match="no path of the tensor product reaches"):
        TensorProductPaths(space_of_layer(HIDDEN, 0), EDGE_FILTER, FeatureSpace((Block(2, 1, 1),)))


def test_published_weight_counts() -> None:
    hidden, half = 32, 16
    counts = [hidden**2 + 2 * hidden * half, hidden**2 + 4 * hidden * half + 10 * half**2]
    counts += [hidden**2 + 6 * hidden * half + 20 * half**2, 2 * hidden**2 + 8 * hidden * half + 20 * half**2]
    for n, count in enumerate(counts):
        paths = TensorProductPaths(space_of_layer(hidden, n), EDGE_FILTER, space_of_layer(hidden, n + 1))
        assert paths.weight_numel == count


def test_packing_weights_can_be_undone() -> None:
    paths = TensorProductPaths(space_of_layer(HIDDEN, 3), EDGE_FILTER, space_of_layer(HIDDEN, 4))
    weight, bias = torch.randn(paths.weight_numel, 5), torch.randn(paths.weight_numel)
    other, other_bias = torch.randn_like(weight), torch.randn_like(bias)
    packed, transposed = paths.pack(weight, bias), paths.unpack(paths.pack(other, other_bias))
    inner = sum((a * b).sum() for a, b in zip(packed, paths.pack(other, other_bias), strict=True))
    torch.testing.assert_close(inner, (weight * transposed[0]).sum() + (bias * transposed[1]).sum())


def test_buckets_hold_every_receiver_and_waste_little() -> None:
    runs = [(3, 2), (100, 16), (1, 17), (1, 300), (2, 310)]
    buckets = bucketed(runs)
    assert sum(bucket.n for bucket in buckets) == sum(n for n, _ in runs)
    edges, padded = sum(n * degree for n, degree in runs), sum(bucket.n * bucket.degree for bucket in buckets)
    assert padded <= 1.25 * edges + 64 * len(buckets)
    assert len(buckets) == 2
    ends = [(b.first_node + b.n, b.first_edge + b.n * b.degree) for b in buckets]
    assert [(b.first_node, b.first_edge) for b in buckets] == [(0, 0), *ends[:-1]]


def test_filters_of_zero_vectors_are_finite_with_finite_gradients() -> None:
    vectors = torch.zeros(2, 3, requires_grad=True)
    harmonics = spherical_harmonics(vectors)
    assert harmonics[:, 0].eq(1).all()
    assert harmonics[:, 1:].eq(0).all()
    harmonics.sum().backward()
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()
