"""The house stays in order: imports run one way, heavy readers stay where they belong, files stay readable."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ["configs", "data", "models", "trainers", "scripts"]  # each may import those before it
READERS = {"rdkit", "gemmi", "Bio"}


def sources(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", sources(*ROOMS), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    allowed = set(ROOMS[: ROOMS.index(room) + 1]) | ({"train"} if room == "scripts" else set())
    ours = {name.split(".")[0] for name in imported(path)} & {*ROOMS, "train"}
    assert ours <= allowed, f"{room} imports {ours - allowed}"


def test_structure_readers_stay_in_the_data_room() -> None:
    for path in sources(*ROOMS):
        readers = {name.split(".")[0] for name in imported(path)} & READERS
        room = path.relative_to(ROOT).parts[0]
        writes_molecules = path.name in ("make_synthetic.py", "learn_vocabulary.py")
        assert not readers or room == "data" or writes_molecules, f"{path} imports {readers}"


def test_no_pickle_is_loaded_by_default() -> None:
    for path in sources(*ROOMS):
        text = path.read_text(encoding="utf-8")
        assert "pickle.load" not in text, path
        assert "weights_only=False" not in text, path


@pytest.mark.parametrize("module", ["data.loader", "models.embed, models.predict", "trainers", "train"])
def test_training_from_shards_imports_no_structure_reader(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{'rdkit', 'gemmi', 'Bio'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_files_have_one_idea() -> None:
    long = {str(path.relative_to(ROOT)): n for path in sources(*ROOMS) if (n := path.read_text().count("\n")) > 350}
    assert not long, long


def test_every_command_has_a_main() -> None:
    from scripts.main import COMMANDS

    for command in COMMANDS.values():
        module = command.module.replace(".", "/") + ".py"
        tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert "main" in names, module
