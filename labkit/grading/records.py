"""What is known of a submission while it is graded: plain dataclasses that go through JSON.

The status of a submission is the gravest of its findings':
graded < repaired < crashed < manual < refused.
"""

import hashlib
import re
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import nbformat

GRADED, REPAIRED, CRASHED, MANUAL, REFUSED = "graded", "repaired", "crashed", "manual", "refused"
STATUSES = (GRADED, REPAIRED, CRASHED, MANUAL, REFUSED)  # from harmless to grave
EXERCISE = re.compile(r"^[ \t]*@\s*(?:\w+\.)*exercise\(\s*[\"']([^\"']+)[\"']", re.M)
CHECK = re.compile(r"^[ \t]*(?:\w+\.)*check\(\s*[\"']([^\"']+)[\"']\s*\)", re.M)


class Refused(Exception):
    """A file that cannot be graded; the message is a sentence for the instructor."""


@dataclass(frozen=True)
class Finding:
    """Something that an instructor should know about a submission.

    kind: a few words, the same for all findings of this sort ("cell twice"); text: a sentence;
    status: what it makes of the submission; exercise: which one it concerns, if one.
    """

    kind: str
    text: str
    status: str = GRADED
    exercise: str = ""


def gravest(findings: list[Finding]) -> str:
    """The status that a list of findings gives a submission."""
    return max((f.status for f in findings), key=STATUSES.index, default=GRADED)


@dataclass(frozen=True)
class Submission:
    """A student's notebook as it was found, not yet read.

    student: a key, unique in a run, of letters, digits, "-", "_" and "."; name: as people write it;
    source: "folder", "moodle" or "canvas"; identifier: Moodle's participant or Canvas's user id;
    path: the file or archive on disk; member: names inside of archives, outermost first; file: what
    the student called the notebook; findings: what was noticed on the way.
    """

    student: str
    name: str
    path: str
    member: tuple[str, ...] = ()
    file: str = ""
    source: str = "folder"
    identifier: str = ""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Response:
    """How one exercise, or one free-text question, was answered.

    earned: points, or None where a human must decide; state: right, wrong, not attempted (as in
    labkit.exercises), "crashed" where the code ended its process, or "manual"; text: the sentence
    for the student; mistakes: names of recognized mistakes; source: what the student wrote;
    picture: base64 PNG that their code drew, or "".
    """

    name: str
    points: float
    earned: float | None
    state: str
    text: str = ""
    mistakes: tuple[str, ...] = ()
    source: str = ""
    picture: str = ""


@dataclass
class Graded:
    """The result for one submission. notebook: the autograded notebook as JSON text, or ""."""

    student: str
    name: str
    source: str = "folder"
    identifier: str = ""
    file: str = ""
    findings: list[Finding] = field(default_factory=list)
    answers: list[Response] = field(default_factory=list)
    notebook: str = ""
    sandboxed: bool = True

    @property
    def status(self) -> str:
        return gravest(self.findings)

    @property
    def total(self) -> float | None:
        """The points; None for a refused notebook or while a human has to give some of them."""
        if self.status == REFUSED or any(a.earned is None for a in self.answers):
            return None
        return sum(a.earned for a in self.answers)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> "Graded":
        findings = [Finding(**f) for f in given["findings"]]
        answers = [Response(**a | {"mistakes": tuple(a["mistakes"])}) for a in given["answers"]]
        return cls(**given | {"findings": findings, "answers": answers})


@dataclass(frozen=True)
class Lab:
    """A lab to be graded: its master with hidden tests, and the copy that was handed out, as JSON.

    stem: e.g. 03_vae_latent_grid.
    """

    stem: str
    master: str
    released: str

    @cached_property
    def key(self) -> str:
        """What tells this version of the lab from others."""
        return hashlib.sha256((self.master + self.released).encode()).hexdigest()[:12]

    @cached_property
    def points(self) -> dict[str, float]:
        """Points by exercise, then by free-text cell (its grade_id), in the order of the lab."""
        found = {}
        for cell in nbformat.reads(self.master, 4).cells:
            grading = cell.metadata.get("nbgrader", {})
            if grading.get("grade"):
                named = CHECK.search(cell.source) if not grading.get("solution") else None
                name = named[1] if named else grading["grade_id"]
                found[name] = float(grading["points"])
        return found

    @cached_property
    def free_text(self) -> tuple[str, ...]:
        """The grade_ids of the cells that a human grades."""
        cells = [cell.metadata.get("nbgrader", {}) for cell in nbformat.reads(self.master, 4).cells]
        return tuple(c["grade_id"] for c in cells if c.get("grade") and c.get("solution"))
