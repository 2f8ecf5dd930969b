"""A tiny model whose parts are named as those of real ones, and a trainer that fine-tunes it."""

from pathlib import Path
from typing import Any

import torch
from stand_ins import Output, TinyTrainer, make_trainer
from torch import nn

from configs.schema import from_flat
from trainers import Trainer
from trainers.finetune import prepare_finetune


class StagedModel(nn.Module):
    """Encoder (two layers, with dropout) and head."""

    def __init__(self, dropout: float = 0.25) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.top_encoder = nn.Sequential(nn.Linear(3, 8), nn.Dropout(dropout))
        self.attention_pooling, self.energy_ffn = nn.Linear(8, 8), nn.Linear(8, 1)

    def config_dict(self) -> dict[str, Any]:
        return {"model_type": "StagedModel"}

    def forward(self, batch: dict[str, Any]) -> Output:
        hidden = torch.tanh(self.attention_pooling(torch.tanh(self.top_encoder(batch["x"]))))
        prediction = self.energy_ffn(hidden).squeeze(-1)
        return Output(((prediction - batch["y"]) ** 2).mean(), prediction)


def staged_trainer(folder: Path, resume: Any = None, dropout: float = 0.25, **options: Any) -> Trainer:
    """A trainer of a StagedModel that was prepared as train.py does it."""
    own = {"train_loader", "valid_loader", "callbacks"}
    model = options.pop("model", None) or StagedModel(dropout)
    flat = {name: value for name, value in options.items() if name not in own}
    prepare_finetune(model, from_flat({"max_epoch": 3, "lr": 1e-2} | flat))
    return make_trainer(folder, resume, kind=TinyTrainer, model=model, **options)


def complexes(n: int = 2, blocks: int = 6) -> dict[str, torch.Tensor]:
    """A batch of made-up complexes for the real models: two segments, each a global block and blocks of two atoms."""
    generator = torch.Generator().manual_seed(0)
    half = blocks // 2
    kinds, sizes = [3, *[5] * half] * 2, [1, *[2] * half] * 2
    atoms = [2, *[9] * (2 * half)] * 2
    return {
        "X": 3 * torch.randn(n * len(atoms), 3, generator=generator),
        "A": torch.tensor(atoms * n),
        "B": torch.tensor(kinds * n),
        "block_lengths": torch.tensor(sizes * n),
        "segment_ids": torch.tensor([*[0] * (half + 1), *[1] * (half + 1)] * n),
        "lengths": torch.tensor([len(kinds)] * n),
        "label": torch.arange(n).float(),
    }
