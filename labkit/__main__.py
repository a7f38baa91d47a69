"""The command line, `python -m labkit`. What is heavy is imported where it is used."""

import argparse
import importlib
import math
import pkgutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from labkit import folders
from labkit.console import close_stdout, one_line, open_streams
from labkit.profile import PROFILES
from labkit.profile import profile as current_profile

EXAMPLES = """examples:
  python -m labkit run                         all labs in order
  python -m labkit run 01 04 --profile smoke   two of them, in seconds
  python -m labkit run studies/04              one study; `run studies`: all of them
  python -m labkit weights                     the trained weights that can be made anew
  python -m labkit release 03                  the student copy of a lab
  python -m labkit check 03_vae.ipynb          is it ready to be handed in?
  python -m labkit grade handed_in/ --lab 03   grade what students handed in
  python -m labkit doctor                      what is missing on this machine, and the remedy
"""


def parser() -> argparse.ArgumentParser:
    form = {"epilog": EXAMPLES, "formatter_class": argparse.RawDescriptionHelpFormatter}
    top = argparse.ArgumentParser(prog="python -m labkit", description="The course kit.", **form)
    commands = top.add_subparsers(dest="command", metavar="command")
    run = commands.add_parser("run", help="execute the notebooks", **form)
    run.description = (
        "Leaves .ipynb, .html and .json of each, and summary.html. Status 0: all passed."
    )
    run.add_argument("picks", nargs="*", metavar="NN", help="number or start of a notebook's name")
    profile = "smoke, cpu or full (default: $LABKIT_PROFILE, else full with a GPU, else cpu)"
    run.add_argument("--profile", choices=PROFILES, metavar="P", help=profile)
    out = "folder for the results (default: $LABKIT_RESULTS, else results/PROFILE)"
    run.add_argument("--out", metavar="DIR", type=Path, help=out)
    limit = "how long one notebook may take (default: no limit)"
    run.add_argument("--timeout", metavar="MINUTES", type=float, default=math.inf, help=limit)
    band = "with LABKIT_SEED = 0 to 4, into data/results/labs/: what students compare with"
    run.add_argument("--band", action="store_true", help=band)
    made = commands.add_parser("weights", help="train supplied weights anew")
    made.add_argument("name", nargs="?", help="e.g. classifier_mnist; none: list the names")
    made.add_argument("--replace", action="store_true", help="overwrite a file that is there")
    handed = commands.add_parser("release", help="make the student copies of the labs")
    handed.add_argument("picks", nargs="*", metavar="NN", help="number or start of a lab's name")
    layout = "also lay out nbgrader's source/ and release/ in this folder"
    handed.add_argument("--course", metavar="DIR", type=Path, help=layout)
    add_grading(commands, form)
    asked = "check this machine: one line per item, ok or the remedy"
    doctor = commands.add_parser("doctor", help=asked)
    needed = "also what grading needs: the sandbox, memory, nbgrader"
    doctor.add_argument("--grading", action="store_true", help=needed)
    return top


def add_grading(commands: argparse._SubParsersAction, form: dict) -> None:
    """The commands for what students hand in: check (theirs, too) and grade."""
    checked = commands.add_parser("check", help="look at a notebook before it is handed in")
    checked.add_argument("notebook", metavar="NOTEBOOK", type=Path)
    mended = "write a repaired copy; the notebook itself is never changed"
    checked.add_argument("--repair", metavar="FILE", type=Path, help=mended)
    grade = commands.add_parser("grade", help="grade the submissions of a lab", **form)
    grade.description = "Status 0: all submissions have a result, also those that crashed."
    where = "folder or zip: a folder a student, or a download from Moodle or Canvas"
    grade.add_argument("where", metavar="SUBMISSIONS", type=Path, help=where)
    grade.add_argument("--lab", metavar="NN", required=True, help="number or start of its name")
    out = "folder for the results (default: grades/LAB)"
    grade.add_argument("--out", metavar="DIR", type=Path, help=out)
    marks = "points for what a human marks, as in the results' own marks.csv"
    grade.add_argument("--marks", metavar="CSV", type=Path, help=marks)
    workers = "submissions at a time (default: as many as cores and memory bear)"
    grade.add_argument("--workers", metavar="N", type=positive, help=workers)
    dask = "grade on a Dask cluster, e.g. tcp://host:8786"
    grade.add_argument("--scheduler", metavar="ADDRESS", default="", help=dask)
    unsafe = "without a sandbox: students' code can read and change what you can"
    grade.add_argument("--unsafe", action="store_true", help=unsafe)
    course = "nbgrader's course folder (default: course/ in the results)"
    grade.add_argument("--course", metavar="DIR", type=Path, help=course)
    grade.add_argument("--again", action="store_true", help="also grade what has a result")


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected a number from 1")
    return number


