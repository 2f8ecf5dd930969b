"""Structures, folders, indexes and shards are read alike, lazily, and what fails is told and stops nothing else."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from joblib import Parallel, delayed
from structure_texts import LYS, SER, atom, chain_of, dimer, write

from configs.errors import ConfigError, DataError, InterfaceError, LigareError, StructureError
from data import read_inputs
from data.inputs import InputItem, InputOptions, Inputs, add_input_arguments, input_options, kind_of, open_inputs
from data.item_tables import atom_columns, block_columns
from data.prepare import items_of_file
from data.shards import write_part
from data.structure import read_structure
from data.vocab import load_vocabulary

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("INTERFACE_DATA", ROOT.parent / "shared" / "data"))
PICKED = (
    "102d_01",
    "11as_01",
    "1lru_03",
    "2c2m_04",
    "3cqw_01",
)  # one of each kind


def opened(source: Any, **options: Any) -> Inputs:
    return open_inputs(InputOptions(source, **options))


def names(source: Any, **options: Any) -> list[str]:
    return [entry.name for entry in opened(source, **options)]


@pytest.fixture
def structure(tmp_path: Path) -> Path:
    """Chains A and B in contact, and a zinc ion."""
    return write(tmp_path / "1abc.pdb", dimer())


@pytest.fixture
def index(tmp_path: Path, structure: Path) -> Path:
    """Four rows of two files, one of them broken; with columns of the user's."""
    write(tmp_path / "2xyz.pdb", dimer())
    rows = [
        "pdb_id,pdb_path,chain1,chain2,lig_code,label,assay,note",
        'one,1abc.pdb,A,B,,-9.5,ITC,"a, b"',
        "two,1abc.pdb,A,Q,,,SPR,",
        "three,gone.pdb,A,B,,strong,,x",
        "four,2xyz.pdb,B,A,ZN,weak,,y",
    ]
    path = tmp_path / "index.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_kinds_of_input_are_told_apart(structure: Path, index: Path, tmp_path: Path) -> None:
    shards = write_part(tmp_path / "shards", items_of_file(structure), load_vocabulary().fingerprint)
    given = [structure, [structure], tmp_path, index, shards]
    assert [kind_of(one) for one in given] == ["file", "files", "folder", "index", "shards"]
    with pytest.raises(DataError, match="gone: no such file or folder"):
        opened(tmp_path / "gone")


def test_an_index_keeps_its_order_and_all_of_its_columns(index: Path) -> None:
    inputs = opened(index)
    entries = list(inputs)
    assert (len(inputs), [entry.name for entry in entries]) == (4, ["one", "four"])
    assert inputs.columns == ("pdb_id", "pdb_path", "chain1", "chain2", "lig_code", "label", "assay", "note")
    assert entries[0].row["note"] == "a, b"
    assert entries[0].row["assay"] == "ITC"
    assert entries[0].item.label == -9.5
    assert (entries[1].row["label"], np.isnan(entries[1].item.label)) == ("weak", True)
    assert entries[1].path == "2xyz.pdb"


def test_rows_of_one_entry_keep_the_ids_of_a_table_that_has_both(structure: Path, tmp_path: Path) -> None:
    index = tmp_path / "index.csv"
    index.write_text("id,pdb_id,pdb_path,chain1,chain2\nx_1,1abc,1abc.pdb,A,B\nx_2,1abc,1abc.pdb,B,A\n")
    entries = list(opened(index))
    assert [(entry.name, entry.row["pdb_id"]) for entry in entries] == [("x_1", "1abc"), ("x_2", "1abc")]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_values_apart_by_other_than_commas_are_told(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "index.csv"
    path.write_text(mark.join(("pdb_id", "pdb_path", "chain1", "chain2")) + "\n" + mark.join(("x", "x.pdb", "A", "B")))
    with pytest.raises(DataError, match=re.escape(f"separate values by commas, not by {mark!r}")):
        opened(path)


def test_rows_that_fail_are_told_with_line_and_reason(index: Path) -> None:
    inputs = opened(index)
    list(inputs)
    told = [(failure.row, failure.pdb_id) for failure in inputs.failures]
    assert told == [("3", "two"), ("4", "three")]
    assert "has no chain 'Q' (its chains: A, B)" in inputs.failures[0].reason
    assert "gone.pdb: no such file" in inputs.failures[1].reason
    list(inputs)
    assert len(inputs.failures) == 2  # of this pass, not of both


def test_items_are_made_while_they_are_asked_for(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def remember(task: Any, *others: Any) -> Any:
        read.append(task.path)
        return original(task, *others)

    original = read_inputs.read_task
    monkeypatch.setattr(read_inputs, "read_task", remember)
    assert next(iter(opened(index))).name == "one"
    assert read == ["1abc.pdb"]


def test_several_processes_give_the_same_in_the_same_order(index: Path) -> None:
    one, two = (opened(index, n_jobs=n) for n in (1, 2))
    assert [plain(entry) for entry in one] == [plain(entry) for entry in two]
    assert one.failures == two.failures


INTERRUPTED = """
import sys
from configs.command import command
from data.inputs import InputOptions, open_inputs

@command("read")
def main(argv=None):
    for number, _ in enumerate(open_inputs(InputOptions(sys.argv[1], chain1="A", chain2="B", n_jobs=2))):
        if not number:
            print("begun", flush=True)
    return 0

sys.exit(main())
"""


def test_ctrl_c_ends_the_processes_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for number in range(500):
        write(tmp_path / "many" / f"{number}.pdb", dimer())
    started = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path / "many")],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None and started.stdout.readline() == "begun\n"
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=120)
    assert (started.returncode, said) == (130, "read: interrupted\n")


