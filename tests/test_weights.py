"""Supplied weights: what was saved is what is loaded, and nothing else is."""

import hashlib
import json
import traceback

import pytest
import torch
from torch import nn

from labkit import folders, weights
from labkit.models.classifier import Classifier


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "weights", lambda: tmp_path)
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
        ValueError, match=r"tiny\.pt has the sha256 .*, expected .*labkit weights tiny --replace"
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
    with pytest.raises(FileNotFoundError, match=f"{lost} is missing; get it again"):
        weights.load("tiny", model())


@pytest.mark.parametrize("content", ["", "[]", "{}", "{'sha256'"])
def test_facts_that_are_none_are_named(folder, content):
    weights.save("tiny", model(), data="toy").with_suffix(".json").write_text(content)
    with pytest.raises(ValueError, match=r"tiny\.json is no record of weights"):
        weights.load("tiny", model())


def forge(path, content):
    """Put other content in place of weights, and the hash that fits it into the record."""
    torch.save(content, path) if not isinstance(content, bytes) else path.write_bytes(content)
    facts = json.loads(path.with_suffix(".json").read_text())
    facts["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(facts))


def test_a_pickle_that_runs_code_is_never_run_nor_recommended(folder):
    class Bomb:
        def __reduce__(self):
            return (open, (str(folder / "ran"), "w"))

    forge(weights.save("tiny", model(), data="toy"), {"0.weight": Bomb()})
    with pytest.raises(ValueError, match=r"tiny\.pt .*Do not load it in any other way") as caught:
        weights.load("tiny", model())
    assert not (folder / "ran").exists()
    shown = "".join(traceback.format_exception(caught.value))
    assert "weights_only" not in shown and "python -m labkit weights tiny" in shown


@pytest.mark.parametrize("content", [b"", b"PK", [1, 2], {"0.weight": 3}, torch.zeros(3)])
def test_what_is_no_state_dict_is_refused_by_name(folder, content):
    forge(weights.save("tiny", model(), data="toy"), content)
    with pytest.raises(ValueError, match=r"tiny\.pt is damaged or holds something other than"):
        weights.load("tiny", model())


def test_a_half_written_file_is_refused_even_if_its_hash_fits(folder):
    path = weights.save("tiny", model(), data="toy")
    forge(path, path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"tiny\.pt is damaged or holds something other than"):
        weights.load("tiny", model())


def test_weights_are_replaced_only_where_that_is_allowed(folder):
    path = weights.save("tiny", model(), data="toy", replace=False)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"tiny\.pt is there already; move it away"):
        weights.save("tiny", model(), replace=False)
    assert path.read_bytes() == before
    weights.save("tiny", model())
    assert path.read_bytes() != before


def test_every_supplied_file_is_whole_small_and_knows_how_it_was_made():
    supplied = list(folders.weights().glob("*.pt"))
    assert supplied
    for path in supplied:
        facts = json.loads(path.with_suffix(".json").read_text())
        assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert facts["command"] == f"python -m labkit weights {path.stem}"
        assert {"data", "seed", "measured"} <= facts.keys()
    files = list(folders.weights().iterdir())
    assert len(files) == 2 * len(supplied) and sum(path.stat().st_size for path in files) < 25e6


@pytest.mark.parametrize(("name", "least"), [("mnist", 0.994), ("fashion", 0.915)])
def test_supplied_classifiers_fit_and_are_small(name, least):
    facts = weights.load(f"classifier_{name}", Classifier())
    assert (folders.weights() / facts["file"]).stat().st_size < 1e6
    assert facts["measured"]["test_accuracy"] >= least
