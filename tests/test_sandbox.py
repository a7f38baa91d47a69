"""The sandbox bounds what a student's code can use up, see and leave behind, and hands on the rest.

Each bomb is bounded by itself, too: should a limit fail, the test fails and not the machine.
"""

import json
import os
import socket
import struct
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import psutil
import pytest

from labkit.grading import sandbox, syscalls
from labkit.grading.sandbox import Limits

ROOT = Path(__file__).resolve().parents[1]
MISSING = sandbox.problem()
needs_sandbox = pytest.mark.skipif(bool(MISSING), reason=f"no sandbox here: {MISSING}")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="grading needs Linux")
both = pytest.mark.parametrize("unsafe", [pytest.param(False, marks=needs_sandbox), True])
pytestmark = needs_linux
SMALL = Limits(seconds=30, memory=2**30, processes=40, disk=16 * 2**20, output=2**20)


@pytest.fixture
def inside(tmp_path):
    """A function that runs a text as a module in the sandbox; its name is found in no other run."""
    folder = tmp_path / "modules"
    folder.mkdir(mode=0o755)

    def start(code, limits=SMALL, job=b"", unsafe=False, name=None):
        name = name or f"student_{uuid.uuid4().hex}"
        (folder / f"{name}.py").write_text(textwrap.dedent(code), encoding="utf-8")
        return sandbox.run(name, job, limits, [folder], unsafe)

    start.folder = folder
    return start


