"""No test depends on those before it: random numbers begin anew with each, environment and folder with each file."""

import os
import random
import sys
from collections.abc import Iterator

import numpy as np
import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (whatever draws from the global stream)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def environment_of_a_file() -> Iterator[None]:
    """What a file's tests, or the libraries that they load, set in the environment does not reach the next file."""
    variables, folder = dict(os.environ), os.getcwd()
    yield
    os.chdir(folder)
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)
