"""Published rows become items; bad rows are named; hostile files do nothing but raise."""

import csv
import gzip
import json
import os
import pickle
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from item_factory import assert_same_item, random_item

from configs.errors import DataError
from data.import_published import Row, import_files, item_of_row, published_rows
from data.plain_pickle import read_plain_pickle
from data.shards import ShardReader
from data.vocab import GLOBAL, load_vocabulary
from scripts.import_dataset import main

VOCABULARY = load_vocabulary("PS_300")
NEEDED = ("id", "X", "A", "B", "block_lengths", "segment_ids", "atom_positions")


def published(item, container=list):
    """The item as a published row: nested lists, with a global block at the start of every segment."""
    first = np.flatnonzero(np.diff(item.segment_ids, prepend=-1))
    first_atom = (np.cumsum(item.block_lengths) - item.block_lengths)[first]

    def with_global(values, at, value):
        return np.insert(values, at, value, axis=0).tolist()

    residues = {}
    for number, block in enumerate(np.insert(np.arange(item.n_blocks), first, -1).tolist()):
        if block >= 0:
            residues[number] = f"{item.block_chain[block]}_{item.block_resid[block]}{item.block_icode[block]}"
    row = {
        "X": with_global(item.X.astype(float), first_atom, 0.5),
        "A": with_global(item.A, first_atom, 2),
        "atom_positions": with_global(item.atom_positions, first_atom, 0),
        "B": with_global(item.B, first, GLOBAL),
        "block_lengths": with_global(item.block_lengths, first, 1),
        "segment_ids": with_global(item.segment_ids, first, item.segment_ids[first]),
    }
    if container is np.asarray:
        row = {name: np.asarray(values) for name, values in row.items()}
    return {"id": item.id, "block_to_pdb_indexes": residues, **row}


ITEMS = [random_item(i, 5, torsions=False, group="", modality=-1, label=float("nan")) for i in range(4)]
FIELDS = (*NEEDED, "block_chain", "block_resid", "block_icode", "label", "modality", "group")


def as_parquet(path, rows):
    pq.write_table(
        pa.table({name: [row[name] for row in rows] for name in NEEDED}).append_column(
            "block_to_pdb_indexes", pa.array([json.dumps(row["block_to_pdb_indexes"]) for row in rows])
        ),
        path,
    )


def as_parquet_map(path, rows):
    table = pa.table({name: [row[name] for row in rows] for name in NEEDED})
    maps = pa.array([list(r["block_to_pdb_indexes"].items()) for r in rows], pa.map_(pa.int64(), pa.string()))
    pq.write_table(table.append_column("block_to_pdb_indexes", maps), path)


def as_json(path, rows):
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def as_pickle(protocol):
    def write(path, rows):
        path.write_bytes(pickle.dumps(rows, protocol))

    return write


@pytest.mark.parametrize(
    ("name", "write", "container"),
    [
        ("set.parquet", as_parquet, list),
        ("set.parquet", as_parquet_map, list),
        ("set.jsonl.gz", as_json, list),
        *[("set.pkl", as_pickle(protocol), container) for protocol in range(6) for container in (list, np.asarray)],
    ],
)
def test_every_published_format_gives_the_items(tmp_path, name, write, container):
    write(tmp_path / name, [published(item, container) for item in ITEMS])
    n_items, failures = import_files([tmp_path / name], tmp_path / "out", VOCABULARY)
    assert (n_items, failures) == (4, [])
    reader = ShardReader(tmp_path / "out")
    assert reader.vocabulary_fingerprint == VOCABULARY.fingerprint
    for item, found in zip(ITEMS, reader, strict=True):
        assert_same_item(item, found, FIELDS)
        assert found.tor_bonds is None


def item_of(row, **options):
    return item_of_row(Row("row 1", row), "set.jsonl", VOCABULARY, **options)


def test_a_row_may_nest_its_arrays_and_carry_labels_and_kinds():
    row = published(ITEMS[0])
    identifier = row.pop("id")
    item = item_of({"id": identifier, "data": row, "affinity": {"neglog_aff": 6.25, "other": 1}, "modality": "PL"})
    assert (item.id, item.label, item.modality) == (identifier, 6.25, 1)
    assert item_of({**row, "label": 1}).label == 1
    assert item_of({**row, "label": [2.5]}).label == 2.5
    assert item_of({**row, "affinity": {"dG": -7.5}}).label == -7.5
    assert item_of(row, modality="PRNA").modality == 4
    assert item_of(row).id == "set_1"


