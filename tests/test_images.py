"""Where images come from, what is refused, and that no set ever passes for another one."""

import gzip
import hashlib
import http.client
import os
import pickle
import socket
import struct

import pytest
import torch
from torchvision import datasets

from labkit import folders
from labkit.data import DataKey, images, load, photos, synthetic
from labkit.files import replacing
from labkit.fingerprint import fingerprint

NAMES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}
SMALL = (20, 10)  # stand-ins: enough to compare, and never cached


def idx(values):
    """The bytes of an IDX file of a uint8 tensor."""
    return struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape) + bytes(
        values.flatten().tolist()
    )


def write_set(root, class_name="MNIST", n=(30, 20), shade=7):
    """A whole, tiny set in torchvision's layout, every pixel of value `shade`; returns its raw
    folder.
    """
    raw = root / class_name / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for part, count in zip(("train", "test"), n, strict=True):
        (raw / NAMES[part, "images"]).write_bytes(
            idx(torch.full((count, 28, 28), shade, dtype=torch.uint8))
        )
        (raw / NAMES[part, "labels"]).write_bytes(idx((torch.arange(count) % 10).to(torch.uint8)))
    return raw


def publish(monkeypatch, name, raw):
    """Make the files in `raw` the published ones of the set `name`."""
    digests = [hashlib.sha256((raw / file).read_bytes()).hexdigest()[:16] for file in images.FILES]
    monkeypatch.setitem(images.PUBLISHED, name, tuple(digests))


@pytest.fixture
def given(tmp_path, data_home, monkeypatch):
    """The folder that LABKIT_DATA names."""
    folder = tmp_path / "given"
    folder.mkdir()
    monkeypatch.setenv("LABKIT_DATA", str(folder))
    return folder


@pytest.fixture
def network(monkeypatch):
    """A mirror that answers; whatever then connects to it fails."""
    monkeypatch.setattr("labkit.files.online", lambda url: True)


def fake_download(monkeypatch, fetch):
    """torchvision's MNIST class, except that a download is `fetch(root)`."""
    real = datasets.MNIST

    class Fake(real):
        def __init__(self, root, train=True, download=False):
            if download:
                fetch(root)
            super().__init__(root, train=train)

    Fake.__name__ = "MNIST"  # which torchvision uses as the name of the folder
    monkeypatch.setattr(datasets, "MNIST", Fake)


# Whole sets.


@pytest.mark.parametrize(("name", "class_name"), [("mnist", "MNIST"), ("fashion", "FashionMNIST")])
def test_idx_files_are_read_as_they_are(given, name, class_name, capsys):
    write_set(given, class_name, shade=9)
    found = load(name)
    assert found.train.shape == (30, 1, 28, 28) and found.test.shape == (20, 1, 28, 28)
    assert found.train.dtype == torch.uint8 and (found.train == 9).all()
    assert found.test_labels.dtype == torch.int64 and found.test_labels.tolist() == [
        k % 10 for k in range(20)
    ]
    assert len(found.classes) == 10
    assert not found.is_stand_in and "stand-in" not in found.title
    assert "from: LABKIT_DATA" in capsys.readouterr().out


def test_published_files_are_known_by_their_hashes_and_others_are_called_so(
    given, monkeypatch, capsys
):
    raw = write_set(given)
    publish(monkeypatch, "mnist", raw)
    found = load("mnist")
    assert found.is_published and found.provenance == "mnist (LABKIT_DATA)"
    assert found.require_published() is found
    assert "NOT" not in capsys.readouterr().out
    content = bytearray((raw / NAMES["test", "images"]).read_bytes())
    content[-1] ^= 1  # one pixel
    (raw / NAMES["test", "images"]).write_bytes(content)
    found = load("mnist")
    assert found.provenance == "mnist (LABKIT_DATA, not the published files)"
    assert not found.is_published and not found.is_stand_in
    assert "NOT the published images" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["LABKIT_DATA", "stand-in"])
def test_no_weights_are_made_from_other_than_the_published_files(given, where):
    if where == "LABKIT_DATA":
        write_set(given)
    with pytest.raises(ValueError, match="real MNIST images are needed.*LABKIT_DATA.*MNIST/raw"):
        load("mnist", SMALL).require_published()


