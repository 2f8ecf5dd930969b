"""Every file of states, checkpoints and data sets is damaged at a few places here, at hundreds in the soak."""

import random
from pathlib import Path

import pytest
import torch

from configs.errors import DataError
from configs.files import read_json, write_json
from soaks.damage import Target, damages, run, trial
from soaks.registry import Options
from trainers.line_log import LineLog


def test_what_is_read_from_damaged_files_is_right_or_refused_by_name(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    result = run(Options(tmp_path, count=15), lambda done, total, known: None)
    assert result.wrong == []
    figures = result.figures
    assert figures["files damaged"] >= 11 and figures["damages made"] > 140
    for kind in ("cut short: fell back", "cut short: refused", "a byte changed: fell back", "a byte changed: refused"):
        assert figures[kind] >= 10, kind


def test_damage_that_nobody_notices_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("some words")
    target = Target("notes", (path,), path.read_bytes)
    assert trial(target, path, b"some wards", b"some words") == ("read", "other content was read")
    assert path.read_text() == "some words"
    target = Target("notes", (path,), lambda: path.read_text().index("words"))
    assert trial(target, path, b"some wards", 5)[0] == "failed"


def test_damages_cover_both_ends_of_a_file() -> None:
    content = bytes(range(256)) * 20
    forms = list(damages(content, 40, random.Random(0)))
    lengths = [len(form) for what, form in forms if what == "cut short"]
    assert {0, 1, len(content) // 2, len(content) - 1} <= set(lengths)
    assert 38 <= len(forms) <= 40 and all(form != content for _, form in forms)
    changed = {i for what, form in forms if what == "a byte changed" for i in range(len(form)) if form[i] != content[i]}
    assert 0 in changed and len(changed) > 10


def test_a_sealed_file_tells_when_it_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    facts = {"b": [1, 2.5, None], "a": {"name": "ä"}, "3": (1, 2)}
    write_json(path, facts, sealed=True)
    assert read_json(path) == facts | {"3": [1, 2]}
    path.write_text(path.read_text().replace("2.5", "2.6"))
    with pytest.raises(DataError, match=r"facts\.json: does not match its own checksum"):
        read_json(path)
    write_json(path, facts, sealed=True)
    path.write_text(path.read_text().replace("sha256_of", "sha257_of"))
    with pytest.raises(DataError, match="does not match its own checksum"):
        read_json(path)
    write_json(path, facts)
    path.write_text(path.read_text().replace("2.5", "2.6"))
    assert read_json(path)["b"] == [1, 2.6, None]


def test_a_log_outlives_lines_that_could_not_be_written_and_lines_that_a_kill_cut(tmp_path: Path) -> None:
    log = LineLog(tmp_path / "folder" / "log.jsonl")
    log.append({"a": 1})  # there is no folder: it waits
    assert log.waiting
    with pytest.raises(FileNotFoundError):
        log.size()
    log.path.parent.mkdir()
    log.append({"b": 2})
    assert not log.waiting and list(log.records()) == [{"a": 1}, {"b": 2}]
    size, digest = log.size(), log.digest()
    with open(log.path, "a") as file:
        file.write('{"c": ')  # as a kill leaves it
    again = LineLog(log.path)
    again.append({"d": 4})
    assert list(again.records()) == [{"a": 1}, {"b": 2}, {"d": 4}]
    assert again.take_back(size, digest=digest) and list(again.records()) == [{"a": 1}, {"b": 2}]
    assert again.digest() == digest
    log.path.write_text(log.path.read_text().replace("2", "3"))
    assert not again.take_back(size, digest=digest)
    assert not again.take_back(size + 1)
