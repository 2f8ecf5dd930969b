"""Batches of complexes and of their first side alone: what retrieval by one side (`prot_interface`) trains on."""

from collections.abc import Sequence

from torch_geometric.data import Data

from configs.errors import DataError
from data.collate import collate_items
from data.crop import keep_blocks
from data.item import Item

UNKNOWN_KIND = -1
COMPLEX, ONE_SIDE = "cmplx_", "prot_"


def one_segment(item: Item, segment: int = 0) -> Item:
    """A side of an interface without its partner: the blocks of one segment, renumbered to segment 0.

    The kind of complex becomes unknown, because it tells what the partner was. Collation gives the side one global
    node, at the mean of its own atoms. Arrays made by noise must not be there yet.

    Raises:
        DataError: the item has no block in that segment.
    """
    keep = item.segment_ids == segment
    if not keep.any():
        raise DataError(f"has no block in segment {segment}", item.id)
    alone = keep_blocks(item, keep)
    return alone.with_(segment_ids=alone.segment_ids * 0, modality=UNKNOWN_KIND)


def collate_pairs(items: Sequence[Item]) -> Data:
    """The complexes under the names of `data.collate` with `cmplx_` before them, their first sides with `prot_`; `id`.

    Row i of one belongs to row i of the other.

    Raises:
        DataError: no items, or an item that lacks one of its two sides.
    """
    for item in items:
        if item.segment_ids[0] == item.segment_ids[-1]:
            raise DataError("has one segment only; a pair of a complex and its side needs both", item.id)
    whole, alone = collate_items(items), collate_items([one_segment(item) for item in items])
    parts = {f"{COMPLEX}{name}": value for name, value in whole.to_dict().items() if name != "id"}
    parts |= {f"{ONE_SIDE}{name}": value for name, value in alone.to_dict().items() if name != "id"}
    return Data(**parts, id=[item.id for item in items])
