"""Threads for small products find the cores free."""

import os
import subprocess
import sys

WATCHED = """
import os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"))

sys.meta_path.insert(0, Watch())
import train
"""


def test_training_bids_idle_threads_of_torch_sleep_soon_before_torch_is_imported() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["10000"]
