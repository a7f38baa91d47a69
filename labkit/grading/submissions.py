"""Finds the students' notebooks in a folder or a zip, and reads them; nothing is unpacked to disk.

Whose a file is, is told by the first name of its path alone:
- Moodle: `First Last_123_assignsubmission_file_/lab.ipynb`, or flat `…_file_lab.ipynb`;
- Canvas: `lastfirst_LATE_123_456_lab-1.ipynb`, or `anon_Ab1cd_456_lab.ipynb`;
- else a folder a student, as in nbgrader's submitted/, or flat `STUDENT.ipynb`, `STUDENT.zip`.
All files of one student give one Submission, also if there is no notebook among them.
"""

import hashlib
import itertools
import os
import re
import stat
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from labkit.console import one_line
from labkit.grading.records import GRADED, REFUSED, Finding, Refused, Submission

MOST_NOTEBOOK = 30_000_000  # bytes
MOST_UNPACKED = 200_000_000  # bytes of a student's archive, unpacked
MOST_MEMBERS = 2_000  # in all archives of a student
MOST_ARCHIVES = 10  # of a student
MOST_RATIO = 100  # of unpacked to packed size, where the archive is larger than SMALL
SMALL = 10_000_000  # bytes, unpacked
NESTED = 2  # archives that are opened one inside the other
DEEPEST = 30  # folders that are opened one inside the other
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile unpacks others without a bound
CHUNK = 1 << 20  # bytes
MEMBER = b"PK\1\2"  # each entry of a zip's directory begins so

NOTEBOOK = re.compile(r"\.ipynb(\.(json|txt))?$", re.I)  # some browsers add a second suffix
ARCHIVE = re.compile(r"\.zip$", re.I)
LISTS = (".csv", ".xlsx", ".ods", ".ini", ".cfg", ".db", ".log", ".md", "nbgrader_config.py")
WRAPPERS = {"submitted", "submissions"}
LAB = re.compile(r"\d\d_\w+")
MOODLE = re.compile(r"(.*?)(?:_([0-9]+))?_assignsubmission_[a-z]+(?:_(.*))?", re.S)
NUMBER = r"[1-9][0-9]*"
CANVAS = re.compile(
    rf"(.*?)(?:_LATE)?_({NUMBER})_(?:{NUMBER}_(.+)|(?:text|link)\.html)", re.S | re.I
)
ANONYMOUS = re.compile(
    rf"(?:LATE_)?anon_(?:LATE_)?([0-9a-z]+)_(?:{NUMBER}_(.+)|(?:text|link)\.html)", re.S | re.I
)
WHOLE = {"ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ł": "l"}
WHOLE |= {"Ł": "L", "đ": "d", "Đ": "D", "þ": "th", "Þ": "Th", "ð": "d", "Ð": "D", "ı": "i"}
LETTERS = str.maketrans(WHOLE)  # letters that Unicode's decomposition leaves whole


@dataclass(frozen=True)
class Entry:
    """A file or folder. parts: its path below the top, in which archives count as folders.

    path, member: as in Submission; time: when it was changed, in seconds; refused: why it cannot
    be read, if it cannot.
    """

    parts: tuple[str, ...]
    path: str
    member: tuple[str, ...] = ()
    time: int = 0
    folder: bool = False
    refused: Finding | None = None

    @property
    def name(self) -> str:
        return shown("/".join(self.parts[1:]) or self.parts[0])

    @property
    def wanted(self) -> bool:
        """Whether this is a notebook or an archive, by its name."""
        return self.ends(NOTEBOOK) or self.ends(ARCHIVE)

    def ends(self, kind: re.Pattern) -> bool:
        return not self.folder and bool(kind.search(self.parts[-1]))


class Owner(NamedTuple):
    """Whose a file is: number is what the platform calls the student by."""

    source: str
    name: str
    number: str = ""


