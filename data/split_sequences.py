"""The protein sequences of each item: from a table of chains, or else from the item's own blocks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from scipy.cluster.hierarchy import DisjointSet

from configs.errors import DataError
from data.item import Item
from data.sequence_identity import AMINO_LETTERS, clean_sequence
from data.shards import ShardReader
from data.splits import group_of
from data.table import read_table, require_columns, rows_of_items
from data.vocab import AMINO_ACIDS, FIRST_MASKABLE

LETTERS = dict(zip(AMINO_ACIDS, "GAVLIFWYDHNEKQMRSTCP"))
assert set(LETTERS.values()) == set(AMINO_LETTERS)
COLUMNS = ("id", "block_chain", "block_resid")
# Spellings of the column that joins a table of chains to items: the item itself, or else its entry.
ITEM, ENTRY = "id", "pdb_id"


@dataclass(frozen=True)
class ItemSequences:
    """The distinct protein sequences of every item.

    Attributes:
        sequences: [items] clean sequences of the item's chains. source: where they come from, in words.
        n_from_blocks: items whose sequences are those of their blocks, that is, of residues near the interface only.
    """

    sequences: list[tuple[str, ...]]
    source: str
    n_from_blocks: int = 0


def chains_of(item: Item) -> dict[str, str]:
    """The amino acids of an item by chain (of each segment, where chains are not known), in block order."""
    found: dict[str, list[str]] = {}
    for number, block in enumerate(item.B.tolist()):
        chain = item.block_chain[number] if item.block_chain is not None else f"segment {item.segment_ids[number]}"
        letters = found.setdefault(chain, [])
        if FIRST_MASKABLE <= block < FIRST_MASKABLE + len(AMINO_ACIDS):
            letters.append(LETTERS[AMINO_ACIDS[block - FIRST_MASKABLE]])
    return {chain: "".join(letters) for chain, letters in found.items()}


def sequences_of_items(
    path: str | Path, table: str | Path | None = None, index: str | Path | None = None
) -> ItemSequences:
    """The sequences of every item of a folder of shards.

    Args:
        table: CSV with `chain`, `sequence` and either `id` (of the item) or `pdb_id` (of its entry); rows whose `kind`
            is not protein are left out. An item that it does not know gets the sequences of its blocks.
        index: CSV with `id` and `pdb_id`, the entry of each item (default: the id up to the last `_`).

    Raises:
        DataError: shards or tables that can't be read, a table without these columns or without any of the items.
    """
    reader = ShardReader(path, COLUMNS)
    by_blocks = [chains_of(item) for item in reader]
    if table is None:
        return ItemSequences([distinct(chains.values()) for chains in by_blocks], "blocks of the items", len(reader))
    of_chain, key = read_chains(table)
    keys = reader.ids if key == ITEM else entries_of(reader.ids, index)
    found, missing = [], 0
    for name, chains in zip(keys, by_blocks):
        known = [of_chain[place] for chain in chains if (place := (name.lower(), chain)) in of_chain]
        proteins = [chain for chain, sequence in chains.items() if sequence]
        if len(known) < len(proteins):
            missing += 1
            known = list(chains.values())
        found.append(distinct(known))
    if missing == len(found):
        hint = f"its column {key!r} must hold the {'ids' if key == ITEM else 'entries (see --index)'} of the items"
        raise DataError(f"has the sequences of none of the items, the first is {keys[0]!r}", table, hint=hint)
    return ItemSequences(found, str(table), missing)


def distinct(sequences: Iterable[str]) -> tuple[str, ...]:
    """The non-empty sequences, each once, sorted."""
    return tuple(sorted({sequence for sequence in sequences if sequence}))


def read_chains(path: str | Path) -> tuple[dict[tuple[str, str], str], str]:
    """(item or entry in small letters, chain) -> clean sequence, and the column that names item or entry."""
    table = read_table(path)
    key = ITEM if ITEM in table.columns else ENTRY
    require_columns(table, path, key, "chain", "sequence")
    if "kind" in table.columns:
        table = table[table["kind"].isin(("protein", ""))]
    places = zip(table[key].str.lower(), table["chain"])
    return {place: clean_sequence(text) for place, text in zip(places, table["sequence"])}, key


def entries_of(identifiers: Sequence[str], index: str | Path | None) -> list[str]:
    """The structure entry of every item."""
    if index is None:
        return [group_of(identifier, "") for identifier in identifiers]
    return rows_of_items(index, identifiers, [ENTRY])[ENTRY].tolist()


def similar_units(items: Sequence[tuple[str, ...]], cluster: dict[str, int], otherwise: Sequence[str]) -> list[str]:
    """A name for each item such that items with a cluster in common, directly or through others, have the same.

    Args:
        items: [items] sequences. cluster: sequence -> cluster. otherwise: [items] units of items without sequences.
    """
    joined = DisjointSet(cluster.values())
    for sequences in items:
        for one, other in pairwise(sequences):
            joined.merge(cluster[one], cluster[other])
    return [f"cluster {joined[cluster[s[0]]]}" if s else f"group {name}" for s, name in zip(items, otherwise)]