def test_calls_that_nobody_waits_for_any_more_end_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []
    monkeypatch.setattr(threading, "excepthook", said.append)
    before = set(threading.enumerate())
    with read_inputs.processes(1) as (submit, _):
        assert submit(abs, -1).result() == 1
        submit(time.sleep, 60)
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()
    assert not said


def test_joblib_works_after_its_processes_have_read(index: Path) -> None:
    list(opened(index, n_jobs=2))
    assert Parallel(n_jobs=2)(delayed(abs)(number) for number in (-1, -2)) == [1, 2]


def plain(entry: InputItem) -> dict[str, Any]:
    assert entry.atom_names is not None
    values = asdict(entry.item) | {"row": dict(entry.row), "path": entry.path, "names": entry.atom_names}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()} | {
        "label": str(entry.item.label)
    }


def test_without_a_selection_every_interface_is_found(structure: Path, tmp_path: Path) -> None:
    expected = [item.id for item in items_of_file(structure)]
    assert len(expected) > 1
    assert names(structure) == names(tmp_path) == names([structure]) == expected
    assert opened(structure).total is None


def test_a_selection_holds_for_every_file_of_a_folder(structure: Path, tmp_path: Path) -> None:
    write(tmp_path / "2xyz.pdb", chain_of("SER", 6, "A", SER))
    inputs = opened(tmp_path, chain1="A", chain2="B")
    assert [entry.name for entry in inputs] == ["1abc"]
    assert len(inputs) == 2
    assert ["has no chain 'B' (its chains: A)" in failure.reason for failure in inputs.failures] == [True]


@pytest.mark.parametrize(
    ("selection", "error", "message"),
    [
        ({"chain1": "Q", "chain2": "B"}, StructureError, r"has no chain 'Q' \(its chains: A, B\)"),
        ({"chain1": "A", "chain2": "Q"}, StructureError, r"has no chain 'Q' \(its chains: A, B\)"),
        ({"chain1": "BA"}, StructureError, r"'BA' \(its chains: A, B; several chains are joined by _: B_A\)"),
        ({"chain1": "Q"}, StructureError, r"has no chain 'Q' \(its chains: A, B\)"),
        ({"lig_code": "ATP"}, StructureError, r"has no ligand ATP \(its ligands: ZN 301 in chain A\)"),
        ({"chain1": "A", "chain2": "A"}, InterfaceError, "share residues"),
        ({"chain1": "A", "ligand_path": "gone.sdf"}, StructureError, "gone.sdf: no such file"),
    ],
)
def test_what_a_single_structure_lacks_is_named_with_what_it_has(
    structure: Path, selection: dict[str, str], error: type[LigareError], message: str
) -> None:
    with pytest.raises(error, match=message):
        names(structure, **selection)


def test_one_chain_is_enough_where_it_has_one_partner(tmp_path: Path) -> None:
    two = write(tmp_path / "two.pdb", [line for line in dimer() if "ZN" not in line])
    assert names(two, chain1="B") == ["two"]
    first = next(iter(opened(two, chain1="B"))).item
    assert set(np.array(first.block_chain)[first.segment_ids == 0]) == {"B"}
    write(tmp_path / "both.pdb", dimer())
    index = tmp_path / "index.csv"
    index.write_text("pdb_id,pdb_path,chain1,chain2\none,two.pdb,,\nseveral,both.pdb,,\n")
    inputs = opened(index)
    assert [entry.name for entry in inputs] == ["one"]
    assert "has 2 interfaces, and no second partner is named" in inputs.failures[0].reason
    assert "found: A_B, " in inputs.failures[0].reason


def test_two_chains_are_partners_even_where_they_hardly_touch(tmp_path: Path) -> None:
    far = [*chain_of("SER", 3, "A", SER), *chain_of("LYS", 3, "B", LYS, shift=(0, 10.5, 0))]
    assert names(write(tmp_path / "far.pdb", far)) == ["far"]
    alone = write(tmp_path / "alone.pdb", chain_of("SER", 3, "A", SER))
    with pytest.raises(DataError, match=r"no two partners are in contact \(its chains: A; its ligands: none\)"):
        names(alone)