@pytest.mark.parametrize("kind", NAMES)
def test_a_file_of_another_set_is_refused_by_name(given, monkeypatch, kind):
    """One file of Fashion-MNIST in MNIST/raw is enough, and the other way round."""
    digits, garments = write_set(given, "MNIST", shade=1), write_set(given, "FashionMNIST", shade=2)
    for raw in (digits, garments):  # labels that are the set's own, too
        for part, n in (("train", 30), ("test", 20)):
            labels = (torch.arange(n) + len(raw.parent.name)).byte() % 10
            (raw / NAMES[part, "labels"]).write_bytes(idx(labels))
    publish(monkeypatch, "mnist", digits)
    publish(monkeypatch, "fashion", garments)
    assert load("mnist").is_published and load("fashion").is_published
    file = NAMES[kind]
    (digits / file).write_bytes((garments / file).read_bytes())
    message = f"{file} is a file of Fashion-MNIST, not of MNIST; move it to FashionMNIST/raw/"
    with pytest.raises(ValueError, match=message):
        load("mnist")


def test_the_published_hashes_are_of_the_sets_and_of_no_file_twice():
    hashes = [digest for known in images.PUBLISHED.values() for digest in known]
    assert len(set(hashes)) == len(hashes) == 8 and images.PUBLISHED.keys() < images.SETS.keys()


def test_size_takes_the_first_images(given):
    write_set(given)
    found = load("mnist", size=(12, 3))
    assert [
        len(part) for part in (found.train, found.train_labels, found.test, found.test_labels)
    ] == [12, 12, 3, 3]
    assert found.train_labels.tolist() == [k % 10 for k in range(12)]


@pytest.mark.parametrize("size", [(0, 3), (3, 0), (-1, 5), (2.5, 3), (5,), (1, 2, 3)])
def test_a_size_that_is_no_pair_of_counts_is_refused(given, size):
    write_set(given)
    with pytest.raises(ValueError, match="must be two whole numbers"):
        load("mnist", size)


def test_an_unknown_name_lists_the_names():
    with pytest.raises(ValueError, match=r"'dogs'.*'mnist', 'fashion', 'cats'"):
        load("dogs")


# Broken sets: an error that names the file, what was expected and the remedy, never the next rung.


def cut(content):
    return content[:-1]


def cut_in_the_header(content):
    return content[:6]


def add(content):
    return content + b"\0"


BROKEN = {
    "truncated images": ("images", cut, "is truncated: 23535 bytes for 30 items, expected 23536"),
    "truncated labels": ("labels", cut, "is truncated: 37 bytes for 30 items, expected 38"),
    "cut header": ("images", cut_in_the_header, "is truncated: 6 bytes, expected a header of 16"),
    "empty file": ("labels", lambda content: b"", "is truncated: 0 bytes, expected a header of 8"),
    "too long images": ("images", add, "is too long: 23537 bytes for 30 items, expected 23536"),
    "too long labels": ("labels", add, "is too long: 39 bytes for 30 items, expected 38"),
    "gzip under that name": (
        "images",
        gzip.compress,
        "begins with 0x1f8b[0-9a-f]*, expected 0x803",
    ),
    "images for labels": (
        "labels",
        lambda content: idx(torch.zeros(30, 28, 28, dtype=torch.uint8)),
        "begins with 0x803, expected 0x801",
    ),
    "wrong shape": (
        "images",
        lambda content: idx(torch.zeros(30, 32, 32, dtype=torch.uint8)),
        r"\[32, 32\], expected \[28, 28\]",
    ),
    "fewer labels than images": (
        "labels",
        lambda content: idx(torch.zeros(29, dtype=torch.uint8)),
        "has 29 labels for 30 images",
    ),
    "a label above 9": (
        "labels",
        lambda content: idx(torch.arange(30).clamp(max=10).byte()),
        "has the label 10, expected 0 to 9",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_named_with_the_remedy(given, case):
    kind, damage, message = BROKEN[case]
    path = write_set(given) / NAMES["train", kind]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message) as caught:
        load("mnist")
    assert str(path) in str(caught.value)
    assert f"move the folder {path.parent} away and load again" in str(caught.value)


@pytest.mark.parametrize("packed", [[NAMES["test", "labels"]], list(NAMES.values())])
def test_packed_files_are_named_with_the_command_that_unpacks_them(given, packed):
    raw = write_set(given)
    for name in packed:
        (raw / f"{name}.gz").write_bytes(gzip.compress((raw / name).read_bytes()))
        (raw / name).unlink()
    with pytest.raises(
        FileNotFoundError, match="is not unpacked; type: python -m gzip -d"
    ) as error:
        load("mnist", download=False)
    assert all(f'"{raw / name}.gz"' in str(error.value) for name in packed)


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_a_set_of_no_items_is_refused(given, kind):
    path = write_set(given) / NAMES["test", kind]
    shape = (28, 28) if kind == "images" else ()
    path.write_bytes(idx(torch.zeros(0, *shape, dtype=torch.uint8)))
    with pytest.raises(
        ValueError, match=f"{path.name} is empty.* expected .* 1 item or more; move"
    ):
        load("mnist", download=False)


@pytest.mark.parametrize("lost", NAMES.values())
def test_a_missing_file_among_the_four_is_named_with_the_remedy(given, lost):
    raw = write_set(given)
    (raw / lost).unlink()
    with pytest.raises(FileNotFoundError, match=f"{lost} is missing.*move the folder") as caught:
        load("mnist")
    assert str(raw) in str(caught.value)


def test_a_file_that_may_not_be_read_is_named_with_the_remedy(given, monkeypatch):
    path, opened = write_set(given) / NAMES["train", "labels"], type(given).open

    def refuse(self, *args, **kwargs):
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *args, **kwargs)

    monkeypatch.setattr(type(given), "open", refuse)
    with pytest.raises(PermissionError, match=f"{path} may not be read by this user.*chmod"):
        load("mnist")


