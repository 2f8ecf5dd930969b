"""External vectors reach their own blocks, also with several complexes in a batch and a set for each segment."""

import pytest
import torch
from complexes import SMALL, joined, some_complexes

from configs.errors import ConfigError, DataError
from models import DenoisePretrainModelWithBlockEmbedding, create_model

NAME = "DenoisePretrainModelWithBlockEmbedding"
PROJECTOR = {"num_projector_layers": 2, "projector_hidden_size": 8}


def with_vectors(n: int, width: int) -> list[dict]:
    graphs = some_complexes(n)
    generator = torch.Generator().manual_seed(9)
    return [g | {"block_embeddings": torch.randn(len(g["B"]), width, generator=generator)} for g in graphs]


def make(**sizes) -> DenoisePretrainModelWithBlockEmbedding:
    torch.manual_seed(0)
    return create_model(NAME, **SMALL, **PROJECTOR, **sizes).double().eval()


@pytest.mark.parametrize(
    "sizes", [{"block_embedding_size": 5}, {"block_embedding0_size": 5, "block_embedding1_size": 3}]
)
def test_a_batch_equals_its_complexes_one_by_one(sizes: dict) -> None:
    model, graphs = make(**sizes), with_vectors(3, 5)
    together = model.infer(joined(graphs))
    for name in ("block_repr", "graph_repr"):
        alone = torch.cat([getattr(model.infer(graph), name) for graph in graphs])
        torch.testing.assert_close(getattr(together, name), alone)


def test_each_segment_goes_through_its_own_networks() -> None:
    model, graph = make(block_embedding0_size=5, block_embedding1_size=3), with_vectors(1, 5)[0]
    before = model.mix_after(torch.zeros(len(graph["B"]), 8, dtype=torch.float64), graph)
    with torch.no_grad():
        for parameter in model.get_submodule("post_projector1").parameters():
            parameter.zero_()
    after = model.mix_after(torch.zeros(len(graph["B"]), 8, dtype=torch.float64), graph)
    changed = (before - after).abs().amax(1) > 0
    assert torch.equal(changed, graph["segment_ids"] == 1)


def test_vectors_may_come_segment_by_segment() -> None:
    model, graph = make(block_embedding0_size=5, block_embedding1_size=3), with_vectors(1, 5)[0]
    segment = graph["segment_ids"]
    split = {name: value for name, value in graph.items() if name != "block_embeddings"}
    split["block_embeddings0"] = graph["block_embeddings"][segment == 0]
    split["block_embeddings1"] = graph["block_embeddings"][segment == 1, :3]
    torch.testing.assert_close(model.infer(split).graph_repr, model.infer(graph).graph_repr)


def test_gradients_reach_every_projector() -> None:
    model = make(block_embedding_size=5)
    model(joined(with_vectors(2, 5))).loss.backward()
    for name, parameter in model.named_parameters():
        if "project" in name or "mixing" in name:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_missing_or_wrong_vectors_are_named() -> None:
    model, graph = make(block_embedding_size=5), with_vectors(1, 5)[0]
    with pytest.raises(DataError, match="lacks block_embeddings"):
        model({name: value for name, value in graph.items() if name != "block_embeddings"})
    with pytest.raises(DataError, match="has width 4, the model wants 5"):
        model(graph | {"block_embeddings": graph["block_embeddings"][:, :4]})
    with pytest.raises(DataError, match="rows for"):
        model(graph | {"block_embeddings": graph["block_embeddings"][1:]})


def test_two_kinds_of_sizes_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="left out when the segments have sizes of their own"):
        make(block_embedding_size=5, block_embedding0_size=5, block_embedding1_size=5)
