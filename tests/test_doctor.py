"""The doctor says ok or names one remedy, also on a machine where half the kit is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from labkit import doctor

ROOT = Path(__file__).resolve().parents[1]


def test_a_missing_dependency_is_one_line_with_a_remedy_and_stops_nothing():
    blocked = "import sys; sys.modules.update(torch=None, numpy=None, ipykernel=None, nbclient=None, latex2mathml=None); "
    code = (
        blocked
        + "from labkit import doctor; doctor.online = lambda: False; from labkit.__main__ import main; sys.exit(main(['doctor']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    for name in ("torch", "numpy", "ipykernel", "nbclient", "latex2mathml"):
        assert f"mend {name}: not installed: pip install -r requirements.txt" in lines
    for name in ("python", "kernel", "device", "disk", "network", "mnist", "fashion", "cats"):
        assert any(
            line[5:].startswith(f"{name}: ") and line[:5] in ("ok   ", "mend ") for line in lines
        ), name


@pytest.mark.parametrize("missing", ["nbclient", "latex2mathml", "torch"])
def test_run_without_its_dependencies_points_to_the_doctor(missing):
    code = f"import sys; sys.modules['{missing}'] = None; from labkit.__main__ import main; sys.exit(main(['run', 'no-such-notebook']))"
    env = {
        key: value
        for key, value in os.environ.items()
        if key not in ("LABKIT_PROFILE", "PYTEST_VERSION")
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120
    )
    assert (
        done.returncode == 2
        and "python -m labkit doctor" in done.stderr
        and "Traceback" not in done.stderr
    )


@pytest.mark.parametrize("broken", [True, False])
def test_the_exit_status_says_whether_something_must_be_mended(monkeypatch, capsys, broken):
    monkeypatch.setattr(
        doctor,
        "check_all",
        lambda: [doctor.Item("disk", "0.1 GB", "free some space" if broken else "")],
    )
    assert doctor.main() == int(broken)
    assert ("mend disk: 0.1 GB: free some space" in capsys.readouterr().out) == broken


def test_versions_are_held_against_the_bound_and_what_was_tested():
    installed = doctor.check_package("pytest", None, None, "install").found
    assert doctor.check_package("pytest", installed, "1.0", "install") == doctor.Item(
        "pytest", installed
    )
    assert (
        doctor.check_package("pytest", "0.9", None, "install").found == f"{installed} (tested: 0.9)"
    )
    old = doctor.check_package("pytest", None, "999.0", "install")
    assert old.remedy == "install" and "older than 999.0" in old.found
    assert doctor.numbers("2.14.1+cu130") == doctor.numbers("2.14.1") > doctor.numbers("2.6")


def test_a_package_that_is_there_but_does_not_import_is_told_apart_from_a_missing_one(
    tmp_path, monkeypatch
):
    (tmp_path / "halfbuilt.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    item = doctor.check_package("halfbuilt", None, None, "reinstall")
    assert "does not import" in item.found and "nms" in item.found and item.remedy == "reinstall"
    assert doctor.check_package("nobody-wrote-this", None, None, "install").found == "not installed"


def idx_folder(root: Path) -> Path:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, size in doctor.IDX_BYTES.items():
        with open(raw / name, "wb") as file:
            file.truncate(size)
    return raw


def test_data_are_found_on_the_ladder_and_a_cut_file_is_named(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    (first / "cats").mkdir(parents=True)
    raw = idx_folder(second)
    mnist, fashion, cats = doctor.check_data([first, second], reachable=True)
    assert str(raw) in mnist.found and not mnist.remedy
    assert "downloads" in fashion.found and not fashion.remedy
    assert str(first / "cats") in cats.found
    with open(raw / "t10k-labels-idx1-ubyte", "r+b") as file:
        file.truncate(100)
    mnist, fashion, _ = doctor.check_data([second], reachable=False)
    assert (
        "t10k-labels-idx1-ubyte has 100 bytes instead of 10,008" in mnist.found
        and str(raw) in mnist.remedy
    )
    assert "stand-in" in fashion.found


def test_offline_is_fine_and_a_data_folder_that_is_not_there_is_not(tmp_path, monkeypatch):
    assert (
        not doctor.check_network(False).remedy and "stand-in" in doctor.check_network(False).found
    )
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    assert doctor.data_folders(ROOT) == ([tmp_path, ROOT / "data"], [])
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path / "typo"))
    assert "typo is not a folder" in doctor.data_folders(ROOT)[1][0].found


def test_requirement_lines_are_read_and_others_left_out():
    lines = ["# torch==1", "torch==2.14.1", "ipywidgets>=7.7.1", "-e .", 'x>=1; extra == "dev"']
    assert doctor.requirements(lines) == {
        "torch": ("==", "2.14.1"),
        "ipywidgets": (">=", "7.7.1"),
        "x": (">=", "1"),
    }