def test_a_folder_that_may_not_be_entered_is_an_error_and_not_the_next_place(given, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    write_set(given)
    monkeypatch.setattr("labkit.files.exists", refuse)
    with pytest.raises(PermissionError, match="may not be read by this user"):
        load("mnist")


# The ladder.


def test_rungs_are_taken_in_order(given, data_home):
    assert load("mnist", SMALL).source == images.STAND_IN
    write_set(data_home, shade=2)
    assert load("mnist").source.startswith("data folder")
    write_set(given, shade=1)
    found = load("mnist")
    assert found.source.startswith("LABKIT_DATA") and (found.train == 1).all()


def test_a_set_that_labkit_data_lacks_comes_from_the_next_rung(given, data_home):
    write_set(given, "MNIST", shade=1)
    write_set(data_home, "FashionMNIST", shade=2)
    assert load("mnist").source.startswith("LABKIT_DATA")
    assert load("fashion").source.startswith("data folder")


def test_a_labkit_data_without_a_set_is_said_with_the_layout_that_it_needs(
    given, monkeypatch, capsys
):
    load("mnist", SMALL)
    printed = capsys.readouterr().out
    assert f"LABKIT_DATA={given} has no MNIST (expected MNIST/raw/train-images-idx3" in printed
    monkeypatch.setitem(images.SETS, "cats", images.SETS["cats"]._replace(draw=noise))
    load("cats", SMALL)
    assert "has no Cats (expected cats/ or cats.tar)" in capsys.readouterr().out
    write_set(given)
    load("mnist", SMALL)
    assert "has no" not in capsys.readouterr().out


@pytest.mark.parametrize("inside", ["MNIST", "MNIST/raw"])
def test_a_labkit_data_inside_of_a_set_is_told_the_folder_above(given, monkeypatch, inside):
    write_set(given)
    monkeypatch.setenv("LABKIT_DATA", str(given / inside))
    for name in images.SETS:
        with pytest.raises(ValueError, match="MNIST/raw or FashionMNIST/raw below it") as caught:
            load(name)
        assert str(caught.value).endswith(f"set it to {given}")


def test_a_labkit_data_of_loose_files_is_told_where_they_belong(given):
    write_set(given, "elsewhere")
    for path in (given / "elsewhere" / "raw").iterdir():
        path.rename(given / path.name)
    with pytest.raises(ValueError, match="expected in MNIST/raw .* below it; move them there"):
        load("mnist")


@pytest.mark.parametrize("where", ["nowhere", "a file"])
def test_a_labkit_data_that_is_no_folder_is_an_error(tmp_path, data_home, monkeypatch, where):
    (tmp_path / "a file").touch()
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path / where))
    with pytest.raises(
        FileNotFoundError, match=r"is not a folder .*; set it to one that holds .*, or unset it"
    ) as caught:
        load("mnist")
    assert str(tmp_path / where) in str(caught.value)


