"""The validation metric that chooses the best checkpoint and stops early."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from configs.errors import ConfigError
from configs.schema import nearest
from trainers.scores import smaller_is_better


@dataclass(frozen=True)
class Monitor:
    """A metric by name, and which direction is better."""

    name: str
    smaller_is_better: bool

    @property
    def worst(self) -> float:
        """What every value improves on."""
        return float("inf") if self.smaller_is_better else float("-inf")

    def improves(self, value: float, best: float) -> bool:
        """Whether a value is better than the best so far; NaN never is."""
        return value < best if self.smaller_is_better else value > best

    def check(self, known: Collection[str]) -> None:
        """Refuse a name that is not among the metrics of the task; ConfigError."""
        if self.name not in known:
            raise ConfigError(
                f"{self.name!r} is not a validation metric of this task", "--monitor", hint=nearest(self.name, known)
            )

    def of(self, metrics: dict[str, float]) -> float:
        """Its value; ConfigError when it was not measured."""
        self.check(metrics)
        return metrics[self.name]


def choose_monitor(config: Any, default: str) -> Monitor:
    """The metric of `--monitor`, or the task's own, in the direction of `--metric_min_better` or that of its name."""
    name = config.monitor or default
    smaller = smaller_is_better(name) if config.metric_min_better is None else config.metric_min_better
    return Monitor(name, smaller)
