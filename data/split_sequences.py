"""The protein sequences of each item: of whole chains where they are known, or else of the item's own blocks."""

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


@dataclass(frozen=True)
class KnownChains:
    """Whole sequences of chains.

    Attributes:
        of_chain: (name, chain) -> clean sequence. names: [items] the name that each item's chains go by.
        source: where they come from.
    """

    of_chain: dict[tuple[str, str], str]
    names: list[str]
    source: str


def chains_of(item: Item) -> dict[str, str]:
    """The amino acids of an item by chain (of each segment, where chains are not known), in block order."""
    found: dict[str, list[str]] = {}
    for number, block in enumerate(item.B.tolist()):
        chain = item.block_chain[number] if item.block_chain is not None else f"segment {item.segment_ids[number]}"
        letters = found.setdefault(chain, [])
        if FIRST_MASKABLE <= block < FIRST_MASKABLE + len(AMINO_ACIDS):
            letters.append(LETTERS[AMINO_ACIDS[block - FIRST_MASKABLE]])
    return {chain: "".join(letters) for chain, letters in found.items()}


def sequences_of_items(reader: ShardReader, known: KnownChains | None = None) -> ItemSequences:
    """The sequences of every item of a data set.

    Args:
        reader: with the columns `COLUMNS`. known: whole sequences; an item that lacks one of its chains there gets the
            sequences of its blocks.

    Raises:
        DataError: no item has its chains in `known`.
    """
    by_blocks = [chains_of(item) for item in reader]
    if known is None:
        return ItemSequences([distinct(chains.values()) for chains in by_blocks], "blocks of the items", len(reader))
    found, missing = [], 0
    for name, chains in zip(known.names, by_blocks):
        whole = [known.of_chain[place] for chain in chains if (place := (name, chain)) in known.of_chain]
        if len(whole) < sum(map(bool, chains.values())):
            missing += 1
            whole = list(chains.values())
        found.append(distinct(whole))
    if missing == len(found):
        what = f"has the chains of none of the items, the entry of the first would be {known.names[0]!r}"
        hint = (
            "an entry is the id of the item up to the last _, or the pdb_id of --index beside that id; or --structures"
        )
        raise DataError(what, known.source, hint=hint)
    return ItemSequences(found, known.source, missing)


def distinct(sequences: Iterable[str]) -> tuple[str, ...]:
    """The non-empty sequences, each once, sorted."""
    return tuple(sorted({sequence for sequence in sequences if sequence}))


def chains_of_table(path: str | Path, identifiers: Sequence[str], index: str | Path | None = None) -> KnownChains:
    """The chains of a table with the columns `chain`, `sequence` and either `id` (of items) or `pdb_id` (of entries).

    Args:
        path: the table; rows whose `kind` is not protein are left out. identifiers: ids of the items.
        index: CSV with `id` and `pdb_id`, the entry of each item (default: the id up to the last `_`).

    Raises:
        DataError: tables that can't be read, or without these columns.
    """
    table = read_table(path)
    key = ITEM if ITEM in table.columns else ENTRY
    require_columns(table, path, key, "chain", "sequence")
    if "kind" in table.columns:
        table = table[table["kind"].isin(("protein", ""))]
    names = identifiers if key == ITEM else entries_of(identifiers, index)
    places = zip(table[key].str.lower(), table["chain"])
    of_chain = {place: clean_sequence(text) for place, text in zip(places, table["sequence"])}
    return KnownChains(of_chain, [name.lower() for name in names], str(path))


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
