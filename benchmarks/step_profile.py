"""Where the time of a training step goes, by kind of work.

The profiler of torch gives the own time of every operation and the sizes of its inputs. Ranges put around the parts of
the model tell where an operation belongs; an operation of the backward pass belongs where the forward operation with
its sequence number did. The compiled sums of a convolution are one range; where torch does them, its products are told
apart by their sizes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

import models.backbone
from benchmarks.clock import Clock
from models.heads import NoiseHeads
from models.layers.attention import AttentionPooling, BlockAttention
from models.layers.convolution import Convolution
from models.layers.native_bfloat16 import BfloatConvolution
from models.layers.native_kernel import NativeKernel

RANGE = "part: "
COMPILED = "compiled sums (couplings, both products)"
AGGREGATE, PROJECT, COUPLE, NETWORK = "aggregate product", "project product", "couplings", "weight network"
OF_CONVOLUTION = "convolutions, rest (gathers, copies, program)"
EDGES, ATTENTION, HEADS, REST = "edges", "attention", "heads", "rest"
ORDER = (COMPILED, AGGREGATE, PROJECT, COUPLE, NETWORK, OF_CONVOLUTION, EDGES, ATTENTION, HEADS, REST)
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
SMALL = 5  # components of the largest degree


def profile_step(net: nn.Module, step: Callable[[], Any], clock: Clock) -> dict[str, float]:
    """Seconds of one step by group of `ORDER`: of the GPU's kernels where there is one."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if clock.backend is not None else [])
    kind = "self_cpu_time_total" if clock.backend is None else "self_device_time_total"
    with labelled(net), profile(activities=activities, record_shapes=True, acc_events=True) as profiler:
        step()
        clock.now()
    seconds = dict.fromkeys(ORDER, 0.0)
    for event, part in placed(profiler.events() or ()):
        seconds[group_of(event.name, event.input_shapes, part, units(net))] += getattr(event, kind) / 1e6
    return seconds


@contextmanager
def labelled(net: nn.Module) -> Iterator[None]:
    """Put ranges around the parts of a model while it runs."""
    with ExitStack() as stack:
        for module in net.modules():
            if isinstance(module, Convolution) or "Convolution" in type(module).__name__:
                stack.enter_context(patch.object(module, "forward", ranged(OF_CONVOLUTION, module.forward)))
            elif isinstance(module, BlockAttention | AttentionPooling):
                stack.enter_context(patch.object(module, "forward", ranged(ATTENTION, module.forward)))
            elif isinstance(module, NoiseHeads):
                for name in ("segment_noise", "torsion_noise", "atom_noise"):
                    stack.enter_context(patch.object(module, name, ranged(HEADS, getattr(module, name))))
        for name, module in net.named_children():
            if name.endswith("_ffn"):
                stack.enter_context(patch.object(module, "forward", ranged(HEADS, module.forward)))
        for name in ("forward", "backward"):
            stack.enter_context(patch.object(NativeKernel, name, ranged(COMPILED, getattr(NativeKernel, name))))
        stack.enter_context(patch.object(BfloatConvolution, "run", ranged(COMPILED, BfloatConvolution.run)))
        for name in ("read_graph", "neighbour_edges"):
            work = getattr(models.backbone, name)
            stack.enter_context(patch.object(models.backbone, name, ranged(EDGES, work)))
        yield


def ranged(part: str, work: Callable) -> Callable:
    """A function under a range of the profiler."""

    def run(*args: Any, **kwargs: Any) -> Any:
        with record_function(RANGE + part):
            return work(*args, **kwargs)

    return run


def units(net: nn.Module) -> set[int]:
    """Rows that a weight network adds to the aggregated features: hidden units and one for the bias."""
    return {int(m.fc[0].out_features) + 1 for m in net.modules() if isinstance(m, Convolution)}  # type: ignore[arg-type]


def placed(events: Sequence[Any]) -> Iterator[tuple[Any, str]]:
    """Every event with the part of the model it belongs to."""
    inside: dict[int, str] = {}  # id of an event -> part
    forward: dict[int, str] = {}  # sequence number -> part of the last operation of the forward pass that has it
    for event in sorted(events, key=lambda e: e.time_range.start):
        part = inside.get(id(event.cpu_parent), REST)
        if event.name.startswith(RANGE):
            part = event.name.removeprefix(RANGE)
        elif event.name.startswith("autograd::engine::evaluate_function"):
            part = forward.get(event.sequence_nr, REST)
        elif event.sequence_nr >= 0 and not event.scope:
            forward[event.sequence_nr] = part
        inside[id(event)] = part
        yield event, part


def group_of(name: str, shapes: Sequence[Sequence[int]], part: str, hidden: set[int]) -> str:
    """Group of an operation: that of its part, but the products of a convolution have their own."""
    operation = name.removeprefix("aten::").rstrip("_")
    if part != OF_CONVOLUTION or operation not in PRODUCTS:
        return part
    left, right = [shape for shape in shapes if len(shape) >= 2][-2:]
    if len(left) == 3:
        return COUPLE if min(left[1], left[2]) <= SMALL else AGGREGATE
    sizes = {left[0], left[1], right[1]}
    if any(size % h == 0 and size > h for size in sizes for h in hidden):
        return PROJECT
    return NETWORK if min(sizes) > max(hidden, default=0) // 4 else COUPLE
