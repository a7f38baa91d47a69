"""Records: what a notebook measured, on which data, and the table that it shows."""

import json
import os
import re
from types import SimpleNamespace

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


def image_set(content: str) -> SimpleNamespace:
    """What `record` needs of an ImageSet."""
    key = SimpleNamespace(content=content)
    return SimpleNamespace(provenance="mnist (LABKIT_DATA)", key=key)


def test_a_record_knows_the_content_of_its_images_and_has_a_fingerprint_of_what_shaped_it():
    def made(data, seed=0, notebook="lab"):
        return results.record(notebook, {}, data=data, seed=seed).content

    one = made(image_set("aaa"))
    assert (one["data"], one["data_content"]) == ("mnist (LABKIT_DATA)", ["aaa"])
    two = made([image_set("aaa"), image_set("bbb")])
    assert two["data"] == "mnist (LABKIT_DATA), mnist (LABKIT_DATA)"
    assert two["data_content"] == ["aaa", "bbb"]
    text = made("palindromes (generated)")
    assert (text["data"], text["data_content"]) == ("palindromes (generated)", [])
    others = [made(image_set("bbb")), two, text, made(image_set("aaa"), seed=1)]
    others += [made(image_set("aaa"), notebook="other")]
    assert made(image_set("aaa"))["fingerprint"] == one["fingerprint"]
    assert len({record["fingerprint"] for record in [one, *others]}) == 6


def test_the_profile_is_part_of_the_fingerprint(monkeypatch):
    prints = set()
    for name in ("smoke", "cpu"):
        monkeypatch.setenv("LABKIT_PROFILE", name)
        prints.add(results.record("lab", {}, data="none", seed=0).content["fingerprint"])
    assert len(prints) == 2


@pytest.mark.parametrize("data", [None, 3, [], [1], {"mnist": 1}, ["mnist"]])
def test_data_of_another_kind_is_refused(data):
    with pytest.raises(ValueError, match="pass the ImageSet"):
        results.record("lab", {}, data=data, seed=0)


def test_a_record_names_the_device_that_was_used_not_the_one_of_the_profile(monkeypatch):
    monkeypatch.setattr(results, "profile_device", lambda: "meta")
    used = [
        results.record("lab", {}, data="none", seed=0, device=device).content["device"]
        for device in (None, "cpu")
    ]
    assert [name.split()[0] for name in used] == ["meta", "cpu"]


def test_records_go_where_the_one_resolver_says(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LABKIT_RESULTS", "~/here")
    assert results.folder() == tmp_path / "here"
    monkeypatch.delenv("LABKIT_RESULTS")
    assert results.folder().parts[-2:] == ("results", "smoke")


def test_what_is_written_can_be_read_back_and_a_missing_record_is_told(folder):
    made = results.record("lab", {"loss": 0.5}, data="none", seed=0)
    assert results.read(made.path) == (made.content, "")
    found, complaint = results.read(folder / "other.json")
    assert found == {} and re.search("other.json was not written.*results.record", complaint)


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


CLAIM = {"claim": "a<b", "reported": "1 %", "reproduced": "2 %", "verdict": "undecided"}


@pytest.fixture
def kit(tmp_path, monkeypatch):
    """Writes a band or a study as the kit has them."""
    monkeypatch.setattr(results.folders, "measured", lambda: tmp_path / "kit")
    facts = {"profile": "smoke", "data": "d", "data_content": [], "date": "1999-12-31 23:59"}

    def write(kind, **more):
        results.write(tmp_path / "kit" / kind / "lab.json", facts | more)

    return write


def found(**metrics):
    return results.found("lab", metrics, data="d", seed=3)


def test_what_a_lab_found_is_recorded_and_stands_beside_the_band(kit, folder):
    metrics = {"low": [1.0, 2, 3, 4, 5], "in": [1.0, 2, 3, 4, 5], "high": [0.1] * 5}
    kit("labs", metrics=metrics)
    made = found(**{"low": 0.5, "in": 3, "high": 0.2, "new": 7, "text": "cpu"})
    content = json.loads((folder / "lab.json").read_text())
    assert content == made.content and (content["seed"], content["claims"]) == (3, [])
    ((caption, names, rows),) = made.tables
    assert "1999-12-31" in caption and "One new seed in three" in caption and len(names) == 4
    assert rows == [
        ("low", "0.5", "1 to 5", "below"),
        ("in", "3", "1 to 5", "inside"),
        ("high", "0.2", "0.1 to 0.1", "above"),
        ("new", "7", "", ""),
        ("text", "cpu", "", ""),
    ]
    assert "- in: you 3; seeds 0 to 4 1 to 5; inside" in repr(made)
    assert "<td" in made._repr_html_() and made._repr_html_().count("<table") == 1


def test_a_notebook_saves_the_record_itself_beside_its_table(kit):
    from IPython.core.formatters import DisplayFormatter

    made = found(loss=0.123456789)
    shown, _ = DisplayFormatter().format(made)
    record = shown[results.MIME]
    assert record["metrics"] == {"loss": 0.123456789} and record["seed"] == 3
    assert all(value == made.content[fact] for fact, value in record.items())
    assert "0.1235" in shown["text/html"] and "0.1235" in shown["text/plain"]


@pytest.mark.parametrize("other", [{"profile": "cpu"}, {"data": "e"}, {"data_content": ["abc"]}])
def test_a_band_of_another_profile_or_of_other_data_is_not_compared(kit, other):
    kit("labs", metrics={"loss": [1, 2, 3, 4, 5]}, **other)
    made = found(loss=3)
    ((caption, names, rows),) = made.tables
    assert "no comparison" in caption and rows == [("loss", "3")] and len(names) == 2
    assert "- loss: 3" in repr(made) and "inside" not in repr(made) + made._repr_html_()


def test_the_same_images_are_comparable_wherever_they_came_from(kit):
    kit("labs", metrics={"loss": [1, 2, 3, 4, 5]}, data="mnist (downloaded)", data_content=["aaa"])
    made = results.found("lab", {"loss": 3}, data=image_set("aaa"), seed=0)
    assert made.tables[0][2] == [("loss", "3", "1 to 5", "inside")]


def test_without_a_band_that_is_said(kit):
    made = found(loss=3)
    assert len(made.tables) == 1 and "no other seeds" in repr(made)


def test_the_verdicts_of_the_study_stand_below_with_profile_and_seeds(kit):
    kit("studies", seeds=[0, 1], claims=[CLAIM])
    made = found(loss=3)
    caption, _, rows = made.tables[1]
    assert "profile smoke" in caption and "at most 2 seeds" in caption
    assert rows == [("a<b", "1 %", "2 %", "undecided")]
    page = made._repr_html_()
    assert page.count("<table") == 2 and "a&lt;b" in page
    assert "- a<b: reported 1 %; reproduced 2 %; undecided" in repr(made)


def test_a_damaged_file_of_the_kit_is_named(kit, tmp_path):
    kit("labs")
    (tmp_path / "kit" / "labs" / "lab.json").write_text("{")
    with pytest.raises(ValueError, match="lab.json is damaged.*from the repository"):
        results.band("lab")


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