def find(where: Path, stem: str = "") -> list[Submission]:
    """One submission for each student of a folder, zip or single notebook, sorted by key.

    Of several notebooks of a student the newest counts. stem: the lab's name; notebooks in a folder
    of that name, else those with it in their own name, come before others. Raises ValueError if
    `where` is neither a folder nor a notebook nor a readable zip.
    """
    groups: dict[Owner, list[Entry]] = {}
    for entry in _top(Path(where).expanduser().resolve()):
        if not _is_list(entry):
            groups.setdefault(told(entry)[0], []).append(entry)
    keys = _keys(groups)
    made = [_submission(keys[owner], owner, found, stem) for owner, found in groups.items()]
    return sorted(made, key=lambda submission: submission.student)


def read(submission: Submission) -> bytes:
    """The notebook as it was handed in; raises Refused if there is none, or it cannot be read."""
    for finding in submission.findings:
        if finding.status == REFUSED:
            raise Refused(finding.text)
    try:
        if not submission.member:
            with _regular(submission.path) as stream:
                return _limited(stream, MOST_NOTEBOOK, submission.file)
        with _opened(submission.path, submission.member[:-1]) as archive:
            return _unpacked(archive, submission.member[-1], MOST_NOTEBOOK)
    except Refused:
        raise
    except Exception as error:  # zipfile raises many kinds for broken files
        raise Refused(_broken(submission.file, error)) from error


def told(entry: Entry) -> tuple[Owner, str]:
    """Whose an entry is, and what its owner called it, by the first name of its path."""
    name, folder = entry.parts[0], entry.folder or len(entry.parts) > 1
    if found := MOODLE.fullmatch(name):
        person, number, file = found.groups("")
        blind = person == "Participant"
        return Owner("moodle", f"{person} {number}" if blind else person, number), file or name
    if not folder and (found := ANONYMOUS.fullmatch(name)):
        return Owner("canvas", f"Anonymous {found[1]}", found[1]), found[2] or name
    if not folder and (found := CANVAS.fullmatch(name)):
        return Owner("canvas", found[1], found[2]), found[3] or name
    if not folder:
        short = NOTEBOOK.sub("", name)
        return Owner("folder", Path(name).stem if short == name else short), name
    return Owner("folder", name), name


def shown(name: str) -> str:
    """A name without what cannot be printed or encoded, cut to 200 characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)[:200]


# Everything there is


def _top(where: Path) -> list[Entry]:
    """All entries of a folder or zip, without a folder or a zip around all of them."""
    if where.is_dir():
        return _unwrapped(_lone_archive(_on_disk(where)), WRAPPERS)
    if not where.is_file():
        raise ValueError(f"there is no {where}: give the folder or the zip of the submissions")
    if NOTEBOOK.search(where.name):
        return [Entry((where.name,), str(where))]
    try:
        with _opened(str(where)) as archive:
            entries = _members(archive, Entry((), str(where)))
    except Exception as error:  # zipfile raises many kinds for broken files
        remedy = "download it again, or give the folder of the unpacked submissions"
        raise ValueError(f"{where} is no readable zip ({one_line(error)}): {remedy}") from error
    copy = re.sub(r" ?\(\d+\)$", "", where.stem)  # a second download
    return _unwrapped(entries, {*WRAPPERS, where.stem, copy})


def _on_disk(top: Path) -> list[Entry]:
    """All files and folders below a folder; links are listed and not followed."""
    found, folders = [], [Entry((), str(top), folder=True)]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder.path) as items:
                inside = [_item(folder, item) for item in items if not _hidden(item.name)]
        except OSError as error:
            if not folder.parts:
                raise
            text = f"The folder {folder.name} cannot be read: {error.strerror}."
            found.append(replace(folder, refused=Finding("unreadable", text, REFUSED)))
            continue
        found += inside
        deeper = [entry for entry in inside if entry.folder and not entry.refused]
        folders += deeper if len(folder.parts) < DEEPEST else []
    return found


def _item(folder: Entry, item: os.DirEntry) -> Entry:
    """The entry of a file, folder or link in a folder."""
    mode, time = (found := item.stat(follow_symlinks=False)).st_mode, int(found.st_mtime)
    made = Entry((*folder.parts, item.name), item.path, (), time, stat.S_ISDIR(mode))
    if stat.S_ISLNK(mode):
        linked = replace(made, refused=_link(made.name))
        return linked if made.wanted else replace(linked, folder=True)
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        text = f"{made.name} is a device or a pipe, not a file: ask for the notebook itself."
        return replace(made, refused=Finding("unreadable", text, REFUSED))
    return made


def _members(archive: zipfile.ZipFile, outer: Entry) -> list[Entry]:
    """The entries of an archive; of two with one name the last counts, as when it is unpacked."""
    found = {}
    for info in archive.infolist():
        parts = [part for part in re.split(r"[/\\]", _decoded(info)) if part not in ("", ".", "..")]
        seen = list(itertools.takewhile(lambda part: not _hidden(part), parts))[:DEEPEST]
        if not seen:
            continue
        folder = info.is_dir() or len(seen) < len(parts)  # the folder of what is left out is there
        try:
            time = int(datetime(*info.date_time).timestamp())
        except (ValueError, OverflowError, OSError):
            time = 0
        member = (*outer.member, info.filename)
        made = Entry((*outer.parts, *seen), outer.path, member, time, folder)
        found[info.filename] = replace(made, refused=_problem(info, made.name))
    return list(found.values())


def _problem(info: zipfile.ZipInfo, name: str) -> Finding | None:
    """Why a member of an archive will not be read, if so."""
    if stat.S_ISLNK(info.external_attr >> 16):
        return _link(name)
    if info.flag_bits & 1:
        text = f"{name} is encrypted: ask for it without a password."
        return Finding("encrypted archive", text, REFUSED)
    if info.compress_type not in METHODS and not info.is_dir():
        text = f"{name} is compressed in an unusual way: ask for the notebook itself."
        return Finding("broken archive", text, REFUSED)
    return None


def _link(name: str) -> Finding:
    text = f"{name} is a link, and links are not followed: ask for the notebook itself."
    return Finding("link", text, REFUSED)


def _decoded(info: zipfile.ZipInfo) -> str:
    """A member's name; macOS writes UTF-8 without saying so, which zipfile takes for cp437."""
    if not info.flag_bits & 0x800:
        try:
            return info.filename.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass
    return info.filename


