"""The sandbox in which a student's code runs: no network, few files, limits on all it can use up.

bubblewrap gives it namespaces of its own with a read-only view of Python and labkit; /tmp alone can
be written, and vanishes. `prlimit` bounds each process, and the calling thread watches all of them
together. What the limits of the kernel do not count, a filter of system calls refuses. For root,
`setpriv` changes to a user that owns nothing, since root is above limits and permissions.
"""

import contextlib
import json
import os
import platform
import re
import secrets
import selectors
import shutil
import signal
import site
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

import labkit
from labkit import folders
from labkit.console import one_line
from labkit.grading import syscalls

KIT = Path(labkit.__file__).resolve().parent
HOME, FONTS = "/tmp/home", "/tmp/home/.cache/matplotlib"
EVERY = 0.1  # seconds between two looks at the processes
ADDRESSES = 8 * 2**30  # virtual memory beyond the limit: torch with CUDA maps 3.8 GiB, unused
SHARED = 64 * 2**20  # bytes of /dev/shm
OLDEST = (0, 7)  # of bubblewrap: the first to limit the size of a tmpfs
PREFIX = ("bin", "lib", "lib64", "libexec", "include", "share", "etc", "ssl", "pyvenv.cfg")
CONTAINERS = ("/.dockerenv", "/run/.containerenv")
SETTINGS = Path("/proc/sys")  # of the kernel
SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
ETC = ("ld.so.cache", "alternatives", "fonts", "localtime")
DATA = (("MNIST",), ("FashionMNIST",), ("cats", "cats.tar", "cats.tar.gz", "cats.tgz", "cats.zip"))


class SandboxError(OSError):
    """The sandbox itself did not start; the message says why and what to do."""


@dataclass(frozen=True)
class Limits:
    """What a submission may use: seconds, and bytes or numbers of all its processes together.

    memory: resident; processes: threads count; disk: files in /tmp; output: stdout and stderr.
    """

    seconds: float = 240
    memory: int = 4 * 2**30
    processes: int = 200
    disk: int = 256 * 2**20
    output: int = 40 * 2**20


@dataclass
class Ended:
    """How a run ended, and what it wrote to stdout until then.

    why: "" for status 0, or the limit it broke: "time", "memory", "processes" or "output"; else
    "exit 3" or "signal 9". errors: the last 2,000 characters of stderr.
    """

    output: bytes
    why: str
    errors: str


def run(
    module: str, job: bytes, limits: Limits, readable: list[Path] = (), unsafe: bool = False
) -> Ended:
    """Runs `python -m module` in a sandbox with `job` on its stdin, until all of it has ended.

    readable: folders that are visible, too, under the same names, and searched for modules after
    the kit. unsafe: no sandbox, the same limits as far as they go without one. Raises SandboxError.
    """
    readable = [Path(folder).resolve() for folder in readable]
    with contextlib.ExitStack() as stack:
        stdin = stack.enter_context(_in_memory(job))
        if unsafe:
            scratch = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="labkit-", ignore_cleanup_errors=True)
            )
            command = [*_limited(limits, unsafe), sys.executable, "-m", module]
            options = {"env": _unsafe_environment(scratch, readable), "cwd": scratch}
            return _run(command, stdin, limits, options, lambda: _strays(scratch))
        status, reports = os.pipe()
        stack.callback(os.close, status)
        with os.fdopen(reports, "wb") as ours:  # the sandbox's side, closed here once it has it
            arguments = ["--json-status-fd", str(reports), *_view(limits, readable)]
            if rules := syscalls.filter_of(platform.machine()):
                rules = stack.enter_context(_in_memory(rules))
                arguments += ["--seccomp", str(rules)]
            arguments = stack.enter_context(_in_memory("\0".join(arguments).encode()))
            command = [_found("bwrap"), "--args", str(arguments), "--"]
            command += [*_limited(limits, unsafe), *_nobody(), sys.executable, "-m", module]
            passed = tuple(fd for fd in (arguments, rules, reports) if fd)
            options = {"env": {}, "pass_fds": passed}  # /proc/1/environ shows it inside
            return _run(command, stdin, limits, options, None, status, ours.close)


