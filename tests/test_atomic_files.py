"""Nothing is written under its final name: every file goes through `configs.files` or `trainers.folders`.

These write to a temporary name, flush to the disk, and rename. Whatever else opens a file for writing is found in the
source and must stand inside such a block, or in the list of exceptions with its reason.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("configs", "data", "models", "trainers", "scripts")
SAFE = {"atomic_file", "complete_folder", "TemporaryDirectory"}
WRITERS = """write_text write_bytes to_csv to_parquet to_json to_pickle to_feather to_excel to_html dump save savez
savez_compressed savetxt savefig save_file OSFile ParquetWriter CSVWriter new_file write_table write_feather write_image
copyfile copy copy2 copytree move mkstemp NamedTemporaryFile""".split()
MODULES = {
    "json": {"dump"},
    "np": {"save", "savez", "savez_compressed", "savetxt"},
    "torch": {"save"},
    "pickle": {"dump"},
}
MODULES |= {"pq": {"write_table"}, "pa": {"OSFile"}}
MODULES |= {"shutil": {"copyfile", "copy", "copy2", "copytree", "move"}, "tempfile": {"mkstemp", "NamedTemporaryFile"}}
# file: function -> why it may.
EXCEPTIONS: dict[str, dict[str, str]] = {
    "configs/files.py": {"atomic_file": "is what the others use"},
    "trainers/line_log.py": {
        "flush": "a log grows by whole lines and is cut off where one can't be written",
        "size": "flushes to the disk",
    },
    "trainers/run_lock.py": {"_take": "a lock is a file that stays open", "_sign": "tells who holds it"},
    "trainers/folders.py": {"complete_folder": "is what the others use"},
    "trainers/processes.py": {"run_job": "a log of what a process says", "call_main": "the same"},
    "data/failures.py": {"append_failures": "a list that grows by whole lines, in one write"},
    "data/part_process.py": {"bound": "tells the system, in /proc"},
    "data/prepare_parallel.py": {"_alone": "a lock is a file that stays open"},
    "scripts/fuzzing/fuzz.py": {"fuzz": "keeps findings for whoever looks into them"},
    "models/published.py": {"save_published": "to memory"},
    "data/download.py": {"_receive": "a temporary part that is continued, and renamed when it is whole"},
    "data/entries.py": {"note": "a list that grows by whole lines, in one write"},
    "scripts/page/uploads.py": {"store": "an upload in a folder that is deleted; nothing of a broken one stays"},
    "scripts/run_figures.py": {"as_svg": "to memory"},
}


def is_safe(item: ast.withitem) -> bool:
    call = item.context_expr
    name = call.func if isinstance(call, ast.Call) else call
    return (name.attr if isinstance(name, ast.Attribute) else getattr(name, "id", "")) in SAFE


def writes(call: ast.Call) -> bool:
    """Whether a call may write a file under the name that it is given."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "open":
        modes = [a.value for a in [*call.args, *(k.value for k in call.keywords)] if isinstance(a, ast.Constant)]
        return any(isinstance(mode, str) and set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes)
    if name not in WRITERS:
        return False
    module = (
        call.func.value.id if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) else ""
    )
    if name in set().union(*MODULES.values()):
        return name in MODULES.get(module, ())
    if name.startswith("to_"):
        return bool(call.args) or any(k.arg in ("path", "path_or_buf") for k in call.keywords)
    return True


def unsafe_writes(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Function and line of every call that writes outside a safe block."""

    def visit(node: ast.AST, function: str, safe: bool) -> Iterator[tuple[str, int]]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        if isinstance(node, ast.With):
            safe = safe or any(is_safe(item) for item in node.items)
        if isinstance(node, ast.Call) and not safe and writes(node):
            yield function, node.lineno
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function, safe)

    return visit(tree, "", False)


def sources() -> list[Path]:
    return [*(path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))), ROOT / "train.py"]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_written_under_a_temporary_name(path: Path) -> None:
    allowed = EXCEPTIONS.get(path.relative_to(ROOT).as_posix(), {})
    found = unsafe_writes(ast.parse(path.read_text(encoding="utf-8")))
    assert not [f"line {line}, in {function}" for function, line in found if function not in allowed]


def test_the_search_finds_what_it_looks_for() -> None:
    wrong = """
def a(path): open(path, "w").write("x")
def b(path): path.write_text("x")
def c(path, table): table.to_csv(path)
def d(path, file): json.dump({}, file)
def e(path, array): np.save(path, array)
def f(figure, path): figure.savefig(path)
def g(path): path.open(mode="ab")
"""
    right = """
def a(path):
    with atomic_file(path) as temporary: open(temporary, "w").write("x")
def b(path): return open(path).read()
def c(table): return table.to_csv(index=False)
def d(path): return open(path, "rb").read()
"""
    assert [name for name, _ in unsafe_writes(ast.parse(wrong))] == list("abcdefg")
    assert not list(unsafe_writes(ast.parse(right)))


def test_every_exception_is_needed() -> None:
    for name, functions in EXCEPTIONS.items():
        found = {function for function, _ in unsafe_writes(ast.parse((ROOT / name).read_text(encoding="utf-8")))}
        assert set(functions) <= found, name
