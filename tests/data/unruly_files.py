"""Structure files that hang, crash, or need too much memory: what `data.part_process` does with them is arranged by a
`sitecustomize` that its processes, wherever they run, find by PYTHONPATH."""

from pathlib import Path

from structure_texts import LYS, SER, chain_of, write

HOOK = """
import sys
if "data.part_process" in sys.orig_argv:
    import os, signal, time
    import data.prepare
    read = data.prepare.read_structure
    def unruly(path, *rest):
        name = os.path.basename(str(path))
        if name.startswith("crash"):
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith("once") and not os.path.exists(str(path) + ".tried"):
            open(str(path) + ".tried", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith("hang"):
            time.sleep(3600)
        if name.startswith("slow"):
            time.sleep(0.08)
        if name.startswith("greedy"):
            bytearray(2**31)
        return read(path, *rest)
    data.prepare.read_structure = unruly
"""


def hook_in(folder: Path) -> str:
    """A PYTHONPATH that makes files unruly."""
    (folder / "sitecustomize.py").write_text(HOOK)
    return str(folder)


def index_of(folder: Path, names: list[str]) -> Path:
    """A row for each name, of a structure file of that name."""
    for i, name in enumerate(names):
        write(folder / f"{name}.pdb", chain_of("SER", 4, "A", SER) + chain_of("LYS", 3 + i % 4, "B", LYS, (0, 7, 0)))
    rows = [f"{name},{name}.pdb,A,B" for name in names]
    path = folder / "index.csv"
    path.write_text("\n".join(["pdb_id,pdb_path,chain1,chain2", *rows]) + "\n")
    return path


def bytes_of(folder: Path) -> dict[str, bytes]:
    """The files in a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
