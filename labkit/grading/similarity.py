"""Which submissions share code that hardly anybody else has: pairs to look at, never a proof.

Winnowing (Schleimer, Wilkerson and Aiken, SIGMOD 2003) over the tokens of Python code. A name, a
number and a string each stand for any other; comments and docstrings do not count. A piece of code
is `K` tokens in a row. As in MOSS, a piece does not count if it was handed out, is in the master's
solution, or stands in the answers of more than a few students.
"""

import builtins
import io
import itertools
import keyword
import token
import tokenize
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

K, WINDOW = 8, 3  # any 10 tokens in a row that two answers have in common are noticed
FEW, SHARE_OF_CLASS = 3, 0.1  # a piece that more students have, and a larger share, is common
# Pieces in common, and their share, that make a pair one to look at. Among 45,000 pairs of answers
# to lab 03 that were put together by chance from usual ways to write it, one has as many; copies of
# all exercises, or of three of five, have more.
ENOUGH, ALIKE = 12, 0.75
LONGEST = 50_000  # characters of an answer that are read
KEPT = frozenset(keyword.kwlist) | frozenset(dir(builtins))
IGNORED = (token.COMMENT, token.NL, token.ENCODING, token.ENDMARKER, token.TYPE_COMMENT)
LAYOUT = {token.NEWLINE: ";", token.INDENT: "{", token.DEDENT: "}"}


class Overlap(NamedTuple):
    """What two students' answers share.

    score: of the distinctive pieces of the one who has fewer, the share that the other has, too;
    common: how many these are; exercises: where. Of all exercises, or of one where many are shared.
    """

    a: str
    b: str
    score: float
    exercises: tuple[str, ...]
    common: int

    @property
    def is_alike(self) -> bool:
        """Whether this is enough to look at both: a few common pieces alone are no evidence."""
        return self.common >= ENOUGH and self.score >= ALIKE


def pairs(
    answers: Mapping[str, Mapping[str, str]], given: Mapping[str, str]
) -> list[tuple[str, str, float, tuple[str, ...]]]:
    """Pairs of students to look at, as (a, b, score, exercises), the most alike first.

    answers: the code by student and exercise; given: by exercise what all students may have, the
    released cell and the master's.
    """
    return [overlap[:4] for overlap in overlaps(answers, given) if overlap.is_alike]


def overlaps(answers: Mapping[str, Mapping[str, str]], given: Mapping[str, str]) -> list[Overlap]:
    """All pairs of students with a distinctive piece of code in common, the most alike first.

    Only pairs that share a piece are visited, so a large class takes little longer than its code.
    """
    limit = common_from(len(answers)) - 1
    shared: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    sizes: dict[tuple[str, str], int] = {}
    names = sorted({name for codes in answers.values() for name in codes})
    for exercise in names:
        codes = {student: answers[student].get(exercise, "") for student in sorted(answers)}
        pieces = distinctive(codes, given.get(exercise, ""), limit)
        holders: dict[int, list[str]] = defaultdict(list)
        for student, found in pieces.items():
            sizes[student, exercise] = len(found)
            for piece in found:
                holders[piece].append(student)
        for students in holders.values():
            for pair in itertools.combinations(students, 2):
                shared[pair][exercise] += 1
    found = []
    for (a, b), counts in shared.items():
        least = {name: min(sizes[a, name], sizes[b, name]) for name in names}
        parts = [(sum(counts.values()), sum(least.values()), tuple(sorted(counts)))]
        parts += [(n, least[name], (name,)) for name, n in counts.items() if n >= 2 * ENOUGH]
        common, fewer, where = max(parts, key=lambda part: part[0] / part[1])
        found.append(Overlap(a, b, common / fewer, where, common))
    return sorted(found, key=lambda o: (not o.is_alike, -o.score, -o.common, o.a, o.b))


def common_from(students: int) -> int:
    """How many students must have a piece of code until it tells nothing any more."""
    return max(FEW, int(SHARE_OF_CLASS * students)) + 1


def distinctive(codes: Mapping[str, str], given: str, limit: int) -> dict[str, set[int]]:
    """By student the fingerprints of an answer that are not given and that at most `limit` have.

    A piece counts as held wherever it stands, chosen as a fingerprint or not.
    """
    hashes = {student: hashed(tokens(code)) for student, code in codes.items()}
    held = Counter(piece for found in hashes.values() for piece in set(found))
    known = set(hashed(tokens(given)))
    return {
        student: {piece for piece in winnow(found) if piece not in known and held[piece] <= limit}
        for student, found in hashes.items()
    }


def winnow(hashes: list[int]) -> set[int]:
    """The fingerprints of a text: of each window of hashes the smallest."""
    windows = max(1, len(hashes) - WINDOW + 1)
    return {min(hashes[k : k + WINDOW]) for k in range(windows if hashes else 0)}


def hashed(words: list[str]) -> list[int]:
    """A hash of each `K` tokens in a row, the same in every process."""
    rows = ("\0".join(words[k : k + K]) for k in range(len(words) - K + 1))
    return [zlib.crc32(row.encode("utf-8", "replace")) for row in rows]


def tokens(code: str) -> list[str]:
    """The tokens of Python code: names, numbers and strings alike, attributes as they are.

    Of code that is no Python, what can be read of it. There is no syntax tree here, because Python
    may crash on one that is nested deeply enough.
    """
    words: list[str] = []
    for kind, text in _plain(_read(code[:LONGEST])):
        if kind == token.STRING:
            words.append('""')
        elif kind == token.NUMBER:
            words.append("0")
        elif kind == token.NAME and text not in KEPT and words[-1:] != ["."]:
            words.append("name")
        elif kind == token.NEWLINE and words[-1:] == ['""'] and _begins(words[:-1]):
            words.pop()  # a docstring, or a string that does nothing
        else:
            words.append(LAYOUT.get(kind, text))
    return words


def _begins(words: list[str]) -> bool:
    """Whether a statement begins after these tokens."""
    return not words or words[-1] in LAYOUT.values()


def _read(code: str) -> Iterator[tuple[int, str]]:
    """Kind and text of each token, up to the first that cannot be read."""
    try:
        for found in tokenize.generate_tokens(io.StringIO(code).readline):
            if found.type not in IGNORED:
                yield found.type, found.string
    except (tokenize.TokenError, SyntaxError, UnicodeError, ValueError):
        return


def _plain(found: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """The tokens with each f-string as one string, as before Python 3.12."""
    depth = 0
    for kind, text in found:
        name = token.tok_name[kind]
        depth += name.endswith("STRING_START")
        if name.endswith("STRING_END"):
            depth -= 1
            kind, text = token.STRING, '""'
        if not depth:
            yield kind, text
