"""The doctor says ok or names one remedy, also on a machine where half the kit is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_images import write_set
from test_photos import write_archive

from labkit import doctor
from labkit.data import images

ROOT = Path(__file__).resolve().parents[1]


def python(code, **variables):
    """What a fresh interpreter prints and how it ends; it has no network."""
    env = {
        key: value for key, value in os.environ.items() if not key.startswith(("LABKIT_", "PYT"))
    }
    env |= {"PYTHONPATH": str(ROOT), **variables}
    offline = "from labkit import doctor; doctor.online = lambda url: False\n"
    command = [sys.executable, "-c", offline + code]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)


def test_a_missing_dependency_is_one_line_with_a_remedy_and_stops_nothing():
    missing = ("torch", "numpy", "ipykernel", "nbclient", "latex2mathml")
    done = python(
        f"import sys; sys.modules.update(dict.fromkeys({missing}))\n"
        "from labkit.__main__ import main; sys.exit(main(['doctor']))"
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    for name in missing:
        assert f"mend {name}: not installed: pip install -r requirements.txt" in lines
    for name in ("python", "kernel", "device", "disk", "network", "data"):
        assert any(line.startswith((f"ok   {name}: ", f"mend {name}: ")) for line in lines), name


def test_a_terminal_without_the_letters_and_a_closed_pipe_give_no_traceback(tmp_path):
    show = "doctor.check_all = lambda: [doctor.Item('data', '3×5 in /Käthe/\\udcff')] * 9; "
    done = python(show + "raise SystemExit(doctor.main())", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith(r"ok   data: 3\xd75 in /K\xe4the/\udcff")
    close = "import os; r, w = os.pipe(); os.close(r); os.dup2(w, 1); "
    done = python(close + show + "raise SystemExit(doctor.main())", PYTHONIOENCODING="utf-8")
    assert done.returncode == 1 and done.stderr == ""


@pytest.mark.parametrize("missing", ["nbclient", "latex2mathml", "torch"])
def test_run_without_its_dependencies_points_to_the_doctor(missing):
    done = python(
        f"import sys; sys.modules['{missing}'] = None\n"
        "from labkit.__main__ import main; sys.exit(main(['run', 'no-such-notebook']))"
    )
    assert done.returncode == 2 and "python -m labkit doctor" in done.stderr
    assert "Traceback" not in done.stderr


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


@pytest.fixture
def report(data_home):
    """A function: the doctor's items on data, by name."""
    return lambda reachable=False: {item.name: item for item in doctor.check_data(reachable)}


def test_what_load_takes_is_ok_and_what_is_missing_is_said(
    report, data_home, tmp_path, monkeypatch
):
    """A small valid set, in a LABKIT_DATA with a tilde, is as good as a whole one."""
    raw = write_set(tmp_path / "downloads")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LABKIT_DATA", "~/downloads")
    items = report()
    assert not any(item.remedy for item in items.values())
    assert str(raw) in items["mnist"].found and "30 training" in items["mnist"].found
    assert "NOT the published images" in items["mnist"].found
    for name in ("fashion", "cats"):
        assert f"not in {tmp_path / 'downloads'} or {data_home}" in items[name].found
        assert items[name].found.endswith("the first load draws a built-in stand-in")
    assert report(True)["fashion"].found.endswith("the first load downloads it")
    assert report(True)["cats"].found.endswith("the first load draws a built-in stand-in")
    assert not data_home.exists()  # the doctor draws and downloads nothing


def pack(folder):
    (folder / "MNIST" / "raw" / images.FILES[3]).rename(
        folder / "MNIST" / "raw" / f"{images.FILES[3]}.gz"
    )


def close(folder):
    path = folder / "MNIST" / "raw" / images.FILES[0]
    path.unlink()
    path.symlink_to(path)  # a loop: nobody can read it, not even an administrator


BROKEN = {
    "only packed": ("mnist", pack),
    "wrong magic": (
        "mnist",
        lambda at: (at / "MNIST/raw" / images.FILES[0]).write_bytes(b"x" * 99),
    ),
    "cut": ("mnist", lambda at: os.truncate(at / "MNIST/raw" / images.FILES[1], 500)),
    "unreadable": ("mnist", close),
    "empty cats": ("cats", lambda at: (at / "cats").mkdir()),
    "few cats": ("cats", lambda at: write_archive(at / "cats.tar", {"1.jpg": b""})),
    "broken tar": ("cats", lambda at: (at / "cats.tar").write_bytes(b"no archive")),
    "inside of a set": ("LABKIT_DATA", lambda at: os.environ.update(LABKIT_DATA=f"{at}/MNIST")),
    "no folder": ("LABKIT_DATA", lambda at: os.environ.update(LABKIT_DATA=f"{at}/typo")),
}


@pytest.mark.parametrize("case", BROKEN)
def test_the_doctor_says_of_data_what_load_says(report, tmp_path, monkeypatch, case):
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    write_set(tmp_path)
    name, damage = BROKEN[case]
    damage(tmp_path)
    item = report()[name]
    with pytest.raises((OSError, ValueError)) as caught:
        images.load("mnist" if name == "LABKIT_DATA" else name, download=False)
    assert item.remedy == str(caught.value) and str(tmp_path) in item.remedy
    assert "delete" not in item.remedy


def test_requirement_lines_are_read_and_others_left_out():
    lines = ["# torch==1", "torch==2.14.1", "ipywidgets>=7.7.1", "-e .", 'x>=1; extra == "dev"']
    assert doctor.requirements(lines) == {
        "torch": ("==", "2.14.1"),
        "ipywidgets": (">=", "7.7.1"),
        "x": (">=", "1"),
    }


def test_grading_adds_its_items_and_repeats_none(monkeypatch, capsys):
    from labkit.__main__ import main
    from labkit.grading import machine

    monkeypatch.setattr(doctor, "check_all", lambda: [doctor.Item("nbgrader", "0.9.6")])
    found = [("nbgrader", "0.9.6", ""), ("sandbox", "no bwrap", "type this")]
    monkeypatch.setattr(machine, "check", lambda: found)
    assert main(["doctor"]) == 0 and "sandbox" not in capsys.readouterr().out
    assert main(["doctor", "--grading"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["ok   nbgrader: 0.9.6", "mend sandbox: no bwrap: type this", "", "1 to mend"]


def test_each_item_of_grading_is_ok_or_has_a_remedy(monkeypatch, tmp_path):
    from labkit.grading import machine, sandbox

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sandbox, "problem", lambda: "AppArmor forbids it; allow it: `so; and so`")
    items = {item.name: item for item in doctor.check_grading()}
    assert set(items) >= {"nbgrader", "distributed", "sandbox", "grading memory", "grading disk"}
    assert str(items["sandbox"]) == "mend sandbox: AppArmor forbids it: allow it: `so; and so`"

    def absent(name):
        raise machine.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(machine.metadata, "version", absent)
    items = {item.name: item for item in doctor.check_grading()}
    assert items["nbgrader"].remedy and not items["distributed"].remedy


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="grading needs Linux")
@pytest.mark.parametrize(
    "gigabytes, cores, remedy", [(64, 4, ""), (8, 4, "--workers 1"), (3, 1, "more")]
)
def test_memory_for_grading_is_that_of_all_that_run_side_by_side(
    monkeypatch, gigabytes, cores, remedy
):
    from labkit.grading import machine

    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": gigabytes * 2**18}
    monkeypatch.setattr(machine.os, "sysconf", sizes.get)
    monkeypatch.setattr(
        machine.os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False
    )
    said = machine._memory()[2]
    assert remedy in said and bool(said) == bool(remedy)
