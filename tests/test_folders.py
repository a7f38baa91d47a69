"""Folders: the one answer to where the repository is and what the variables of a user name."""

from pathlib import Path

import pytest

from labkit import folders


@pytest.fixture(autouse=True)
def clone(tmp_path, monkeypatch):
    """A clone of the repository; nothing is set, and the working directory is notebooks."""
    root = tmp_path / "clone"
    for name in ("labkit", "notebooks", "data/weights"):
        (root / name).mkdir(parents=True)
    monkeypatch.setattr(folders, "_CODE", root / "labkit")
    monkeypatch.chdir(root / "notebooks")
    for variable in ("LABKIT_DATA", "LABKIT_RESULTS"):
        monkeypatch.delenv(variable, raising=False)
    return root


def test_a_clone_has_its_folders_in_itself(clone):
    assert folders.repository() == clone
    assert folders.data() == clone / "data" and folders.weights() == clone / "data" / "weights"
    assert folders.measured() == clone / "data" / "results"
    assert folders.results("smoke") == clone / "results" / "smoke"


def test_an_installed_labkit_works_where_the_user_is(clone, tmp_path, monkeypatch):
    code = tmp_path / "site-packages" / "labkit"
    for name in ("shipped", "measured"):
        (code / name).mkdir(parents=True)
    monkeypatch.setattr(folders, "_CODE", code)
    assert folders.repository() == Path.cwd() and folders.data() == Path.cwd() / "data"
    assert (folders.weights(), folders.measured()) == (code / "shipped", code / "measured")


def test_the_code_is_found_beside_its_notebooks(monkeypatch):
    monkeypatch.undo()
    assert (folders.repository() / "labkit" / "folders.py").is_file()
    assert (folders.weights() / "gan_mnist.pt").is_file()


def test_a_variable_names_a_folder_at_home_or_from_here_or_from_the_repository(clone, monkeypatch):
    (clone / "here").mkdir()
    (clone / "notebooks" / "both").mkdir()
    (clone / "both").mkdir()
    expected = {
        "~/x": Path.home() / "x",
        "here": clone / "here",  # as typed at the top, read in notebooks/
        "both": clone / "notebooks" / "both",
        "new/one": clone / "new" / "one",
        f" {clone} ": clone,
        " ": None,
    }
    for given, path in expected.items():
        monkeypatch.setenv("LABKIT_X", given)
        assert folders.named("LABKIT_X") == path, given
    monkeypatch.delenv("LABKIT_X")
    assert folders.named("LABKIT_X") is None


def test_results_go_where_the_variable_says(clone, monkeypatch):
    monkeypatch.setenv("LABKIT_RESULTS", "~/x")
    assert folders.results("cpu") == Path.home() / "x"


def test_a_users_images_come_before_the_kits(clone, tmp_path, monkeypatch):
    assert folders.image_folders() == [("data folder", clone / "data")]
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    expected = [("LABKIT_DATA", tmp_path), ("data folder", clone / "data")]
    assert folders.image_folders() == expected


def test_a_variable_that_names_no_folder_is_refused(monkeypatch):
    monkeypatch.setenv("LABKIT_DATA", "nowhere")
    with pytest.raises(FileNotFoundError, match="LABKIT_DATA=nowhere is not a folder.*unset it"):
        folders.image_folders()
