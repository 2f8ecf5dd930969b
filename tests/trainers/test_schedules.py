"""Learning rates are exact functions of the step."""

import math
from itertools import pairwise

import pytest
import torch

from configs.errors import ConfigError
from trainers import TrainConfig
from trainers.schedules import Schedule, StepScheduler, make_schedule


def test_exponential_reaches_a_tenth_half_way() -> None:
    curve = Schedule("exponential", 1e-3, 1e-5, total_steps=1000)
    assert curve(500) == pytest.approx(1e-4, rel=1e-12)
    assert (curve(0), curve(1000), curve(5000)) == (pytest.approx(1e-3), 1e-5, 1e-5)


def test_cosine_ends_exactly_and_never_rises_again() -> None:
    curve = Schedule("cosine", 1e-3, 1e-6, total_steps=100, warmup_steps=10, warmup_start_lr=1e-5)
    values = [curve(step) for step in range(10, 300)]
    assert values[0] == 1e-3 and curve(100) == 1e-6 and set(values[90:]) == {1e-6}
    assert all(a >= b for a, b in pairwise(values))
    assert curve(55) == pytest.approx((1e-3 + 1e-6) / 2)


def test_warm_up_is_linear_and_reaches_its_end() -> None:
    curve = Schedule("none", 1e-3, 1e-3, 100, warmup_steps=4, warmup_start_lr=1e-5, warmup_end_lr=1e-4)
    assert [curve(k) for k in range(4)] == pytest.approx([1e-5, 3.25e-5, 5.5e-5, 7.75e-5])
    nearly = Schedule("none", 1e-4, 1e-4, 100, warmup_steps=4, warmup_start_lr=1e-5)
    assert nearly(4) == 1e-4 and curve(4) == 1e-3


def test_cosine_restarts_every_cycle() -> None:
    curve = Schedule("cosine_restarts", 1.0, 0.1, total_steps=1000, cycle_steps=100)
    assert curve(0) == curve(100) == curve(900) == 1.0
    assert curve(50) == pytest.approx(0.55) and curve(99) < 0.101


def test_step_and_none() -> None:
    curve = Schedule("step", 1.0, 1.0, total_steps=100, steps_per_epoch=10)
    assert [curve(k) for k in (0, 9, 10, 25)] == pytest.approx([1, 1, 0.9, 0.81])
    assert Schedule("none", 0.3, 0.1, 100)(77) == 0.3


def test_impossible_curves_are_refused() -> None:
    with pytest.raises(ConfigError, match="--final_lr: must be positive"):
        Schedule("exponential", 1e-3, 0.0, 10)
    with pytest.raises(ConfigError, match="--lr_schedule: must be one of"):
        Schedule("linear", 1e-3, 0.0, 10)


def test_scheduler_keeps_ratios_of_groups_and_its_state() -> None:
    def make() -> tuple[torch.optim.Optimizer, StepScheduler]:
        parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
        optimizer = torch.optim.SGD([{"params": parameters[:1], "lr": 1.0}, {"params": parameters[1:], "lr": 0.1}])
        return optimizer, StepScheduler(optimizer, Schedule("cosine", 1.0, 0.2, 10), 1.0)

    optimizer, scheduler = make()
    for _ in range(10):
        optimizer.step()
        scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.2, 0.02])
    _, other = make()
    other.load_state_dict(scheduler.state_dict())
    assert other.last_epoch == 10 and other.get_last_lr() == scheduler.get_last_lr()


def test_options_become_a_curve() -> None:
    config = TrainConfig("runs", lr=1e-4, final_lr=1e-6, max_epoch=10, warmup_epochs=0.5, max_steps=70)
    curve = make_schedule(config, "cosine", steps_per_epoch=8, total_steps=80)
    assert (curve.warmup_steps, curve.total_steps) == (4, 70)
    assert curve(70) == 1e-6 and math.isclose(curve(4), 1e-4)