def weight_makers() -> dict[str, Callable[[], dict]]:
    """Makers of the supplied weights by name: the WEIGHTS of all modules in labkit.studies."""
    from labkit import studies

    makers = {}
    for module in pkgutil.iter_modules(studies.__path__, f"{studies.__name__}."):
        makers |= getattr(importlib.import_module(module.name), "WEIGHTS", {})
    return makers


def make_weights(name: str | None, replace: bool) -> int:
    """Trains the weights `name`, prints what was measured, and returns the exit status."""
    makers = weight_makers()
    path = folders.weights() / f"{name}.pt"
    if name is None:
        print("\n".join(makers))
        return 0
    if name not in makers:
        return complain(f"there are no weights {name!r}; choose one of {', '.join(makers)}")
    if path.exists() and not replace:
        return complain(f"{path} exists: add --replace to overwrite it")
    start = time.monotonic()
    try:
        measured = makers[name]()
    except (OSError, ValueError) as error:
        return complain(one_line(error, 1000), 1)
    facts = [f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in measured.items()]
    print(f"{name}: {', '.join(facts)}, in {time.monotonic() - start:.0f} s")
    return 0


def complain(message: str, status: int = 2) -> int:
    print(f"labkit: {message}", file=sys.stderr)
    return status


def command(arguments: argparse.Namespace) -> int:
    if not arguments.command:
        parser().print_help()
        return 0
    if arguments.command == "weights":
        return make_weights(arguments.name, arguments.replace)
    if arguments.command == "doctor":
        from labkit import doctor

        return doctor.main(arguments.grading)
    if arguments.command == "release":
        from labkit.grading import release

        status = release.main(arguments.picks)
        if arguments.course and not status:
            from labkit.grading import course

            return course.main(arguments.picks, arguments.course)
        return status
    if arguments.command == "check":
        from labkit.grading import precheck

        return precheck.main(arguments.notebook, arguments.repair)
    if arguments.command == "grade":
        from labkit.grading import grade

        given = {k: v for k, v in vars(arguments).items() if k != "command"}
        return grade.main(grade.Options(**given))
    from labkit import runner

    if not arguments.timeout > 0:  # so NaN is refused too
        return complain("--timeout takes the minutes that one notebook may take, e.g. 30")
    try:
        profile = arguments.profile or current_profile()
        out = (arguments.out or folders.results(profile)).expanduser().resolve()
        notebooks = runner.pick_notebooks(folders.repository() / "notebooks", arguments.picks)
        work = runner.measure_bands if arguments.band else runner.run
        return work(notebooks, out, profile, minutes=arguments.timeout)
    except (runner.RunError, ValueError) as error:
        return complain(str(error))


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit status; whatever stops it is told on one line."""
    open_streams()
    try:
        return command(parser().parse_args(argv))
    except KeyboardInterrupt:
        return complain("stopped by Ctrl-C", 130)
    except BrokenPipeError:  # the reader of what is printed, such as `head`, has gone
        return 141
    except Exception as error:
        remedy = "`pip install -r requirements.txt`, then `python -m labkit doctor`"
        return complain(f"{type(error).__name__}: {one_line(error)}: {remedy}")
    finally:
        close_stdout()


if __name__ == "__main__":
    sys.exit(main())
