"""Training runs in processes of their own, one at a time on each device; what one breaks, the others don't feel."""

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from queue import SimpleQueue

from configs.files import read_json, write_json
from trainers.report import REPORT

DONE = "finished.json"


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        name: in messages. folder: its `save_dir`; its output goes to `log.txt` there.
        module: with a `main` that takes arguments. arguments: of that.
    """

    name: str
    folder: Path
    module: str
    arguments: tuple[str, ...]

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def result(self) -> Path | None:
        """The run folder when the run has finished, else None."""
        mark = self.folder / DONE
        folder = self.folder / read_json(mark)["folder"] if mark.exists() else None
        return folder if folder is not None and (folder / REPORT).exists() else None

    def last_words(self) -> str:
        """The last line of the log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n") if self.log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "no message")


def run_jobs(jobs: Sequence[Job], devices: Sequence[int] = ()) -> Iterator[tuple[Job, bool]]:
    """Run what has not finished yet; yields each job with whether it finished, as they end.

    Args:
        devices: numbers given to `--gpus`, one run at a time on each (-1: the CPU; it may be named several times).
            Without any, one run at a time on the device that its own arguments choose.
    """
    free: SimpleQueue[int | None] = SimpleQueue()
    for device in devices:
        free.put(device)
    if not devices:
        free.put(None)

    def run(job: Job) -> bool:
        if job.result() is not None:
            return True
        device = free.get()
        try:
            return run_job(job, () if device is None else ("--gpus", str(device)))
        finally:
            free.put(device)

    with ThreadPoolExecutor(max(len(devices), 1)) as pool:
        waiting = {pool.submit(run, job): job for job in jobs}
        try:
            for ended in as_completed(waiting):
                yield waiting[ended], ended.result()
        except KeyboardInterrupt:  # the run gets the signal as well and stops in order; those not begun are left
            pool.shutdown(cancel_futures=True)
            raise


def run_job(job: Job, further: Sequence[str] = ()) -> bool:
    """Run one job in a new process and wait for it; whether it finished."""
    job.folder.mkdir(parents=True, exist_ok=True)
    context = get_context("forkserver")  # the libraries are loaded once, and no process shares state of a device
    context.set_forkserver_preload([job.module, __name__])
    process = context.Process(target=call_main, args=(job.module, [*job.arguments, *further], job.log))
    process.start()
    process.join()
    if process.exitcode is not None and process.exitcode < 0:  # it had no time to say so itself
        with open(job.log, "a", encoding="utf-8") as file:
            file.write(f"killed by signal {-process.exitcode}{' (out of memory?)' if process.exitcode == -9 else ''}\n")
    runs = sorted(job.folder.glob(f"version_*/{REPORT}"), key=lambda path: path.stat().st_mtime)
    if process.exitcode or not runs:
        return False
    write_json(job.folder / DONE, {"folder": runs[-1].parent.name})
    return True


def call_main(module: str, arguments: Sequence[str], log: Path) -> None:
    """Body of the new process: everything said goes to the log, the exit status is that of `main`."""
    with open(log, "a", encoding="utf-8") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
    sys.exit(import_module(module).main(list(arguments)))
