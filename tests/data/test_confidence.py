"""What training did not see lowers the confidence, by blocks or by atoms; classes are as sure as they are likely."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from item_factory import random_item

import data
from configs.errors import DataError
from data.collate import collate_items
from data.composition import counts_of_items
from data.confidence import seen_blocks
from data.dataset import InterfaceDataset
from data.shards import write_part
from models.composition import CompositionConfig, CompositionModel
from models.composition_predict import said_of_batch, unknown_fractions


def item_of(types: list[int], sizes: list[int]):
    """An item with these block types, of these numbers of atoms."""
    n = sum(sizes)
    blank = random_item(torsions=False, n_blocks=2)
    return blank.with_(
        B=np.array(types, "u2"),
        block_lengths=np.array(sizes, "i4"),
        segment_ids=(np.arange(len(types)) > 0).astype("u1"),
        X=np.zeros((n, 3), "f4"),
        A=np.full(n, 8, "u1"),
        atom_positions=None,
        block_chain=None,
        block_resid=None,
        block_icode=None,
        block_resname=None,
    )


def test_unknown_fraction() -> None:
    """Two of eight atoms, one of four blocks."""
    item = item_of([10, 11, 12, 99], [3, 2, 1, 2])
    assert 1 - data.unknown_fraction(item, {10, 11, 12}, weight="atoms") == 0.75
    assert data.unknown_fraction(item, {10, 11, 12}, weight="blocks") == 0.25
    assert data.unknown_fraction(item, {10, 11, 12, 99}) == 0
    assert data.unknown_fraction(item, set()) == 1
    with pytest.raises(ValueError, match="weight must be blocks or atoms"):
        data.unknown_fraction(item, {10}, weight="mass")  # type: ignore[arg-type]


def test_blocks_without_a_name_are_never_known() -> None:
    item = item_of([2, 10], [1, 1])
    assert seen_blocks(InterfaceDataset([item])) == {10}
    assert data.unknown_fraction(item, {2, 10}) == 0.5


def test_nothing_is_known_of_an_empty_item() -> None:
    with pytest.raises(DataError, match="has no blocks, so nothing is known of it"):
        data.unknown_fraction(item_of([], []), {10})


def test_seen_blocks_are_those_of_the_data_set(tmp_path) -> None:
    items = [item_of([5, 9], [1, 2]), item_of([9, 30, 2], [2, 2, 1])]
    assert seen_blocks(InterfaceDataset(items)) == seen_blocks(InterfaceDataset(write_part(tmp_path / "s", items)))
    assert seen_blocks(InterfaceDataset(items)) == {5, 9, 30}


def test_a_damaged_column_of_blocks_is_told(tmp_path, monkeypatch) -> None:
    reader = InterfaceDataset(write_part(tmp_path / "s", [item_of([5, 9], [1, 2])])).parts[0]
    good = reader.column(0, "B")  # type: ignore[attr-defined]
    assert good.to_pylist() == [[5, 9]]
    beyond = pa.py_buffer(np.array([0, 7, 2], "i4").tobytes())
    broken = pa.ListArray.from_buffers(good.type, 2, [None, beyond], children=[good.values])
    schema = pa.schema([pa.field("B", good.type)])
    monkeypatch.setattr("data.shards.map_arrow", lambda path: pa.RecordBatch.from_arrays([broken], schema=schema))
    with pytest.raises(DataError, match=r"items-00000\.arrow, B: has lists that run over their values"):
        reader.column(0, "B")  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="does not hold the documented columns"):
        reader.column(0, "X")  # type: ignore[attr-defined]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(4, 9), st.integers(1, 4)), min_size=1, max_size=9), st.frozensets(st.integers(4, 9))
)
def test_many_items_at_once_have_the_same_fractions(blocks: list[tuple[int, int]], seen: frozenset[int]) -> None:
    types, sizes = (list(column) for column in zip(*blocks))
    items = [item_of(types, sizes), item_of(types[::-1], sizes[::-1]), item_of([4], [2])]
    counts = counts_of_items(items)
    for weight in ("blocks", "atoms"):
        found = unknown_fractions(counts, seen, weight).tolist()
        assert found == pytest.approx([data.unknown_fraction(item, seen, weight) for item in items])  # type: ignore[arg-type]


def test_softmax_conf() -> None:
    """The confidence in a class is the largest probability; two classes by one logit are no different."""
    sizes = {"hidden_dims": "4", "targets": ("three", "two"), "kinds": ("classification", "binary"), "outputs": (3, 1)}
    model = CompositionModel(CompositionConfig(**sizes))
    with torch.no_grad():
        model.target_ffn.weight.zero_()
        model.target_ffn.bias.copy_(torch.tensor([0.0, 2.0, 1.0, -1.5]))
    batch = collate_items([item_of([5, 6], [1, 1])])
    said = said_of_batch(model, batch, {}, raw=True)
    expected = torch.tensor([0.0, 2.0, 1.0]).softmax(0)[1]
    assert [value.item() for value in said["three"]] == [1, pytest.approx(expected.item())]
    assert [value.item() for value in said["two"]] == [0, pytest.approx(1 / (1 + np.exp(-1.5)))]
