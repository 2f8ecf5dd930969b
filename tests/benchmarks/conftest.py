"""Items of the tests of the data room, shards of them, and one thread."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "data"))  # item_factory
torch.set_num_threads(1)

TINY = {"atom_hidden_size": 8, "block_hidden_size": 8, "edge_size": 4, "n_layers": 2, "k_neighbors": 3}


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    from item_factory import random_item

    from data.shards import write_part
    from data.vocab import load_vocabulary

    vocabulary = load_vocabulary()
    folder = tmp_path_factory.mktemp("benchmarks") / "shards"
    items = [random_item(seed, n_blocks=8 + seed) for seed in range(6)]
    return str(write_part(folder, iter(items), vocabulary.fingerprint, vocabulary=vocabulary.name))


@pytest.fixture
def tiny() -> dict[str, int]:
    return dict(TINY)
