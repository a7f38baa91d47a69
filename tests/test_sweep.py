"""Sweeps: results in order, whatever runs them; runs on disk that never mix; no orphans."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch

from labkit.training import sweep as exported
from labkit.training.loop import Loop
from labkit.training.sweep import InThisProcess, dask, sweep

CALLS = []


@dataclass(frozen=True)
class Setting:
    k: int
    images: torch.Tensor | None = None

    def __hash__(self):
        return self.k


def square(k, plus=0):
    CALLS.append(k)
    if k == 13:
        raise ValueError("13 is refused")
    return {"k": k, "square": torch.tensor(k * k + plus)}


def of_dataclass(setting):
    CALLS.append(setting.k)
    return setting.k


@pytest.fixture(autouse=True)
def calls():
    CALLS.clear()
    return CALLS


@pytest.fixture
def threads():
    """Two threads, whatever the tests run with."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)


def grid(*ks, **more):
    return [dict(k=k, **more) for k in ks]


def here(settings, store=None, function=square, **more):
    return sweep(function, settings, InThisProcess(), store, **more)


IN_A_NOTEBOOK = """
import os, signal, time, torch
from labkit.training.loop import Loop
OFFSET = 100
def offset(k):
    return k + OFFSET
def run(k):
    time.sleep(0.5 * (k == 0))  # the first ends last
    for step in Loop(3, {}, desc="inner"):
        pass
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    return [offset(k), os.getpid(), torch.get_num_threads(), ignored]
"""


def test_a_function_of_a_notebook_runs_in_processes_and_results_keep_their_order(capfd):
    names = {"__name__": "__main__"}
    exec(IN_A_NOTEBOOK, names)
    found = sweep(names["run"], grid(0, 1, 2), desc="three")
    assert [row[0] for row in found] == [100, 101, 102]
    assert os.getpid() not in {row[1] for row in found}
    assert all(row[2:] == [1, True] for row in found)  # one thread; Ctrl-C is the parent's
    printed = capfd.readouterr().out
    assert "three: 100%" in printed and "inner" not in printed  # no bars of the runs


def test_results_are_in_the_order_of_the_grid_and_equal_whatever_runs_them(threads):
    assert exported is sweep
    with ThreadPoolExecutor(3) as pool:
        for executor in (pool, InThisProcess()):
            found = sweep(square, grid(3, 1, 2, 1), executor)
            assert [(row["k"], row["square"].item()) for row in found] == [
                (3, 9),
                (1, 1),
                (2, 4),
                (1, 1),
            ]
        pool.submit(int)  # the caller's pool stays open
    assert torch.get_num_threads() == threads


def test_settings_are_dataclasses_or_keyword_arguments():
    assert here([Setting(3), Setting(1)], function=of_dataclass) == [3, 1]
    assert here([dict(k=2, plus=3)])[0]["square"] == 7
    assert here([]) == []


def test_the_store_takes_a_dataclass_or_a_dict(tmp_path):
    with pytest.raises(TypeError, match="a setting is a dataclass or a dict, got a int"):
        here([3], tmp_path)


def test_a_sweep_runs_with_one_thread_and_without_the_bars_of_its_runs(capsys, threads):
    def run(k):
        list(Loop(3, {}, desc="inner"))
        return torch.get_num_threads()

    assert here(grid(1), function=run) == [1] and torch.get_num_threads() == threads
    assert "inner" not in capsys.readouterr().out


def test_what_is_on_disk_is_not_computed_again(tmp_path, capsys, calls):
    first = here(grid(1, 2), tmp_path)
    assert calls == [1, 2] and "on disk" not in capsys.readouterr().out
    again = here(grid(0, 2, 3, 1), tmp_path)
    assert calls == [1, 2, 0, 3] and "2 of 4 runs are on disk" in capsys.readouterr().out
    assert [row["k"] for row in again] == [0, 2, 3, 1] and again[3] == first[0]
    assert len(list(tmp_path.iterdir())) == 4
    here(grid(0, 1, 2, 3), tmp_path)
    assert calls == [1, 2, 0, 3]


def other_square(k):
    return square(k)


@pytest.mark.parametrize(
    "changed",
    [
        dict(version=2),
        dict(function=other_square),
        dict(settings=grid(1, plus=0)),
        dict(settings=grid(1, plus=1)),
        dict(settings=grid(1.0)),
    ],
)
def test_a_run_of_other_settings_function_or_version_is_computed(tmp_path, calls, changed):
    here(grid(1), tmp_path)
    here(**{"settings": grid(1), "store": tmp_path, **changed})
    assert len(calls) == 2 and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "version", [None, "1.0"], ids=["other images of equal shape", "another torch"]
)
def test_a_run_on_other_images_or_another_torch_is_computed(tmp_path, calls, monkeypatch, version):
    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    here([Setting(1, images)], tmp_path, of_dataclass)
    here([Setting(1, images.clone())], tmp_path, of_dataclass)
    assert calls == [1]
    if version:
        monkeypatch.setattr(torch, "__version__", version)
    here([Setting(1, images if version else images + 1)], tmp_path, of_dataclass)
    assert calls == [1, 1]


