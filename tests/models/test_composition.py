"""The composition model: what each encoding promises, checked against plain computations."""

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from configs.composition_options import CompositionOptions
from data.block_taxonomy import CLASSES, KINDS, BlockTaxonomy
from data.collate import collate_items
from data.composition import BlockCounts, CompositionLoader, block_counts_of, count_blocks, counts_of_items
from data.dataset import InterfaceDataset
from data.item import Item
from data.sampler import BatchSampler
from data.shards import write_part
from data.vocab import load_vocabulary
from models import create_model
from models.block_encoders import ENCODINGS, UNKNOWN_ID, AttentionLayer, TaxonomyEncoding, signed_hash
from models.composition import CompositionConfig, CompositionModel

ROOT = Path(__file__).parents[2]
BLOCKS = load_vocabulary().blocks
SMALL: dict[str, Any] = {"hidden_dims": "16,8", "dropout": 0.0, "transformer_dropout": 0.0, "block_embed_dim": 8}
Bags = list[list[int]]
bags = st.lists(st.lists(st.integers(4, 40), min_size=1, max_size=12), min_size=2, max_size=6).map(
    lambda found: found[: len(found) // 2 * 2]
)


def counted(found: Bags) -> BlockCounts:
    """Counts of bags of block types, two an item, of blocks of two atoms."""
    types = torch.tensor([kind for bag in found for kind in bag])
    bag = torch.tensor([number for number, bag in enumerate(found) for _ in bag])
    return count_blocks(types, torch.full_like(types, 2), bag, len(found) // 2)


def encoding(name: str, vocabulary: tuple[str, ...] = BLOCKS, **options: Any) -> Any:
    torch.manual_seed(0)
    given = {name: value for name, value in SMALL.items() if name != "dropout"}
    return ENCODINGS[name](CompositionOptions(**{**given, **options}), BLOCKS, vocabulary).eval()


def item(seed: int, n: int = 8) -> Item:
    rng = np.random.default_rng(seed)
    return Item(
        id=f"i{seed}",
        X=rng.normal(size=(2 * n, 3)).astype("f4"),
        A=np.full(2 * n, 8, "u1"),
        B=rng.integers(4, 30, n).astype("u2"),
        block_lengths=np.full(n, 2, "i4"),
        segment_ids=(np.arange(n) >= n // 2).astype("u1"),
        label=float(seed),
    )


# Counting


@settings(max_examples=30, deadline=None)
@given(bags)
def test_blocks_are_counted_by_type(found: Bags) -> None:
    counts = counted([[*bag, 0, 1, 3] for bag in found])  # special blocks are left out
    for number, bag in enumerate(found):
        mine = counts.bag == number
        pairs = list(zip(counts.type[mine].tolist(), counts.blocks[mine].tolist()))
        assert pairs == sorted(((kind, bag.count(kind)) for kind in set(bag)), key=lambda pair: (-pair[1], pair[0]))
        assert counts.rank()[mine].tolist() == list(range(len(pairs)))
        assert counts.atoms[mine].tolist() == [2 * n for _, n in pairs]
        assert counts.share()[mine].sum().item() == pytest.approx(1)


def test_batches_of_any_kind_have_the_same_counts(tmp_path: Path) -> None:
    items = [item(seed, 5 + seed) for seed in range(5)]
    whole = counts_of_items(items)
    shards = InterfaceDataset(write_part(tmp_path / "set", items))
    loader = CompositionLoader(shards, BatchSampler(shards.counts, 3, shuffle=True, seed=1))
    batches = list(loader)
    assert sorted(name for batch in batches for name in batch["id"]) == [f"i{n}" for n in range(5)]
    for counts in (block_counts_of(collate_items(items)), counts_of_items(shards)):
        for name in ("bag", "type", "blocks", "atoms"):
            assert torch.equal(getattr(counts, name), getattr(whole, name))
    for batch in batches:
        own = counts_of_items([items[int(name[1:])] for name in batch["id"]])
        found = block_counts_of(batch)
        assert all(torch.equal(getattr(found, n), getattr(own, n)) for n in ("bag", "type", "blocks", "atoms"))
        assert batch["label"].tolist() == [float(name[1:]) for name in batch["id"]]


# Hash


def test_hash_dim_is_the_width_of_a_segment() -> None:
    for width in (7, 32):
        assert encoding("hash", hash_dim=width)(counted([[4, 5], [6]])).shape == (1, 2 * width)


def test_hash_additive() -> None:
    """The vector of two lists joined is the mean of theirs, weighted by their lengths, and of one block its sign."""
    encode = encoding("hash", hash_dim=16)
    first, second = [4, 4, 5, 200], [6, 4]
    one, other, both = (encode(counted([bag, [4]]))[0, :16] for bag in (first, second, first + second))
    torch.testing.assert_close(both, (4 * one + 2 * other) / 6)
    place, sign = signed_hash("GLY", 16)
    expected = torch.zeros(16)
    expected[place] = sign
    torch.testing.assert_close(encode(counted([[4], [5]]))[0, :16], expected)
    assert {signed_hash(name, 16)[1] for name in BLOCKS} == {-1.0, 1.0}


def test_hash_is_the_same_in_every_process() -> None:
    code = "from models.block_encoders import signed_hash; print([signed_hash(n, 32) for n in ('GLY', 'CCO', 'Zn')])"
    said = set()
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True)
        said.add(done.stdout.decode().strip())
    assert said == {str([signed_hash(name, 32) for name in ("GLY", "CCO", "Zn")])}
    assert said == {"[(6, -1.0), (1, 1.0), (8, -1.0)]"}  # frozen: checkpoints depend on it


# Learned vectors


def test_embed_dim_and_topk_blocks_give_the_width() -> None:
    assert encoding("embed", block_embed_dim=6, top_k_blocks=3)(counted([[4], [5]])).shape == (1, 2 * 3 * 6)
    assert encoding("rank_pool", block_embed_dim=6)(counted([[4], [5]])).shape == (1, 2 * 6)
    assert encoding("transformer", block_embed_dim=8)(counted([[4], [5]])).shape == (1, 8)


def test_topk_blocks_are_the_most_frequent_with_their_share() -> None:
    encode = encoding("embed", top_k_blocks=2)
    found = encode(counted([[7, 5, 5, 5, 6, 6], [9]])).reshape(2, 2, 8)
    table = encode.vectors.table.weight
    ids = encode.vectors.ids
    torch.testing.assert_close(found[0], torch.stack([table[ids[5]] * 3 / 6, table[ids[6]] * 2 / 6]))
    torch.testing.assert_close(found[1], torch.stack([table[ids[9]], torch.zeros(8)]))


@pytest.mark.parametrize("name", ["embed", "rank_pool", "transformer"])
def test_pad_is_inert_and_unknown_is_not_padding(name: str) -> None:
    seen = tuple(BLOCKS[number] for number in (4, 5, 6))
    encode = encoding(name, seen)
    ids = encode.vectors.ids
    assert ids[4] != ids[5] and ids[7] == ids[8] == UNKNOWN_ID != 0
    counts = counted([[4, 4, 7], [5], [6] * 9 + list(range(4, 30)), [5, 6]])  # items of different lengths
    before = encode(counts)
    with torch.no_grad():
        encode.vectors.table.weight[0] = 1e6
    assert torch.equal(encode(counts), before)
    with torch.no_grad():
        encode.vectors.table.weight[UNKNOWN_ID] = 1
    assert not torch.equal(encode(counts), before)


def test_taxonomy_topk() -> None:
    torch.manual_seed(0)
    encode = TaxonomyEncoding(CompositionOptions(top_k=2), BLOCKS)
    taxonomy = BlockTaxonomy(BLOCKS)
    number = {name: BLOCKS.index(name) for name in ("ALA", "GLY", "LYS", "Zn", "ASP")}
    bag = [number["ALA"], number["GLY"], number["ALA"], number["LYS"], number["Zn"], number["LYS"]]
    found = encode(counted([bag, [number["ASP"]]])).reshape(2, 2, 2, 8)  # classes and kinds, segments, places
    classes, kinds = encode.classes_table.weight, encode.kinds_table.weight
    torch.testing.assert_close(found[0, 0, 0], classes[CLASSES.index("aliphatic")] * 0.5)
    torch.testing.assert_close(found[0, 0, 1], classes[CLASSES.index("positive")] / 3)
    torch.testing.assert_close(found[0, 1], torch.stack([classes[CLASSES.index("negative")], torch.zeros(8)]))
    torch.testing.assert_close(found[1, 0, 0], kinds[KINDS.index("protein")] * 5 / 6)
    torch.testing.assert_close(found[1, 0, 1], kinds[KINDS.index("ion")] / 6)
    assert taxonomy.classes[number["LYS"]] == CLASSES.index("positive")


@settings(max_examples=25, deadline=None)
@given(bags)
def test_rank_pool_equals_padded_reference(found: Bags) -> None:
    encode = encoding("rank_pool")
    with torch.no_grad():
        encode.scale.weight.normal_()
    counts = counted(found)
    longest = max(len(set(bag)) for bag in found)
    vectors, weights = torch.zeros(len(found), longest, 8), torch.zeros(len(found), longest)
    for number, bag in enumerate(found):
        for rank, kind in enumerate(sorted(set(bag), key=lambda kind: (-bag.count(kind), kind))):
            own = encode.vectors.ids[kind]
            vectors[number, rank] = encode.vectors.table.weight[own]
            weights[number, rank] = encode.scale.weight[own].exp().squeeze() / (1 + rank)
    expected = (weights / weights.sum(1, keepdim=True))[..., None] * vectors
    torch.testing.assert_close(encode(counts), expected.sum(1).reshape(len(found) // 2, -1))


# Transformer


def plain_transformer(encode: Any, bags_of_item: Bags) -> Tensor:
    """The same with a token for every block of one item, and torch's own attention."""
    kinds = torch.tensor([kind for bag in bags_of_item for kind in bag])
    segments = torch.tensor([number for number, bag in enumerate(bags_of_item) for _ in bag])
    tokens = (encode.vectors.table(encode.vectors.ids[kinds]) + encode.segment(segments))[None]
    for layer in encode.layers:
        width = tokens.shape[2]
        attention = torch.nn.MultiheadAttention(width, layer.heads, batch_first=True)
        attention.in_proj_weight.data, attention.in_proj_bias.data = layer.project.weight, layer.project.bias
        attention.out_proj.weight.data, attention.out_proj.bias.data = layer.join.weight, layer.join.bias
        normed = layer.norm(tokens)
        tokens = tokens + attention(normed, normed, normed)[0]
        tokens = tokens + layer.feed_forward(tokens)
    if encode.score is None:
        return tokens.mean(1)
    return (encode.score(tokens).softmax(1) * tokens).sum(1)


@settings(max_examples=15, deadline=None)
@given(bags, st.sampled_from(["attention", "mean"]), st.integers(0, 2))
def test_counts_stand_for_as_many_tokens(found: Bags, pooling: str, layers: int) -> None:
    encode = encoding("transformer", transformer_pooling=pooling, n_attention_layers=layers, n_heads=2)
    expected = torch.cat([plain_transformer(encode, found[i : i + 2]) for i in range(0, len(found), 2)])
    torch.testing.assert_close(encode(counted(found)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["attention", "mean"])
def test_permutation_invariant(pooling: str) -> None:
    """The order of blocks inside a segment says nothing; which segment they are in does."""
    model = CompositionModel(
        CompositionConfig(**SMALL, block_encoding="transformer", n_attention_layers=2, transformer_pooling=pooling)
    )
    one = item(3, 10)
    order = np.concatenate([np.random.default_rng(1).permutation(5), 5 + np.random.default_rng(2).permutation(5)])
    turned, swapped = one.with_(B=one.B[order]), one.with_(B=np.concatenate([one.B[5:], one.B[:5]]))
    found = [model.infer(collate_items([given])).logits for given in (one, turned, swapped)]
    torch.testing.assert_close(found[0], found[1])
    assert not torch.allclose(found[0], found[2], atol=1e-4)


def test_transformer_options() -> None:
    defaults = CompositionOptions()
    told = (defaults.n_heads, defaults.transformer_ff_dim, defaults.transformer_pooling, defaults.transformer_dropout)
    assert told == (4, 256, "attention", 0.1) and defaults.n_attention_layers == 0
    layer = AttentionLayer(CompositionOptions(transformer_ff_dim=24, transformer_dropout=0.5, n_heads=2))
    assert layer.feed_forward[1].out_features == 24 and layer.heads == 2 and layer.dropout == 0.5
    torch.manual_seed(0)
    tokens, number = torch.randn(1, 4, 32), torch.zeros(1, 4)
    layer.train()
    assert not torch.equal(layer(tokens, number), layer(tokens, number))
    with pytest.raises(ValueError, match=r"--block_embed_dim: must be a multiple of --n_heads \(5\)"):
        CompositionOptions(block_encoding="transformer", n_heads=5)
    with pytest.raises(ValueError, match="--transformer_pooling: must be one of attention, mean"):
        CompositionOptions(transformer_pooling="max")  # type: ignore[arg-type]


@pytest.mark.parametrize("pooling", ["attention", "mean"])
def test_zero_layers_runs(pooling: str) -> None:
    encode = encoding("transformer", transformer_pooling=pooling, n_attention_layers=0)
    assert len(encode.layers) == 0 and torch.isfinite(encode(counted([[4, 5], [6], [7], [8, 8]]))).all()


# Model


def test_unknown_encoding_names_the_four() -> None:
    four = "hash, embed, rank_pool, transformer"
    with pytest.raises(ValueError, match=rf"--block_encoding: unknown encoding 'nope' \(known: {four}\)"):
        CompositionOptions(block_encoding="nope")  # type: ignore[arg-type]


def test_hidden_dims() -> None:
    model = create_model("CompositionModel", hidden_dims="12,6,3")
    assert [layer.out_features for layer in model.trunk if isinstance(layer, torch.nn.Linear)] == [12, 6, 3]
    assert CompositionOptions().widths == (2048, 1024, 512, 256, 128, 64)
    for wrong in ("", "0", "a,2", "3.5", "99999999"):
        with pytest.raises(ValueError, match="--hidden_dims: must be whole numbers from 1"):
            CompositionOptions(hidden_dims=wrong)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, math.nan])
def test_dropout_range(dropout: float) -> None:
    for name in ("dropout", "transformer_dropout"):
        with pytest.raises(ValueError, match=rf"--{name}: must be in \[0, 1\)"):
            CompositionConfig(**{name: dropout})


@pytest.mark.parametrize("name", ENCODINGS)
def test_an_item_is_predicted_alike_in_any_batch(name: str) -> None:
    model = CompositionModel(CompositionConfig(**SMALL, block_encoding=name, n_attention_layers=1))
    items = [item(seed, 4 + 3 * seed) for seed in range(4)]
    alone = torch.cat([model.infer(collate_items([one])).logits for one in items])
    torch.testing.assert_close(model.infer(collate_items(items)).logits, alone, rtol=1e-4, atol=1e-6)


def test_an_item_of_one_segment_is_predicted() -> None:
    model = CompositionModel(CompositionConfig(**SMALL))
    one = item(1).with_(segment_ids=np.zeros(8, "u1"))
    assert torch.isfinite(model.infer(collate_items([one, item(2)])).logits).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ("regression", "regression")}, "targets: must be as many as there are kinds"),
        ({"kinds": ("ranking",)}, "kinds: must be made of regression, binary, classification"),
        ({"kinds": ("classification",)}, "outputs: must be one for a number, or one for each of several classes"),
    ],
)
def test_targets_of_a_configuration_fit_together(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CompositionConfig(**options)