def test_a_relative_labkit_data_counts_from_the_working_folder_or_the_repository(
    tmp_path, data_home, monkeypatch
):
    write_set(tmp_path / "course" / "images")
    monkeypatch.setattr(folders, "repository", lambda: tmp_path)
    monkeypatch.chdir(tmp_path / "course")
    for relative in ("images", "course/images"):
        monkeypatch.setenv("LABKIT_DATA", relative)
        assert load("mnist").source.startswith("LABKIT_DATA")
    monkeypatch.setenv("LABKIT_DATA", "images")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        load("mnist")
    assert str(tmp_path) in str(caught.value)  # a relative path means little without it


def test_a_tilde_is_the_home_folder(tmp_path, data_home, monkeypatch):
    write_set(tmp_path / "downloads")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LABKIT_DATA", "~/downloads")
    assert load("mnist").source.startswith("LABKIT_DATA")
    monkeypatch.setenv("LABKIT_DATA", "~nobody-of-this-name/downloads")
    with pytest.raises(FileNotFoundError, match="~nobody-of-this-name/downloads is not a folder"):
        load("mnist")


def test_an_empty_labkit_data_is_none(data_home, monkeypatch):
    monkeypatch.setenv("LABKIT_DATA", "")
    assert load("mnist", SMALL).is_stand_in


# Downloads.


def test_a_download_lands_in_the_data_folder_and_is_used_again(data_home, network, monkeypatch):
    fake_download(monkeypatch, lambda root: publish(monkeypatch, "mnist", write_set(root, shade=5)))
    found = load("mnist")
    assert found.source == "download" and found.is_published and (found.train == 5).all()
    again = load("mnist", download=False)
    assert again.source == "data folder" and again.key == found.key
    assert [path.name for path in data_home.iterdir()] == ["MNIST"]


def test_a_stray_file_where_the_set_belongs_stops_no_download(data_home, network, monkeypatch):
    stray = data_home / "MNIST" / "raw" / ".DS_Store"
    stray.parent.mkdir(parents=True)
    stray.write_text("a Mac's")
    fake_download(monkeypatch, lambda root: write_set(root, shade=5))
    assert (load("mnist").train == 5).all()
    assert stray.read_text() == "a Mac's"