def _hidden(name: str) -> bool:
    """Whether a program left this beside what the student wrote."""
    return name.startswith(".") or name in ("__MACOSX", "__pycache__")


def _is_list(entry: Entry) -> bool:
    """Whether this is a file of the instructor's own, such as the grading worksheet."""
    flat = len(entry.parts) == 1 and not entry.folder and told(entry)[0].source == "folder"
    return flat and entry.parts[0].lower().endswith(LISTS)


def _lone_archive(entries: list[Entry]) -> list[Entry]:
    """What is in a platform's download, if a folder holds that and nothing else.

    Beside other submissions an archive is a student's, whatever the names in it claim.
    """
    files = [entry for entry in entries if not _is_list(entry)]
    if len(files) != 1 or not files[0].ends(ARCHIVE) or files[0].refused:
        return entries
    try:
        with _opened(files[0].path) as archive:
            inside = _members(archive, replace(files[0], parts=()))
    except Exception:  # zipfile raises many kinds for broken files; _unfolded tells of them
        return entries
    return inside if _of_a_platform(inside) else entries


def _of_a_platform(entries: list[Entry]) -> bool:
    return any(told(entry)[0].source != "folder" for entry in entries)


def _unwrapped(entries: list[Entry], names: set[str]) -> list[Entry]:
    """The entries without a folder around all of them.

    A lone folder may also be that of a lone student. It is taken off if it has one of the names, if
    a platform's names are in it, or if two folders in it have something to grade.
    """
    while True:
        tops = {entry.parts[0] for entry in entries if not _is_list(entry)}
        if "submitted" in tops and tops & {"source", "release"}:  # of nbgrader's course
            tops = {"submitted"}
        inner = [
            replace(e, parts=e.parts[1:]) for e in entries if e.parts[0] in tops and e.parts[1:]
        ]
        if len(tops) != 1 or not inner or _of_a_platform(entries):
            return entries
        folders = {e.parts[0] for e in inner if e.wanted and e.parts[1:]}
        flat = any(e.wanted and not e.parts[1:] for e in inner)
        many = len(folders) > 1 and not flat and not all(map(LAB.fullmatch, folders))
        named = tops <= WRAPPERS or (tops <= names and len({e.parts[0] for e in inner}) > 1)
        if not (named or many or _of_a_platform(inner)):
            return entries
        entries = inner


