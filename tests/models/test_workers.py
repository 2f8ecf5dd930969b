"""Threads for small products find the cores free."""

import subprocess
import sys

WATCHED = """
import os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"))

sys.meta_path.insert(0, Watch())
import train
"""


def test_training_asks_idle_threads_of_torch_to_sleep_before_torch_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["PASSIVE"]
