"""Finds the cells of a lab in what was handed in, and makes it a notebook that can be graded.

A cell is known by its grade_id, its cell id, what it says, or its likeness to a released cell. What
is graded gets the release's metadata; tests and locked cells also its text. All else stays.
"""

import copy
import itertools
import re
from collections import defaultdict
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from nbformat import NotebookNode
from nbformat.v4 import new_raw_cell

from labkit.grading.handed_in import listing
from labkit.grading.records import CHECK, EXERCISE, REPAIRED, Finding

SOLUTION, TEST, TEXT, LOCKED, PLAIN = "solution", "test", "text", "locked", "plain"
ALIKE = 0.5  # share of lines in common from which on a cell counts as one of the release
COMPARED = 200  # cells that are compared with those of the release, line by line
FUNCTION = re.compile(r"^(?:async )?def (\w+)\(", re.M)
DECLARED = re.compile(r"^(?=@\s*(?:\w+\.)*exercise\()", re.M)
STATEMENT = re.compile(r"^(?=[^\s)\]}#])(?!(?:else|elif|except|finally)\b)", re.M)


@dataclass(frozen=True)
class Part:
    """A cell of the release. name: its exercise, or the grade_id of a free text, or ""."""

    cell: NotebookNode
    kind: str
    name: str = ""

    @property
    def title(self) -> str:
        kinds = {SOLUTION: f"exercise {self.name}", TEST: f"the test of {self.name}"}
        kinds |= {TEXT: f"the text {self.name}"}
        return kinds.get(self.kind, f"cell {self.cell.id}")


@dataclass
class Mended:
    """A notebook that can be graded. answers, added: see precheck.Checked; changed: ids of plain
    cells that differ from the release; places: number of each Part's cell among those handed in.
    """

    cells: list[NotebookNode] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)

    def repaired(self, kind: str, text: str, part: Part) -> None:
        name = part.name if part.kind in (SOLUTION, TEST) else ""
        text = text[0].upper() + text[1:]
        self.findings.append(Finding(kind, text, REPAIRED, exercise=name))


def parts(released: NotebookNode) -> list[Part]:
    """What the cells of a release are."""
    return [part_of(cell) for cell in released.cells]


def part_of(cell: NotebookNode) -> Part:
    settings = cell.metadata.get("nbgrader", {})
    solution, grade = settings.get("solution"), settings.get("grade")
    if solution and grade:
        return Part(cell, TEXT, settings["grade_id"])
    if solution or grade:
        named = (EXERCISE if solution else CHECK).search(cell.source)
        return Part(cell, SOLUTION if solution else TEST, named[1] if named else cell.id)
    return Part(cell, LOCKED if settings.get("locked") else PLAIN)


def squeezed(source: str) -> str:
    """A text without white space, to tell whether two say the same."""
    return "".join(source.split())


def same(one: NotebookNode, other: NotebookNode) -> bool:
    return squeezed(one.source) == squeezed(other.source)


def split(cells: list[NotebookNode], known: list[Part]) -> tuple[list[NotebookNode], list[Finding]]:
    """The cells, those that were merged in two again: one exercise each."""
    names = {part.name for part in known if part.kind == SOLUTION}
    made, findings = [], []
    for cell in cells:
        pieces = DECLARED.split(cell.source)
        declared = [name for name in EXERCISE.findall(cell.source) if name in names]
        if len(set(declared)) < 2 or len(pieces) > 2 * len(names):
            made.append(cell)
            continue
        if not EXERCISE.search(pieces[0]):  # what stands above the first exercise belongs to it
            pieces[:2] = ["".join(pieces[:2])]
        for k, piece in enumerate(pieces):
            twin = copy.deepcopy(cell)
            twin.source = piece.rstrip()
            if k:
                twin.id, twin.metadata = f"{cell.id[:60]}-{k}", NotebookNode()
                if twin.cell_type == "code":
                    twin.outputs, twin.execution_count = [], None
            made.append(twin)
        text = f"Exercises {listing(declared)} were in one cell; each has its own now."
        findings.append(Finding("cells merged", text, REPAIRED))
    return made, findings