# One student's


def _submission(student: str, owner: Owner, entries: list[Entry], stem: str) -> Submission:
    """The submission of one student, out of everything that is theirs."""
    entries = sorted(_unfolded(entries), key=_order)
    notebooks = [entry for entry in entries if entry.ends(NOTEBOOK) and not entry.refused]
    notebooks = [entry for entry in notebooks if stem in entry.parts[:-1]] or notebooks
    named = [entry for entry in notebooks if stem and stem in entry.parts[-1]] or notebooks
    findings = _troubles(entries, bool(notebooks))
    if len(notebooks) > 1:
        text = f"{len(notebooks)} notebooks were handed in ({_listed(notebooks)})"
        findings.append(Finding("several notebooks", f"{text}; {named[-1].name} counts.", GRADED))
    if not notebooks and not findings:
        files = [entry for entry in entries if not entry.folder]
        what = f"only {_listed(files)}" if files else "and no other file"
        text = f"No notebook was handed in, {what}."
        findings.append(Finding("no notebook", text, REFUSED))
    chosen = named[-1] if notebooks else entries[-1]
    file = chosen.parts[-1] if chosen.parts[1:] else told(chosen)[1]
    number = f"Participant {owner.number}" if owner.source == "moodle" else owner.number
    return Submission(
        student=student,
        name=shown(owner.name),
        path=chosen.path,
        member=chosen.member,
        file=shown(file) if notebooks else "",
        source=owner.source,
        identifier=number if owner.number else "",
        findings=tuple(findings),
    )


def _unfolded(entries: list[Entry]) -> Iterator[Entry]:
    """The entries of a student, with what is in an archive in its place."""
    waiting, archives, members = list(entries), 0, 0
    while waiting:
        entry = waiting.pop()
        if entry.refused or not entry.ends(ARCHIVE):
            yield entry
            continue
        try:
            archives += 1
            if len(entry.member) >= NESTED or archives > MOST_ARCHIVES:
                what = f"{entry.name} lies in archives inside archives, or is one of very many"
                raise Refused(f"{what}: ask for the notebook itself.")
            inside = _inside(entry)
            members += len(inside)
            _refuse_many(members, entry.name)
            waiting += inside
        except Refused as error:
            yield replace(entry, refused=Finding("archive", str(error), REFUSED))


def _inside(entry: Entry) -> list[Entry]:
    """The entries of a student's archive; raises Refused if it is broken or too large."""
    try:
        with _opened(entry.path, entry.member, checked=True) as archive:
            infos = archive.infolist()
            _refuse_many(len(infos), entry.name)
            unpacked, packed = (
                sum(getattr(i, s) for i in infos) for s in ("file_size", "compress_size")
            )
            bomb = unpacked > SMALL and unpacked > MOST_RATIO * packed
            if unpacked > MOST_UNPACKED or bomb:
                what = f"{entry.name} would unpack to {unpacked / 1e6:.0f} MB"
                raise Refused(f"{what}, more than a lab can need: ask for the notebook itself.")
            return _members(archive, entry)
    except Refused:
        raise
    except Exception as error:  # zipfile raises many kinds for broken files
        raise Refused(_broken(entry.name, error)) from error


def _refuse_many(members: int, name: str) -> None:
    if members > MOST_MEMBERS:
        what = f"{name} has more than {MOST_MEMBERS:,} files"
        raise Refused(f"{what}: ask for the notebook itself.")


def _broken(name: str, error: Exception) -> str:
    return f"{shown(name)} cannot be read ({one_line(error)}): ask for it again."


def _troubles(entries: list[Entry], graded: bool) -> list[Finding]:
    """One finding for each kind of thing that could not be read.

    They are notes if a notebook is there, except for a link that stands for a notebook.
    """
    found: dict[str, Finding] = {}
    for entry in entries:
        if entry.refused and (entry.wanted or not graded):
            link = entry.refused.kind == "link" and entry.wanted
            status = GRADED if graded and not link else REFUSED
            found.setdefault(entry.refused.kind, replace(entry.refused, status=status))
    return list(found.values())


