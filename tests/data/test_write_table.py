"""Tables hold what was written, in either format, and are whole or not there."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from configs.errors import ConfigError
from data import write_table
from data.failures import Failure
from data.write_table import failures_path, nothing_made, open_table, tell_failures

VECTORS = np.arange(6, dtype=np.float32).reshape(3, 2)
PART = {"id": ["a", "b, c", 'd"e'], "label": np.array([1.5, np.nan, -2.0]), "note": ["", "é", "x\ny"], "v": VECTORS}


def test_parquet_holds_lists_of_fixed_size(tmp_path: Path) -> None:
    with open_table(tmp_path / "t.parquet") as table:
        table.write(PART)
        table.write(PART)
    found = pq.read_table(tmp_path / "t.parquet")
    assert found.schema.field("v").type.list_size == 2
    assert found["id"].to_pylist() == PART["id"] * 2
    assert found["label"].to_pylist() == [1.5, None, -2.0] * 2
    np.testing.assert_array_equal(np.array(found["v"].to_pylist()), np.concatenate([VECTORS, VECTORS]))


def test_csv_has_a_column_a_number_and_survives_odd_text(tmp_path: Path) -> None:
    with open_table(tmp_path / "t.csv") as table:
        table.write(PART)
    found = pd.read_csv(tmp_path / "t.csv", keep_default_na=False, na_values={"label": [""]})
    assert list(found) == ["id", "label", "note", "v_0", "v_1"]
    assert found["id"].tolist() == PART["id"]
    assert found["note"].tolist() == PART["note"]
    np.testing.assert_array_equal(found[["v_0", "v_1"]].to_numpy(), VECTORS)


def test_many_small_parts_become_few_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_table, "GROUP_BYTES", 10_000)
    with open_table(tmp_path / "t.parquet") as table:
        for _ in range(200):
            table.write(PART)
    found = pq.ParquetFile(tmp_path / "t.parquet")
    assert found.metadata.num_rows == table.rows == 600
    assert 1 < found.metadata.num_row_groups < 20


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("old")
    with pytest.raises(ZeroDivisionError), open_table(tmp_path / name) as table:  # noqa: PT012
        table.write(PART)
        raise ZeroDivisionError
    assert (tmp_path / name).read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_the_ending_decides_the_format(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'t.xlsx' has no known ending \(known: .parquet, .pq, .csv\)"):
        open_table(tmp_path / "t.xlsx").__enter__()
    with open_table(tmp_path / "plain", default=".csv") as table:
        table.write({"id": ["a"]})
    assert (tmp_path / "plain").read_text() == '"id"\n"a"\n'


def test_a_folder_in_the_place_of_the_table_is_told_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(IsADirectoryError), open_table(tmp_path / "x.csv"):
        pytest.fail("the body ran")
    assert list(tmp_path.iterdir()) == [tmp_path / "x.csv"]


def test_failures_stand_beside_the_output_and_go_when_there_are_none(tmp_path: Path) -> None:
    out = tmp_path / "vectors.parquet"
    told = tell_failures(out, [Failure("x.pdb", "3", "x", "", "is empty")])
    assert told == f"1 failed, reasons in {failures_path(out)}; the first: x: is empty"
    assert failures_path(out).read_text() == "file,row,pdb_id,modality,reason\nx.pdb,3,x,,is empty\n"
    assert tell_failures(out, []) == ""
    assert not failures_path(out).exists()
    assert "folder: no interface could be made; the first of 1 reasons: no" in str(
        nothing_made([Failure("", "", "", "", "no")], "folder")
    )
