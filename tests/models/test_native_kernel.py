"""The compiled sums of the convolution are those of torch; without a compiler torch does the work and says so."""

import hashlib
import os
import tempfile
from pathlib import Path

import pytest
import torch
from convolutions import HIDDEN, SPACES, assert_close, problem, results

from models.layers import native, native_kernel, workers
from models.layers.harmonics import EDGE_FILTER
from models.layers.irreps import space_of_layer


@pytest.fixture
def compiled() -> None:
    if native.library() is None:
        pytest.skip("there is no C compiler")


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A cache folder of its own, and a new look for the compiler before and after."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("LIGARE_NATIVE", raising=False)
    native.library.cache_clear()
    yield tmp_path
    native.library.cache_clear()


def by_torch(monkeypatch: pytest.MonkeyPatch, *problem) -> list[torch.Tensor]:
    with monkeypatch.context() as patch:
        patch.setattr(native, "library", lambda: None)
        return results(*problem)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(("space_in", "filters", "space_out"), SPACES)
def test_outputs_and_gradients_are_those_of_torch(monkeypatch, space_in, filters, space_out) -> None:
    work = problem(space_in, filters, space_out)
    assert_close(results(*work), by_torch(monkeypatch, *work))


@pytest.mark.usefixtures("compiled")
def test_dropout_masks_are_those_of_torch(monkeypatch) -> None:
    layer, slots, values = problem(space_of_layer(HIDDEN, 1), EDGE_FILTER, space_of_layer(HIDDEN, 2))
    layer.dropout = 0.3
    assert_close(results(layer, slots, values), by_torch(monkeypatch, layer, slots, values))


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(("block", "edges"), [(1, 1), (3, 64), (64, 100000)])
def test_sizes_of_blocks_and_chunks_do_not_matter(monkeypatch, block: int, edges: int) -> None:
    work = problem(space_of_layer(HIDDEN, 3), EDGE_FILTER, space_of_layer(HIDDEN, 4))
    wanted = results(*work)
    monkeypatch.setattr(native_kernel, "BLOCK", block)
    monkeypatch.setattr(native_kernel, "CHUNK_EDGES", edges)
    assert_close(results(*work), wanted)


@pytest.mark.parametrize("kernel", ["native", "torch"])
def test_threads_share_the_work_and_repeat_it_exactly(monkeypatch, kernel: str) -> None:
    if kernel == "torch":
        monkeypatch.setattr(native, "library", lambda: None)
    elif native.library() is None:
        pytest.skip("there is no C compiler")
    work = problem(space_of_layer(HIDDEN, 3), EDGE_FILTER, space_of_layer(HIDDEN, 4))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = results(*work)
        torch.set_num_threads(3)
        together, again = results(*work), results(*work)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert_close(together, alone)
    assert all(torch.equal(one, other) for one, other in zip(together, again, strict=True))


@pytest.mark.parametrize("kernel", ["native", "torch"])
def test_features_may_lie_in_memory_in_any_order(monkeypatch, kernel: str) -> None:
    if kernel == "torch":
        monkeypatch.setattr(native, "library", lambda: None)
    layer, slots, values = problem(space_of_layer(HIDDEN, 1), EDGE_FILTER, space_of_layer(HIDDEN, 2))
    columns_first = [value.detach().T.contiguous().T.requires_grad_() for value in values]
    assert_close(results(layer, slots, columns_first), results(layer, slots, values))


def test_a_fork_while_threads_are_made_does_not_lock_the_child() -> None:
    with workers._lock:  # as a thread of the parent might hold it
        workers._forget_pools()
        assert workers.run_parts(lambda part: part, 2) == [0, 1]


def test_frozen_weights_get_no_gradient_and_the_rest_keeps_its_own() -> None:
    layer, slots, values = problem(space_of_layer(HIDDEN, 1), EDGE_FILTER, space_of_layer(HIDDEN, 2))
    whole = results(layer, slots, values)
    layer.fc.requires_grad_(False)
    layer(values[0], slots, *values[1:]).sum().backward()
    assert layer.fc[3].weight.grad is None
    assert_close(results(layer, slots, values)[:6], whole[:6])


