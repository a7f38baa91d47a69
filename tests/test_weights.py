"""Shipped weights: what was saved is what is loaded, and nothing else is."""

import hashlib
import json

import pytest
import torch
from torch import nn

from labkit import weights
from labkit.models import Classifier
from labkit.training import shipped


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "folder", lambda: tmp_path)
    return tmp_path


def model(width=3):
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))


def test_weights_come_back_with_their_facts(folder):
    made = model()
    weights.save("tiny", made, data="toy", seed=4, command="make tiny", measured={"loss": 0.5})
    other = model()
    facts = weights.load("tiny", other)
    assert all(
        torch.equal(value, other.state_dict()[name]) for name, value in made.state_dict().items()
    )
    assert (
        facts["data"] == "toy"
        and facts["seed"] == 4
        and facts["command"] == "make tiny"
        and facts["measured"] == {"loss": 0.5}
    )
    assert not other.training


def test_a_changed_file_is_refused_by_name(folder):
    path = weights.save("tiny", model(), data="toy")
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(
        ValueError, match=r"tiny\.pt has the sha256 .*, expected .*python -m labkit weights tiny"
    ):
        weights.load("tiny", model())


def test_other_shapes_are_refused_by_name_and_leave_the_model_alone(folder):
    weights.save("tiny", model(3), data="toy")
    other = model(4)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(
        ValueError,
        match=r"tiny\.pt does not fit the model: 0\.weight is \(3, 2\), expected \(4, 2\)",
    ):
        weights.load("tiny", other)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize("lost", ["tiny.pt", "tiny.json"])
def test_a_missing_file_is_named(folder, lost):
    weights.save("tiny", model(), data="toy")
    (folder / lost).unlink()
    with pytest.raises(FileNotFoundError, match=f"{lost} is missing; get the file again"):
        weights.load("tiny", model())


@pytest.mark.parametrize("content", ["", "[]", "{}", "{'sha256'"])
def test_facts_that_are_none_are_named(folder, content):
    weights.save("tiny", model(), data="toy").with_suffix(".json").write_text(content)
    with pytest.raises(ValueError, match=r"tiny\.json is not a record of weights"):
        weights.load("tiny", model())


def test_a_pickle_that_runs_code_is_never_run(folder):
    class Bomb:
        def __reduce__(self):
            return (open, (str(folder / "ran"), "w"))

    path = weights.save("tiny", model(), data="toy")
    torch.save({"0.weight": Bomb()}, path)
    facts = json.loads(path.with_suffix(".json").read_text())
    facts["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(facts))
    with pytest.raises(Exception, match="[Ww]eights"):
        weights.load("tiny", model())
    assert not (folder / "ran").exists()


def test_every_shipped_file_is_whole_small_and_knows_how_it_was_made():
    names = {path.stem for path in weights.folder().glob("*.pt")}
    assert names == {path.stem for path in weights.folder().glob("*.json")} == set(shipped.MAKERS)
    for name in names:
        facts = json.loads((weights.folder() / f"{name}.json").read_text())
        assert (
            facts["command"] == f"python -m labkit weights {name}"
            and {"data", "seed", "sha256", "measured"} <= facts.keys()
        )
    assert sum(path.stat().st_size for path in weights.folder().iterdir()) < 25e6


@pytest.mark.parametrize("name", ["mnist", "fashion"])
def test_shipped_readers_fit_and_are_small(name):
    facts = weights.load(f"classifier_{name}", Classifier())
    assert (weights.folder() / facts["file"]).stat().st_size < 1e6
    assert facts["measured"]["test_accuracy"] >= {"mnist": 0.994, "fashion": 0.915}[name]


def test_an_unknown_name_lists_what_there_is(capsys):
    assert shipped.main("reader_of_minds") == 2
    assert "classifier_mnist" in capsys.readouterr().err
