"""Kernels of other libraries are checked before use, and left loudly where they are absent, unfit or wrong.

The real library runs where it is installed; stand-ins of the same interface show the rest without it.
"""

import importlib.util
import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from complexes import joined, small_config, some_complexes
from e3nn import o3
from torch import Tensor

from models import DenoisePretrainModel, from_pretrained, save_pretrained
from models.layers import accelerators
from models.layers.accelerators import (
    checked_kernel,
    cuequivariance_kernel,
    largest_difference,
    openequivariance_kernel,
    warn_once,
)
from models.layers.channelwise import use_kernels
from models.layers.channelwise_paths import ChannelwisePaths, messages_by_edge
from models.layers.harmonics import EDGE_FILTER
from models.layers.irreps import space_of_layer

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
PATHS = [ChannelwisePaths(space_of_layer(8, n), EDGE_FILTER, space_of_layer(8, n + 1)) for n in range(4)]
EACH = pytest.mark.parametrize("paths", PATHS, ids=[f"layer {n}" for n in range(4)])


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    checked_kernel.cache_clear()
    warn_once.cache_clear()


def stand_in(monkeypatch: pytest.MonkeyPatch, change: Any = lambda out: out) -> list[int]:
    """A library that computes the plain formula, changed by `change`; returns a list of the calls' edges."""
    calls: list[int] = []

    def build(paths: ChannelwisePaths, dtype: torch.dtype, device: torch.device) -> Any:
        def kernel(x: Tensor, filters: Tensor, weights: Tensor, sender: Tensor, receiver: Tensor, n: int) -> Tensor:
            calls.append(len(sender))
            return change(messages_by_edge(paths, x, filters, weights, sender, receiver, n))

        return kernel

    monkeypatch.setitem(accelerators.BUILDERS, "cuequivariance", build)
    return calls


def small_model(**changes: Any) -> DenoisePretrainModel:
    torch.manual_seed(0)
    return DenoisePretrainModel(small_config(conv="channelwise", **changes))


def losses_and_gradients(model: DenoisePretrainModel) -> list[Tensor]:
    model.zero_grad()
    loss = model(joined(some_complexes(3))).loss
    loss.backward()
    return [loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


def test_a_model_computes_the_same_with_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = stand_in(monkeypatch)
    plain, fast = (losses_and_gradients(small_model(kernels=name)) for name in ("torch", "cuequivariance"))
    assert max(calls) > 100  # edges of the batch, beside those of the checks
    for mine, theirs in zip(fast, plain, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5 * (1 + float(theirs.abs().max())), rtol=1e-4)


def test_the_check_is_made_once_and_changes_no_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, model = stand_in(monkeypatch), small_model(kernels="cuequivariance")
    state = torch.get_rng_state()
    with torch.inference_mode():
        model.eval()(some_complexes(1)[0])
        first = len(calls)
        model(some_complexes(1)[0])
    layers = 2 * model.config.n_layers
    assert (first, len(calls) - first) == (layers + 3, layers)  # three different products, on two levels
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda out: out * 1.001, "differ from the plain ones by"),
        (lambda out: out * torch.nan, "differ from the plain ones by nan"),
        (lambda out: out.detach(), "RuntimeError"),
        (lambda out: out[:, :3], "RuntimeError"),
        (lambda out: 1 / 0, "ZeroDivisionError"),
    ],
    ids=["wrong", "not a number", "without gradients", "of another shape", "raises"],
)
def test_a_library_that_disagrees_is_left_loudly_and_once(
    change: Any, reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in(monkeypatch, change)
    with caplog.at_level(logging.WARNING):
        assert checked_kernel("cuequivariance", PATHS[0], torch.float32, CPU) is None
        assert checked_kernel("cuequivariance", PATHS[0], torch.float32, CPU) is None
    [message] = [record.getMessage() for record in caplog.records]
    assert "--kernels cuequivariance is NOT used on cpu, torch is" in message
    assert reason in message and "leave out --kernels" in message


def test_the_check_sees_wrong_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, lambda out: out.detach() + 0.5 * (out - out.detach()))
    assert checked_kernel("cuequivariance", PATHS[1], torch.float32, CPU) is None


