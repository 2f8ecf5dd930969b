"""Run by torchrun in test_contrastive.py: trains a retrieval model on this rank's share and tells what came out.

usage: two_ranks_contrastive.py FOLDER
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from stand_ins import TinySampler
from test_pretrain_trainer import SIZES, make_item
from torch.utils.data import DataLoader

from data.dataset import InterfaceDataset
from data.pairs import collate_pairs
from models import create_model
from trainers import TrainConfig
from trainers.distributed import process_group, rank, world_size
from trainers.prot_interface_trainer import ProtInterfaceTrainer

ITEMS = [make_item(seed, 6 + seed % 3, torsions=False) for seed in range(8)]


class PlainDescent(ProtInterfaceTrainer):
    """Without Adam, which makes a step of rounding where a gradient is zero."""

    def get_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for p in self.model.parameters() if p.requires_grad], lr=self.config.lr)


def make(folder: Path, kind: type = ProtInterfaceTrainer, batch_size: int = 4, **options: Any) -> ProtInterfaceTrainer:
    """A trainer of a small model on this rank's share of `ITEMS`."""
    torch.manual_seed(0)
    small = SIZES | {"atom_hidden_size": 8, "block_hidden_size": 8, "num_block_types": 40}
    model = create_model("ProteinInterfaceModel", prot_model=small)
    options = {"progress": False, "use_tensorboard": False, "max_epoch": 1, "monitor": "loss"} | options
    samplers = [TinySampler(len(ITEMS), batch_size, shuffle, rank(), world_size()) for shuffle in (True, False)]
    loaders = [
        DataLoader(InterfaceDataset(ITEMS), batch_sampler=sampler, collate_fn=collate_pairs)  # type: ignore[arg-type]
        for sampler in samplers
    ]
    return kind(model, *loaders, TrainConfig(folder, **options))


def run(folder: Path) -> dict[str, Any]:
    trainer = make(folder, PlainDescent, max_epoch=2, lr=0.1, lr_schedule="none")
    trainer.train(gpus=[-1])
    return {
        "weights": torch.cat([p.detach().flatten() for p in trainer.model.parameters()]).tolist(),
        "losses": [record["train"]["loss"] for record in trainer.history],
        "valid": [record["valid"]["loss"] for record in trainer.history],
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    with process_group(torch.device("cpu")):
        found = run(Path(sys.argv[1]))
        (Path(sys.argv[1]) / f"rank{rank()}.json").write_text(json.dumps(found))