def test_residues_that_are_not_understood_are_left_out():
    row = published(ITEMS[0])
    for unknown in ("no json", {"0": 5}, ["A_1"], 7, None):
        assert item_of({**row, "block_to_pdb_indexes": unknown}).block_chain is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"B": None}, "lacks B"),
        ({"X": [[1, 2]]}, r"X is not an array \[n, 3\] of numbers"),
        ({"A": "text"}, r"A is not an array \[n\] of numbers"),
        ({"A": [300] * 40}, "A holds values that do not fit into uint8"),
        ({"A": [200] * 40}, "A holds type 200, the vocabulary has 121"),
        ({"B": [500] * 7}, "B holds type 500, the vocabulary has 440"),
        ({"block_lengths": [1] * 7}, "block_lengths must be positive and sum to"),
        ({"segment_ids": [1, 1, 1, 0, 0, 0, 0]}, "segment_ids must be 0 or 1, with segment 0 first"),
        ({"segment_ids": [0, 0]}, "segment_ids has 2 entries for 7 blocks"),
        ({"B": [3] * 7}, "has no blocks"),
        ({"label": "high"}, "label is not a number"),
        ({"affinity": {"a": 1, "b": 2}}, "can't tell the label among a, b"),
        ({"modality": "XX"}, r"unknown modality 'XX' \(known: PP, PL"),
    ],
)
def test_bad_rows_are_refused_with_file_and_row(change, message):
    with pytest.raises(DataError, match=f"set.jsonl, row 1.*{message}"):
        item_of({**published(ITEMS[0]), **change})


def test_coordinates_that_are_no_numbers_are_refused():
    row = published(ITEMS[0])
    row["X"][3] = [float("nan"), 0, 0]
    with pytest.raises(DataError, match="row 1, 0000_A_B: X holds NaN or infinite coordinates"):
        item_of(row)


def test_bad_rows_are_listed_and_the_others_imported(tmp_path, capsys):
    rows = [json.dumps(published(item)) for item in ITEMS]
    rows[1] = '{"X": [[0, 0, 0]'
    rows[2] = json.dumps({"id": "x"})
    (tmp_path / "set.jsonl").write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    assert main([str(tmp_path / "set.jsonl"), "--out_path", str(out)]) == 1
    assert "2 items with 10 blocks" in capsys.readouterr().out
    failures = list(csv.DictReader((out / "failures.csv").open()))
    assert [(row["row"], row["reason"]) for row in failures] == [
        ("row 2", "is not a readable item"),
        ("row 3", "lacks X, A, B, block_lengths, segment_ids"),
    ]
    assert ShardReader(out).ids == [ITEMS[0].id, ITEMS[3].id]