def running(name):
    """The processes that have a name on their command line; zombies have none."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(name in part for part in process.cmdline()):
                found.append(process)
        except psutil.Error:
            pass
    return found


def soon(condition, seconds=10):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()


# what a run hands on


@both
def test_the_job_comes_in_and_what_is_written_comes_out(inside, unsafe):
    code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()); sys.stderr.write('x' * 9)"
    job = os.urandom(300_000)  # more than a pipe holds
    assert inside(code, job=job, unsafe=unsafe) == sandbox.Ended(job, "", "x" * 9)


@both
@pytest.mark.parametrize(
    "code, why",
    [
        ("raise SystemExit(3)", "exit 3"),
        ("import os; os._exit(7)", "exit 7"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9"),
        ("import ctypes; ctypes.string_at(0)", "signal 11"),
        ("raise SystemExit(250)", "exit 250"),  # no signal has the number 250 − 128
    ],
)
def test_how_it_ended_is_told(inside, code, why, unsafe):
    ended = inside(f"print('so far', flush=True)\n{code}", unsafe=unsafe)
    assert (ended.output, ended.why) == (b"so far\n", why)


@both
def test_of_long_errors_the_end_is_kept(inside, unsafe):
    ended = inside("import sys; sys.stderr.write('a' * 50_000 + 'end')", unsafe=unsafe)
    assert len(ended.errors) == 2000 and ended.errors.endswith("aend")


# limits


@both
def test_a_loop_that_ignores_signals_ends_in_time_and_its_output_is_kept(inside, unsafe):
    code = """
        import signal, time
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        print("before", flush=True)
        end = time.monotonic() + 40
        while time.monotonic() < end:
            try:
                pass
            except BaseException:
                pass
        """
    ended = inside(code, Limits(seconds=6), unsafe=unsafe)
    assert (ended.output, ended.why) == (b"before\n", "time")


@both
def test_memory_of_one_process(inside, unsafe):
    code = "kept = [bytearray(b'x' * 2**25) for _ in range(64)]; print('has two GiB')"
    ended = inside(code, Limits(seconds=30, memory=2**28), unsafe=unsafe)
    assert (ended.output, ended.why) == (b"", "memory")


@both
def test_memory_of_processes_together(inside, unsafe):
    code = """
        import os, time
        for _ in range(6):
            if os.fork() == 0:
                kept = b"x" * 2**26
                time.sleep(20)
                os._exit(0)
        time.sleep(20)
        """
    assert inside(code, Limits(seconds=30, memory=2**28), unsafe=unsafe).why == "memory"


@both
def test_memory_that_processes_share_counts_once(inside, unsafe):
    code = """
        import os, time
        kept = b"x" * 2**26
        for _ in range(8):
            if os.fork() == 0:
                time.sleep(1)
                os._exit(0)
        time.sleep(1)
        """
    assert inside(code, Limits(seconds=30, memory=2**28), unsafe=unsafe).why == ""


@both
def test_more_than_there_is_cannot_be_allocated_at_all(inside, unsafe):
    code = """
        try:
            kept = bytearray(10 * 2**30)
        except MemoryError:
            print("MemoryError")
        """
    assert inside(code, SMALL, unsafe=unsafe).output == b"MemoryError\n"


@both
def test_processes(inside, unsafe):
    code = "import os, time\nfor _ in range(9): os.fork()\ntime.sleep(20)"  # at most 512
    ended = inside(code, Limits(seconds=30, processes=20), unsafe=unsafe)
    assert ended.why == "processes" or "BlockingIOError" in ended.errors


@both
def test_the_kernel_bounds_each_process_should_the_watch_be_late(inside, unsafe):
    code = """
        import resource
        for name in ("AS", "NPROC", "FSIZE", "CORE"):
            print(resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1])
        """
    memory, processes, file, core = map(int, inside(code, unsafe=unsafe).output.split())
    assert (file, core) == (SMALL.disk, 0) and memory == SMALL.memory + sandbox.ADDRESSES
    assert processes == 2 * SMALL.processes or unsafe  # there, others of this user count, too


@both
def test_threads_count_as_processes(inside, unsafe):
    code = """
        import threading, time
        for _ in range(300):
            threading.Thread(target=time.sleep, args=(20,), daemon=True).start()
        time.sleep(20)
        """
    ended = inside(code, Limits(seconds=30, processes=20), unsafe=unsafe)
    assert ended.why == "processes" or "can't start new thread" in ended.errors


@both
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output(inside, stream, unsafe):
    code = f"import sys\nfor _ in range(10_000): sys.{stream}.write('x' * 10_000)"
    ended = inside(code, SMALL, unsafe=unsafe)
    assert ended.why == "output" and len(ended.output) < 2 * SMALL.output


@needs_sandbox
def test_the_disk_is_full_inside_and_as_it_was_outside(inside):
    code = """
        import errno, json, os
        found = {}
        for folder in ("/tmp", "/dev/shm"):
            written = 0
            try:
                for name in range(50):
                    with open(f"{folder}/{name}", "wb") as file:
                        written += file.write(b"x" * 4_000_000)
                        file.flush()
            except OSError as error:
                found[folder] = errno.errorcode[error.errno], written
        print(json.dumps(found))
        """
    found = json.loads(inside(code).output)
    assert {kind for kind, _ in found.values()} == {"ENOSPC"}
    assert found["/tmp"][1] <= SMALL.disk and found["/dev/shm"][1] <= sandbox.SHARED
    assert not Path("/tmp/49").exists()


@both
def test_no_file_is_larger_than_the_disk(inside, unsafe):
    code = """
        import tempfile
        with tempfile.TemporaryFile() as file:
            try:
                file.truncate(17 * 2**20)
            except OSError as error:
                print(error.strerror)
        """
    assert inside(code, unsafe=unsafe).output == b"File too large\n"


# what it sees


@needs_sandbox
def test_no_network_and_no_socket_of_the_host(inside):
    with socket.create_server(("127.0.0.1", 0)) as host, socket.socket(socket.AF_UNIX) as local:
        abstract = f"\0labkit-{uuid.uuid4().hex}"
        local.bind(abstract)
        local.listen()
        code = f"""
            import socket
            places = [(socket.AF_INET, {host.getsockname()!r}), (socket.AF_UNIX, {abstract!r}),
                      (socket.AF_INET, ("192.0.2.1", 80))]
            for family, place in places:
                try:
                    socket.socket(family).connect(place)
                    print("connected")
                except OSError as error:
                    print(type(error).__name__, error.strerror)
            mine = socket.create_server(("127.0.0.1", 0))  # a kernel needs this much
            socket.create_connection(mine.getsockname())
            """
        ended = inside(code)
    lines = ended.output.decode().splitlines()
    assert ended.why == "" and len(lines) == 3 and "connected" not in lines
    assert lines[2] == "OSError Network is unreachable"


@needs_sandbox
def test_secrets_of_the_environment_are_not_visible(inside, monkeypatch):
    monkeypatch.setenv("SECRET", "a-token-of-the-instructor")
    code = """
        import glob, os
        print(dict(os.environ), end="")
        for path in glob.glob("/proc/[0-9]*/environ"):
            try:
                print(open(path).read(), end="")
            except OSError:
                pass
        """
    output = inside(code).output.decode()
    assert "LABKIT_GRADING" in output and "a-token" not in output and "SECRET" not in output


@needs_sandbox
def test_files_of_the_instructor_are_not_there(inside, tmp_path):
    (tmp_path / "gradebook.db").write_text("marks")
    solution = next((ROOT / "notebooks").glob("*.ipynb"))
    hidden = [tmp_path / "gradebook.db", solution, solution.parent / "student", Path(__file__)]
    hidden += [Path("/kit", solution.relative_to(ROOT)), Path.home() / ".ssh", ROOT / ".git"]
    hidden += [Path("/etc/passwd"), Path("/etc/shadow"), Path("/var/log"), Path("/run")]
    code = f"""
        import os
        print([path for path in {[*map(str, hidden)]} if os.path.exists(path)])
        print(sorted(os.listdir("/kit")), os.listdir("/kit/notebooks"))
        """
    said = inside(code).output.decode().splitlines()
    assert said == ["[]", "['data', 'labkit', 'notebooks'] []"]


@needs_sandbox
def test_only_tmp_and_shared_memory_can_be_written(inside):
    code = """
        import os, sys
        places = ["/", *sys.path]
        for folder, names, _ in os.walk("/"):
            depth = folder.count("/")
            names[:] = [name for name in names if name != "proc" and depth < 4][:50]
            places.append(folder)
        for place in [*places, "/proc", "/proc/sys", "/proc/self"]:
            try:
                open(os.path.join(place, "new"), "w").close()
                os.unlink(os.path.join(place, "new"))
                print(place)
            except OSError:
                pass
        for path in (os.__file__, sys.executable, "/kit/labkit/__init__.py"):
            try:
                open(path, "ab").close()
                print(path)
            except OSError:
                pass
        """
    can = inside(code).output.decode().split()
    assert {"/tmp", sandbox.HOME, "/dev/shm"} <= set(can)
    assert all(place.startswith(("/tmp", "/dev/shm")) for place in can), can


@needs_sandbox
def test_a_student_is_nobody_there(inside):
    code = """
        import os, signal
        print(os.getuid() and open("/proc/self/status").read().split("CapEff:")[1].split()[0])
        for call in (os.setuid, os.seteuid):
            try:
                call(0)
                print("root")
            except OSError:
                pass
        print(sorted(int(name) for name in os.listdir("/proc") if name.isdigit())[0])
        """
    user, *rest = inside(code).output.decode().split()
    assert set(user) == {"0"} and rest == ["1"]


@needs_sandbox
def test_system_calls_that_lead_out_of_the_limits_are_refused(inside):
    code = """
        import ctypes, os, sys
        libc = ctypes.CDLL(None, use_errno=True)
        for name, arguments in {
            "unshare": (0x10000000,), "ptrace": (0, 0, 0, 0), "memfd_create": (b"x", 0),
            "shmget": (0, 4096, 0o1600), "clone": (0, 0, 0x10000000 | 17, 0),
        }.items():
            print(name, getattr(libc, name)(*arguments), ctypes.get_errno())
        """
    if not syscalls.filter_of(os.uname().machine):
        pytest.skip("no filter for this machine")
    answers = {
        line.split()[0]: line.split()[1] for line in inside(code).output.decode().split("\n")[:-1]
    }
    assert set(answers.values()) == {"-1"} and len(answers) == 5


@needs_sandbox
def test_labkit_finds_its_data_and_the_weights(inside, tmp_path, monkeypatch):
    (tmp_path / "images" / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "images" / "cats.tar").write_bytes(b"photos")
    (tmp_path / "images" / "private.txt").write_text("not for students")
    for path in [tmp_path / "images", *(tmp_path / "images").rglob("*")]:
        path.chmod(0o755)
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path / "images"))
    code = """
        import os
        from labkit import folders, profile
        given = folders.named("LABKIT_DATA")
        print(sorted(os.listdir(given)), open(given / "cats.tar").read(), profile.profile())
        print(any(folders.weights().glob("*.pt")), any(folders.measured().glob("*/*.json")))
        """
    said = inside(code).output.decode().splitlines()
    assert said == ["['MNIST', 'cats.tar'] photos smoke", "True True"]


# what it leaves behind


DAEMON = """
    import os, sys, time
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            time.sleep(30)
        os._exit(0)
    os.wait()
    time.sleep(0.3)
    print("started", flush=True)
    """


@both
@pytest.mark.parametrize("then", ["", "time.sleep(30)"])
def test_a_daemon_ends_with_its_run(inside, then, unsafe):
    name = f"student_{uuid.uuid4().hex}"
    code = textwrap.dedent(DAEMON) + then
    ended = inside(code, Limits(seconds=8), unsafe=unsafe, name=name)
    assert (ended.output, ended.why) == (b"started\n", "time" if then else "")
    assert not running(name)


@both
def test_a_descendant_that_holds_the_pipes_does_not_hold_the_run(inside, unsafe):
    code = "import os, time\nif os.fork() == 0: os.setsid(); time.sleep(30)\nprint('done')"
    ended = inside(code, Limits(seconds=15), unsafe=unsafe)
    assert (ended.output, ended.why) == (b"done\n", "")


@needs_sandbox
def test_when_the_grader_is_killed_nothing_goes_on(inside):
    name = f"student_{uuid.uuid4().hex}"
    code = "import signal, time\nsignal.signal(1, signal.SIG_IGN)\ntime.sleep(60)"
    (inside.folder / f"{name}.py").write_text(code)
    call = f"sandbox.run({name!r}, b'', sandbox.Limits(seconds=60), [Path({str(inside.folder)!r})])"
    script = f"from pathlib import Path; from labkit.grading import sandbox; {call}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    grader = subprocess.Popen([sys.executable, "-c", script], env=environment)
    try:

        def in_sandbox():
            return [p for p in running(name) if p.pid != grader.pid and "-m" in p.cmdline()[-2:]]

        assert soon(lambda: any("python" in p.name() for p in in_sandbox()), 20)
    finally:
        grader.kill()
        grader.wait()
    assert soon(lambda: not running(name))


def test_without_a_sandbox_its_scratch_folder_is_gone(inside):
    ended = inside("import os; open('x', 'w').close(); print(os.getcwd())", unsafe=True)
    assert ended.why == "" and not Path(ended.output.decode().strip()).exists()


@both
def test_no_descriptor_stays_open(inside, unsafe):
    inside("pass", unsafe=unsafe)
    before = psutil.Process().num_fds()
    inside("pass", unsafe=unsafe)
    inside("raise SystemExit(1)", unsafe=unsafe)
    assert psutil.Process().num_fds() == before


# the filter, computed as the kernel does


def verdict(program, number, arch, first=0):
    """What a filter says of a system call: its last return value."""
    data = struct.pack("=IIQ6Q", number, arch, 0, first, *[0] * 5)
    steps = list(struct.iter_unpack("=HBBI", program))
    here = value = 0
    while True:
        code, true, false, operand = steps[here]
        if code == syscalls.RETURN:
            return operand
        if code == syscalls.LOAD:
            (value,) = struct.unpack_from("=I", data, operand)
            here += 1
            continue
        holds = {
            syscalls.EQUAL: value == operand,
            syscalls.AT_LEAST: value >= operand,
            syscalls.ANY_BIT: bool(value & operand),
        }[code]
        here += 1 + (true if holds else false)


@pytest.mark.parametrize("machine", syscalls.MACHINES)
def test_the_filter_refuses_what_is_listed_and_no_more(machine):
    column, arch, clone = syscalls.MACHINES[machine]
    program = syscalls.filter_of(machine)
    listed = {numbers[column] for numbers in syscalls.CALLS.values()}
    refused = {n for n in range(500) if verdict(program, n, arch) == syscalls.REFUSE}
    assert refused == listed
    assert verdict(program, clone, arch, 17) == syscalls.ALLOW
    assert verdict(program, clone, arch, 17 | syscalls.NEW_USER) == syscalls.REFUSE
    assert verdict(program, 0, 0x40000003) == syscalls.REFUSE  # calls of 32-bit programs
    assert verdict(program, 0x40000000, arch) == syscalls.REFUSE


# what is missing, and the remedy


def test_a_missing_program_is_named_with_its_package(monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda *args, **kwargs: None)
    assert "bwrap is not installed; type `sudo apt install bubblewrap`" in sandbox.problem()
    with pytest.raises(sandbox.SandboxError, match="not installed"):
        sandbox.run("labkit.folders", b"", Limits())


def test_grading_needs_linux(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert sandbox.problem().startswith("grading needs Linux: use")


@needs_sandbox
def test_an_old_bubblewrap_is_told(monkeypatch):
    monkeypatch.setattr(sandbox, "version", lambda: (0, 6, 2))
    assert "bubblewrap 0.6.2 is older than 0.7; install" in sandbox.problem()


@needs_sandbox
@pytest.mark.parametrize(
    "setting, value, remedy",
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "/etc/apparmor.d/bwrap"),
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces="),
        ("nothing", "", "grade on another machine"),
    ],
)
def test_a_kernel_that_refuses_has_its_remedy(monkeypatch, tmp_path, setting, value, remedy):
    refusing = tmp_path / "bwrap"
    refusing.write_text(
        "#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1"
    )
    refusing.chmod(0o755)
    (tmp_path / setting).parent.mkdir(exist_ok=True)
    (tmp_path / setting).write_text(value)
    found = sandbox._found
    monkeypatch.setattr(sandbox, "SETTINGS", tmp_path)
    monkeypatch.setattr(sandbox, "version", lambda: (0, 8, 0))
    monkeypatch.setattr(sandbox, "_nobody", lambda: [])
    monkeypatch.setattr(sandbox.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sandbox, "CONTAINERS", ())
    monkeypatch.setattr(
        sandbox, "_found", lambda name: str(refusing) if name == "bwrap" else found(name)
    )
    said = sandbox.problem()
    assert "setting up uid map: Permission denied; " in said and remedy in said


@needs_sandbox
def test_a_sandbox_that_does_not_start_is_no_answer_of_the_student(monkeypatch):
    view = sandbox._view
    monkeypatch.setattr(sandbox, "_view", lambda *given: [*view(*given), "--ro-bind", "/no", "/x"])
    with pytest.raises(sandbox.SandboxError, match="did not start.*doctor --grading"):
        sandbox.run("labkit.folders", b"", Limits())
