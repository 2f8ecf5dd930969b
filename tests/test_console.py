"""The console command: listed by use, quick to start, helpful about names, completed by shells; and the doctor."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models.self_check
from data.entries import Fetched, write_manifest
from scripts import completion, doctor, examinations, inspect_data
from scripts.main import COMMANDS, GROUPS, main, usage
from scripts.shell_flags import Flag, flags_of

ROOT = Path(__file__).parent.parent
COMPLETED = ("embed", "train", "completion")


def test_commands_are_listed_by_use() -> None:
    assert {one.group for one in COMMANDS.values()} == set(GROUPS)
    text = usage()
    places = [text.index(title) for title in GROUPS.values()]
    assert places == sorted(places)
    assert text.index("Data") < text.index("  process ") < text.index("Train") < text.index("  train ")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("embedd", "embed?"), ("get_embeddings", "embed?"), ("scripts.x", "--help"), ("process_pdbs.py", "process?")],
)
def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str], typed: str, meant: str) -> None:
    assert main([typed]) == 2
    assert meant in capsys.readouterr().err


def test_help_and_version_load_nothing_heavy() -> None:
    code = "import sys; from scripts.main import main; main(['--help']); main(['--version']); main(['embd']); "
    code += (
        "print(*sorted({'torch', 'numpy', 'pandas', 'matplotlib', 'e3nn', 'tyro'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == ""


def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False, **options)


def test_messages_and_usage_have_the_name_that_was_called(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.argv[0]
    assert main(["inspect", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith("ligare inspect: nowhere: no such folder")
    with pytest.raises(SystemExit, match="2"):
        main(["inspect"])
    told = capsys.readouterr().err
    assert told.startswith("usage: ligare inspect ") and "\nligare inspect: error: " in told
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    assert "usage: ligare train " in capsys.readouterr().out
    assert sys.argv[0] == before  # what is called next has its own name
    assert inspect_data.main(["nowhere"]) == 2
    assert capsys.readouterr().err.startswith("inspect_data: nowhere")


def test_a_script_has_its_own_name() -> None:
    done = run("scripts/fetch_structures.py", "--verify", "--out", "nowhere")
    assert done.returncode == 2 and done.stderr.startswith("fetch_structures: nowhere: ")
    assert run("scripts/fetch_structures.py", "--nonsense").stderr.startswith("usage: fetch_structures.py ")


@pytest.mark.parametrize("words", [["--help"], ["fetch", "--verify", "--out", "{folder}"]])
def test_output_that_nobody_reads_ends_a_command_without_a_word(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "1abc.cif.gz").write_bytes(b"x")
    checksum, date = hashlib.sha256(b"x").hexdigest(), "2000-01-01T00:00:00Z"
    write_manifest(tmp_path, {"1abc": Fetched("1abc", "1abc.cif.gz", 1, checksum, "", date)})
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "scripts.main", *(word.format(folder=tmp_path) for word in words)]
    done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_ctrl_c_while_a_command_is_loaded_is_a_line_and_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("scripts.main.import_module", interrupted)
    assert main(["embed", "x.pdb"]) == 130
    assert capsys.readouterr().err == "ligare: interrupted\n"


@pytest.fixture(scope="module")
def flags() -> dict[str, list[Flag]]:
    return {name: flags_of(name) for name in COMPLETED}


def test_flags_are_those_of_the_parsers(flags: dict[str, list[Flag]]) -> None:
    of = {name: {word: flag for flag in flags[name] for word in flag.names} for name in COMPLETED}
    assert of["embed"]["--padding"].choices == ("masked", "own", "batch")
    assert of["train"]["--task"].choices[0].startswith("pretrain")
    assert not of["train"]["--no_shuffle"].takes_value and of["train"]["--shard"].choices == ("none", "optimizer")
    assert "Folder of shards to train on" in of["train"]["--train_set"].about
    assert [flag.choices for flag in flags["completion"] if not flag.names] == [("bash", "fish", "zsh")]


BASH = """source {script}
COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); {last}
_ligare; printf '%s\\n' "${{COMPREPLY[@]}}"
complete -p ligare
"""


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ligare em", ["embed"]),
        ("ligare co", ["completion"]),
        ("ligare embed --pad", ["--padding"]),
        ("ligare embed --padding ''", ["masked", "own", "batch"]),
        ("ligare train --task mask", ["masking"]),
        ("ligare train --no_shu", ["--no_shuffle"]),
        ("ligare completion z", ["zsh"]),
        ("ligare embed struc", []),  # bash offers files
    ],
)
def test_bash_completes(tmp_path: Path, flags: dict[str, list[Flag]], words: str, expected: list[str]) -> None:
    script = tmp_path / "ligare.bash"
    script.write_text(completion.bash(flags))
    text = BASH.format(script=script, words=words, last=":")
    done = subprocess.run(["bash", "--norc", "-c", text], capture_output=True, text=True, check=True)
    *found, registered = done.stdout.splitlines()
    assert [word for word in found if word] == expected
    assert registered == "complete -o default -F _ligare ligare"


@pytest.mark.skipif(not shutil.which("fish"), reason="there is no fish")
def test_fish_completes(tmp_path: Path, flags: dict[str, list[Flag]]) -> None:
    (tmp_path / "ligare.fish").write_text(completion.fish(flags))

    def completed(line: str) -> list[str]:
        code = f"source {tmp_path}/ligare.fish; complete -C '{line}'"
        done = subprocess.run(["fish", "--no-config", "-c", code], capture_output=True, text=True, check=True)
        return [found.partition("\t")[0] for found in done.stdout.splitlines()]

    assert completed("ligare em") == ["embed"]
    assert completed("ligare embed --pad") == ["--padding"]
    assert set(completed("ligare train --shard ")) == {"none", "optimizer"}


@pytest.mark.skipif(not shutil.which("zsh"), reason="there is no zsh")
def test_zsh_accepts_the_function(tmp_path: Path, flags: dict[str, list[Flag]]) -> None:
    (tmp_path / "_ligare").write_text(completion.zsh(flags))
    code = f"fpath+={tmp_path}; autoload -U compinit; compinit -u -D; whence -v _ligare; zsh -n {tmp_path}/_ligare"
    done = subprocess.run(["zsh", "-f", "-c", code], capture_output=True, text=True, check=True)
    assert "_ligare is an autoload shell function" in done.stdout and not done.stderr


def test_texts_can_not_break_out_of_their_quotes() -> None:
    awkward = {"embed": [Flag(("--x",), "it's [a] b: \\' $(touch /tmp/x) `y`", True)]}
    for shell in (completion.zsh, completion.fish):
        line = next(line for line in shell(awkward).splitlines() if "(touch" in line)
        assert line.count("'") % 2 == 0 and "\\" not in line


def test_the_doctor_finds_nothing_broken_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    states = {one["name"]: one["state"] for one in told["findings"]}
    assert told["ok"] and states["python"] == states["float32 on cpu"] == states["float64 on cpu"] == "ok"
    assert {"packages", "scatter", "cuequivariance", "threads", "temporary files"} <= set(states)
    absent = [one for one in told["findings"] if one["told"].endswith("is not installed (for GPUs)")]
    assert all(one["state"] == "note" and one["hint"].startswith("pip install 'ligare[") for one in absent)


def test_wrong_numbers_are_broken_and_give_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for file in models.self_check.PLACE.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    recorded = dict(np.load(tmp_path / "batch1_outputs.npz"))
    recorded["graph_repr"] = recorded["graph_repr"] + 1e-3
    np.savez(tmp_path / "batch1_outputs.npz", **recorded)
    monkeypatch.setattr(models.self_check, "PLACE", tmp_path)
    monkeypatch.setattr(doctor, "EXAMINATIONS", {"Numbers": examinations.examine_numbers})
    assert doctor.main([]) == 1
    assert "broken: float32 on cpu, float64 on cpu" in capsys.readouterr().out
    (tmp_path / "weights.safetensors").write_bytes(b"damaged")
    assert doctor.main([]) == 1
    assert "CheckpointError" in capsys.readouterr().out


def test_missing_and_old_packages_are_broken_with_their_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "gemmi":
            raise PackageNotFoundError(name)
        return "0.0.1"

    monkeypatch.setattr(examinations.metadata, "version", version)
    found = {one.name: one for one in examinations.examine_packages()}
    assert found["gemmi"].state == "broken" and found["gemmi"].hint == "pip install 'gemmi>=0.7'"
    assert found["scipy"].state == "broken" and "is 0.0.1, >=1.13 is needed" in found["scipy"].told


def test_an_import_that_fails_is_told_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (found,) = examinations.examine_devices()
    assert found.state == "broken" and list(examinations.examine_threads()) == []
    assert all(one.state != "broken" for one in examinations.examine_places())


def test_the_self_check_is_one_of_the_recordings_that_the_tests_keep() -> None:
    kept = ROOT / "tests" / "fixtures" / "parity" / "PredictionModel"
    for name in ("config.json", "weights.safetensors", "batch1.npz", "batch1_outputs.npz"):
        assert (models.self_check.PLACE / name).read_bytes() == (kept / name).read_bytes(), name