def test_bfloat16_products_stay_near_float32() -> None:
    layer, slots, values = problem(space_of_layer(HIDDEN, 3), EDGE_FILTER, space_of_layer(HIDDEN, 4))
    exact = results(layer, slots, values)
    layer.products = torch.bfloat16
    rounded = results(layer, slots, values)
    assert all(r.dtype == torch.float32 for r in rounded)
    assert_close(rounded, exact, relative=3e-2)
    assert not torch.equal(rounded[0], exact[0])


@pytest.mark.parametrize(("name", "reason"), [("no-such-compiler", "no C compiler"), ("false", "failed")])
def test_without_a_compiler_torch_does_the_work_and_a_warning_says_so(monkeypatch, fresh, name, reason) -> None:
    monkeypatch.setenv("CC", name)
    work = problem(space_of_layer(HIDDEN, 0), EDGE_FILTER, space_of_layer(HIDDEN, 1))
    with pytest.warns(RuntimeWarning, match=reason):
        found = results(*work)
    assert native.library() is None
    assert_close(found, by_torch(monkeypatch, *work), relative=0)


def test_the_compiled_form_can_be_turned_off_without_a_warning(monkeypatch, fresh, recwarn) -> None:
    monkeypatch.setenv("LIGARE_NATIVE", "0")
    assert native.library() is None
    assert not recwarn


@pytest.mark.usefixtures("compiled")
def test_it_is_compiled_once_and_kept(fresh: Path) -> None:
    assert native.library() is not None
    made = list((fresh / "ligare").glob("*.so"))
    assert len(made) == 1
    stamp = made[0].stat().st_mtime_ns
    native.library.cache_clear()
    assert native.library() is not None
    assert made[0].stat().st_mtime_ns == stamp


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("damage", ["half", "nothing", "a byte", "no checksum"])
def test_a_damaged_library_is_made_again_and_never_loaded(fresh: Path, damage: str) -> None:
    folder = fresh / "ligare"
    assert native.library() is not None
    (made,) = folder.glob("*.so")
    whole = made.read_bytes()
    changed = {"half": whole[: len(whole) // 2], "nothing": b"", "a byte": whole[:99] + b"?" + whole[100:]}
    made.unlink()  # the loaded one stays as it is
    made.write_bytes(changed.get(damage, whole))
    if damage == "no checksum":
        made.with_suffix(".sha256").unlink()
    native.library.cache_clear()
    assert native.library() is not None
    assert hashlib.sha256(made.read_bytes()).hexdigest() == made.with_suffix(".sha256").read_text()
    assert made.read_bytes() == whole


@pytest.mark.usefixtures("compiled")
def test_the_compiler_may_have_options(monkeypatch, fresh: Path) -> None:
    program = native._compiler()[0]
    monkeypatch.setenv("CC", f"{program} -g0")
    assert native._compiler() == [program, "-g0"]
    assert native.library() is not None


@pytest.mark.usefixtures("compiled")
def test_without_a_home_it_is_compiled_for_this_process_alone(monkeypatch, fresh: Path) -> None:
    def unknown() -> Path:
        raise RuntimeError("could not determine home directory")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(fresh))
    assert native.library() is not None
    assert not list(fresh.iterdir())


@pytest.mark.usefixtures("compiled")
def test_a_folder_that_others_can_write_to_is_not_trusted(fresh: Path) -> None:
    shared = fresh / "ligare"
    shared.mkdir()
    os.chmod(shared, 0o777)
    assert native.library() is not None
    assert not list(shared.iterdir())


@pytest.mark.usefixtures("compiled")
def test_a_cache_that_nothing_can_be_put_into_costs_the_cache_alone(monkeypatch, fresh: Path) -> None:
    """As on a full disk, or one whose files may not be run."""
    assert native.library() is not None
    (made,) = (fresh / "ligare").glob("*.so")
    made.unlink()
    made.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(fresh))
    native.library.cache_clear()
    assert native.library() is not None
    assert {path.name for path in fresh.iterdir()} == {"ligare"}


@pytest.mark.usefixtures("compiled")
def test_what_was_compiled_for_another_processor_is_not_loaded(monkeypatch, fresh: Path) -> None:
    assert native.library() is not None
    monkeypatch.setattr(native, "processor", lambda: "flags : fpu vme of another")
    native.library.cache_clear()
    assert native.library() is not None
    assert len(list((fresh / "ligare").glob("*.so"))) == 2
