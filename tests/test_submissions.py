"""Whatever a learning platform makes of the names: n students in, n submissions out, none mixed."""

import io
import os
import random
import re
import struct
import sys
import zipfile

import pytest

from labkit.grading import submissions
from labkit.grading.records import GRADED, REFUSED, Refused
from labkit.grading.submissions import find, read

NOON = (2026, 3, 1, 12, 0, 0)
FILE = "_assignsubmission_file_"


def zipped(files, method=zipfile.ZIP_DEFLATED):
    """A zip as bytes; files: (name, content, time) or (name, content)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content, *time in files:
            info = zipfile.ZipInfo(name, time[0] if time else NOON)
            info.compress_type = method
            archive.writestr(info, content)
    return buffer.getvalue()


def spread(folder, files):
    """Writes files, all at one time; content bytes or str."""
    for name, content, *time in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        moment = time[0] if time else 1_000_000_000
        os.utime(path, (moment, moment))
    return folder


def as_folder(tmp_path, files):
    return spread(tmp_path / "class", files)


def as_zip(tmp_path, files):
    path = tmp_path / "class.zip"
    path.write_bytes(zipped(files))
    return path


both = pytest.mark.parametrize("made", [as_folder, as_zip])


def contents(found):
    return {s.student: read(s).decode() for s in found}


def kinds(submission):
    return [finding.kind for finding in submission.findings]


def only(found):
    assert len(found) == 1
    return found[0]


def refused(submission, kind):
    """Asserts that a submission is refused for a reason, in find or in read; its sentence."""
    with pytest.raises(Refused) as error:
        read(submission)
    if kind:
        assert [f.kind for f in submission.findings if f.status == REFUSED] == [kind]
    return str(error.value)


# Layouts


@both
def test_moodle_in_folders_and_flat(tmp_path, made):
    found = find(
        made(
            tmp_path,
            [
                (f"Ana Bo_123456{FILE}/lab.ipynb", "1"),
                ("Ana Bo_123457_assignsubmission_file/sub/x y.ipynb", "2"),
                (f"José Paul-O'Neil_9{FILE}lab_1_2_3.ipynb", "3"),
                (f"Participant_77{FILE}/lab.ipynb", "4"),
                (f"Default group{FILE}/lab.ipynb", "5"),
                (f"Eve_1{FILE}a{FILE}Bob_2{FILE}b.ipynb", "6"),
            ],
        )
    )
    assert all(s.source == "moodle" and not s.findings for s in found)
    assert [(s.student, s.name, s.identifier, s.file) for s in found] == [
        ("Ana-Bo-123456", "Ana Bo", "Participant 123456", "lab.ipynb"),
        ("Ana-Bo-123457", "Ana Bo", "Participant 123457", "x y.ipynb"),
        (found[2].student, "Default group", "", "lab.ipynb"),
        ("Eve-1", "Eve", "Participant 1", f"a{FILE}Bob_2{FILE}b.ipynb"),
        ("Jose-Paul-O-Neil-9", "José Paul-O'Neil", "Participant 9", "lab_1_2_3.ipynb"),
        ("Participant-77-77", "Participant 77", "Participant 77", "lab.ipynb"),
    ]
    assert [read(s) for s in found] == [b"1", b"2", b"5", b"6", b"3", b"4"]


@both
def test_text_beside_the_file_is_the_same_students(tmp_path, made):
    files = [
        (f"Ana Bo_12{FILE}/lab.ipynb", "1"),
        ("Ana Bo_12_assignsubmission_onlinetext/onlinetext.html", "see file"),
        ("Cem Do_13_assignsubmission_onlinetext_/onlinetext.html", "sorry"),
        ("Participants.csv", "list of the instructor"),
    ]
    ana, cem = find(made(tmp_path, files))
    assert read(ana) == b"1" and not ana.findings
    assert "onlinetext.html" in refused(cem, "no notebook") and cem.identifier == "Participant 13"


@both
def test_canvas_with_and_without_late_and_names(tmp_path, made):
    files = [
        ("doejane_LATE_12345_67890_lab-1.ipynb", "1"),
        ("doejane_12346_67891_03_vae_1_2_x.ipynb", "2"),
        ("roe_late_5_6_lab (1).IPYNB", "3"),
        ("anon_Ab1cd_456_lab.ipynb", "4"),
        ("LATE_anon_xY2zw_457_lab.ipynb", "5"),
        ("poe_9_text.html", "I could not"),
    ]
    found = find(made(tmp_path, files))
    assert all(s.source == "canvas" for s in found)
    assert [(s.student, s.name, s.identifier, s.file) for s in found] == [
        ("Anonymous-Ab1cd-Ab1cd", "Anonymous Ab1cd", "Ab1cd", "lab.ipynb"),
        ("Anonymous-xY2zw-xY2zw", "Anonymous xY2zw", "xY2zw", "lab.ipynb"),
        ("doejane-12345", "doejane", "12345", "lab-1.ipynb"),
        ("doejane-12346", "doejane", "12346", "03_vae_1_2_x.ipynb"),
        ("poe-9", "poe", "9", ""),
        ("roe-5", "roe", "5", "lab (1).IPYNB"),
    ]
    refused(found[4], "no notebook")


def test_two_attachments_are_one_students_and_the_later_one_counts(tmp_path):
    names = ["doe_5_99_b.ipynb", "doe_5_100_a.ipynb", "doe_5_98_notes.pdf"]
    found = only(find(as_zip(tmp_path, [(name, name) for name in names])))
    assert read(found) == b"doe_5_100_a.ipynb" and found.file == "a.ipynb"
    assert kinds(found) == ["several notebooks"] and found.findings[0].status == GRADED


@both
def test_a_folder_a_student_of_any_depth_and_flat_files(tmp_path, made):
    files = [
        ("ana/lab.ipynb", "1"),
        ("bob/a/b/c/lab.ipynb", "2"),
        ("cem.ipynb", "3"),
        ("d.e.ipynb.json", "4"),
        ("eve.zip", zipped([("deep/lab.ipynb", "5")])),
        ("fay.pdf", "%PDF"),
        ("grades.csv", "the instructor's"),
    ]
    found = find(made(tmp_path, files))
    assert [s.student for s in found] == ["ana", "bob", "cem", "d.e", "eve", "fay"]
    assert [read(s) for s in found[:5]] == [b"1", b"2", b"3", b"4", b"5"]
    assert [s.name for s in found] == [s.student for s in found]
    assert "fay.pdf" in refused(found[5], "no notebook")


@both
def test_what_stands_under_one_name_is_one_students(tmp_path, made):
    files = [("ana/lab.ipynb", "1"), ("ana.zip", zipped([("lab.ipynb", "1")])), ("bo.ipynb", "2")]
    ana, bo = find(made(tmp_path, files))
    assert (ana.student, kinds(ana)) == ("ana", ["several notebooks"]) and not bo.findings


def test_a_folder_of_nbgrader(tmp_path):
    files = [
        ("ana/03_vae/03_vae.ipynb", "old lab", 10),
        ("ana/04_gan/04_gan.ipynb", "newer lab", 20),
        ("ana/03_vae/timestamp.txt", "2026"),
        ("bob/04_gan/04_gan.ipynb", "other"),
    ]
    course = tmp_path / "course"
    spread(course / "submitted", files)
    spread(course / "source", [("03_vae/03_vae.ipynb", "master")])
    for where in (course / "submitted", course):
        assert contents(find(where, "03_vae")) == {"ana": "old lab", "bob": "other"}
        assert contents(find(where)) == {"ana": "newer lab", "bob": "other"}
    assert not find(course, "03_vae")[0].findings


def test_a_lone_student_of_nbgrader_stays_one(tmp_path):
    files = [("ana/03_vae/03_vae.ipynb", "3", 1), ("ana/04_gan/04_gan.ipynb", "4", 2)]
    assert contents(find(spread(tmp_path / "submitted", files))) == {"ana": "4"}


def test_a_lone_student_with_folders_beside_the_notebook_stays_one(tmp_path):
    files = [("ana/lab.ipynb", "1", 2), ("ana/a/x.ipynb", "2", 1), ("ana/b/x.ipynb", "3", 1)]
    assert contents(find(as_folder(tmp_path, files))) == {"ana": "1"}


def test_the_labs_own_name_goes_before_a_newer_one(tmp_path):
    files = [("ana/03_vae (2).ipynb", "lab", 10), ("ana/Untitled.ipynb", "scratch", 20)]
    found = only(find(as_folder(tmp_path, files), "03_vae"))
    assert read(found) == b"lab" and "Untitled" in found.findings[0].text


@pytest.mark.parametrize("wrapper", ["submitted/", "class/", "hw3/", "submissions/submitted/"])
@both
def test_a_folder_around_everything_is_nobodys(tmp_path, made, wrapper):
    files = [(f"{wrapper}ana/lab.ipynb", "1"), (f"{wrapper}bob/x/lab.ipynb", "2")]
    assert contents(find(made(tmp_path, files))) == {"ana": "1", "bob": "2"}


def test_platforms_names_are_found_in_a_folder_around_them(tmp_path):
    files = [(f"download/Ana_1{FILE}/lab.ipynb", "1")]
    assert contents(find(as_zip(tmp_path, files))) == {"Ana-1": "1"}


def test_a_download_as_it_is_in_a_folder(tmp_path):
    files = [(f"Ana_{k}{FILE}/lab.ipynb", str(k)) for k in range(3)]
    folder = spread(tmp_path / "in", [("CS-lab.zip", zipped(files)), ("worksheet.csv", "")])
    assert contents(find(folder)) == {f"Ana-{k}": str(k) for k in range(3)}


def test_a_lone_students_zip_is_no_download(tmp_path):
    folder = spread(tmp_path / "in", [("ana.zip", zipped([("x.ipynb", "1")]))])
    assert contents(find(folder)) == {"ana": "1"}


def test_one_notebook_is_one_student(tmp_path):
    spread(tmp_path, [("ana.ipynb", "1"), ("bob.ipynb", "2")])
    assert contents(find(tmp_path / "ana.ipynb")) == {"ana": "1"}


def test_nobody_can_hand_in_for_another(tmp_path):
    forged = zipped([(f"Ana_1{FILE}/lab.ipynb", "F"), ("../../ana/lab.ipynb", "F")])
    files = [("ana.ipynb", "true"), ("eve.zip", forged)]
    found = find(as_folder(tmp_path, files))
    assert contents(found) == {"ana": "true", "eve": "F"}
    files = [(f"Ana_1{FILE}/lab.ipynb", "true"), (f"Eve_2{FILE}/a.zip", forged)]
    assert contents(find(as_zip(tmp_path, files))) == {"Ana-1": "true", "Eve-2": "F"}


# Which notebook


@both
def test_the_newest_notebook_counts(tmp_path, made):
    early, late = (100, 200) if made is as_folder else ((2026, 1, 1, 0, 0, 0), NOON)
    files = [("ana/z.ipynb", "old", early), ("ana/b/a.ipynb", "new", late)]
    found = only(find(made(tmp_path, files)))
    assert read(found) == b"new"
    assert kinds(found) == ["several notebooks"]
    assert all(name in found.findings[0].text for name in ("z.ipynb", "b/a.ipynb"))


@pytest.mark.parametrize(
    "names",
    [
        ("lab", "lab (1)"),
        ("lab", "lab-1"),
        ("lab-2", "lab-10"),
        ("lab (9)", "lab (10)"),
        ("a", "B"),
    ],
)
@both
def test_of_equal_times_the_last_copy_counts(tmp_path, made, names):
    for order in (names, names[::-1]):
        files = [(f"ana/{name}.ipynb", name) for name in order]
        assert contents(find(made(tmp_path, files))) == {"ana": names[1]}


@both
def test_what_programs_leave_behind_is_no_submission(tmp_path, made):
    files = [
        ("ana/lab.ipynb", "1"),
        ("ana/.ipynb_checkpoints/lab-checkpoint.ipynb", "no"),
        ("ana/._lab.ipynb", "no"),
        ("__MACOSX/ana/._lab.ipynb", "no"),
        (".DS_Store", "no"),
        ("bob/.ipynb_checkpoints/lab-checkpoint.ipynb", "no"),
    ]
    ana, bob = find(made(tmp_path, files))
    assert read(ana) == b"1" and not ana.findings
    assert "no other file" in refused(bob, "no notebook")


def test_empty_folders_are_students(tmp_path):
    for name in ("ana", "submitted/bob", "submitted/cem"):
        (tmp_path / "one" / name).mkdir(parents=True)
    assert [s.student for s in find(tmp_path / "one" / "submitted")] == ["bob", "cem"]
    where = as_zip(tmp_path, [("submitted/ana/", ""), ("submitted/bob/lab.ipynb", "1")])
    ana, bob = find(where)
    refused(ana, "no notebook")
    assert read(bob) == b"1"


@both
def test_other_files_are_named(tmp_path, made):
    files = [("ana/report.pdf", "%PDF"), ("ana/report.docx", "PK"), ("bob/lab.rar", "Rar!")]
    ana, bob = find(made(tmp_path, files))
    assert all(name in refused(ana, "no notebook") for name in ("report.pdf", "report.docx"))
    assert "lab.rar" in refused(bob, "no notebook")


def test_nothing_is_nobody(tmp_path):
    assert find(tmp_path) == []


# Keys


def students(names):
    return [(f"{name}/lab.ipynb", name) for name in names]


def test_names_of_all_scripts_make_different_safe_keys(tmp_path):
    names = [
        "José",
        "Jose",
        "Jos\u0065\u0301 B",
        "Straße",
        "Łukasz Ørsted",
        "李雷",
        "韩梅梅",
        "Ana Lee",
    ]
    names += ["Ana-Lee", "Ana_Lee", "-rf", "..x", "con", "Ана", "n" * 120, "n" * 119 + "m", "𝓐"]
    names += ["\u202ereversed", "tab\tname"]
    found = find(as_folder(tmp_path, students(names)))
    assert len({s.student.casefold() for s in found}) == len(found) == len(names) - 1
    assert all(re.fullmatch(r"\w[\w.-]{0,90}", s.student, re.ASCII) for s in found)
    by_name = {s.name: s for s in found}
    assert by_name["Łukasz Ørsted"].student.startswith("Lukasz-Orsted-")
    assert by_name["Ana-Lee"].student == "Ana-Lee" and by_name["李雷"].name == "李雷"
    assert all(s.name.isprintable() for s in found)
    assert all(read(s).decode() in s.path for s in found)


def test_names_that_differ_by_case_alone_get_keys_for_any_file_system(tmp_path):
    found = find(as_zip(tmp_path, students(["Ana", "ana", "bob"])))
    assert len({s.student.casefold() for s in found}) == 3
    assert sorted(read(s).decode() for s in found) == ["Ana", "ana", "bob"]


def test_a_key_stays_when_others_hand_in(tmp_path):
    first = find(as_zip(tmp_path, students(["José", "Ana Lee"])))
    second = find(
        as_zip(tmp_path, students(["Jose", "Ana_Lee", "José", "Joseé", "Ana Lee", "Joße"]))
    )
    keys = {s.name: s.student for s in second}
    assert {s.name: s.student for s in first}.items() <= keys.items()


def test_the_order_of_the_files_changes_nothing(tmp_path):
    files = students(["José", "Jose", "ana", "Ana"]) + [("ana/b.ipynb", "b"), ("cem.ipynb", "c")]
    files += [(f"Ana_{k}{FILE}/lab.ipynb", str(k)) for k in range(5)]
    expected, dice = find(as_zip(tmp_path, files)), random.Random(0)
    for _ in range(20):
        dice.shuffle(files)
        assert find(as_zip(tmp_path, files)) == expected
    assert [s.student for s in expected] == sorted(s.student for s in expected)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are no Unicode")
def test_a_name_that_is_no_unicode_is_read_and_can_be_written(tmp_path):
    os.makedirs(os.fsencode(tmp_path) + b"/Jos\xe9")
    with open(os.fsencode(tmp_path) + b"/Jos\xe9/l\xe9b.ipynb", "wb") as file:
        file.write(b"1")
    found = only(find(tmp_path))
    assert read(found) == b"1" and (found.name + found.file + found.student).encode()


def test_utf8_in_a_zip_that_does_not_say_so(tmp_path):
    where = as_zip(tmp_path, [("Jo\u00e9/l\u00e9b.ipynb", "1")])
    raw = bytearray(where.read_bytes())
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # clear the bit that says UTF-8
        place = raw.index(mark) + at
        raw[place : place + 2] = struct.pack("<H", 0)
    where.write_bytes(raw)
    found = only(find(where))
    assert (found.name, found.file) == ("Jo\u00e9", "l\u00e9b.ipynb") and read(found) == b"1"


# Archives of students


def test_archives_are_opened_in_folders_and_in_downloads(tmp_path):
    lab = zipped([("x/lab.ipynb", "1"), ("x/data.csv", "2")])
    for made in (as_folder, as_zip):
        found = find(made(tmp_path, [(f"Ana_1{FILE}/lab.zip", lab), (f"Bo_2{FILE}b.ZIP", lab)]))
        assert contents(found) == {"Ana-1": "1", "Bo-2": "1"}
        assert not any(s.findings for s in found) and {s.file for s in found} == {"lab.ipynb"}


def test_archives_in_archives_in_archives_are_not_opened(tmp_path):
    inner = zipped([("lab.ipynb", "1")])
    for name in ("b.zip", "c.zip"):
        inner = zipped([(name, inner)])
    assert "archives inside archives" in refused(
        only(find(as_zip(tmp_path, [("ana/d.zip", inner)]))), "archive"
    )


@both
def test_a_broken_archive_is_refused_or_noted(tmp_path, made):
    good = zipped([("lab.ipynb", "1" * 1000)], zipfile.ZIP_STORED)
    files = [
        ("ana/lab.zip", good[:-30]),
        ("bob/lab.zip", b""),
        ("cem/lab.zip", b"no zip"),
        ("dan/lab.zip", b"no zip"),
        ("dan/lab.ipynb", "1"),
        ("eve/lab.zip", good.replace(b"11", b"12", 1)),
    ]
    found = find(made(tmp_path, files))
    assert len(found) == 5
    for submission in found[:3]:
        refused(submission, "archive")
    assert read(found[3]) == b"1" and [f.status for f in found[3].findings] == [GRADED]
    refused(found[4], None)  # its checksum tells, when it is read


def patched(raw, mark, offset, form, value):
    """A zip with a field of all its headers of a kind changed."""
    raw, place = bytearray(raw), -1
    while (place := raw.find(mark, place + 1)) >= 0:
        struct.pack_into(form, raw, place + offset, value)
    return bytes(raw)


def encrypted(raw):
    return patched(patched(raw, b"PK\1\2", 8, "<H", 1), b"PK\3\4", 6, "<H", 1)


def test_encrypted_and_unusual_archives_are_refused(tmp_path):
    lab = [("lab.ipynb", "1" * 100)]
    files = [
        ("ana/lab.zip", encrypted(zipped(lab))),
        ("bob/lab.zip", zipped(lab, zipfile.ZIP_LZMA)),
        ("cem/lab.zip", zipped(lab, zipfile.ZIP_BZIP2)),
        ("dan/lab.zip", patched(zipped(lab), b"PK\1\2", 10, "<H", 99)),
    ]
    ana, *others = find(as_folder(tmp_path, files))
    assert "password" in refused(ana, "encrypted archive")
    for submission in others:
        refused(submission, "broken archive")
    where = as_zip(tmp_path, students(["ana", "bob"]))
    where.write_bytes(encrypted(where.read_bytes()))
    assert [kinds(s) for s in find(where)] == [["encrypted archive"]] * 2


def test_bombs_are_refused_without_being_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "MOST_UNPACKED", 3_000_000)
    monkeypatch.setattr(submissions, "MOST_NOTEBOOK", 1_000_000)
    monkeypatch.setattr(submissions, "SMALL", 100_000)
    noise = random.Random(0).randbytes
    files = [
        ("ana/ratio.zip", zipped([("lab.ipynb", bytes(500_000))])),
        ("bob/large.zip", zipped([(f"{k}.txt", noise(400_000).hex()) for k in range(4)])),
        ("cem/many.zip", zipped([(f"{k}.txt", "") for k in range(2_001)])),
        ("dan/lab.zip", zipped([("lab.ipynb", noise(1_100_000))])),
        ("eve/lab.ipynb", noise(1_000_001)),
        ("fay/lab.ipynb", noise(1_000_000)),
    ]
    for made in (as_folder, as_zip):
        found = find(made(tmp_path, files))
        for submission in found[:3]:
            refused(submission, "archive")
        for submission in found[3:5]:
            assert not submission.findings and "more than 1 MB" in refused(submission, None)
        assert len(read(found[5])) == 1_000_000


def test_an_archive_that_is_too_large_is_not_even_read(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "MOST_UNPACKED", 1_000)
    monkeypatch.setattr(submissions, "CHUNK", None)
    found = find(as_folder(tmp_path, [("ana/lab.zip", bytes(1_001)), ("bob/lab.pdf", "")]))
    assert "too large" in refused(found[0], "archive")


def test_files_in_many_archives_are_counted_together(tmp_path):
    lab = [(f"{k}.txt", "") for k in range(700)]
    files = [(f"ana/{k}.zip", zipped(lab)) for k in range(3)]
    files += [(f"bob/{k}.zip", zipped([("a.txt", "")])) for k in range(11)]
    ana, bob = find(as_folder(tmp_path, files))
    refused(ana, "archive")
    refused(bob, "archive")


def test_a_declared_size_that_lies_is_found_out(tmp_path):
    small = zipped([("lab.ipynb", "1" * 5_000_000)])
    lying = patched(patched(small, b"PK\1\2", 24, "<L", 10), b"PK\3\4", 22, "<L", 10)
    refused(only(find(as_folder(tmp_path, [("ana/lab.zip", lying)]))), None)


def test_a_count_that_lies_is_found_out_before_objects_are_made(tmp_path, monkeypatch):
    many = zipped([(f"{k}.txt", "") for k in range(2_500)])
    lying = bytearray(many)
    struct.pack_into("<HH", lying, lying.rindex(b"PK\5\6") + 8, 1, 1)
    where = as_folder(tmp_path, [("ana/lab.zip", bytes(lying))])
    monkeypatch.setattr(zipfile, "ZipFile", None)
    assert "2,000 files" in refused(only(find(where)), "archive")


def test_a_stream_is_counted_while_it_is_read():
    class Endless:
        served = 0

        def read(self, size):
            self.served += size
            return bytes(size)

    stream = Endless()
    with pytest.raises(Refused, match="more than 5 MB"):
        submissions._limited(stream, 5_000_000, "lab.ipynb")
    assert stream.served < 5_000_000 + 2 * submissions.CHUNK


def test_names_that_lead_out_are_never_followed(tmp_path):
    secret = tmp_path / "secret.ipynb"
    secret.write_text("secret")
    names = ["../secret.ipynb", str(secret), "..\\secret.ipynb", "C:\\secret.ipynb"]
    files = [(f"s{k}.zip", zipped([(name, "mine")])) for k, name in enumerate(names)]
    before = sorted(tmp_path.rglob("*"))
    assert set(contents(find(as_folder(tmp_path, files))).values()) == {"mine"}
    assert secret.read_text() == "secret"
    new = {p.relative_to(tmp_path).parts[0] for p in set(tmp_path.rglob("*")) - set(before)}
    assert new == {"class"}


# Links and what is no file


def test_links_on_disk_are_never_followed(tmp_path):
    spread(tmp_path / "outside", [("lab.ipynb", "secret")])
    top = spread(tmp_path / "class", [("eve/real.ipynb", "1"), ("fay/lab.ipynb", "2")])
    for name in ("ana", "bob", "cem"):
        (top / name).mkdir()
    (top / "ana" / "lab.ipynb").symlink_to(tmp_path / "outside" / "lab.ipynb")
    (top / "bob" / "work").symlink_to(tmp_path / "outside")
    (top / "cem" / "lab.zip").symlink_to(tmp_path / "outside" / "none.zip")
    (top / "dan").symlink_to(tmp_path / "outside")
    (top / "eve" / "lab.ipynb").symlink_to(tmp_path / "outside" / "lab.ipynb")
    (top / "fay" / "data").symlink_to(tmp_path / "outside")
    (top / "gus.ipynb").symlink_to(tmp_path / "outside" / "lab.ipynb")
    found = find(top)
    assert [s.student for s in found] == ["ana", "bob", "cem", "dan", "eve", "fay", "gus"]
    for submission in found[:5] + found[6:]:
        assert "link" in refused(submission, "link")
    assert read(found[5]) == b"2" and not found[5].findings


def test_a_file_that_became_a_link_is_not_followed(tmp_path):
    found = only(find(spread(tmp_path / "class", [("ana/lab.ipynb", "1")])))
    path = tmp_path / "class" / "ana" / "lab.ipynb"
    path.rename(tmp_path / "lab.ipynb")
    path.symlink_to(tmp_path / "lab.ipynb")
    refused(found, None)
    path.unlink()
    refused(found, None)


def test_links_in_archives_are_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("lab.ipynb")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    files = [("ana/lab.zip", buffer.getvalue()), ("bob/lab.ipynb", "1")]
    for made in (as_folder, as_zip):
        ana, bob = find(made(tmp_path, files))
        refused(ana, "link")
        assert read(bob) == b"1"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_a_pipe_does_not_block(tmp_path):
    (tmp_path / "ana").mkdir()
    os.mkfifo(tmp_path / "ana" / "lab.ipynb")
    assert "not a file" in refused(only(find(tmp_path)), "unreadable")
    found = only(find(spread(tmp_path / "b", [("ana/lab.ipynb", "1")])))
    os.unlink(found.path)
    os.mkfifo(found.path)
    refused(found, None)


def test_a_folder_that_may_not_be_read_costs_only_its_own(tmp_path, monkeypatch):
    spread(tmp_path, students(["ana", "bob"]))
    scandir = os.scandir

    def forbidden(path):
        if str(path).endswith("ana"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    ana, bob = find(tmp_path)
    assert "Permission denied" in refused(ana, "unreadable") and read(bob) == b"bob"


def test_deep_nests_are_left_alone(tmp_path, monkeypatch):
    files = [("ana/lab.ipynb", "1"), ("bob/lab.zip", zipped([("d/" * 30_000 + "lab.ipynb", "1")]))]
    top = as_folder(tmp_path, [*files, ("ana/" + "d/" * 100 + "lab.ipynb", "2")])
    scandir, opened = os.scandir, []
    monkeypatch.setattr(os, "scandir", lambda path: opened.append(path) or scandir(path))
    ana, bob = find(top)
    assert read(ana) == b"1" and not ana.findings
    refused(bob, "no notebook")
    assert len(opened) <= submissions.DEEPEST + 3


# The instructor's own mistakes


def test_what_is_no_place_of_submissions_is_told_with_the_remedy(tmp_path):
    with pytest.raises(ValueError, match="give the folder or the zip"):
        find(tmp_path / "nowhere")
    broken = tmp_path / "class.zip"
    broken.write_bytes(as_zip(tmp_path, students(["ana"])).read_bytes()[:-20])
    with pytest.raises(ValueError, match="class.zip is no readable zip .*download it again"):
        find(broken)
    with pytest.raises(ValueError, match="no readable zip"):
        find(spread(tmp_path / "x", [("a.pdf", "%PDF")]) / "a.pdf")


def test_a_class_is_not_held_to_a_students_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "MOST_UNPACKED", 1_000)
    monkeypatch.setattr(submissions, "MOST_MEMBERS", 10)
    found = find(as_zip(tmp_path, [(f"s{k:03}/lab.ipynb", "1" * 500) for k in range(300)]))
    assert len(found) == 300 and not any(s.findings for s in found)
