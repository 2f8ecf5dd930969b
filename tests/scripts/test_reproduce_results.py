"""The script behind the tables calls commands with options that they understand, for every task with a table."""

import os
import subprocess
from pathlib import Path

import pytest

from configs.cli import parse
from configs.files import read_json
from scripts import baselines, collect_results, cross_validate, make_pockets

ROOT = Path(__file__).parents[2]
# Writes down how it was called, and makes what the script looks for afterwards.
STUB = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$CALLS"
out=""
while (($#)); do [[ $1 == --out_path || $1 == --out ]] && out=$2; shift; done
[[ $out == *.md ]] || mkdir -p "$out/valid"
"""


def calls(tmp_path: Path, **settings: str) -> list[list[str]]:
    """What the script would run."""
    data = tmp_path / "data"
    for name in ("pretrain", "ppi_affinity", "pl_affinity"):
        (data / name).mkdir(parents=True)
        (data / name / "interfaces.csv").write_text("pdb_id\n" + "".join(f"row{i}\n" for i in range(1, 10)))
    stub = tmp_path / "python"
    stub.write_text(STUB)
    stub.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "PATH")}
    places = {"INTERFACE_DATA": str(data), "OUT": str(tmp_path / "out"), "CALLS": str(tmp_path / "calls")}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tables.md").write_text("")
    environment = kept | places | {"PYTHON": str(stub)} | settings
    subprocess.run(["bash", str(ROOT / "scripts" / "reproduce_results.sh")], env=environment, check=True, timeout=60)
    return [line.split() for line in (tmp_path / "calls").read_text().splitlines()]


def test_every_call_is_understood(tmp_path: Path) -> None:
    made = calls(tmp_path)
    tasks: dict[str, set[bool]] = {}
    for script, *words in made:
        if script.endswith("cross_validate.py"):
            options, training = cross_validate.arguments(words)
            run = parse(training)
            assert options.seeds == [1, 2, 3] and options.devices == [-1, -1] and options.resample == "groups"
            assert run.train.monitor and run.data.max_n_vertex_per_item == 64
            tasks.setdefault(run.task, set()).add(run.start.pretrain_ckpt is not None)
        elif script.endswith("baselines.py"):
            assert baselines.arguments(words).task
        elif script.endswith("make_pockets.py"):
            assert make_pockets.arguments(words).every == 1
        elif script.endswith("collect_results.py"):
            assert collect_results.arguments(words).subset == ["prodigy_"]
    wanted = ("PDBBind", "multiclass_classifier", "binary_classifier", "masking", "prot_interface")
    assert tasks == {task: {True, False} for task in wanted}


def test_models_from_scratch_have_the_sizes_of_the_checkpoint(tmp_path: Path) -> None:
    config = read_json(ROOT / "checkpoints" / "pretrain_small" / "config.json")
    for script, *words in calls(tmp_path, TABLES="ppi_affinity"):
        if script.endswith("cross_validate.py") and not {"--pretrain_ckpt", "--model"} & set(words):
            encoder = vars(parse(cross_validate.arguments(words)[1]).encoder)
            assert {name: encoder[name] for name in encoder if name in config} == {
                name: value for name, value in config.items() if name in encoder
            }


def test_the_composition_model_stands_beside_the_others(tmp_path: Path) -> None:
    """On every task with labels, from the same splits and judged by the same metric, with whole items a step."""
    found: dict[str, dict[str, list]] = {}
    for script, *words in calls(tmp_path):
        if script.endswith("cross_validate.py"):
            run = parse(cross_validate.arguments(words)[1])
            found.setdefault(run.model, {})[words[words.index("--out_path") + 1].split("/")[-2]] = [words[0], run]
    assert set(found["composition"]) == {"ppi_affinity", "pl_affinity", "pocket_type", "pocket_bound"}
    for table, (split, run) in found["composition"].items():
        other_split, other = found["geometric"][table]
        assert (split, run.train.monitor, run.task) == (other_split, other.train.monitor, other.task)
        assert (run.data.batch_size, run.data.max_n_vertex_per_gpu, run.train.max_epoch) == (64, None, 40)


def test_a_small_trial_reads_few_rows_and_makes_few_steps(tmp_path: Path) -> None:
    made = calls(tmp_path, EVERY="3", STEPS="2", SEEDS="1", TABLES="ppi_affinity masking")
    rows = (tmp_path / "out" / "shards" / "ppi_affinity.csv").read_text().split()
    assert rows == ["pdb_id", "row2", "row5", "row8"]
    runs = [parse(cross_validate.arguments(words)[1]) for script, *words in made if "cross_validate" in script]
    assert [run.train.max_steps for run in runs] == [2, 2, 2, 2, 2]


def test_an_unknown_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        calls(tmp_path, TABLES="nonsense")
    assert failed.value.returncode == 2
