"""Options of a trainer: those of the command line, plus whatever else a caller wants to keep with the run."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from configs.schema import TrainOptions


class TrainConfig(TrainOptions):
    """`TrainOptions` that also keeps options it doesn't know.

    A `patience` of 0 or less becomes `max_epoch`, that is, no early stopping.

    Example:
        >>> config = TrainConfig("runs", lr=1e-4, max_epoch=5, fold=3)
        >>> config.patience, config.fold
        (5, 3)
    """

    callbacks: list[Any]

    def __init__(
        self,
        save_dir: str | Path | None = None,
        lr: float = 1e-3,
        max_epoch: int = 10,
        patience: int = -1,
        grad_clip: float | None = None,
        **kwargs: Any,
    ) -> None:
        known = {f.name for f in fields(TrainOptions)}
        super().__init__(
            save_dir=None if save_dir is None else str(save_dir),
            lr=lr,
            max_epoch=max_epoch,
            patience=patience if patience > 0 else max_epoch,
            grad_clip=grad_clip,
            **{name: value for name, value in kwargs.items() if name in known},
        )
        self.early_stopping = patience > 0
        self._given: dict[str, Any] = {"patience": patience}
        self.callbacks = list(kwargs.pop("callbacks", ()))
        self.extra: dict[str, Any] = {}
        self.add_parameter(**{name: value for name, value in kwargs.items() if name not in known})

    def add_parameter(self, **kwargs: Any) -> None:
        """Set or add options by name."""
        names = {f.name for f in fields(TrainOptions)}
        for name, value in kwargs.items():
            object.__setattr__(self, name, value)
            if name in names:
                self._given.pop(name, None)
            else:
                self.extra[name] = value

    def get(self, name: str, default: Any = None) -> Any:
        """An option that may be absent."""
        return getattr(self, name, default)

    def to_dict(self) -> dict[str, Any]:
        """All options as they were given, with what JSON can't hold turned into text."""
        own = {f.name: getattr(self, f.name) for f in fields(TrainOptions)} | self._given | self.extra
        return json.loads(json.dumps(own, default=str))

    def __repr__(self) -> str:
        return f"TrainConfig({', '.join(f'{name}={value!r}' for name, value in self.to_dict().items())})"