def test_options_of_structures_are_refused_where_rows_say_it(index: Path, structure: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--chain1: is for structure files \(an index has a column chain1\)"):
        opened(index, chain1="A")
    shards = write_part(tmp_path / "shards", items_of_file(structure), load_vocabulary().fingerprint)
    with pytest.raises(ConfigError, match="--lig_code: is for structure files"):
        opened(shards, lig_code="ZN")
    with pytest.raises(ConfigError, match="--n_jobs"):
        InputOptions(structure, n_jobs=0)


def test_limits_are_flags_of_every_command_with_inputs(structure: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGARE_MAX_ATOMS", "1G")  # put back after the test
    parser = ArgumentParser()
    add_input_arguments(parser)
    options = input_options(parser.parse_args([str(structure), "--max_atoms", "2"]))
    with pytest.raises(StructureError, match=r"more than the limit of 2 .*--max_atoms"):
        list(open_inputs(options))


def test_shards_give_their_items_and_other_vocabularies_are_refused(structure: Path, tmp_path: Path) -> None:
    items = items_of_file(structure)
    shards = write_part(tmp_path / "shards", items, load_vocabulary().fingerprint)
    inputs = opened(shards)
    assert len(inputs) == len(items)
    assert [(entry.name, entry.path, dict(entry.row)) for entry in inputs] == [(item.id, "", {}) for item in items]
    with pytest.raises(DataError, match="was made with vocabulary"):
        open_inputs(InputOptions(shards), "none")


def test_every_block_and_atom_is_found_again_in_the_file(structure: Path) -> None:
    read = read_structure(structure)
    known = {
        (chain, int(number), icode, name, atom_name.decode(), tuple(place))
        for residue, (chain, number, icode, name) in enumerate(
            zip(read.chain.tolist(), read.resid, read.icode.tolist(), read.resname.tolist())
        )
        for atom_name, place in zip(
            read.name[read.starts[residue] : read.starts[residue + 1]].tolist(),
            read.X[read.starts[residue] : read.starts[residue + 1]].round(3).tolist(),
        )
    }
    inputs = opened(structure)
    entries = list(inputs)
    columns = atom_columns(entries, inputs.vocabulary)
    X = np.concatenate([entry.item.X for entry in entries]).astype(float).round(3)
    for row in range(len(X)):
        place = [columns[f"block_{name}"][row] for name in ("chain", "resid", "icode", "resname")]
        found = (place[0], int(place[1]), place[2], place[3], columns["atom_name"][row], tuple(X[row].tolist()))
        assert found in known
    assert columns["element"].tolist()[-1] == "Zn"
    blocks = block_columns(entries, inputs.vocabulary)
    assert blocks["block_type"][0] == "SER"
    assert blocks["block"].tolist() == [number for entry in entries for number in range(entry.item.n_blocks)]


def test_items_that_do_not_know_where_they_come_from_have_empty_columns(structure: Path) -> None:
    item = items_of_file(structure)[0].with_(block_chain=None, block_resid=None, block_icode=None, block_resname=None)
    columns = atom_columns([InputItem(item)], load_vocabulary())
    assert set(columns["block_chain"]) == set(columns["atom_name"]) == {""}
    assert set(columns["block_resid"]) == {-1}


def test_a_residue_with_an_insertion_code_keeps_it(tmp_path: Path) -> None:
    lines = [line for line in dimer() if "ZN" not in line]
    lines.append(atom("ZN", "ZN", "B", 301, (5.0, 4.4, 1.5), element="ZN", hetero=True, icode="C"))
    inputs = opened(write(tmp_path / "ins.pdb", lines), chain1="A", lig_code="ZN", lig_resi="301C")
    columns = block_columns(list(inputs), inputs.vocabulary)
    assert (columns["block_resid"][-1], columns["block_icode"][-1]) == (301, "C")


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"INTERFACE_DATA: no folder {DATA}")
def test_real_rows_of_every_kind_are_read_and_their_atoms_named(tmp_path: Path) -> None:
    table = (DATA / "pretrain" / "interfaces.csv").read_text().splitlines()
    chosen = [line for line in table if line.split(",")[0] in PICKED]
    (tmp_path / "index.csv").write_text("\n".join([table[0], *chosen]) + "\n")
    entries = list(opened(tmp_path / "index.csv", root=DATA))
    assert {entry.name for entry in entries} == set(PICKED)
    for entry in entries:
        assert entry.atom_names is not None
        assert len(entry.atom_names) == entry.item.n_atoms
        assert "" not in entry.atom_names.tolist()


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"INTERFACE_DATA: no folder {DATA}")
def test_a_real_ligand_file_is_the_second_side() -> None:
    row = (DATA / "pl_affinity" / "interfaces.csv").read_text().splitlines()[1].split(",")
    (entry,) = opened(DATA / row[1], ligand_path=str(DATA / row[7]))
    ligand = entry.item.segment_of_atom == 1
    assert ligand.sum() == entry.item.n_atoms - (~ligand).sum() > 10
    assert entry.atom_names is not None
    assert set(entry.atom_names[ligand].tolist()) == {""}
    assert "" not in entry.atom_names[~ligand].tolist()