@pytest.mark.parametrize("library", ["cuequivariance", "openequivariance"])
def test_an_absent_library_is_named_with_the_command_to_install_it(
    library: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in ("cuequivariance_ops_torch", "cuequivariance", "openequivariance"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", [])
    assert checked_kernel(library, PATHS[0], torch.float32, CUDA) is None
    message = caplog.text
    assert f"--kernels {library} is NOT used on cuda" in message and "No module named" in message
    assert f"pip install 'ligare[{library}]'" in message


@pytest.mark.parametrize("library", ["cuequivariance", "openequivariance"])
def test_on_a_cpu_a_model_runs_without_and_says_so_once(library: Any, caplog: pytest.LogCaptureFixture) -> None:
    plain, fallen_back = (losses_and_gradients(small_model(kernels=name)) for name in ("torch", library))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(fallen_back, plain, strict=True))
    [message] = [record.getMessage() for record in caplog.records]
    assert "need a CUDA device" in message


def test_kernels_are_no_part_of_a_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    calls, model = stand_in(monkeypatch), small_model(kernels="cuequivariance").eval()
    save_pretrained(model, tmp_path / "saved")
    assert "kernels" not in (tmp_path / "saved" / "config.json").read_text()
    again = from_pretrained(tmp_path / "saved")
    assert again.config.kernels == "torch"
    again.infer(some_complexes(1)[0])
    assert not calls
    use_kernels(again, "cuequivariance")
    again.infer(some_complexes(1)[0])
    assert calls


@pytest.mark.parametrize(
    "paths", [*PATHS[:2], pytest.param(PATHS[3], marks=pytest.mark.slow)], ids=lambda paths: f"{len(paths.paths)} paths"
)
@pytest.mark.skipif(importlib.util.find_spec("cuequivariance_torch") is None, reason="cuequivariance is not installed")
def test_cuequivariance_computes_the_product(paths: ChannelwisePaths) -> None:
    kernel = cuequivariance_kernel(paths, torch.float64, CPU, method="naive")
    assert largest_difference(kernel, paths, torch.float64, CPU) < 1e-10
    assert largest_difference(kernel, paths, torch.float32, CPU) < 1e-5


@EACH
def test_openequivariance_is_given_the_right_product(paths: ChannelwisePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in that takes the library's arguments and computes with e3nn, whose conventions the library follows."""
    monkeypatch.setitem(sys.modules, "openequivariance", SimpleNamespace(TPProblem=Arguments, TensorProductConv=ByE3nn))
    kernel = openequivariance_kernel(paths, torch.float32, CUDA)  # builds nothing on the device itself
    assert largest_difference(kernel, paths, torch.float32, CPU) < 1e-5


class Arguments:
    """openequivariance.TPProblem"""

    def __init__(self, irreps_in1: str, irreps_in2: str, irreps_out: str, instructions: list, **options: Any) -> None:
        self.irreps = [o3.Irreps(text) for text in (irreps_in1, irreps_in2, irreps_out)]
        self.instructions, self.options = instructions, options


class ByE3nn:
    """openequivariance.TensorProductConv on irreps whose components run slowest ("ir_mul")."""

    def __init__(self, problem: Arguments, *, deterministic: bool) -> None:
        assert problem.options["layout"] == "ir_mul" and not problem.options["shared_weights"]
        self.irreps = problem.irreps
        even = [[(mul, (ir.l, 1)) for mul, ir in irreps] for irreps in problem.irreps]
        self.product = o3.TensorProduct(*even, problem.instructions, shared_weights=False, internal_weights=False)

    @staticmethod
    def turned(x: Tensor, irreps: o3.Irreps, to_e3nn: bool) -> Tensor:
        parts = []
        for part, (mul, ir) in zip(x.split([mul * ir.dim for mul, ir in irreps], 1), irreps, strict=True):
            sizes = (ir.dim, mul) if to_e3nn else (mul, ir.dim)
            parts.append(part.unflatten(1, sizes).transpose(1, 2).flatten(1))
        return torch.cat(parts, 1)

    def __call__(self, x: Tensor, y: Tensor, weights: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        out = self.product(self.turned(x, self.irreps[0], True)[columns], y, weights)
        out = out.new_zeros(len(x), out.shape[1]).index_add(0, rows, out)
        return self.turned(out, self.irreps[2], False)