def _run(
    command: list[str],
    stdin: int,
    limits: Limits,
    options: dict,
    strays: Callable[[], list[psutil.Process]] | None,
    status: int | None = None,
    started: Callable[[], None] = lambda: None,
) -> Ended:
    """Starts a command, follows it to its end, and leaves none of its processes behind."""
    guard = [_found("choom"), "-n", "1000", "--", _found("nice"), "-n", "10"]  # the first to go
    pipes = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(
        [*guard, *command], **pipes, **options, start_new_session=True, bufsize=0
    )
    started()
    out, err = process.stdout.fileno(), process.stderr.fileno()
    heard = {fd: bytearray() for fd in (out, err, status) if fd is not None}

    def kill() -> None:
        _kill(process, heard.get(status, b""), strays)

    try:
        with process.stdout, process.stderr:
            why = _follow(process, heard, limits, kill)
    finally:
        kill()
    errors = heard[err].decode("utf-8", "replace")[-2000:]
    if status is not None and not why and b"exit-code" not in heard[status]:
        remedy = "type `python -m labkit doctor --grading`"
        raise SandboxError(f"the sandbox did not start: {one_line(errors, 300)}; {remedy}")
    return Ended(bytes(heard[out]), why or _ending(process.returncode), errors)


def _follow(
    process: subprocess.Popen, heard: dict[int, bytearray], limits: Limits, kill: Callable[[], None]
) -> str:
    """Collects what is written to each descriptor of `heard`; returns the limit it broke, or "".

    Whatever ends first, the rest is killed, and what is in the pipes by then is still heard.
    """
    over, look, killed, why = time.monotonic() + limits.seconds, 0.0, None, ""
    with selectors.DefaultSelector() as open_pipes:
        for descriptor in heard:
            open_pipes.register(descriptor, selectors.EVENT_READ)
        while open_pipes.get_map() or process.poll() is None:
            for key, _ in open_pipes.select(EVERY):
                part = os.read(key.fd, 2**16)
                heard[key.fd] += part
                if not part:
                    open_pipes.unregister(key.fd)
            now = time.monotonic()
            if killed:
                if now > killed + 5:
                    break  # a descriptor was handed to a process that is none of ours
                continue
            if sum(map(len, heard.values())) > limits.output:
                why = "output"
            elif now > over:
                why = "time"
            elif now > look:
                look, why = now + EVERY, _excess(process.pid, limits)
            if why or process.poll() is not None:
                kill()
                killed = now
    return why


def _excess(pid: int, limits: Limits) -> str:
    """Which limit a process and its descendants break: "memory", "processes" or ""."""
    threads, resident, members = 0, 0, _family(pid)
    for member in members:
        with suppress(psutil.Error):
            threads += member.num_threads()
            resident += member.memory_info().rss
    if threads > limits.processes:
        return "processes"
    if resident > limits.memory and sum(map(_share, members)) > limits.memory:
        return "memory"
    return ""


def _share(process: psutil.Process) -> int:
    """Bytes of memory, where pages that n processes share count 1/n; slower to read than RSS."""
    try:
        return process.memory_full_info().pss
    except psutil.NoSuchProcess:
        return 0
    except (psutil.Error, OSError):
        with suppress(psutil.Error):
            return process.memory_info().rss
        return 0


def _family(pid: int) -> list[psutil.Process]:
    """A process and its descendants."""
    with suppress(psutil.Error):
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    return []


