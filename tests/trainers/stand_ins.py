"""A tiny model, data set and loader: what the loop needs, in microseconds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from trainers.abs_trainer import TrainConfig, Trainer


@dataclass
class Output:
    loss: Tensor
    prediction: Tensor

    def parts(self) -> dict[str, Tensor]:
        return {"loss": self.loss.detach()}


class TinyModel(nn.Module):
    """Regression by one hidden layer with dropout, so that random states matter."""

    def __init__(self, dropout: float = 0.25, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.hidden, self.dropout, self.head = nn.Linear(3, 8), nn.Dropout(dropout), nn.Linear(8, 1)

    def config_dict(self) -> dict[str, Any]:
        return {"model_type": "TinyModel"}

    def forward(self, batch: dict[str, Any]) -> Output:
        prediction = self.head(self.dropout(torch.tanh(self.hidden(batch["x"])))).squeeze(-1)
        return Output(((prediction - batch["y"]) ** 2).mean(), prediction)


class TinyItems(torch.utils.data.Dataset):
    """Items that are a function of (epoch, index), like interfaces with noise."""

    def __init__(self, n: int, seed: int = 0, bad: tuple[int, ...] = ()) -> None:
        rng = np.random.default_rng(seed)
        self.x, self.bad = rng.normal(size=(n, 3)).astype(np.float32), bad
        self.y = np.sin(self.x.sum(1)).astype(np.float32)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        noise = np.random.default_rng([epoch, index]).normal(size=3).astype(np.float32) * 0.1
        y = np.float32("nan") if index in self.bad else self.y[index]
        return {"id": f"item{index}", "x": self.x[index] + noise, "y": y}


class TinySampler:
    """Batches shuffled by the epoch, shared out over ranks; can start in the middle."""

    def __init__(self, n: int, batch_size: int, shuffle: bool, rank: int = 0, world: int = 1) -> None:
        self.n, self.batch_size, self.shuffle, self.rank, self.world = n, batch_size, shuffle, rank, world
        self.epoch = self.start_batch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def keys(self, batch: int) -> list[tuple[int, int]]:
        order = np.random.default_rng(self.epoch).permutation(self.n) if self.shuffle else np.arange(self.n)
        items = order[batch * self.batch_size : (batch + 1) * self.batch_size]
        # uneven on purpose: rank 0 gets one item, the other rank the rest
        mine = items if self.world == 1 else items[:1] if self.rank == 0 else items[1:]
        return [(self.epoch, int(i)) for i in mine]

    def __iter__(self):
        return map(self.keys, range(self.start_batch, len(self)))


def make_loader(
    n: int = 24, batch_size: int = 4, shuffle: bool = True, rank: int = 0, world: int = 1, **items: Any
) -> DataLoader:
    return DataLoader(TinyItems(n, **items), batch_sampler=TinySampler(n, batch_size, shuffle, rank, world))


class TinyTrainer(Trainer):
    def share_step(self, batch: Any, batch_idx: int, val: bool = False) -> Any:
        return self.model(batch)


def make_trainer(folder: Path, resume: Any = None, kind: type[Trainer] = TinyTrainer, **options: Any) -> Trainer:
    """A trainer on 6 batches of 4 items, validated on 10 items."""
    model = options.pop("model", None) or TinyModel()
    train = options.pop("train_loader", None) or make_loader()
    valid = options.pop("valid_loader", make_loader(10, 4, shuffle=False, seed=1))
    options = {"lr": 1e-2, "max_epoch": 3, "log_every": 2, "progress": False, "use_tensorboard": False} | options
    return kind(model, train, valid, TrainConfig(folder, **options), resume)