def recognize(cells: list[NotebookNode], known: list[Part]) -> list[int | None]:
    """For each cell, which part of the release it is, or None."""
    index: dict[str, dict[str, int]] = defaultdict(dict)
    for k, part in enumerate(known):
        index["id"][part.cell.id] = k
        index[part.kind].setdefault(part.name, k)
        if grade_id := part.cell.metadata.get("nbgrader", {}).get("grade_id"):
            index["grade_id"][grade_id] = k
        if text := squeezed(part.cell.source):
            index["text"].setdefault(text, k)
    meant = [claim(cell, known, index) for cell in cells]
    likened(cells, known, meant)
    for k, part in enumerate(known):  # an answer in words may have nothing in common with it
        if part.kind == TEXT and k not in meant and k and k - 1 in meant:
            after = len(meant) - 1 - meant[::-1].index(k - 1) + 1
            if after < len(cells) and meant[after] is None:
                meant[after] = k
    return meant


def claim(cell: NotebookNode, known: list[Part], index: dict[str, dict[str, int]]) -> int | None:
    """Which part a cell is by its grade_id, its id or its words, in this order.

    Whoever copies a cell copies its ids, so a cell that declares another exercise is that one.
    """
    said = declares(cell.source, index)
    grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
    for k in (
        index["grade_id"].get(grade_id) if isinstance(grade_id, str) else None,
        index["id"].get(cell.id),
    ):
        if k is not None and (said in (None, k) or same(cell, known[k].cell)):
            return k
    text = index["text"].get(squeezed(cell.source))
    if text is not None or said is not None:
        return text if text is not None else said
    defined = [index[SOLUTION].get(name) for name in FUNCTION.findall(cell.source)]
    return next((k for k in defined if k is not None), None)


def declares(source: str, index: dict[str, dict[str, int]]) -> int | None:
    """The part whose exercise a cell names by @exercise("name") or check("name")."""
    for pattern, kind in ((EXERCISE, SOLUTION), (CHECK, TEST)):
        for name in pattern.findall(source):
            if name in index[kind]:
                return index[kind][name]
    return None


def likened(cells: list[NotebookNode], known: list[Part], meant: list[int | None]) -> None:
    """Gives parts that were not found to the unknown cells that are most like them."""

    def lines(cell: NotebookNode) -> list[str]:
        return [line.strip() for line in cell.source.splitlines()[:300] if line.strip()]

    unknown = [i for i, k in enumerate(meant) if k is None and len(cells[i].source) < 20_000]
    missing = [k for k, part in enumerate(known) if k not in meant and part.cell.source.strip()]
    missing = [k for k in missing if known[k].kind != PLAIN or known[k].cell.cell_type == "code"]
    pairs = []
    for k in missing:
        compare = SequenceMatcher(autojunk=False)
        compare.set_seq2(lines(known[k].cell))
        for i in unknown[:COMPARED]:
            compare.set_seq1(lines(cells[i]))
            if compare.real_quick_ratio() >= ALIKE and compare.quick_ratio() >= ALIKE:
                pairs.append((-compare.ratio(), i, k))
    for ratio, i, k in sorted(pairs):
        if -ratio >= ALIKE and meant[i] is None and k not in meant:
            meant[i] = k


