"""A rank whose launcher is killed before the ranks have met does not wait for them."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAUNCHER = """
import subprocess, sys
rank = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
print(rank.pid, rank.stdout.readline().strip(), flush=True)
rank.wait()
"""
RANK = """
import torch
from trainers.distributed import process_group
print("waits", flush=True)
with process_group(torch.device("cpu")):
    pass
"""


def test_a_rank_without_launcher_stops_waiting_for_the_others() -> None:
    with socket.socket() as nobody:  # bound, but it does not listen: the store of a launcher that is gone
        nobody.bind(("127.0.0.1", 0))
        ranks = {
            "RANK": "1",
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(nobody.getsockname()[1]),
        }
        elastic = {"TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_USE_AGENT_STORE": "True", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", LAUNCHER, RANK]
        environment = os.environ | ranks | elastic
        launcher = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        assert launcher.stdout is not None
        number, said = launcher.stdout.readline().split()
        assert said == "waits"
        time.sleep(2)
        assert Path(f"/proc/{number}").exists()  # it waits for its launcher's store
        launcher.send_signal(signal.SIGKILL)
        launcher.wait()
        until = time.monotonic() + 300
        while running(number) and time.monotonic() < until:
            time.sleep(0.1)
        assert not running(number)


def running(number: str) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
