"""train.py that kills all its processes before a chosen operation on files, and notes the items of each batch.

    python -m soaks.hooked_train [options of train.py]

LIGARE_SOAK_KILL="3 os.rename .*/topk.json" kills before the third operation whose text matches the pattern;
LIGARE_SOAK_NOTES names the folder for the notes. Operations are those that Python's audit events tell.
"""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import train
from soaks.marked import MARK, kill_marked
from trainers.batches import item_ids
from trainers.distributed import rank
from trainers.task import Task

WRITING = os.O_WRONLY | os.O_RDWR
EVENTS = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "shutil.rmtree", "open"}


def operation(event: str, arguments: tuple[Any, ...]) -> str | None:
    """An operation that changes files, as text: the event and the path that it changes; None for others."""
    if event not in EVENTS:
        return None
    path = arguments[1] if event in ("os.rename", "os.symlink") else arguments[0]
    if event == "open" and not (isinstance(path, str) and isinstance(arguments[2], int) and arguments[2] & WRITING):
        return None
    return f"{event} {os.fsdecode(path)}" if isinstance(path, str | bytes | os.PathLike) else None


def kill_at(count: int, pattern: str, folder: str) -> None:
    """Arrange for the end of all processes before the `count`th operation in `folder` that matches."""
    wanted, left = re.compile(pattern), count

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event not in EVENTS:
            return
        text = operation(event, arguments)
        if text is None or (folder not in text and " /" in text) or not wanted.search(text):
            return
        left -= 1
        if left == 0:
            kill_marked(os.environ[MARK], last=os.getpid())

    sys.addaudithook(watch)


def note_batches(folder: Path) -> None:
    """Let every step append a line to FOLDER/rankR.jsonl: epoch, batch, and the ids of its items."""
    original = Task.train_step

    def noting(self: Any, batch: Any, batch_idx: int) -> Any:
        line = json.dumps({"epoch": self.epoch, "batch": batch_idx, "ids": item_ids(batch)})
        with open(folder / f"rank{rank()}.jsonl", "a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")  # an empty line first: a kill may have cut the one before
        return original(self, batch, batch_idx)

    Task.train_step = noting  # type: ignore[method-assign]


def main(argv: list[str]) -> int:
    if (chosen := os.environ.get("LIGARE_SOAK_KILL")) and os.environ.get("RANK", "0") == "0":
        count, _, pattern = chosen.partition(" ")
        kill_at(int(count), pattern, argv[argv.index("--save_dir") + 1])
    if notes := os.environ.get("LIGARE_SOAK_NOTES"):
        note_batches(Path(notes))
    return train.main(argv)


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1:]))
