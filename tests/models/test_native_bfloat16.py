"""Compiled bfloat16 products stay near float32, whatever the sizes; where they can't be had torch makes them."""

import pytest
import torch
from convolutions import EDGE, HIDDEN, PARTS, SPACES, assert_close, problem, results

from models.layers import native, native_bfloat16
from models.layers.convolution import Convolution
from models.layers.harmonics import EDGE_FILTER
from models.layers.irreps import space_of_layer
from models.layers.native import bfloat16
from models.layers.slots import slots_from_edges

NEAR = 1e-2  # a bfloat16 number has 8 bits
PAIR = (space_of_layer(HIDDEN, 3), EDGE_FILTER, space_of_layer(HIDDEN, 4))


@pytest.fixture
def compiled() -> None:
    if bfloat16.library() is None:
        pytest.skip("there is no C compiler, or the processor has no avx512_bf16")


@pytest.fixture
def fresh():
    """A new look at the processor before and after."""
    bfloat16.library.cache_clear()
    yield
    bfloat16.library.cache_clear()


def rounded(layer: Convolution, slots, values: list[torch.Tensor]) -> list[torch.Tensor]:
    """`results` in bfloat16."""
    layer.products = torch.bfloat16
    try:
        return results(layer, slots, values)
    finally:
        layer.products = None


def fixed_filters(*arguments, **options):
    """A problem whose harmonics need no gradient, as in training."""
    layer, slots, values = problem(*arguments, **options)
    values[1] = values[1].detach()
    return layer, slots, values


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(("space_in", "filters", "space_out"), SPACES)
def test_outputs_and_gradients_stay_near_float32(space_in, filters, space_out) -> None:
    work = fixed_filters(space_in, filters, space_out)
    found, exact = rounded(*work), results(*work)
    assert_close(found, exact, relative=NEAR)
    assert all(each.dtype == torch.float32 for each in found)
    assert not torch.equal(found[0], exact[0])


@pytest.mark.usefixtures("compiled")
def test_the_published_sizes_stay_near_float32() -> None:
    torch.manual_seed(0)
    layer = Convolution(space_of_layer(32, 3), EDGE_FILTER, space_of_layer(32, 4), PARTS)
    _, slots, values = fixed_filters(space_of_layer(32, 3), EDGE_FILTER, space_of_layer(32, 4))
    assert_close(rounded(layer, slots, values), results(layer, slots, values), relative=NEAR)


@pytest.mark.usefixtures("compiled")
def test_dropout_masks_are_those_of_float32() -> None:
    layer, slots, values = fixed_filters(*PAIR)
    layer.dropout = 0.3
    assert_close(rounded(layer, slots, values), results(layer, slots, values), relative=NEAR)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("slots_of_block", [1, 50, 100000])
def test_the_size_of_blocks_does_not_matter(monkeypatch, slots_of_block: int) -> None:
    work = fixed_filters(*PAIR)
    wanted = rounded(*work)
    monkeypatch.setattr(native_bfloat16, "BLOCK_SLOTS", slots_of_block)
    assert_close(rounded(*work), wanted, relative=1e-3)


@pytest.mark.usefixtures("compiled")
def test_threads_share_the_work_and_repeat_it_exactly() -> None:
    work = fixed_filters(*PAIR)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = rounded(*work)
        torch.set_num_threads(3)
        together, again = rounded(*work), rounded(*work)
    finally:
        torch.set_num_threads(before)
    assert_close(together, alone, relative=1e-3)
    assert all(torch.equal(one, other) for one, other in zip(together, again, strict=True))


@pytest.mark.usefixtures("compiled")
def test_features_may_lie_in_memory_in_any_order() -> None:
    layer, slots, values = fixed_filters(*PAIR)
    columns_first = [value.detach().T.contiguous().T.requires_grad_(value.requires_grad) for value in values]
    assert_close(rounded(layer, slots, columns_first), rounded(layer, slots, values), relative=1e-6)


@pytest.mark.usefixtures("compiled")
def test_without_edges_messages_and_gradients_are_zero() -> None:
    layer, _, values = fixed_filters(*PAIR, n=5)
    none = torch.zeros(0, dtype=torch.long)
    slots = slots_from_edges(none, none, 5)
    layer.products = torch.bfloat16
    x, at, of = values[0], values[3], values[4]
    out = layer(x, slots, torch.zeros(0, 9), torch.zeros(0, EDGE), at, of)
    gradients = torch.autograd.grad(out.sum(), [x, *layer.fc.parameters()])
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.usefixtures("compiled")
def test_frozen_weights_get_no_gradient_and_the_rest_keeps_its_own() -> None:
    layer, slots, values = fixed_filters(*PAIR)
    whole = rounded(layer, slots, values)
    layer.fc.requires_grad_(False)
    assert_close(rounded(layer, slots, values)[:5], whole[:5], relative=1e-6)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("number", range(5), ids=["features", "harmonics", "edges", "receivers", "senders"])
def test_nothing_hides_a_number_that_is_none(number: int) -> None:
    layer, slots, values = fixed_filters(*PAIR)
    layer.products = torch.bfloat16
    values = [value.detach() for value in values]
    values[number][slots.sender[0] if number == 4 else slots.receiver[0] if number == 3 else 0] = torch.nan
    if number == 0:
        values[0][:] = torch.nan
    assert layer(values[0], slots, *values[1:]).isnan().any()


@pytest.mark.usefixtures("compiled")
def test_inference_gives_the_numbers_of_training() -> None:
    layer, slots, values = fixed_filters(*PAIR)
    layer.products = torch.bfloat16
    with torch.inference_mode():
        alone = layer(values[0], slots, *values[1:])
    assert torch.equal(alone, layer(values[0], slots, *values[1:]))


@pytest.mark.usefixtures("compiled")
def test_harmonics_that_need_gradients_get_them_from_torch() -> None:
    layer, slots, values = problem(*PAIR)
    assert_close(rounded(layer, slots, values), results(layer, slots, values), relative=2e-2)


def test_a_processor_without_the_instructions_uses_torch_and_says_so(monkeypatch, fresh) -> None:
    monkeypatch.delenv("LIGARE_NATIVE", raising=False)
    monkeypatch.setattr(native, "processor", lambda: "flags : sse2 avx2 avx512f")
    work = fixed_filters(*PAIR)
    with pytest.warns(RuntimeWarning, match="avx512_bf16.*--projection float32 is faster"):
        found = rounded(*work)
    assert bfloat16.library() is None
    assert_close(found, results(*work), relative=2e-2)


def test_the_compiled_form_can_be_turned_off_without_a_warning(monkeypatch, fresh, recwarn) -> None:
    monkeypatch.setenv("LIGARE_NATIVE", "0")
    assert bfloat16.library() is None
    assert not recwarn