@pytest.mark.parametrize(
    "error",
    [
        OSError("No space left on device"),
        RuntimeError("File not found or corrupted."),
        EOFError("ended"),
        http.client.IncompleteRead(b""),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_download_that_fails_midway_leaves_nothing_and_falls_to_the_stand_in(
    data_home, network, monkeypatch, capsys, error
):
    def break_off(root):
        raw = write_set(root)
        (raw / NAMES["test", "labels"]).unlink()
        raise error

    fake_download(monkeypatch, break_off)
    timeout = socket.getdefaulttimeout()
    assert load("mnist", SMALL).is_stand_in
    assert not any(data_home.rglob("*"))
    assert socket.getdefaulttimeout() == timeout
    printed = capsys.readouterr()
    assert "the download failed" in printed.out and "Remedy" in printed.out and printed.err == ""


def test_an_interrupted_download_leaves_nothing(data_home, network, monkeypatch):
    def interrupt(root):
        write_set(root)
        raise KeyboardInterrupt

    fake_download(monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        load("mnist", SMALL)
    assert not any(data_home.rglob("*"))


def test_a_data_folder_that_cannot_be_made_stops_the_download_not_the_lab(
    data_home, network, monkeypatch, capsys
):
    data_home.write_text("a file where the folder should be")
    fake_download(monkeypatch, lambda root: pytest.fail("nothing to download into"))
    assert load("mnist", SMALL).is_stand_in
    assert (
        "the download failed" in (printed := capsys.readouterr().out) and str(data_home) in printed
    )


def test_without_a_network_the_stand_in_is_used_and_says_so(data_home, capsys):
    found = load("mnist", SMALL)
    assert (
        found.is_stand_in
        and found.source == "built-in stand-in"
        and found.provenance == "mnist (built-in stand-in)"
    )
    assert "stand-in" in found.title
    printed = capsys.readouterr().out
    assert (
        "no network" in printed
        and "NOT the real images" in printed
        and "from: built-in stand-in" in printed
    )


def test_download_false_opens_no_socket(data_home, monkeypatch):
    def fail(*args, **kwargs):
        pytest.fail("a socket was opened")

    monkeypatch.setattr("labkit.files.online", fail)
    monkeypatch.setattr("socket.create_connection", fail)
    monkeypatch.setattr("socket.socket.connect", fail)
    assert load("mnist", SMALL, download=False).is_stand_in


# The stand-ins, through load().


@pytest.mark.parametrize(
    ("name", "shape"), [("mnist", (1, 28, 28)), ("fashion", (1, 28, 28)), ("cats", (3, 64, 64))]
)
def test_stand_ins_have_the_size_asked_for_their_factors_and_no_image_twice(data_home, name, shape):
    found, again = load(name, SMALL), load(name, SMALL)
    assert (
        found.train.shape == (20, *shape)
        and found.test.shape == (10, *shape)
        and found.train.dtype == torch.uint8
    )
    assert len(found.train_labels) == 20 and len(found.test_labels) == 10
    assert found.train_labels.max() < len(found.classes)
    for part, n in (("train", 20), ("test", 10)):
        assert found.factors[part] and all(
            values.shape == (n,) for values in found.factors[part].values()
        )
    assert torch.equal(found.train, again.train) and torch.equal(found.test, again.test)
    assert len(torch.cat([found.train, found.test]).unique(dim=0)) == 30


def noise(n, seed):
    """A stand-in that is quick to draw."""
    generator = torch.Generator().manual_seed(seed)
    shades = torch.randint(256, (n,), generator=generator)
    images = shades.byte()[:, None, None, None].expand(n, 1, 28, 28).contiguous()
    return synthetic.StandIn(images, shades % 10, {"shade": shades.float()})


@pytest.fixture
def full_size(monkeypatch):
    """A quick stand-in for digits, whose full set is 700 and 90 images."""
    known = images.SETS["mnist"]._replace(draw=noise, full=(700, 90))
    monkeypatch.setitem(images.SETS, "mnist", known)


def test_more_than_there_is_means_all(data_home, full_size):
    found = load("mnist", size=(10**6, 10**6))
    assert (len(found.train), len(found.test)) == (700, 90)


def test_a_part_is_the_beginning_of_the_whole_drawn_or_cached(data_home, monkeypatch):
    known = images.SETS["mnist"]._replace(full=(700, 90))  # more than is drawn at once
    monkeypatch.setitem(images.SETS, "mnist", known)
    drawn = load("mnist", size=(600, 40))
    whole = load("mnist")
    cached = load("mnist", size=(600, 40))
    for part in (whole.train[:600], cached.train):
        assert torch.equal(part, drawn.train)
    assert torch.equal(cached.test, drawn.test) and torch.equal(
        cached.train_labels, drawn.train_labels
    )
    assert all(
        torch.equal(values, drawn.factors["train"][name])
        for name, values in cached.factors["train"].items()
    )


# The cache.


def cached_files(data_home):
    return sorted(path.name for path in data_home.rglob("*") if path.is_file())


def test_a_full_set_is_drawn_once(data_home, full_size, monkeypatch):
    first = load("mnist")
    changed = images.SETS["mnist"]._replace(draw=lambda *args, **kw: pytest.fail("drawn again"))
    monkeypatch.setitem(images.SETS, "mnist", changed)
    assert torch.equal(load("mnist").train, first.train)


def test_a_cache_of_stand_ins_ends_with_the_code_that_drew_them(
    data_home, full_size, tmp_path, monkeypatch
):
    load("mnist")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "digits.py").write_text("another way to draw")
    monkeypatch.setattr(synthetic, "__file__", str(tmp_path / "code" / "__init__.py"))
    load("mnist")
    assert len(list((data_home / "cache").iterdir())) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: b"not a tensor",
    ],
)
def test_a_damaged_cache_is_made_anew_with_a_word(data_home, full_size, capsys, damage):
    first = load("mnist")
    (path,) = (data_home / "cache").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert torch.equal(load("mnist").train, first.train)
    assert f"{path} is damaged" in capsys.readouterr().out
    load("mnist")
    assert "damaged" not in capsys.readouterr().out


def full_disk_at_save(monkeypatch):
    def save(content, path):
        path.write_bytes(b"the first half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", save)


def full_disk_in_torch(monkeypatch):
    def save(content, path):
        path.write_bytes(b"the first half")
        raise RuntimeError("[enforce fail at inline_container.cc] unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", save)


def read_only(monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)


def no_rename(monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)


