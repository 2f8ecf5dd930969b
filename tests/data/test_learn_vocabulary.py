"""Principal subgraph mining: counted by hand, deterministic, usable for splitting."""

import pytest
from rdkit import Chem

from data.drug_like import SPACE
from data.fragments import FragmentTable, fragment_name, key_of_smiles, split_molecule
from data.ligand import ligand_from_atoms, split_ligand
from data.vocab import UNKNOWN, load_vocabulary
from scripts.learn_vocabulary import learn, main


def mols(*smiles):
    return [Chem.MolFromSmiles(s) for s in smiles]


def test_counts_by_hand():
    """CCO twice and CCN once: CC in all three, then CCO in two, then CCN."""
    rows = learn(mols("CCO", "CCO", "CCN"), size=6)
    assert rows == [("CCO", 3, 2), ("CCN", 3, 1), ("CC", 2, 3), ("C", 1, 6), ("O", 1, 2), ("N", 1, 1)]


def test_stops_when_nothing_is_left():
    assert len(learn(mols("CC"), size=50)) == 2


def test_same_corpus_in_any_order_gives_the_same_entries():
    smiles = SPACE[::131]
    assert learn(mols(*smiles), 60) == learn(mols(*reversed(smiles)), 60)


def test_entries_keep_their_names_and_split_the_corpus():
    molecules = mols(*SPACE[::97])
    rows = learn(molecules, 80)
    for smiles, atoms, _ in rows:
        if atoms > 1:
            assert fragment_name(key_of_smiles(smiles)) == smiles
    table = FragmentTable({smiles: frequency for smiles, _, frequency in rows})
    sizes = [len(f.atoms) for m in molecules for f in split_molecule(m, table)]
    assert sum(sizes) == sum(m.GetNumAtoms() for m in molecules)
    assert sum(sizes) / len(sizes) > 3


def test_script_learns_a_loadable_vocabulary(tmp_path, capsys):
    corpus = tmp_path / "corpus.csv"
    corpus.write_text("smiles,name\n" + "\n".join(SPACE[::149]) + "\nC1CC,broken\n\nnonsense\n")
    out = tmp_path / "mine.json"
    assert main([str(corpus), "--size", "40", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert f"skipped row {len(SPACE[::149]) + 2}: 'C1CC' is no SMILES" in captured.err
    assert "2 rows skipped" in captured.out
    vocabulary = load_vocabulary(str(out))
    assert 150 < vocabulary.size < 190
    elements = ["C", "C", "O"]
    coords = [[0, 0, 0], [1.53, 0, 0], [2.0, 1.35, 0]]
    assert UNKNOWN not in split_ligand(ligand_from_atoms(elements, coords), vocabulary).B


@pytest.mark.parametrize(
    ("text", "message"), [(None, "no such file"), ("", "no readable SMILES"), ("x y\nz", "no readable SMILES")]
)
def test_bad_corpus_is_named(tmp_path, capsys, text, message):
    corpus = tmp_path / "corpus.smi"
    if text is not None:
        corpus.write_text(text)
    assert main([str(corpus), "--out", str(tmp_path / "v.json")]) == 2
    error = capsys.readouterr().err
    assert "corpus.smi" in error
    assert message in error
    assert not (tmp_path / "v.json").exists()
