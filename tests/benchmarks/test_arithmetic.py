"""Operations are counted right, and a clock asks the device that it is given."""

import pytest
import torch
from e3nn import o3
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.arithmetic import Counted, copy_rate, counting, product_rate
from benchmarks.clock import Clock, seconds_of
from benchmarks.traffic import Traffic
from models.layers.harmonics import EDGE_FILTER
from models.layers.irreps import space_of_layer
from models.layers.paths import TensorProductPaths
from models.layers.slots import slots_from_edges


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_operations_are_those_of_the_two_products(layer: int) -> None:
    """Against torch's counter on the two products of every path, paths as e3nn lists them."""
    hidden, units, receivers, degree = 8, 6, 5, 4
    spaces = [space_of_layer(hidden, n) for n in (layer, layer + 1)]
    irreps = [o3.Irreps([(b.channels, (b.l, b.p)) for b in space.blocks]) for space in spaces]
    product = o3.FullyConnectedTensorProduct(irreps[0], "1x0e + 1x1o + 1x2e", irreps[1], internal_weights=False,
                                             shared_weights=False)  # fmt: skip
    h = torch.zeros(receivers, degree, units + 1, device="meta")
    with FlopCounterMode(display=False) as truth:
        for path in product.instructions:
            mul_in, (mul_out, ir) = irreps[0][path.i_in1].mul, irreps[1][path.i_out]
            z = torch.zeros(receivers, ir.dim * mul_in, degree, device="meta")
            total = torch.bmm(z, h).view(receivers * ir.dim, -1)
            torch.mm(total, torch.zeros(mul_in * (units + 1), mul_out, device="meta"))
    counted = Counted()
    counted.add(TensorProductPaths(spaces[0], EDGE_FILTER, spaces[1]), units, receivers * degree, receivers)
    assert counted.forward == truth.get_total_flops() > 0
    assert counted.training == 3 * counted.forward


def test_empty_slots_and_other_modules_are_not_counted() -> None:
    from models.layers.convolution import Convolution

    spaces = [space_of_layer(8, n) for n in (0, 1)]
    net = nn.ModuleList([nn.Linear(2, 2), Convolution(spaces[0], EDGE_FILTER, spaces[1], (("edge", 4),))])
    receiver, sender = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 0])
    slots = slots_from_edges(receiver, sender, 3)
    assert len(slots.sender) > len(sender)
    with counting(net) as counted:
        net[1](torch.randn(3, 8), slots, torch.randn(len(slots.sender), 9), torch.randn(len(slots.sender), 4))
    expected = Counted()
    expected.add(net[1].paths, 4, edges=3, receivers=2)  # type: ignore[arg-type]
    assert (counted.aggregate, counted.project) == (expected.aggregate, expected.project)
    net[1](torch.randn(3, 8), slots, torch.randn(len(slots.sender), 9), torch.randn(len(slots.sender), 4))
    assert counted.forward == expected.forward


def test_traffic_counts_what_operations_take_and_give() -> None:
    a, b = torch.zeros(10, 20), torch.zeros(20, 30)
    with Traffic() as traffic:
        c = a @ b
        c.T.view(30, 10)
    assert traffic.bytes == 4 * (10 * 20 + 20 * 30 + 10 * 30)


class Backend:
    """Stands in for torch.cuda."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def synchronize(self) -> None:
        self.calls.append("wait")

    def max_memory_allocated(self) -> int:
        return 3 << 30

    def reset_peak_memory_stats(self) -> None:
        self.calls.append("reset")


def test_a_gpu_is_waited_for_and_asked_for_its_memory() -> None:
    backend = Backend()
    clock = Clock("cuda", backend)
    assert len(seconds_of(lambda: backend.calls.append("work"), clock, 2)) == 2
    assert backend.calls == ["wait", "work", "wait"] * 2
    clock.reset_peak()
    assert backend.calls[-1] == "reset"
    assert clock.peak_gib() == 3.0


def test_repetitions_end_with_the_budget() -> None:
    assert len(seconds_of(lambda: None, Clock(), repeat=4)) == 4
    assert len(seconds_of(lambda: None, Clock(), repeat=4, budget=0.0)) == 1


def test_rates_are_positive() -> None:
    assert product_rate(torch.float32, Clock(), size=16, repeat=2) > 0
    assert product_rate(torch.bfloat16, Clock(), size=16, repeat=2) > 0
    assert copy_rate(Clock(), megabytes=1, repeat=2) > 0