def mend(cells: list[NotebookNode], meant: list[int | None], known: list[Part]) -> Mended:
    """The notebook with each graded cell once, as released but for what students write."""
    made = Mended()
    stands: dict[int, int] = {}  # where each part comes to stand
    other: dict[int, NotebookNode | None] = {}  # copies that were not chosen; None: left out
    choose = {SOLUTION: written, TEXT: written, PLAIN: left_alone}
    for k, part in enumerate(known):
        if mine := [i for i, m in enumerate(meant) if m == k]:
            chosen, copies = choose.get(part.kind, restored)(part, mine, cells, made)
            made.places[k], stands[min(chosen, *copies, len(cells))] = chosen, k
            other |= {i: leftover(cells[i], part, cells[chosen]) for i in copies}
            if copies and min(copies) < chosen:
                other[chosen] = other.pop(min(copies))
    order: list[tuple[int | None, NotebookNode]] = []
    for i, cell in enumerate(cells):
        k = stands.get(i)
        if k is None and i in other:
            order += [(None, twin) for twin in [other[i]] if twin]
            continue
        if k is None or known[k].kind == PLAIN:
            note_added(cell, k if k is None else known[k], made)
        order.append((k, plain(cell) if k is None else shaped(known[k], cells[made.places[k]])))
    lost = [known[k].title for k, i in made.places.items() if not same_settings(known[k], cells[i])]
    if lost:
        text = f"The grading metadata of {listing(lost)} was lost or changed; it is back."
        made.findings.append(Finding("metadata lost", text, REPAIRED))
    put_back(order, known, made)
    in_order(order, known, made)
    for k, cell in order:
        if k is not None and known[k].kind in (SOLUTION, TEXT):
            if known[k].kind == SOLUTION and k in made.places:
                declare(cell, known[k], made)
            made.answers[known[k].name] = cell.source if k in made.places else ""
    made.cells = with_ids(order, known)
    return made


def written(part: Part, mine: list[int], cells, made: Mended) -> tuple[int, list[int]]:
    """Chooses what counts where students write: the last cell that differs from the release."""
    kind = part.cell.cell_type

    def rank(i: int) -> tuple:
        cell, text = cells[i], part.kind == TEXT
        differs, defined = not same(cell, part.cell), text or defines(cell, part.name)
        declared = text or part.name in EXERCISE.findall(cell.source)
        return differs and defined, declared, defined, differs, cell.cell_type == kind, i

    chosen = max(mine, key=rank)
    copies = [i for i in mine if i != chosen and cells[i].cell_type == kind and rank(i)[2]]
    if copies:
        numbers = listing(sorted(i + 1 for i in [chosen, *copies]))
        text = f"{part.title} is there more than once (cells {numbers}); cell {chosen + 1} counts."
        made.repaired("cell twice", text, part)
    if (was := cells[chosen].cell_type) != kind:
        text = f"{part.title} was a {was} cell (cell {chosen + 1}); it is a {kind} cell again."
        made.repaired("not a code cell" if kind == "code" else "cell type changed", text, part)
    return chosen, copies


def restored(part: Part, mine: list[int], cells, made: Mended) -> tuple[int, list[int]]:
    """Chooses the cell that a test or a locked cell was; other cells may call check, too."""
    equal = [i for i in mine if same(cells[i], part.cell)]
    marked = [i for i in mine if cells[i].metadata.get("nbgrader") or cells[i].id == part.cell.id]
    chosen = next((i for i in equal if i in marked), (equal or marked or mine)[0])
    copies = [i for i in marked if i != chosen]
    if copies:
        numbers = listing(sorted(i + 1 for i in [chosen, *copies]))
        text = f"{part.title} is there more than once (cells {numbers}); once is enough."
        made.repaired("cell twice", text, part)
    if chosen not in equal:
        kind = "test changed" if part.kind == TEST else "locked cell changed"
        text = f"{part.title} was changed (cell {chosen + 1}); it is as released again."
        made.repaired(kind, text, part)
    return chosen, copies


def left_alone(part: Part, mine: list[int], cells, made: Mended) -> tuple[int, list[int]]:
    """Chooses among the cells that may be one of the release that is not graded."""
    chosen = next((i for i in mine if same(cells[i], part.cell)), mine[0])
    if part.cell.cell_type == "code" and not same(cells[chosen], part.cell):
        made.changed.append(part.cell.id)
    return chosen, []


def leftover(cell: NotebookNode, part: Part, chosen: NotebookNode) -> NotebookNode | None:
    """What is kept of a second copy: it is not run, or the last one to run would count."""
    if part.kind in (TEST, LOCKED) or same(cell, chosen) or same(cell, part.cell):
        return None
    return new_raw_cell(cell.source, id=cell.id)


def defines(cell: NotebookNode, name: str) -> bool:
    return name in EXERCISE.findall(cell.source) or name in FUNCTION.findall(cell.source)


