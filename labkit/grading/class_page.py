"""The page of the class: who needs a human, the points, what went wrong, and who wrote alike."""

import base64
import difflib
import io
import itertools
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import nbformat

from labkit.grading import feedback, sheets, similarity
from labkit.grading.records import (
    CRASHED,
    EXERCISE,
    GRADED,
    MANUAL,
    REFUSED,
    REPAIRED,
    STATUSES,
    Graded,
    Lab,
    Response,
)

STATES = ("right", "wrong", "not attempted", "crashed", "marked", "waiting")
MISTAKES = 5  # of an exercise, the most frequent first
SHOWN = 30  # pairs with their code
LINES, WIDTH = 120, 300  # of an answer that are compared
WORD = re.compile(r"\w+|\W")
INK = {"light": ("#1a1a1a", "#0072B2", "#D55E00"), "dark": ("#e8e8e8", "#56B4E9", "#ff9e5e")}


def page(results: list[Graded], lab: Lab) -> str:
    """The page of the class as HTML, of results without pictures."""
    answers = {g.student: {a.name: a.source for a in sheets.decided(g).values()} for g in results}
    codes = {s: {k: v for k, v in a.items() if k not in lab.free_text} for s, a in answers.items()}
    overlaps = similarity.overlaps(codes, given(lab))
    alike = [overlap for overlap in overlaps if overlap.is_alike]
    names = called(results)
    exercises = [exercise(name, results, lab) for name in lab.points]
    totals = [g.total for g in results if g.total is not None]
    return (
        feedback.environment()
        .get_template("class.html.j2")
        .render(
            title=feedback.title(lab),
            results=results,
            names=names,
            lab=lab,
            most=sum(lab.points.values()),
            sandboxed=all(g.sandboxed for g in results),
            statuses=Counter(g.status for g in results),
            order=STATUSES,
            people=list(people(results, lab)),
            waiting=waiting(results, lab),
            totals=totals,
            middle=statistics.median(totals) if totals else None,
            histogram=figures(lambda ax, *ink: draw_totals(ax, totals, lab, *ink))
            if totals
            else {},
            exercises=exercises,
            failed=failed_most(exercises),
            alike=alike,
            pairs=[pair(o, codes, lab) for o in alike[:SHOWN]],
            overlaps=overlaps,
            limit=similarity.common_from(len(results)) - 1,
            piece=similarity.K,
            scatter=figures(lambda ax, *ink: draw_overlaps(ax, overlaps, *ink)) if overlaps else {},
        )
    )


def called(results: list[Graded]) -> dict[str, str]:
    """The names by student; those of the same name are told apart by their keys."""
    names = {g.student: sheets.plain(g.name) or g.student for g in results}
    counts = Counter(names.values())
    return {key: name if counts[name] == 1 else f"{name} ({key})" for key, name in names.items()}


def people(results: list[Graded], lab: Lab) -> Iterator[tuple[Graded, list[tuple[str, str]]]]:
    """Who needs a human, the gravest first, with the reasons; unmarked prose is counted apart."""
    for status in (REFUSED, MANUAL, CRASHED):
        for graded in results:
            reasons = [
                (sheets.plain(f.kind), sheets.plain(f.text))
                for f in sorted(graded.findings, key=lambda f: -STATUSES.index(f.status))
                if f.status not in (GRADED, REPAIRED) and f.exercise not in lab.free_text
            ]
            if graded.status == status and reasons:
                yield graded, reasons


def waiting(results: list[Graded], lab: Lab) -> dict[str, int]:
    """How many answers to each free-text question have no marks yet."""
    answers = [a for g in results for a in sheets.decided(g).values()]
    counts = Counter(a.name for a in answers if a.name in lab.free_text and a.earned is None)
    return {name: counts[name] for name in lab.free_text if counts[name]}


def exercise(name: str, results: list[Graded], lab: Lab) -> dict[str, Any]:
    """How an exercise was answered: the number of each state, and the most frequent mistakes."""
    answers = [decided[name] for g in results if name in (decided := sheets.decided(g))]
    earned = [a.earned for a in answers if a.earned is not None]
    states = Counter(state(answer) for answer in answers)
    counts = Counter(mistake for a in answers for mistake in a.mistakes)
    sentences: dict[str, str] = {}
    for answer in answers:
        if len(answer.mistakes) == 1:
            sentences.setdefault(answer.mistakes[0], sheets.plain(answer.text))
    frequent = sorted(counts, key=lambda mistake: (-counts[mistake], mistake))
    return {
        "name": name,
        "points": lab.points[name],
        "n": len(answers),
        "mean": statistics.fmean(earned) if earned else None,
        "states": {state: states[state] for state in STATES if states[state]},
        "failed": sum(states[s] for s in ("wrong", "not attempted", "crashed")),
        "mistakes": [(counts[m], sheets.plain(m), sentences.get(m, "")) for m in frequent][
            :MISTAKES
        ],
        "others": max(0, len(frequent) - MISTAKES),
        "nameless": sum(a.state == "wrong" and not a.mistakes for a in answers),
    }


def state(answer: Response) -> str:
    """How an answer stands: its state, or whether it waits for a human's marks."""
    if answer.earned is None:
        return "waiting"
    return answer.state if answer.state in STATES else "marked"


