"""One run makes the whole document, in the order ours, plain, ours, whatever fails on the way."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import runner, sections
from benchmarks.explanations import explain_section
from benchmarks.measure import MEASUREMENTS
from benchmarks.sections import Plan
from scripts import benchmark

PLAN = Plan("shards", sizes=(256, 1000), variant_sizes=(256,), train_up_to=256, plain_up_to=256)
PEAKS = {"float32": 100e9, "bfloat16": 400e9, "copy": 10e9}
Calls = list[tuple[str, dict[str, Any]]]


def fake(calls: Calls, **failing: str) -> Callable[..., dict[str, Any]]:
    """A runner that measures nothing; `failing`: model -> reason."""

    def run(what: str, **options: Any) -> dict[str, Any]:
        calls.append((what, options))
        if options.get("model") in failing:
            return {"error": failing[options["model"]]}
        blocks = options.get("blocks", 0)
        results: dict[str, dict[str, Any]] = {
            "model": {"blocks": blocks, "atoms": 7 * blocks, "flops": 1e9 * blocks, "traffic": 1e9},
            "large": {"blocks": 2500, "atoms": 19_990},
            "peak": PEAKS,
            "profile": {"blocks": blocks, "groups": {"aggregate product": 3.0, "rest": 1.0}, "flops": 1e11},
        }
        if what == "load":
            return {"blocks": 1000, "seconds": {name: [0.01] for name in ("read", "noised", "collated", "plain")}}
        return {"seconds": [blocks / 100 + 1, blocks / 100 + 1], "peak_gib": 1.0} | results[what]

    return run


def test_ours_is_measured_before_and_after_plain() -> None:
    calls: Calls = []
    ours, plain = runner.in_turn(fake(calls), PLAN.task("float32", 256, True), PLAN.task("plain", 256, True))
    assert [options["model"] for _, options in calls] == ["float32", "plain", "float32"]
    assert len(ours["seconds"]) == 4
    assert len(ours["runs"]) == 2
    assert "error" not in plain


def test_a_run_that_fails_is_told_and_not_averaged() -> None:
    ours, plain = runner.in_turn(fake([], plain="out of memory"), {"model": "float32"}, {"model": "plain"})
    assert "error" not in ours
    assert plain == {"error": "out of memory"}
    assert runner.merged([ours, plain]) == plain


def test_a_process_that_fails_gives_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def died(code: int, stderr: str) -> None:
        done = subprocess.CompletedProcess([], code, "", stderr)
        monkeypatch.setattr(runner.subprocess, "run", lambda *_, **__: done)

    died(1, "Traceback\nValueError: wrong")
    assert runner.in_own_process("peak") == {"error": "ValueError: wrong"}
    died(-9, "")
    assert runner.in_own_process("peak") == {"error": "out of memory"}


def test_limits_hold() -> None:
    calls: Calls = []
    text = sections.model_section(fake(calls), PLAN, PEAKS)
    sizes = {(o["model"], o["training"]): set[int]() for _, o in calls}
    for _, options in calls:
        sizes[options["model"], options["training"]].add(options["blocks"])
    assert sizes["plain", True] == sizes["plain", False] == {256}
    assert sizes["float32", True] == {256}
    assert sizes["float32", False] == {256, 1000}
    assert "power 1.00" not in text.split("### Inference")[0]
    assert "Time of inference grows as blocks to the power" in text


def test_the_model_section_compares_with_plain_variants_peaks_and_the_reference() -> None:
    text = sections.model_section(fake([]), PLAN, PEAKS)
    for part in ("### Training step", "### Inference", "### Variants", "### Share of the matrix", "| 255 | 49 | 8.3 |"):
        assert part in text, part
    assert "| 1,000 | 27 | 7.8 | 2.45 x |" in text


def test_the_gpu_section_asks_for_that_device() -> None:
    calls: Calls = []
    text = sections.device_section(fake(calls), PLAN, "cuda")
    assert {options["device"] for _, options in calls} == {"cuda"}
    assert "0.1 TFLOP/s in float32, 0.4 in bfloat16" in text
    assert "| Training step, float32 | 256 |" in text


def test_out_of_memory_of_ours_still_gives_a_document() -> None:
    run = fake([], float32="out of memory")
    assert "out of memory" in sections.model_section(run, PLAN, PEAKS)
    assert "out of memory" in sections.large_section(run, PLAN)
    assert "out of memory" in sections.profile_section(run, PLAN, PEAKS)


def test_the_profile_tells_the_bound() -> None:
    text = sections.profile_section(fake([]), replace(PLAN, threads=1), PEAKS)
    assert "1 s at the float32 peak of one core, 0.25 s at the bfloat16 peak of one core" in text
    assert "61 % of the peak is reached" in text


@pytest.mark.parametrize("argv", [[], ["--profile"], ["--sections", "load", "large"]])
def test_the_document_says_how_to_repeat_it(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "has_gpu", lambda: False)
    for own in ("explain_section", "atlas_section"):
        monkeypatch.setattr(benchmark, own, lambda *_: "")
    options = benchmark.arguments(["--data", "x", "--sizes", "256", "--repeat", "2", *argv])
    head, *rest = benchmark.written(options, fake([]))
    assert head.startswith("# Benchmarks\n\n")
    assert "--data shards" in head
    assert "--sizes 256 --repeat 2 --out docs/benchmarks.md" in head
    assert len(rest) == {0: 6, 1: 1, 3: 2}[len(argv)]


def test_explanations_are_compared_by_time_and_by_result() -> None:
    found = {"blocks": 100, "atoms": 700, "apart": 1e-9, "largest": 1e-3}
    times = {"one by one": [6.0, 4.0], "embeddings only": [3.0], "together": [0.4]}
    found |= dict.fromkeys(("all", "processor"), times)
    text = explain_section(lambda *_, **__: found, "shards", 2)
    assert "100 blocks, 700 atoms" in text and text.count("10.0 x / 7.5 x") == 6 and "1e-09 of at most 1e-03" in text
    assert "out of memory" in explain_section(lambda *_, **__: {"error": "out of memory"}, "shards", 2)


def test_a_run_writes_the_sections_that_it_made(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "in_own_process", fake([]))
    monkeypatch.setattr(benchmark, "has_gpu", lambda: False)
    out = tmp_path / "benchmarks.md"
    assert benchmark.main(["--data", shards, "--sections", "load", "large", "--out", str(out)]) == 0
    text = out.read_text()
    assert text.index("# Benchmarks") < text.index("## Data loading") < text.index("## One large interface")
    assert text.split() == capsys.readouterr().out.split()
    monkeypatch.setattr(benchmark, "large_section", lambda *_: 1 / 0)
    out.unlink()
    with pytest.raises(ZeroDivisionError):
        benchmark.main(["--data", shards, "--sections", "load", "large", "--out", str(out)])
    assert "## Data loading" in out.read_text()


def test_files_are_taken_over_the_whole_index(tmp_path: Path) -> None:
    rows = [f"{i}_{j},{i}.pdb,A,B,{'LIG' if j else ''}" for i in range(10) for j in range(2)]
    (tmp_path / "index.csv").write_text("\n".join(["pdb_id,pdb_path,chain1,chain2,lig_code", *rows]) + "\n")
    assert [row.pdb_path for row in sections.sample_rows(tmp_path / "index.csv", 3)] == ["0.pdb", "3.pdb", "6.pdb"]


def test_a_child_prints_its_result(
    shards: str, tiny: dict[str, int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    task = {"what": "large", "data": shards, "n_atoms": 300, "model": "float32", "changes": tiny, "threads": 1}
    assert benchmark.main(["--child", json.dumps(task)]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 200 < found["atoms"] <= 300
    assert found["seconds"][0] > 0
    assert benchmark.main(["--data", str(tmp_path)]) == 2
    assert set(MEASUREMENTS) == {"model", "large", "load", "structures", "peak", "profile", "explain", "atlas"}
