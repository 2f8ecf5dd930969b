"""Interfaces of thousands of atoms: the same numbers whichever way neighbours are found, in little memory."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from complexes import small_config
from golden import ROOT
from hypothesis import given
from hypothesis import strategies as st

from configs.options import NoiseOptions
from data.atom_cloud import atom_cloud
from data.collate import collate_items
from data.noise import PretrainTransform
from models import DenoisePretrainModel, PredictionModel, neighbours
from models.layers import attention

MEASURE = """
import resource
import torch
from data.atom_cloud import atom_cloud
from data.collate import collate_items
from models import EncoderConfig, PredictionModel
torch.set_num_threads(1)
sizes = {"atom_hidden_size": 32, "block_hidden_size": 32, "edge_size": 32, "n_layers": 4, "k_neighbors": 8}
model = PredictionModel(EncoderConfig(**sizes, global_message_passing=True, num_block_types=40)).eval()
out = model.infer(collate_items([atom_cloud(20_000)]))
assert out.unit_repr.shape == (20_002, 32) and bool(out.unit_repr.isfinite().all())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_embeddings_do_not_depend_on_the_way_to_search(monkeypatch) -> None:
    torch.manual_seed(0)
    model = PredictionModel(small_config(bottom_global_message_passing=True)).eval()
    batch = collate_items([atom_cloud(3_000)])
    found = model.infer(batch)
    monkeypatch.setattr(neighbours, "TREE_FROM", 1 << 40)
    expected = model.infer(batch)
    for name in ("unit_repr", "block_repr", "graph_repr"):
        assert torch.equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("which", ["nearest", "first"])
def test_noise_heads_do_not_depend_on_the_way_to_search(monkeypatch, which: str) -> None:
    torch.manual_seed(0)
    model = DenoisePretrainModel(small_config(n_layers=1, torsion_neighbors=which)).eval()
    noise = NoiseOptions(
        atom_noise=0.1, translation_noise=0.5, rotation_noise=0.5, torsion_noise=0.5, mask_proportion=0.1
    )
    item = PretrainTransform(noise)(atom_cloud(1_500), np.random.default_rng(0))
    batch = collate_items([item, item])
    found = model.infer(batch)
    monkeypatch.setattr(neighbours, "TREE_FROM", 1 << 40)
    expected = model.infer(batch)
    np.testing.assert_array_equal(found.torsion_edges, expected.torsion_edges)
    for name in ("pred_torsion", "pred_translation", "pred_atom", "masked_logits"):
        assert torch.equal(getattr(found, name), getattr(expected, name))


@given(sizes=st.lists(st.one_of(st.integers(0, 60), st.integers(0, 3000)), min_size=1, max_size=40))
def test_pooling_pads_little(sizes: list[int]) -> None:
    groups = attention.similar_sizes(np.array(sizes))
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(sizes)))
    for group in groups:
        pairs = np.array(sizes)[group] ** 2
        assert len(group) * pairs.max() <= attention.PADDED * pairs.sum() + attention.SPARE


@pytest.mark.parametrize(
    "settings", [{"padding": "masked"}, {"padding": "own", "global_message_passing": False}], ids=str
)
def test_a_large_interface_leaves_small_ones_as_they_are(monkeypatch, settings: dict) -> None:
    torch.manual_seed(0)
    model = PredictionModel(small_config(**settings)).double().eval()
    items = [atom_cloud(n, 4, seed) for seed, n in enumerate((40, 400, 48, 8, 360))]
    monkeypatch.setattr(attention, "SPARE", 0)
    assert len(attention.similar_sizes(np.array([item.n_blocks + 2 for item in items]))) > 1
    together = model.infer(collate_items(items)).graph_repr
    alone = torch.cat([model.infer(collate_items([item])).graph_repr for item in items])
    torch.testing.assert_close(together, alone, atol=1e-9, rtol=0)


@pytest.mark.slow
def test_twenty_thousand_atoms_embed_within_4_gib() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 4 * 2**30