def failed_most(exercises: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The exercise with the largest share of answers that earned nothing, if there is any."""
    failed = [e for e in exercises if e["failed"]]
    return max(failed, key=lambda e: e["failed"] / e["n"], default=None)


def given(lab: Lab) -> dict[str, str]:
    """What all students may have of each exercise: the cell that was released and the master's."""
    found: dict[str, str] = {}
    for text in (lab.released, lab.master):
        for cell in nbformat.reads(text, 4).cells:
            if named := EXERCISE.search(cell.source):
                found[named[1]] = found.get(named[1], "") + cell.source + "\n"
    return found


def pair(overlap: similarity.Overlap, codes: dict[str, dict[str, str]], lab: Lab) -> dict[str, Any]:
    """A pair with both codes of the exercises in which they are alike, line by line."""
    order = [name for name in lab.points if name in overlap.exercises]
    rows = {name: list(compared(codes[overlap.a][name], codes[overlap.b][name])) for name in order}
    return {"overlap": overlap, "rows": rows}


def compared(one: str, other: str) -> Iterator[tuple[list, list]]:
    """Two codes line by line, each line as parts (text, whether it is different).

    Lines that differ in names and numbers only stand side by side.
    """
    left, right = (
        [line[:WIDTH] for line in sheets.plain(code, lines=True).strip("\n").splitlines()[:LINES]]
        for code in (one, other)
    )
    shapes = [[re.sub(r"\w+", "x", line) for line in lines] for lines in (left, right)]
    matcher = difflib.SequenceMatcher(None, *shapes, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            yield from (words(*pair) for pair in zip(left[a:b], right[c:d], strict=True))
        else:
            alone = itertools.zip_longest(left[a:b], right[c:d])
            yield from ([[(line, True)] if line else [] for line in pair] for pair in alone)


def words(one: str, other: str) -> tuple[list, list]:
    """Two lines of the same shape, as parts (text, whether it is different)."""
    pairs = list(zip(WORD.findall(one), WORD.findall(other), strict=True))
    return [(a, a != b) for a, b in pairs], [(b, a != b) for a, b in pairs]


def figures(draw: Callable) -> dict[str, str]:
    """A figure for a light and for a dark page, as data URIs of SVG; draw: what fills its axes."""
    import matplotlib
    from matplotlib.figure import Figure

    found = {}
    for theme, (ink, colour, marked) in INK.items():
        look = {key: ink for key in ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")}
        look |= {"axes.edgecolor": ink, "svg.hashsalt": "labkit", "font.size": 11.5}
        with matplotlib.rc_context(look):
            figure = Figure(figsize=(5.6, 3), layout="constrained")
            draw(figure.subplots(), ink, colour, marked)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="svg", transparent=True, dpi=200, metadata={"Date": None})
        found[theme] = f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return found


def draw_totals(ax, totals: list[float], lab: Lab, ink: str, colour: str, marked: str) -> None:
    """How many students have how many points, and the median."""
    import seaborn as sns
    from matplotlib.ticker import MaxNLocator

    most = sum(lab.points.values())
    whole = most <= 30 and all(float(t).is_integer() for t in totals)
    bins = {"discrete": True, "shrink": 0.85} if whole else {"bins": 20, "binrange": (0, most)}
    sns.histplot(x=totals, ax=ax, color=colour, alpha=1, linewidth=0, **bins)
    middle = statistics.median(totals)
    ax.axvline(middle, color=ink, linewidth=1.2, linestyle="--")
    late = middle > most / 2
    ax.annotate(
        f"median {sheets.number(middle)}",
        (middle, 1),
        (-5 if late else 5, -2),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="right" if late else "left",
        va="top",
    )
    ax.set(xlabel=f"points of {sheets.number(most)}", ylabel="students", xlim=(-0.6, most + 0.6))
    ax.margins(y=0.18)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(8, integer=True))
    sns.despine(ax=ax)


def draw_overlaps(
    ax, overlaps: list[similarity.Overlap], ink: str, colour: str, marked: str
) -> None:
    """Each pair by how much it shares; those to look at have their numbers."""
    import seaborn as sns
    from matplotlib.ticker import PercentFormatter

    most = max(similarity.ENOUGH * 1.6, max(o.common for o in overlaps) * 1.08)
    corner = [similarity.ENOUGH - 0.5, most], [similarity.ALIKE, similarity.ALIKE]
    ax.fill_between(*corner, 1.14, color=marked, alpha=0.14, linewidth=0)
    others = [o for o in overlaps if not o.is_alike]
    above = dict(ha="center", va="bottom", fontsize="small", weight="bold")
    points = [o.common for o in others], [o.score for o in others]
    ax.scatter(*points, s=14, color=colour, alpha=0.45, linewidths=0, rasterized=True)
    alike = [o for o in overlaps[:SHOWN] if o.is_alike]
    ax.plot([o.common for o in alike], [o.score for o in alike], "o", ms=7, color=marked)
    for place, numbers in labels(alike, most).items():
        text = ", ".join(map(str, numbers[:3])) + " …" * (len(numbers) > 3)
        ax.annotate(text, place, (0, 6), textcoords="offset points", **above)
    ax.set(
        xlabel="distinctive pieces of code in common", ylabel="share of the shorter one's pieces"
    )
    ax.set(xlim=(0, most), ylim=(0, 1.14), yticks=[k / 5 for k in range(6)])
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    sns.despine(ax=ax)


def labels(alike: list[similarity.Overlap], width: float) -> dict[tuple[float, float], list[int]]:
    """Where in the figure the numbers of the pairs go; neighbours have one label."""
    found: dict[tuple[float, float], list[int]] = {}
    for k, o in enumerate(alike, 1):
        near = (p for p in found if abs(p[0] - o.common) < width / 12 and p[1] - o.score < 0.1)
        found.setdefault(next(near, (o.common, o.score)), []).append(k)
    return found