@pytest.mark.parametrize("trouble", [full_disk_at_save, full_disk_in_torch, read_only, no_rename])
def test_a_cache_that_cannot_be_written_leaves_no_part_and_stops_nothing(
    data_home, full_size, monkeypatch, capsys, trouble
):
    trouble(monkeypatch)
    assert len(load("mnist").train) == 700
    assert cached_files(data_home) == []
    printed = capsys.readouterr().out
    assert (
        "cannot write" in printed
        and str(data_home / "cache") in printed
        and "Free some space" in printed
    )


def test_a_file_in_place_of_the_data_folder_stops_nothing(data_home, full_size, capsys):
    data_home.write_text("a file")
    assert len(load("mnist").train) == 700
    assert f"cannot write {data_home}" in capsys.readouterr().out
    assert data_home.read_text() == "a file"


def test_an_interrupt_while_writing_keeps_the_old_file(tmp_path):
    path = tmp_path / "kept"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


# The key.


def test_a_key_loads_the_same_images_again_without_a_word(given, capsys):
    write_set(given)
    found = load("mnist", size=(12, 3))
    capsys.readouterr()
    assert (found.key.name, found.key.size) == ("mnist", (12, 3))
    again = pickle.loads(pickle.dumps(found.key)).load()
    assert torch.equal(again.train, found.train) and torch.equal(again.test, found.test)
    assert torch.equal(again.train_labels, found.train_labels) and again.key == found.key
    assert found.key.load() is again and capsys.readouterr().out == ""


def test_a_key_of_a_stand_in_draws_it_again(data_home, capsys):
    found = load("mnist", SMALL)
    capsys.readouterr()
    again = found.key.load()
    assert again.is_stand_in and torch.equal(again.train, found.train)
    assert capsys.readouterr().out == ""


CHANGES = {
    "a pixel": ("images", lambda content: content[:-1] + bytes([content[-1] ^ 1])),
    "a label": ("labels", lambda content: content[:-1] + bytes([content[-1] ^ 1])),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_key_refuses_images_that_have_changed(given, change, part):
    kind, damage = CHANGES[change]
    raw = write_set(given)
    key = load("mnist").key
    (raw / NAMES[part, kind]).write_bytes(damage((raw / NAMES[part, kind]).read_bytes()))
    assert load("mnist").key != key
    with pytest.raises(ValueError, match="mnist has changed.*Put those images back"):
        key.load()


def test_real_images_do_not_pass_for_the_stand_in_of_an_earlier_run(given):
    key = load("mnist", size=SMALL).key
    write_set(given)
    with pytest.raises(ValueError, match=r"from LABKIT_DATA.*, expected .* from built-in stand-in"):
        key.load()


def test_keys_are_equal_if_the_images_are_wherever_they_were_found():
    here, there = (
        DataKey("mnist", (3, 2), source, "abc") for source in ("download", "data folder")
    )
    other = DataKey("mnist", (3, 2), "download", "abd")
    assert here == there and hash(here) == hash(there) and fingerprint(here) == fingerprint(there)
    assert here != other and fingerprint(here) != fingerprint(other)


# The real images.

real = pytest.mark.skipif(
    not os.environ.get("LABKIT_DATA"),
    reason="needs the real images: set LABKIT_DATA to a folder that has them",
)
DIGIT_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # as published


@real
@pytest.mark.realdata
@pytest.mark.parametrize(("name", "counts"), [("mnist", DIGIT_COUNTS), ("fashion", [6000] * 10)])
def test_the_published_files_are_recognised(name, counts):
    found = load(name, download=False)
    assert found.is_published and found.source == "LABKIT_DATA"
    assert found.train.shape == (60_000, 1, 28, 28) and found.test.shape == (10_000, 1, 28, 28)
    assert found.train_labels.bincount().tolist() == counts
    assert set(found.test_labels.tolist()) == set(range(10))


@real
@pytest.mark.realdata
def test_every_cat_is_kept_or_named_and_the_tensors_are_cached(monkeypatch):
    source, place = images.find("cats")
    found, cats = load("cats"), photos.read(place)
    monkeypatch.setattr(photos, "read", lambda place: pytest.fail(f"{place} was read again"))
    again = load("cats")
    assert torch.equal(again.test, found.test) and again.source == source == "LABKIT_DATA"
    kept = len(found.train) + len(found.test)
    assert kept + len(cats["broken"]) + len(cats["copies"]) == 15_747
    assert 0.08 < len(found.test) / kept < 0.12
    assert torch.equal(cats["images"][cats["held_out"]], found.test)
