import json
import os

import numpy as np
import pytest

from labkit import results


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


def test_a_record_holds_what_was_measured_and_where(folder):
    made = results.record("lab", {"accuracy": 0.5, "steps": 3}, data="mnist (LABKIT_DATA)", seed=7)
    content = json.loads((folder / "lab.json").read_text())
    assert content["metrics"] == {"accuracy": 0.5, "steps": 3}
    assert {"notebook", "profile", "data", "seed", "seconds", "torch", "device"} <= content.keys()
    assert made.content == content and (content["data"], content["seed"], content["profile"]) == (
        "mnist (LABKIT_DATA)",
        7,
        "smoke",
    )


def test_the_table_shows_every_claim_with_a_verdict_in_words_and_escapes_html(folder):
    claims = [
        results.Claim("a<b", "1 %", "2 %", np.True_),
        results.Claim("c", "3", "4", None),
        results.Claim("d", "5", "6", "in part"),
    ]
    made = results.record("lab", {}, data="none", seed=0, claims=claims)
    table = made._repr_html_()
    assert [claim["verdict"] for claim in json.loads(made.path.read_text())["claims"]] == [
        "holds",
        "not tested in this profile",
        "in part",
    ]
    assert "a&lt;b" in table and "a<b" not in table
    for words in ("holds", "not tested in this profile", "in part"):
        assert words in table and words in repr(made)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, 2], None])
def test_a_metric_that_is_no_finite_number_is_refused_by_name(value):
    with pytest.raises(ValueError, match="'loss'"):
        results.record("lab", {"loss": value}, data="none", seed=0)


def test_a_record_that_cannot_be_written_says_where_and_gives_the_metrics_back(folder):
    folder.write_text("a file where the folder should be")
    with pytest.raises(OSError, match="LABKIT_RESULTS") as error:
        results.record("lab", {"accuracy": 0.5}, data="none", seed=0)
    assert str(folder) in str(error.value) and '"accuracy": 0.5' in str(error.value)


def test_a_failed_write_leaves_the_old_record_and_no_part_of_a_new_one(folder, monkeypatch):
    results.record("lab", {"accuracy": 0.5}, data="none", seed=0)

    def full_disk(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        results.record("lab", {"accuracy": 0.9}, data="none", seed=0)
    assert [path.name for path in folder.iterdir()] == ["lab.json"]
    assert json.loads((folder / "lab.json").read_text())["metrics"] == {"accuracy": 0.5}