def _order(entry: Entry) -> tuple:
    """Sorts by time, then by name as people number copies: lab, lab (1), lab-2, lab-10."""
    *folders, last = entry.parts
    natural = []
    for part in (*folders, NOTEBOOK.sub("", last)):
        words = re.split(r"([0-9]+)", part.casefold())  # every second one is a number
        digits = [word.lstrip("0") for word in words[1::2]]
        words[1::2] = [(len(number), number) for number in digits]
        natural.append(words)
    return entry.time, natural, entry.parts, entry.member


def _listed(entries: list[Entry], most: int = 8) -> str:
    names = [entry.name for entry in entries]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _keys(owners: Iterable[Owner]) -> dict[Owner, str]:
    """A key for each student, which does not change when others hand in.

    A name that is safe is its own key. Another one has a letter changed, so that two names could
    become one: the platform's number, or a hash of the name, keeps them apart.
    """
    keys = {}
    for owner in owners:
        base = safe(owner.name)[:60]
        if owner.number:
            keys[owner] = f"{base or 'student'}-{safe(owner.number)[:40]}".removesuffix("-")
        else:
            keys[owner] = base if base == owner.name else f"{base or 'student'}-{_hash(owner)[:6]}"
    times = Counter(key.casefold() for key in keys.values())  # some file systems know no case
    same = {owner for owner, key in keys.items() if times[key.casefold()] > 1}
    return {o: f"{key}-{_hash(o)[:16]}" if o in same else key for o, key in keys.items()}


def safe(name: str) -> str:
    """A name in letters, digits, "-", "_" and "." of ASCII, as far as it has such letters."""
    letters = unicodedata.normalize("NFKD", name.translate(LETTERS)).encode("ascii", "ignore")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", letters.decode()).strip("-._")


def _hash(owner: Owner) -> str:
    return hashlib.sha256("\0".join(owner).encode("utf-8", "surrogatepass")).hexdigest()


# Reading


@contextmanager
def _opened(
    path: str, inside: tuple[str, ...] = (), checked: bool = False
) -> Iterator[zipfile.ZipFile]:
    """The archive at a path, or the one that lies inside of it.

    checked: refuses more than MOST_MEMBERS before zipfile makes an object of each.
    """
    with ExitStack() as stack:
        stream: BinaryIO = stack.enter_context(_regular(path))
        for name in inside:
            archive = stack.enter_context(zipfile.ZipFile(stream))
            stream = BytesIO(_unpacked(archive, name, MOST_UNPACKED))
        if checked:
            name = shown(inside[-1] if inside else Path(path).name)
            if stream.seek(0, os.SEEK_END) > MOST_UNPACKED:
                raise Refused(f"{name} is too large for a lab: ask for the notebook itself.")
            stream.seek(0)
            before, members = b"", 0
            while chunk := stream.read(CHUNK):
                members += (before + chunk).count(MEMBER)
                before = chunk[-len(MEMBER) + 1 :]
            _refuse_many(members, name)
            stream.seek(0)
        yield stack.enter_context(zipfile.ZipFile(stream))


@contextmanager
def _regular(path: str) -> Iterator[BinaryIO]:
    """A file opened for reading; raises Refused for links, pipes and devices."""
    flags = os.O_RDONLY | sum(getattr(os, f, 0) for f in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
    with open(os.open(path, flags), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise Refused(f"{shown(Path(path).name)} is not a file.")
        yield stream


def _unpacked(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """The content of a member; raises Refused if it has more than `most` bytes."""
    info = archive.getinfo(name)
    if problem := _problem(info, shown(name)):
        raise Refused(problem.text)
    with archive.open(info) as stream:
        return _limited(stream, most, name)


def _limited(stream: BinaryIO, most: int, name: str) -> bytes:
    """All of a stream, counted while it is read: what a zip declares may be a lie."""
    parts, size = [], 0
    while chunk := stream.read(CHUNK):
        parts.append(chunk)
        size += len(chunk)
        if size > most:
            what = f"{shown(name)} has more than {most / 1e6:.0f} MB"
            raise Refused(f"{what}: ask for it with its outputs cleared.")
    return b"".join(parts)
