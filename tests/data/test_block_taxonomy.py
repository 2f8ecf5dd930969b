"""Blocks are classed by their names, and items by the classes that occur most in either segment."""

import numpy as np
import pytest
from item_factory import random_item

from configs.errors import DataError
from data import BlockTaxonomy
from data.block_taxonomy import CLASSES, KINDS
from data.vocab import load_vocabulary

VOCABULARY = load_vocabulary()
TAXONOMY = BlockTaxonomy(VOCABULARY.blocks)


@pytest.mark.parametrize(
    ("symbol", "own", "kind"),
    [
        ("LEU", "aliphatic", "protein"),
        ("TRP", "aromatic", "protein"),
        ("ASN", "polar", "protein"),
        ("LYS", "positive", "protein"),
        ("GLU", "negative", "protein"),
        ("DG", "purine", "nucleic acid"),
        ("RU", "pyrimidine", "nucleic acid"),
        ("Nc1ccccc1", "ring fragment", "small molecule"),
        ("c[nH]", "ring fragment", "small molecule"),
        ("C[N+](=O)[O-]", "chain fragment", "small molecule"),
        ("CO", "chain fragment", "small molecule"),
        ("Co", "metal", "ion"),
        ("Cl", "single atom", "small molecule"),
        ("HOH", "water", "water"),
        ("UNK", "unknown", "unknown"),
    ],
)
def test_a_symbol_has_a_class_and_a_kind(symbol: str, own: str, kind: str) -> None:
    assert (TAXONOMY.class_of(symbol), TAXONOMY.modality_of(symbol)) == (own, kind)


def test_every_block_of_the_vocabulary_has_a_class() -> None:
    unknown = [name for name, number in zip(VOCABULARY.blocks, TAXONOMY.classes) if CLASSES[number] == "unknown"]
    assert unknown == ["PAD", "MASK", "UNK", "GLOBAL"]
    assert [KINDS[number] for number in TAXONOMY.kinds[4:6]] == ["protein", "protein"]


def test_the_most_frequent_classes_of_each_segment_come_first() -> None:
    names = ["ALA", "GLY", "LYS", "VAL", "ASP", "ZN".capitalize(), "CO"]
    types = [VOCABULARY.blocks.index(name) for name in names]
    item = random_item(n_blocks=7, split=5, B=np.array(types, "u2"))
    first, second = TAXONOMY.top_classes(item, 2)
    assert first == [("aliphatic", 0.6), ("positive", 0.2)]
    assert dict(second) == {"metal": 0.5, "chain fragment": 0.5}
    with pytest.raises(DataError, match="has block type"):
        BlockTaxonomy(VOCABULARY.blocks[:20]).top_classes(item)
