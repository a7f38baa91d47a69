"""Notebooks that run as tests start from nothing and leave nothing behind."""

import atexit
import os
import shutil
import tempfile

import pytest

if os.environ.get("PYTEST_XDIST_WORKER"):  # kernels side by side: a core each
    os.environ.setdefault("OMP_NUM_THREADS", "1")
RESULTS = tempfile.mkdtemp(prefix="labkit-results-")
atexit.register(shutil.rmtree, RESULTS, ignore_errors=True)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    """The kernel that a notebook's first cell starts keeps its results in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        if not os.environ.get("LABKIT_RESULTS"):
            patch.setenv("LABKIT_RESULTS", RESULTS)
        return (yield)
