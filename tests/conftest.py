"""What all tests share: no network, no display, and a data folder of their own."""

import os
import sys

import pytest

os.environ.setdefault("MPLBACKEND", "agg")


# the longest first: a worker that begins with one of them last would work on alone
LONG = ("grading", "real_data", "browser", "studies", "student_copies", "runner")


def pytest_collection_modifyitems(items):
    """Starts with the modules that take longest; the order within a module stays."""
    ranks = {f"test_{name}.py": k for k, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(LONG)))


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """The networks of the tests are tiny: a second thread costs more than it saves."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture
def data_home(tmp_path, monkeypatch):
    """An empty data/ folder for labkit, no LABKIT_DATA, and no network."""
    from labkit import folders
    from labkit.data import images

    def refuse(*args, **kwargs):
        raise OSError("no network in tests")

    monkeypatch.delenv("LABKIT_DATA", raising=False)
    monkeypatch.setattr(folders, "data", lambda: tmp_path / "data")
    monkeypatch.setattr("socket.create_connection", refuse)
    images._load_again.cache_clear()
    return tmp_path / "data"
