"""An item is checked where it enters; copies share what did not change."""

import numpy as np
import pytest
from item_factory import random_item

from configs.errors import DataError
from data.item import FIELDS, check_item


def test_a_good_item_passes_and_is_returned():
    item = random_item(1)
    assert check_item(item) is item


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("A", lambda a: a[:-1], "X has . entries for . atoms|atom_positions has|X has"),
        ("B", lambda b: b[:0], "entries for 0 blocks"),
        ("block_lengths", lambda n: n * 2, "block_lengths must be positive and sum to the"),
        ("block_lengths", lambda n: n - n, "block_lengths must be positive and sum to the"),
        ("segment_ids", lambda s: s + 1, "segment_ids must be 0 or 1, with segment 0 first"),
        ("segment_ids", lambda s: s[::-1], "segment_ids must be 0 or 1, with segment 0 first"),
        ("X", lambda x: x * np.nan, "X holds NaN or infinite coordinates"),
        ("X", lambda x: x[:-1], "X has .* entries for .* atoms"),
        ("tor_bonds", lambda t: t + 1000, "tor_bonds points outside the .* atoms"),
        ("tor_moved", lambda m: m - 1000, "tor_moved points outside the .* atoms"),
        ("tor_moved_lengths", lambda n: n + 1, "tor_moved_lengths do not sum to the length of tor_moved"),
        ("tor_depth", lambda d: d[1:], "tor_depth has .* entries for .* torsions"),
        ("block_chain", lambda c: c[1:], "block_chain has 11 entries for 12 blocks"),
    ],
)
def test_what_is_wrong_is_told_with_the_id(name, change, message):
    item = random_item(1)
    with pytest.raises(DataError, match=f"0001_A_B: .*({message})"):
        check_item(item.with_(**{name: change(getattr(item, name))}))


def test_an_item_without_blocks_is_refused():
    item = random_item(1, torsions=False)
    none = {
        name: getattr(item, name)[:0]
        for name, f in FIELDS.items()
        if f.level != "item" and getattr(item, name) is not None
    }
    with pytest.raises(DataError, match="0001_A_B: has no blocks"):
        check_item(item.with_(**none))


def test_a_copy_changes_what_was_named_and_nothing_else():
    item = random_item(1)
    copy = item.with_(label=2.0)
    assert (copy.label, copy.id) == (2.0, item.id)
    assert copy.X is item.X
    assert item.label != 2.0
    with pytest.raises(TypeError, match="an item has no colour"):
        item.with_(colour="red")


def test_atoms_know_their_block_and_segment():
    item = random_item(2, 3, split=1).with_(block_lengths=np.array([2, 1, 3], np.int32))
    assert item.block_of_atom.tolist() == [0, 0, 1, 2, 2, 2]
    assert item.segment_of_atom.tolist() == [0, 0, 1, 1, 1, 1]


def test_items_cannot_be_changed_in_place():
    with pytest.raises(AttributeError):
        random_item(1).label = 3.0