def declare(cell: NotebookNode, part: Part, made: Mended) -> None:
    """Puts a lost @exercise("name") back above the function that it belongs to."""
    found = next((m for m in FUNCTION.finditer(cell.source) if m[1] == part.name), None)
    if found and part.name not in EXERCISE.findall(cell.source):
        line = f'@exercise("{part.name}")\n'
        cell.source = cell.source[: found.start()] + line + cell.source[found.start() :]
        text = f"{part.title} had lost the line {line.strip()}; it is back."
        made.repaired("decorator missing", text, part)


def shaped(part: Part, cell: NotebookNode) -> NotebookNode:
    """A cell of the release, with what was written and shown in it if that may be written."""
    if part.kind == PLAIN:
        return plain(cell)
    made = copy.deepcopy(part.cell)
    if part.kind in (SOLUTION, TEXT):
        made.source = cell.source
    if made.cell_type == cell.cell_type == "code" and same(made, cell):
        made.outputs, made.execution_count = cell.outputs, cell.execution_count
    if made.cell_type != "code" and part.kind == TEXT and "attachments" in cell:
        made.attachments = cell.attachments
    return made


def plain(cell: NotebookNode) -> NotebookNode:
    """A cell without metadata: a tag, say, can tell a kernel to let errors pass."""
    return NotebookNode({**cell, "metadata": NotebookNode()})


def same_settings(part: Part, cell: NotebookNode) -> bool:
    """Whether nbgrader's metadata is as released, where it matters."""
    if part.kind == PLAIN:
        return True
    ours, theirs = (c.metadata.get("nbgrader", {}) for c in (part.cell, cell))
    facts = ("grade_id", "grade", "solution", "locked", "points", "schema_version")
    return all(ours.get(fact) == theirs.get(fact) for fact in facts)


def note_added(cell: NotebookNode, part: Part | None, made: Mended) -> None:
    """Notes the code that a student has added in a cell, beside what the release has."""
    if cell.cell_type != "code" or not cell.source.strip():
        return
    before = part.cell.source if part else ""
    old = {squeezed(statement) for statement in STATEMENT.split(before)}
    new = [s.rstrip() for s in STATEMENT.split(cell.source) if squeezed(s) not in old]
    if any(map(str.strip, new)):
        made.added.append("\n".join(new) if part else cell.source)


def put_back(order: list, known: list[Part], made: Mended) -> None:
    """Puts each part that is missing behind the nearest part before it that is there."""
    kinds = {SOLUTION: "solution missing", TEXT: "answer missing", TEST: "test missing"}
    for k, part in enumerate(known):
        if part.kind == PLAIN or k in made.places:
            continue
        present = [p for p, _ in order]
        before = next((j for j in range(k - 1, -1, -1) if j in present), None)
        place = 0 if before is None else present.index(before) + 1
        order.insert(place, (k, copy.deepcopy(part.cell)))
        text = f"{part.title} was missing; the cell of the release is there again."
        made.repaired(kinds.get(part.kind, "locked cell missing"), text, part)


def in_order(order: list, known: list[Part], made: Mended) -> None:
    """Moves tests that stand before their exercise behind it."""
    solutions = {part.name: k for k, part in enumerate(known) if part.kind == SOLUTION}
    for k, part in enumerate(known):
        if part.kind == TEST and part.name in solutions:
            present = [p for p, _ in order]
            if present.index(k) < present.index(solutions[part.name]):
                test = order.pop(present.index(k))
                order.insert(present.index(solutions[part.name]), test)
                text = f"{part.title} stood above the exercise; it was moved below."
                made.repaired("order changed", text, part)


def with_ids(order: list[tuple[int | None, NotebookNode]], known: list[Part]) -> list[NotebookNode]:
    """The cells, those of the release with its ids, and the others with ids of their own."""
    taken = {part.cell.id for part in known}
    for k, cell in order:
        if k is not None:
            cell.id = known[k].cell.id
        elif cell.id in taken:
            cell.id = next(f"own-{n}" for n in itertools.count(1) if f"own-{n}" not in taken)
        taken.add(cell.id)
    return [cell for _, cell in order]
