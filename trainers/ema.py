"""Exponential moving average of the weights: average <- decay * average + (1 - decay) * weights, after every step."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """The averaged copy of a model's trainable parameters; what is frozen has no average.

    The decay starts small, min(decay, (1 + n) / (10 + n)) after n steps, so that the first weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self._model = model
        self.average: dict[str, Tensor] = {}
        self.take_in()

    def take_in(self) -> None:
        """Begin to average parameters that have become trainable; as long as they were frozen they were their mean."""
        for name, p in self._model.named_parameters():
            if p.requires_grad and name not in self.average:
                self.average[name] = p.detach().clone()

    def _parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, p) for name, p in self._model.named_parameters() if name in self.average)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the current weights."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, p in self._parameters():
            self.average[name].lerp_(p.detach(), 1 - decay)
        self.steps += 1

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """Put the average into the model for the length of a `with` block."""
        own = {name: p.detach().clone() for name, p in self._parameters()}
        self._fill(self.average)
        try:
            yield
        finally:
            self._fill(own)

    def load(self, average: dict[str, Tensor], steps: int) -> None:
        """Restore a stored average."""
        parameters = self._model.named_parameters()
        self.average = {name: average[name].to(p.device).clone() for name, p in parameters if name in average}
        self.steps = steps
        self.take_in()

    @torch.no_grad()
    def _fill(self, values: dict[str, Tensor]) -> None:
        for name, p in self._parameters():
            p.copy_(values[name])
