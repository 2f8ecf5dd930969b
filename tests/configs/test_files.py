"""Files are complete or absent, checksums tell them apart, JSON is read within limits."""

import os
import stat

import pytest

from configs.errors import CheckpointError, DataError
from configs.files import UMASK, atomic_file, atomic_write, read_json, sha256_of, write_json


def test_an_atomic_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "new" / "file.txt"
    atomic_write(path, "a longer first content")
    atomic_write(path, b"short")
    assert path.read_bytes() == b"short"
    assert os.listdir(path.parent) == ["file.txt"]


def test_a_failure_while_writing_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file.txt"
    atomic_write(path, "old")
    with pytest.raises(RuntimeError, match="in the middle"), atomic_file(path) as temporary:  # noqa: PT012
        temporary.write_text("half of the new")
        assert path.read_text() == "old"
        raise RuntimeError("in the middle")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_written_files_have_the_usual_permissions(tmp_path):
    atomic_write(tmp_path / "file", "")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~UMASK


def test_sha256_is_that_of_the_content(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_json_comes_back_as_written(tmp_path):
    value = {"Å": [1, 2.5, None, True], "nested": {"a": "b"}}
    write_json(tmp_path / "v.json", value)
    assert read_json(tmp_path / "v.json") == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": ', "is not valid JSON; the file is damaged"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"[" * 100_000, "is not valid JSON; the file is damaged"),
        (b"[1, 2]", "must hold a JSON object"),
        (b'{"a": "' + b"x" * 2000 + b'"}', "is 2009 bytes long, more than the limit of 1000"),
    ],
)
def test_bad_json_is_refused_with_the_name_of_the_file(tmp_path, monkeypatch, content, message):
    monkeypatch.setenv("LIGARE_MAX_JSON_SIZE", "1000" if b"x" in content else "1M")
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"bad.json: {message}"):
        read_json(path)


def test_an_absent_file_raises_the_error_that_was_asked_for(tmp_path):
    with pytest.raises(CheckpointError, match=r"absent\.json: no such file"):
        read_json(tmp_path / "absent.json", error=CheckpointError)


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        read_json(tmp_path)
