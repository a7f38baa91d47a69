"""`python -m labkit weights`: what can be made is found by looking, nothing is lost unasked."""

import sys
import types

import pytest

from labkit import folders
from labkit.__main__ import main, weight_makers


@pytest.fixture
def supplied(tmp_path, monkeypatch):
    """A folder of supplied weights, and a package of studies of which one makes `tiny`."""
    package = tmp_path / "studies"
    package.mkdir()
    (package / "one.py").write_text(
        "from labkit import folders\n"
        "def make():\n"
        "    (folders.weights() / 'tiny.pt').write_text('new')\n"
        "    return {'accuracy': 0.98765, 'data': 'mnist'}\n"
        "def refuse():\n"
        "    raise ValueError('these are drawn; set LABKIT_DATA')\n"
        "WEIGHTS = {'tiny': make, 'real': refuse}\n"
    )
    (package / "two.py").write_text("settings = 1\n")
    weights = tmp_path / "weights"
    weights.mkdir()
    studies = types.ModuleType("studies_of_a_test")
    studies.__path__ = [str(package)]
    monkeypatch.setitem(sys.modules, "studies_of_a_test", studies)
    monkeypatch.setattr("labkit.studies", studies, raising=False)
    monkeypatch.setattr(folders, "weights", lambda: weights)
    return weights


def test_makers_are_found_by_looking_through_the_studies(supplied):
    assert set(weight_makers()) == {"tiny", "real"}


def test_a_supplied_file_is_overwritten_only_when_asked_for(supplied, capsys):
    (supplied / "tiny.pt").write_text("supplied")
    assert main(["weights", "tiny"]) == 2
    assert "--replace" in capsys.readouterr().err
    assert (supplied / "tiny.pt").read_text() == "supplied"
    assert main(["weights", "tiny", "--replace"]) == 0
    assert (supplied / "tiny.pt").read_text() == "new"
    assert "tiny: accuracy 0.9877, data mnist, in" in capsys.readouterr().out


def test_the_names_are_listed_without_one_and_for_one_that_is_unknown(supplied, capsys):
    assert main(["weights"]) == 0
    assert capsys.readouterr().out.split() == ["tiny", "real"]
    assert main(["weights", "nosuch"]) == 2
    assert "'nosuch'; choose one of tiny, real" in capsys.readouterr().err


def test_a_maker_that_refuses_is_one_line(supplied, capsys):
    assert main(["weights", "real"]) == 1
    assert capsys.readouterr().err == "labkit: these are drawn; set LABKIT_DATA\n"
