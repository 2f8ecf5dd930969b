"""Run in processes of their own by test_determinism.py: train.py on a few shards."""

from pathlib import Path

import torch
from test_pretrain_trainer import make_item

import train
from data.shards import ShardWriter
from data.vocab import load_vocabulary

SIZES = "--atom_hidden_size 16 --block_hidden_size 16 --edge_size 8 --k_neighbors 3 --n_layers 1 --dropout 0.1"
NOISE = "--translation_noise 1 --rotation_noise 0.25 --torsion_noise 0.5 --mask_proportion 0.2"
OTHER = "--gpus -1 --no_progress --no_use_tensorboard --log_every 1 --max_n_vertex_per_gpu 16 --shuffle --max_epoch 1"


def write_data(folder: Path) -> None:
    for name, seeds in (("train", range(5)), ("valid", range(5, 7))):
        with ShardWriter(folder / name, load_vocabulary(None).fingerprint) as writer:
            for seed in seeds:
                writer.add(make_item(seed, 4 + seed % 4))


def run(data: Path, save_dir: Path, threads: int, *more: str) -> int:
    torch.set_num_threads(threads)
    words = f"{SIZES} {NOISE} {OTHER} --train_set {data / 'train'} --valid_set {data / 'valid'} --save_dir {save_dir}"
    return train.main([*words.split(), *more])