def _kill(
    process: subprocess.Popen, status: bytes, strays: Callable[[], list[psutil.Process]] | None
) -> None:
    """Kills a run: a sandbox by the first process of its namespace, with which all others end."""
    first = None
    with suppress(ValueError, KeyError, IndexError, psutil.Error):
        first = psutil.Process(json.loads(status.splitlines()[0])["child-pid"])
        if first.name() == "bwrap":  # its number is nobody else's by now
            first.kill()
    for _ in range(100 if strays else 0):  # without a namespace, some may be forked meanwhile
        members = [*_family(process.pid), *strays()]
        left = [member for member in members if not _is_over(member)]
        for member in left:
            with suppress(psutil.Error):
                member.kill()
        if not left:
            break
    with suppress(OSError):
        process.kill()
    process.wait()
    until = time.monotonic() + 5
    while first and not _is_over(first) and time.monotonic() < until:
        time.sleep(0.002)


def _is_over(process: psutil.Process) -> bool:
    """Whether a process has ended; its parent may not have asked for the status yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def _ending(code: int) -> str:
    """A return code in words; prlimit and bubblewrap hand on a signal as 128 + its number."""
    number = -code if code < 0 else code - 128
    if number in set(signal.valid_signals()):
        return f"signal {number}"
    return f"exit {code}" if code else ""


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    """A descriptor that reads `content`; nobody can write to it, not even through /proc."""
    import fcntl

    descriptor = os.memfd_create("labkit", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        all_changes = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, all_changes | fcntl.F_SEAL_SEAL)
        yield descriptor
    finally:
        os.close(descriptor)


def _found(program: str) -> str:
    """The path of a program that a run needs. Raises SandboxError."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/bin")
    if not path:
        package = "bubblewrap" if program == "bwrap" else "util-linux"
        remedy = f"type `sudo apt install {package}`, or what your system has for it"
        raise SandboxError(f"{program} is not installed; {remedy}")
    return path


def _limited(limits: Limits, unsafe: bool) -> list[str]:
    """The limits of each single process; twice the processes, so that the watch sees the excess."""
    import resource

    processes = 2 * limits.processes + _counted_already(unsafe)
    most = {"as": limits.memory + ADDRESSES, "nproc": processes, "fsize": limits.disk}
    most |= {"core": 0, "nofile": 1024, "msgqueue": 0}
    for name, value in most.items():
        now = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
        most[name] = value if now == resource.RLIM_INFINITY else min(value, now)  # never raised
    return [_found("prlimit"), *(f"--{name}={value}" for name, value in most.items())]


def _counted_already(unsafe: bool) -> int:
    """Threads that RLIMIT_NPROC counts beside the sandbox's: those of this user, on old kernels."""
    release = tuple(map(int, re.findall(r"\d+", platform.release())[:2]))
    if not unsafe and (os.geteuid() == 0 or release >= (5, 14)):  # counts for each namespace
        return 0
    count = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            count += process.num_threads() if process.uids().real == os.getuid() else 0
    return count


