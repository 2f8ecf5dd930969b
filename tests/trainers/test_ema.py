"""The moving average of the weights."""

import pytest
import torch
from torch import nn

from trainers.ema import MovingAverage


class Weights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trained, self.frozen = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1), requires_grad=False)


@pytest.mark.parametrize("decay", [0.15, 0.9])
def test_the_average_follows_its_formula(decay: float) -> None:
    model = Weights()
    average, expected = MovingAverage(model, decay), torch.zeros(2)
    for step in range(6):
        weights = torch.tensor([1.0 + step, -2.0 * step])
        model.trained.data.copy_(weights)
        average.update()
        used = min(decay, (1 + step) / (10 + step))
        expected = used * expected + (1 - used) * weights
        torch.testing.assert_close(average.average["trained"], expected)
    assert set(average.average) == {"trained"}


def test_the_average_is_in_the_model_only_inside_the_block() -> None:
    model = Weights()
    average = MovingAverage(model, 0.5)
    model.trained.data += 4
    with pytest.raises(KeyError), average.in_model():  # noqa: PT012
        assert model.trained.tolist() == [0, 0]
        raise KeyError
    assert model.trained.tolist() == [4, 4]


def test_a_restored_average_goes_on_as_the_first() -> None:
    model = Weights()
    first, second = MovingAverage(model, 0.9), MovingAverage(model, 0.9)
    for step in range(4):
        model.trained.data += step
        first.update()
    second.load(first.average, first.steps)
    model.trained.data -= 3
    first.update()
    second.update()
    torch.testing.assert_close(first.average, second.average, atol=0, rtol=0)
