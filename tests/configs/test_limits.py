"""Files from anywhere: read within limits that are options, or refused with the name of the option."""

import argparse
import gzip
import os
from pathlib import Path

import pytest

from configs.cli import read_yaml
from configs.errors import ConfigError, DataError, StructureError
from configs.files import read_json
from configs.limits import Limits, add_limit_flags, limits, size, use_limits
from configs.reading import path_inside, read_bytes, read_text, unpacked


@pytest.mark.parametrize(("text", "value"), [("12", 12), ("3K", 3072), ("2m", 2 * 2**20), ("1G", 2**30)])
def test_sizes_may_have_a_unit(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("text", ["", "-1", "0", "1.5", "nan", "9" * 30, "M", "1KB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must be a positive number"):
        size(text)


def test_the_environment_changes_limits_and_a_bad_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert limits() == Limits()
    monkeypatch.setenv("LIGARE_MAX_ATOMS", "5K")
    monkeypatch.setenv("LIGARE_ALLOW_OUTSIDE_ROOT", "true")
    assert (limits().max_atoms, limits().allow_outside_root) == (5120, True)
    monkeypatch.setenv("LIGARE_MAX_ATOMS", "many")
    with pytest.raises(ConfigError, match="LIGARE_MAX_ATOMS: must be a positive number"):
        limits()


def test_flags_put_limits_in_force_for_processes_started_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGARE_MAX_ATOMS", "7")  # undone after the test
    monkeypatch.setenv("LIGARE_ALLOW_OUTSIDE_ROOT", "0")
    parser = argparse.ArgumentParser()
    add_limit_flags(parser, "max_atoms", "allow_outside_root")
    use_limits(parser.parse_args([]))
    assert (limits().max_atoms, limits().allow_outside_root) == (7, False)
    use_limits(parser.parse_args(["--max_atoms", "2K", "--allow_outside_root"]))
    assert (limits().max_atoms, limits().allow_outside_root) == (2048, True)
    assert os.environ["LIGARE_MAX_ATOMS"] == "2048"


def test_pipes_devices_folders_and_absent_files_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, message in {
        "pipe": "pipe: is no regular file",
        "/dev/zero": "/dev/zero: is no regular file",
        ".": "is a folder",
        "loop": "loop: can't be read: Too many levels",
        "absent": "absent: no such file",
        "x" * 300: "can't be read: File name too long",
        "a\0b": "is no name of a file",
    }.items():
        with pytest.raises(StructureError, match=message):
            read_bytes(tmp_path / name, StructureError)


def test_a_file_above_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "large", "wb") as file:
        file.truncate(9 * 2**30)  # takes no room on the disk
    with pytest.raises(DataError, match=r"large: is 9663676416 bytes long.*raise --max_file_size or LIGARE_MAX_FILE_S"):
        read_bytes(tmp_path / "large")
    monkeypatch.setenv("LIGARE_MAX_FILE_SIZE", "10")
    (tmp_path / "small").write_bytes(b"x" * 11)
    with pytest.raises(DataError, match="is 11 bytes long, more than the limit of 10"):
        read_bytes(tmp_path / "small")


def test_a_gzip_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGARE_MAX_UNPACKED_SIZE", "1M")
    assert len(unpacked(gzip.compress(bytes(2**20)), "x")) == 2**20
    with pytest.raises(DataError, match=r"x: unpacks to \d+ bytes or more.*--max_unpacked_size"):
        unpacked(gzip.compress(bytes(2**20 + 1)), "x")
    members = b"".join(gzip.compress(bytes(2**19)) for _ in range(3))
    with pytest.raises(DataError, match="unpacks to"):
        unpacked(members, "x")
    with pytest.raises(DataError, match="x: is gzip data inside gzip data"):
        unpacked(gzip.compress(gzip.compress(b"text")), "x")


@pytest.mark.parametrize("damage", [lambda c: c[:30], lambda c: c[:-1], lambda c: c[:20] + b"\xff" * 9 + c[29:]])
def test_damaged_gzip_data_is_named(damage) -> None:
    content = gzip.compress(b"text of some length, " * 40, mtime=0)
    with pytest.raises(DataError, match="x: is damaged gzip data"):
        unpacked(damage(content), "x")


def test_text_is_utf8_with_or_without_a_mark(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("é".encode("utf-8-sig"))
    assert read_text(tmp_path / "a") == "é"
    (tmp_path / "a").write_bytes("é".encode("utf-16"))
    with pytest.raises(DataError, match=r"a: is not UTF-8 text \(save it as UTF-8\)"):
        read_text(tmp_path / "a")


def test_paths_stay_in_their_folder_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    (root / "inner" / "link").symlink_to(tmp_path / "secret")
    (root / "here").symlink_to("inner")
    assert path_inside(root, "inner/../x.pdb") == root / "inner/../x.pdb"
    assert path_inside(root, str(root / "x.pdb")) == root / "x.pdb"
    assert path_inside(root, "here/x.pdb") == root / "here/x.pdb"
    outside = ["../secret", "inner/../../secret", str(tmp_path / "secret"), "/etc/passwd", "inner/link", "../rootless"]
    for name in outside:
        with pytest.raises(DataError, match=r"lies outside the root folder .*--allow_outside_root"):
            path_inside(root, name)
    monkeypatch.setenv("LIGARE_ALLOW_OUTSIDE_ROOT", "1")
    assert all(path_inside(root, name) == root / name for name in outside)


BOMBS = {
    "deep": "a: " + "[" * 20_000,
    "aliases": "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "objects": "a: !!python/object/apply:os.system ['true']",
    "names": "a: !!python/name:os.system ''",
    "long number": "a: " + "9" * 5000,
    "binary": "a: \x01",
}


@pytest.mark.parametrize("name", BOMBS)
def test_yaml_is_plain_values_only(tmp_path: Path, name: str) -> None:
    (tmp_path / "run.yaml").write_text(BOMBS[name])
    with pytest.raises(ConfigError, match=r"--config, .*run\.yaml: is not YAML"):
        read_yaml(tmp_path / "run.yaml")


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, '{"a": ' + "9" * 5000 + "}"])
def test_json_bombs_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=r"x\.json: is not valid JSON"):
        read_json(tmp_path / "x.json")