def test_edited_code_is_computed_anew(tmp_path):
    for code, expected in (("k + 1", 2), ("k + 2", 3), ("k + 1", 2)):
        names = {"__name__": "__main__"}
        exec(f"def run(k): return {code}", names)
        assert here(grid(1), tmp_path, names["run"]) == [expected]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_a_run_that_fails_keeps_what_is_finished(tmp_path, calls, threads):
    with ThreadPoolExecutor(threads or 1) as pool:
        executor = pool if threads else InThisProcess()
        with pytest.raises(ValueError, match="13 is refused"):
            sweep(square, grid(1, 2, 13, 4), executor, tmp_path)
    kept = set(calls) - {13}
    assert {1, 2} <= kept and len(list(tmp_path.iterdir())) == len(kept)


def test_runs_that_ended_before_the_failure_was_noticed_are_kept(tmp_path):
    with pytest.raises(ValueError, match="13 is refused"):
        sweep(square, grid(13, 1, 2, 4), SlowToTell(), tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


class SlowToTell(ThreadPoolExecutor):
    """Runs are submitted before any of them begins, and all end before the first is looked at."""

    def __init__(self):
        super().__init__(1)
        self.waiting = []

    def submit(self, function, /, *args):
        self.waiting.append(super().submit(self.begin, function, *args))
        if len(self.waiting) == 4:
            self.ready = True
            time.sleep(0.5)
        return self.waiting[-1]

    ready = False

    def begin(self, function, *args):
        while not self.ready:
            time.sleep(0.01)
        return function(*args)


def test_each_run_is_kept_as_it_finishes(tmp_path):
    def run(k):
        return len(list(tmp_path.iterdir()))

    assert here(grid(0, 1, 2), tmp_path, run) == [0, 1, 2]


def test_an_interrupt_keeps_what_is_finished(tmp_path):
    def run(k):
        if k == 2:
            raise KeyboardInterrupt
        return k

    with pytest.raises(KeyboardInterrupt):
        here(grid(0, 1, 2, 3), tmp_path, run)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_file_is_refused_by_name(tmp_path):
    here(grid(1), tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"cut")
    with pytest.raises(RuntimeError, match=f"{file} is no whole checkpoint.*delete it"):
        here(grid(1), tmp_path)


def test_a_full_disk_costs_the_file_and_not_the_result(tmp_path, monkeypatch, capsys):
    def full_disk(*args, **kwargs):
        raise RuntimeError("unexpected pos 64 vs 0")  # what torch says when the disk is full

    monkeypatch.setattr(torch, "save", full_disk)
    assert [row["k"] for row in here(grid(1, 2), tmp_path)] == [1, 2]
    said = capsys.readouterr().out
    assert "cannot write" in said and "not kept" in said and not list(tmp_path.iterdir())


def dies(k):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_is_told_with_the_remedy():
    with pytest.raises(RuntimeError, match="a worker process died.*fewer workers"):
        sweep(dies, grid(1))


def test_dask_runs_a_sweep_on_its_workers(tmp_path):
    distributed = pytest.importorskip("distributed")
    names = {"__name__": "__main__"}
    exec("def run(k): return k * k", names)
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address=None,
    ) as cluster:
        executor = dask(cluster.scheduler_address)
        assert sweep(names["run"], grid(3, 1, 2), executor, tmp_path) == [9, 1, 4]
        with pytest.raises(ValueError, match="13 is refused"):
            sweep(square, grid(13), executor)
        executor._client.close()
    assert len(list(tmp_path.iterdir())) == 3


def test_without_dask_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match="pip install distributed"):
        dask("tcp://127.0.0.1:8786")


SCRIPT = """
import time
from labkit.training.sweep import sweep
def run(k):
    time.sleep(600 * (k > 0))
    return k
if __name__ == "__main__":
    import signal
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests ignores
    sweep(run, [dict(k=0), dict(k=1), dict(k=2)], store="store")
"""


def processes_of(group):
    """Process ids in a process group that are not yet dead."""
    rows = subprocess.run(["ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True)
    found = [row.split() for row in rows.stdout.splitlines()]
    return [int(pid) for pid, pgid, state in found if int(pgid) == group and state[0] != "Z"]


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.skipif(os.name == "nt", reason="process groups are Unix's")
@pytest.mark.parametrize("stopped_by", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_a_stopped_sweep_leaves_finished_runs_and_no_process(tmp_path, stopped_by):
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: list(tmp_path.glob("store/*.pt")))
        assert len(processes_of(process.pid)) >= 2
        if stopped_by == signal.SIGINT:
            os.killpg(process.pid, stopped_by)  # as a terminal does
        else:
            process.kill()
        error = process.communicate(timeout=120)[1]
        wait_for(lambda: not processes_of(process.pid))
    finally:
        for pid in processes_of(process.pid):
            os.kill(pid, signal.SIGKILL)
    assert [file.suffix for file in (tmp_path / "store").iterdir()] == [".pt"]
    if stopped_by == signal.SIGINT:
        assert process.returncode and error.rstrip().endswith("KeyboardInterrupt")
