"""The tutorials run from top to bottom on real structures, and what is stored of them is fit to be read by anybody."""

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "tutorials"
DATA = Path(os.environ.get("INTERFACE_DATA", ROOT.parent / "shared" / "data"))
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NAMES = ["1_embed", "2_fine_tune", "3_explain", "4_search", "5_pretrain"]
LARGEST = 150_000  # bytes of a notebook with its outputs
SECONDS = 900  # for a cell, on a machine that is busy with other work
EXTRAS = {"4_search": "faiss"}


def cells(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def outputs(path: Path) -> Iterator[dict[str, Any]]:
    for cell in cells(path):
        yield from cell.get("outputs", [])


def reachable(folder: Path) -> str:
    """Why there are no structures; "" where there are."""
    if (DATA / "pretrain").is_dir():
        return ""
    sys.path.insert(0, str(FOLDER))
    try:
        from tutorial_data import fetched

        fetched("1brs", folder)
    except RuntimeError as absent:
        return str(absent)
    finally:
        sys.path.remove(str(FOLDER))
    return ""


@pytest.mark.real_data
@pytest.mark.parametrize("name", NAMES)
def test_a_tutorial_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="tutorials need nbclient and ipykernel to be run")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel", reason="tutorials need ipykernel to be run")
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name], reason=f"{name} needs {EXTRAS[name]}")
    if reason := reachable(tmp_path):
        pytest.skip(f"no real data (INTERFACE_DATA): {reason}")
    for variable, value in {"OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path), "INTERFACE_DATA": str(DATA)}.items():
        monkeypatch.setenv(variable, value)
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    settings = {"metadata": {"path": str(FOLDER)}}
    nbclient.NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=settings).execute()
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert ran and all(cell.execution_count for cell in ran)


def test_all_tutorials_are_there() -> None:
    assert [path.stem for path in NOTEBOOKS] == NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_stored_of_a_tutorial_is_small_and_tells_no_places(path: Path) -> None:
    assert path.stat().st_size < LARGEST
    for output in outputs(path):
        assert output["output_type"] != "error"
        assert output.get("name") != "stderr"
        text = json.dumps({key: value for key, value in output.items() if key != "metadata"})
        text = re.sub(r'"image/png": "[^"]*"', "", text)
        assert not re.search(r"(?<![\w.])/(?:work|home|root|tmp|Users|usr|var|mnt)\b|\w:\\\\|https?://", text), text[
            :500
        ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_of_a_tutorial_lead_somewhere(path: Path) -> None:
    text = "\n".join("".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "markdown")
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    assert targets
    assert not [target for target in targets if not (FOLDER / target).is_file()]
