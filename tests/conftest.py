"""No test depends on those before it: random numbers begin anew with each, environment and signals with each file."""

import os
import random
import signal
import sys
from collections.abc import Iterator

import numpy as np
import pytest

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Also one thread: models of tests are too small for more, and some libraries (numba's) change the number."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (whatever draws from the global stream)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(autouse=True, scope="module")
def process_of_a_file() -> Iterator[None]:
    """What a file's tests, or the libraries that they load, set for the process does not reach the next file."""
    variables, folder = dict(os.environ), os.getcwd()
    handlers = {one: signal.getsignal(one) for one in SIGNALS}
    yield
    os.chdir(folder)
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)
    for one, handler in handlers.items():
        signal.signal(one, handler)