def test_when_no_row_is_good_nothing_is_written(tmp_path, capsys):
    (tmp_path / "set.jsonl").write_text("{}\n[]\n")
    assert main([str(tmp_path / "set.jsonl"), "--out_path", str(tmp_path / "out")]) == 2
    assert "no row gives an item; row 1: lacks X" in capsys.readouterr().err
    with pytest.raises(DataError):
        ShardReader(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("set.parquet", b"PAR1 not really", "is not a readable parquet file"),
        ("set.jsonl.gz", gzip.compress(b"{}\n" * 1000, mtime=0)[:-20], "is cut off or damaged"),
        ("set.jsonl.gz", b"not gzip", "is cut off or damaged"),
        ("set.jsonl.gz", gzip.compress(b" " * 3000, mtime=0), "is longer than the limit of 2000 bytes"),
        ("set.pkl", b"\x80\x04 nonsense", "is not a readable pickle file; it is damaged"),
        ("set.pkl", pickle.dumps([1] * 4000)[:-4], "is not a readable pickle file; it is damaged"),
        ("set.pkl", pickle.dumps("x" * 3000), "is 30.. bytes long, more than the limit of 2000"),
        ("set.pkl", pickle.dumps(3), "must hold a list of items"),
        ("set.csv", b"", r"is of unknown kind \(known: .parquet, .jsonl"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    limit = 10**6 if b"\x01" * 100 in content or "damaged" in message else 2000
    with pytest.raises(DataError, match=f"{name}.*{message}"):
        import_files([tmp_path / name], tmp_path / "out", VOCABULARY, max_bytes=limit)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.pkl: no such file"):
        published_rows(tmp_path / "absent.pkl")


def test_a_parquet_row_group_above_the_limit_is_not_read(tmp_path):
    pq.write_table(pa.table({"X": [0.0] * 10_000}), tmp_path / "set.parquet")  # some hundred bytes on disk
    with pytest.raises(DataError, match="has a row group of 80000 bytes, more than the limit of 70000"):
        list(published_rows(tmp_path / "set.parquet", max_bytes=70_000))


class Exploit:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", range(6))
def test_a_hostile_pickle_runs_nothing(tmp_path, protocol):
    proof = tmp_path / "executed"
    calls = [(os.system, f"touch {proof}"), (open, str(proof), "w"), (eval, f"open({str(proof)!r}, 'w')")]
    for call, *arguments in calls:
        (tmp_path / "evil.pkl").write_bytes(pickle.dumps([Exploit(call, *arguments)], protocol))
        with pytest.raises(DataError, match=r"evil\.pkl: is refused: it names .*, which is not plain data"):
            read_plain_pickle(tmp_path / "evil.pkl")
        assert not proof.exists()
    pickle.loads((tmp_path / "evil.pkl").read_bytes())
    assert proof.exists()  # the exploit is a real one


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02cnumpy\ndtype\n.", "function or type"),
        (b"\x80\x02cnumpy\ndtype\n}X\x01\x00\x00\x00aK\x01sb.", "sets the state of a function"),
        (b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00V8\x85R.", "holds an array of 'V8'"),
        (b"\x80\x02cnumpy\ndtype\nX\x05\x00\x00\x00i4,i4\x85R.", "holds an array of 'i4,i4'"),
        (b"\x80\x02cnumpy\nload\n.", "names numpy.load, which is not plain data"),
        (b"\x80\x04\x8c\x0bos.path.sep\x8c\x01x\x93.", "names os.path.sep.x"),
        (b"\x80\x02Ppersistent\n.", "is not a readable pickle|refers to data"),
        (b"\x80\x02X\x01\x00\x00\x00xQ.", "refers to data outside the file"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00xX\x05\x00\x00\x00rot13\x86R.", "encodes text as 'rot13'"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"x.", "is not a readable pickle"),  # claims 2**60 bytes
        (b"\x80\x05\x96" + struct.pack("<Q", 2**60) + b"x.", "is not a readable pickle"),
        (b"\x80\x02]r\xff\xff\xff\x7f.", None),  # a memo of 2**31 entries, which the fast interpreter would allocate
    ],
)
def test_crafted_pickles_are_refused(tmp_path, content, message):
    (tmp_path / "evil.pkl").write_bytes(content)
    if message is None:
        assert read_plain_pickle(tmp_path / "evil.pkl") == []
        return
    with pytest.raises(DataError, match=message):
        read_plain_pickle(tmp_path / "evil.pkl")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_cut_and_flipped_pickles_give_values_or_a_typed_error(tmp_path, protocol):
    path = tmp_path / "some.pkl"
    whole = pickle.dumps([{"id": "x", "X": np.ones((2, 3)), "B": [1, 2], "label": 1.5}], protocol)
    rng = np.random.default_rng(protocol)
    refused: list[str] = []
    for end in range(len(whole)):
        changed = bytearray(whole)
        changed[end] ^= int(rng.integers(1, 256))
        for content in (whole[:end], changed):
            path.write_bytes(content)
            try:
                read_plain_pickle(path)
            except DataError as error:
                refused.append(str(error))
    assert all("some.pkl" in message for message in refused)
    assert len(refused) >= len(whole)  # every cut one, at least


def test_a_pickle_that_expands_without_end_is_refused(tmp_path):
    value = [0]
    for _ in range(15):
        value = [value] * 10
    (tmp_path / "laughs.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(DataError, match="expands to far more data than it holds"):
        read_plain_pickle(tmp_path / "laughs.pkl")


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_back(tmp_path, protocol):
    value = {
        "numbers": [1, -(2**70), 2.5, True, None, np.float32(1.5), np.int64(7)],
        "arrays": [np.arange(6, dtype=">i4").reshape(2, 3), np.asfortranarray(np.ones((2, 3))), np.array(["a", "bc"])],
        "objects": np.array([{"a": 1}, [2]], dtype=object),
        "bytes": b"\x00\xff",
    }
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(value, protocol))
    found = read_plain_pickle(tmp_path / "plain.pkl")
    assert found["numbers"] == value["numbers"]
    assert found["objects"] == [{"a": 1}, [2]]
    assert found["bytes"] == value["bytes"]
    for a, b in zip(value["arrays"], found["arrays"], strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