def _nobody() -> list[str]:
    """For root: become a user of no other process, whom the limit on processes binds."""
    if os.geteuid():
        return []
    whole = "4294967295" in Path("/proc/self/uid_map").read_text().split()
    # a range that nobody uses; another user for each run, or they would share that limit
    user = 1_900_000_000 + secrets.randbelow(200_000_000) if whole else 65_534
    command = [_found("setpriv"), f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    return [*command, "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]


def _view(limits: Limits, readable: list[Path]) -> list[str]:
    """bubblewrap's arguments: namespaces, what is visible where, and the environment."""
    view = ["--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    view += [f"--unshare-{kind}" for kind in ("ipc", "pid", "net", "uts", "cgroup-try")]
    if os.geteuid():
        view += ["--unshare-user"]
    else:  # what setpriv needs, until it has given them up
        for right in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
            view += ["--cap-add", right]
    view += ["--hostname", "sandbox", "--proc", "/proc", "--dev", "/dev"]
    view += ["--size", str(SHARED), "--perms", "1777", "--tmpfs", "/dev/shm"]
    view += ["--size", str(limits.disk), "--perms", "1777", "--tmpfs", "/tmp"]
    for folder in (HOME, f"{HOME}/.cache", FONTS):
        view += ["--perms", "0777", "--dir", folder]
    seen = [(str(path), Path(target)) for path, target in _visible(readable) if path.exists()]
    above = {parent for _, target in seen for parent in target.parents}
    for folder in sorted(above - {Path("/"), *Path(FONTS, "x").parents}):
        view += ["--perms", "0755", "--dir", str(folder)]  # bubblewrap's own are for their owner
    for path, target in seen:
        view += ["--ro-bind", path, str(target)]
    for name in SYSTEM:
        path = Path("/", name)
        if path.is_symlink():
            view += ["--symlink", os.readlink(path), str(path)]
        else:
            view += ["--ro-bind-try", str(path), str(path)]
    view += ["--dir", "/kit/notebooks"]  # by it labkit knows /kit for its repository
    view += ["--remount-ro", "/dev", "--remount-ro", "/"]
    view += ["--chdir", "/"]  # where nothing can be written that `python -m` would import
    for name, value in _environment(readable).items():
        view += ["--setenv", name, value]
    return view


def _visible(readable: list[Path]) -> Iterator[tuple[Path, Path | str]]:
    """(where it is, where it is seen) of all that can be read: system, Python, labkit, data."""
    yield Path("/usr"), "/usr"
    yield from ((Path("/etc", name),) * 2 for name in ETC)
    yield (Path("/sys/devices/system/cpu"),) * 2  # torch asks which instructions there are
    for prefix in _prefixes():
        yield from ((prefix / name,) * 2 for name in PREFIX)
    yield from ((path, path) for path in [*_more_packages(), *readable])
    yield KIT, "/kit/labkit"
    yield folders.weights(), "/kit/data/weights"
    yield folders.measured(), "/kit/data/results"
    yield folders.data() / "cache", "/kit/data/cache"
    yield from ((path, f"/kit-data/{path.name}") for path in _data())
    for fonts in (Path.home() / ".cache" / "matplotlib").glob("fontlist-*.json"):
        yield fonts, f"{FONTS}/{fonts.name}"  # making it anew takes seconds


def _prefixes() -> list[Path]:
    """Where this Python is installed, and its virtual environment; those in /usr are left out."""
    found, link = [Path(sys.prefix), Path(sys.base_prefix)], Path(sys.executable)
    while link.is_symlink():  # each step must be there inside, too
        link = Path(os.path.normpath(link.parent / os.readlink(link)))
        found.append(link.parent.parent)
    return [path for path in dict.fromkeys(found) if not path.is_relative_to("/usr")]


def _more_packages() -> list[Path]:
    """Folders of installed packages elsewhere, such as those of `pip install --user`."""
    known = [Path("/usr"), *_prefixes(), *map(Path, site.getsitepackages())]
    paths = [Path(path) for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    return [path for path in paths if not any(path.is_relative_to(place) for place in known)]


def _data() -> list[Path]:
    """The images that labkit would load, from the first folder that has them."""
    places = [folder for _, folder in folders.image_folders()]
    found = []
    for names in DATA:
        here = ([f / name for name in names if (f / name).exists()] for f in places)
        found += next(filter(None, here), [])
    return found


def _environment(readable: list[Path]) -> dict[str, str]:
    """All variables that a student's code sees."""
    path = dict.fromkeys([sysconfig.get_path("scripts"), "/usr/local/bin", "/usr/bin", "/bin"])
    made = {"PATH": ":".join(path), "HOME": HOME, "USER": "student", "LANG": "C.UTF-8"}
    made |= {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    made |= {"PYTHONNOUSERSITE": "1"}  # it would be below HOME, where students write
    made |= {"LABKIT_PROFILE": "smoke", "LABKIT_GRADING": "1", "LABKIT_RESULTS": "/tmp/results"}
    made["PYTHONPATH"] = ":".join(map(str, ["/kit", *readable, *_more_packages()]))
    if _data():
        made["LABKIT_DATA"] = "/kit-data"
    if "LD_LIBRARY_PATH" in os.environ:  # some interpreters find their own library by it
        made["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return made


def _unsafe_environment(scratch: str, readable: list[Path]) -> dict[str, str]:
    """The same variables with the paths of this machine; HOME also marks the processes of a run."""
    made = _environment(readable) | {"HOME": scratch, "TMPDIR": scratch}
    made["LABKIT_RESULTS"] = f"{scratch}/results"
    made["PYTHONPATH"] = ":".join(map(str, [KIT.parent, *readable, *_more_packages()]))
    if data := folders.named("LABKIT_DATA"):
        made["LABKIT_DATA"] = str(data)
    else:
        made.pop("LABKIT_DATA", None)
    return made


def _strays(scratch: str) -> list[psutil.Process]:
    """Processes of a run without a sandbox, wherever they went: those with its HOME."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get("HOME") == scratch:
                found.append(process)
    return found


def problem() -> str:
    """What keeps this machine from making a sandbox, with the remedy; "" if nothing does."""
    if sys.platform != "linux":
        return "grading needs Linux: use WSL 2 on Windows, a virtual machine on macOS"
    try:
        for program in ("bwrap", "prlimit", "choom", "nice", *["setpriv"] * (not os.geteuid())):
            _found(program)
        if version() < OLDEST:
            what = f"bubblewrap {'.'.join(map(str, version()))} is older than 0.7"
            return f"{what}; install a newer one, e.g. from a newer release of your system"
        ended = run("labkit.folders", b"", Limits(seconds=60))
    except SandboxError as error:
        return str(error) if "did not start" not in str(error) else _forbidden(str(error))
    except (OSError, ValueError) as error:  # LABKIT_DATA
        return str(error)
    if ended.why:
        reason = one_line((ended.errors.splitlines() or [ended.why])[-1])
        remedy = "let all users read the folders of Python and of labkit: chmod -R a+rX"
        return f"Python does not run in the sandbox ({reason}); {remedy}"
    return ""


def version() -> tuple[int, ...]:
    """The version of bubblewrap, e.g. (0, 8, 0). Raises SandboxError if it is not installed."""
    told = subprocess.run([_found("bwrap"), "--version"], capture_output=True, text=True).stdout
    return tuple(map(int, re.findall(r"\d+", told)[:3]))


def _forbidden(reason: str) -> str:
    """The remedy where the kernel, AppArmor or a container refuses namespaces."""

    def says(file: str, value: str) -> bool:
        with suppress(OSError):
            return (SETTINGS / file).read_text().strip() == value
        return False

    reason = re.sub(r"; type `.*", "", reason)
    if any(map(os.path.exists, CONTAINERS)):
        options = "--cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined"
        options += " --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
        return f"{reason}; this container may not make one: start it with `docker run {options}`"
    if os.geteuid() and says("kernel/apparmor_restrict_unprivileged_userns", "1"):
        profile = r"abi <abi/4.0>,\nprofile bwrap /usr/bin/bwrap flags=(unconfined) {\n userns,\n}"
        allow = f"printf '{profile}\\n' | sudo tee /etc/apparmor.d/bwrap"
        return f"{reason}; AppArmor forbids it: `{allow} && sudo systemctl reload apparmor`"
    if os.geteuid() and says("kernel/unprivileged_userns_clone", "0"):
        return f"{reason}; allow it: `sudo sysctl -w kernel.unprivileged_userns_clone=1`"
    if says("user/max_user_namespaces", "0"):
        return f"{reason}; allow it: `sudo sysctl -w user.max_user_namespaces=15000`"
    return f"{reason}; ask your administrator for user namespaces, or grade on another machine"
