"""The command line: `python -m labkit run`, `python -m labkit doctor`. What is heavy is imported
where it is used.
"""

import argparse
import sys
from pathlib import Path

EXAMPLES = """examples:
  python -m labkit run                         all notebooks in order
  python -m labkit run 01 04 --profile smoke   two of them, in seconds
  python -m labkit doctor                      what is missing on this machine, and the remedy
"""


def parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="python -m labkit", description="The course kit.", epilog=EXAMPLES, formatter_class=raw
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    run = commands.add_parser(
        "run", help="execute the notebooks", epilog=EXAMPLES, formatter_class=raw
    )
    run.description = "Execute the notebooks; leaves .ipynb, .html and .json of each and summary.html. Exit status 0 when all passed."
    run.add_argument(
        "picks",
        nargs="*",
        metavar="NN",
        help="number or start of the name of a notebook; none: all",
    )
    run.add_argument(
        "--profile",
        metavar="P",
        help="smoke, cpu or full (default: $LABKIT_PROFILE, else full with a GPU, else cpu)",
    )
    run.add_argument(
        "--out", metavar="DIR", type=Path, help="folder for the results (default: results/PROFILE)"
    )
    made = commands.add_parser("weights", help="train shipped weights anew")
    made.add_argument(
        "name", help="which ones, e.g. classifier_mnist; without a match the names are listed"
    )
    commands.add_parser(
        "doctor", help="check this machine", description="One line per item: ok, or the one remedy."
    )
    return top


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit status."""
    arguments = parser().parse_args(argv)
    if arguments.command == "doctor":
        from labkit import doctor

        return doctor.main()
    try:
        from labkit import runner

        if arguments.command == "weights":
            from labkit.training import shipped

            return shipped.main(arguments.name)
        return runner.main(arguments.picks, arguments.profile, arguments.out)
    except ImportError as error:
        print(
            f"labkit: {error}: `pip install -r requirements.txt`, then `python -m labkit doctor`",
            file=sys.stderr,
        )
    except runner.RunError as error:
        print(f"labkit: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
