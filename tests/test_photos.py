"""Photographs of any size and mode; broken files are named, and the split stays as it is."""

import hashlib
import io
import os
import tarfile
import zipfile

import pytest
import torch
from PIL import Image, ImageFile

from labkit.data import load, photos

N = 110  # images: just above the fewest that are accepted
NAMES = [f"{k:03}.bmp" for k in range(N)]
RED, GREEN, BLUE, BLACK, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def pictures():
    """Name → bytes of N one-coloured images, each of its own colour, in two folders."""
    return {
        f"{k % 2}/{k:03}.png": encoded(Image.new("RGB", (9, 9), (k, 2 * k, 255 - k)))
        for k in range(N)
    }


def write_folder(place, files):
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    return place


def write_archive(place, files):
    """A .zip, .tar or .tar.gz with the folder cats/ in it; entries in reversed order, which must
    not matter.
    """
    if place.suffix == ".zip":
        with zipfile.ZipFile(place, "w") as archive:
            for name, content in reversed(files.items()):
                archive.writestr(f"cats/{name}", content)
    else:
        with tarfile.open(place, "w:gz" if place.suffix == ".gz" else "w") as archive:
            for name, content in reversed(files.items()):
                info = tarfile.TarInfo(f"cats/{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return place


ARCHIVES = ["cats.tar", "cats.tar.gz", "cats.zip"]


@pytest.mark.parametrize("archive", ARCHIVES)
def test_folder_and_archive_give_the_same_tensors_and_split(tmp_path, pictures, archive):
    folder = photos.read(write_folder(tmp_path / "cats", pictures))
    packed = photos.read(write_archive(tmp_path / archive, pictures))
    assert folder["images"].shape == (N, 3, 64, 64) and folder["images"].dtype == torch.uint8
    assert torch.equal(folder["images"], packed["images"]) and torch.equal(
        folder["held_out"], packed["held_out"]
    )
    assert folder["broken"] == packed["broken"] == []


# Modes and sizes.


def animated():
    return encoded(
        Image.new("RGB", (70, 70), RED),
        "GIF",
        save_all=True,
        append_images=[Image.new("RGB", (70, 70), BLUE)],
    )


def palette_with_transparency():
    image = Image.new("P", (80, 80), 0)
    image.putpalette([*RED, *BLUE])
    return encoded(image, transparency=0)


ONE_COLOUR = {  # what is in the file → the colour that the tensor must have
    "greyscale": (encoded(Image.new("L", (80, 90), 77)), (77, 77, 77)),
    "greyscale, opaque alpha": (encoded(Image.new("LA", (80, 90), (77, 255))), (77, 77, 77)),
    "greyscale, transparent": (encoded(Image.new("LA", (80, 90), (77, 0))), WHITE),
    "RGBA, opaque": (encoded(Image.new("RGBA", (80, 90), (*GREEN, 255))), GREEN),
    "RGBA, transparent": (encoded(Image.new("RGBA", (80, 90), (*GREEN, 0))), WHITE),
    "RGBA, half": (encoded(Image.new("RGBA", (80, 90), (*BLACK, 128))), (127, 127, 127)),
    "palette": (encoded(Image.new("RGB", (80, 90), BLUE).convert("P")), BLUE),
    "palette, transparent": (palette_with_transparency(), WHITE),
    "CMYK": (encoded(Image.new("CMYK", (80, 90), (0, 255, 255, 0)), "TIFF"), RED),
    "1 bit": (encoded(Image.new("1", (80, 90), 1)), WHITE),
    "16 bits, scaled and not clipped": (
        encoded(Image.new("I;16", (80, 90), 100 * 257)),
        (100, 100, 100),
    ),
    "first frame of an animation": (animated(), RED),
    "one pixel": (encoded(Image.new("RGB", (1, 1), GREEN)), GREEN),
    "very wide": (encoded(Image.new("RGB", (3000, 2), GREEN)), GREEN),
    "very tall": (encoded(Image.new("RGB", (2, 3000), GREEN)), GREEN),
    "JPEG": (encoded(Image.new("RGB", (80, 90), (100, 100, 100)), "JPEG"), (100, 100, 100)),
}


@pytest.mark.parametrize("case", ONE_COLOUR)
def test_every_mode_and_size_becomes_64_pixels_of_rgb(case):
    content, colour = ONE_COLOUR[case]
    image = photos.to_tensor(content)
    assert image.shape == (3, 64, 64) and image.dtype == torch.uint8
    assert (image.int() - torch.tensor(colour)[:, None, None]).abs().max() <= 2


def test_a_turned_photograph_stands_upright():
    image = Image.new("RGB", (64, 64), BLUE)
    image.paste(RED, (0, 0, 64, 16))  # red above
    tags = Image.Exif()
    tags[0x0112] = 6  # orientation: the file lies on its side and is to be turned clockwise by 90°
    lying = encoded(image.rotate(90), "PNG", exif=tags)
    upright = photos.to_tensor(lying)
    assert torch.equal(upright, photos.to_tensor(encoded(image)))
    assert upright[:, 4, 32].tolist() == list(RED)


def test_the_central_square_is_kept():
    image = Image.new("RGB", (192, 64), RED)
    image.paste(GREEN, (64, 0, 128, 64))
    assert (photos.to_tensor(encoded(image))[1, :, 2:-2] == 255).all()


# Broken files and places.


def half(content):
    return content[: len(content) // 2]


def noise(side=64):
    generator = torch.Generator().manual_seed(0)
    return Image.frombytes(
        "RGB",
        (side, side),
        bytes(torch.randint(256, (3 * side * side,), generator=generator).tolist()),
    )


BAD_FILES = {
    "cut.jpg": half(encoded(noise(), "JPEG")),
    "text.jpg": b"this is no image",
    "empty.png": b"",
    "cut.png": half(encoded(noise())),
}


@pytest.mark.parametrize("place", ["cats", *ARCHIVES])
def test_broken_files_among_good_ones_are_counted_and_named(
    tmp_path, data_home, monkeypatch, capsys, pictures, place
):
    write = write_folder if place == "cats" else write_archive
    write(
        tmp_path / "photos" / place if place == "cats" else _folder(tmp_path / "photos") / place,
        {**pictures, **BAD_FILES},
    )
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path / "photos"))
    found = load("cats")
    assert len(found.train) + len(found.test) == N
    printed = capsys.readouterr().out
    assert f"left out {len(BAD_FILES)} files" in printed
    assert all(name in printed for name in BAD_FILES)


def _folder(path):
    path.mkdir()
    return path


def test_of_exact_copies_the_first_name_stays(tmp_path, data_home, monkeypatch, capsys, pictures):
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    write_folder(
        tmp_path / "cats",
        {
            **pictures,
            "2/copy.png": pictures["0/000.png"],
            "2/copy.bmp": encoded(Image.new("RGB", (9, 9), (1, 2, 254)), "BMP"),
        },
    )
    found = load("cats")
    assert (
        len(torch.cat([found.train, found.test]).unique(dim=0))
        == len(found.train) + len(found.test)
        == N
    )
    assert "left out 2 exact copies of other images, e.g. '2/copy.bmp'" in capsys.readouterr().out


def test_hidden_files_and_other_files_are_no_images(tmp_path, pictures):
    others = {
        "._000.png": b"a Mac's shadow",
        ".hidden/1.png": b"",
        "__MACOSX/1.png": b"",
        "readme.txt": b"cats",
        "SHOUTING.PNG": encoded(Image.new("RGB", (9, 9), WHITE)),
    }
    found = photos.read(write_folder(tmp_path / "cats", {**pictures, **others}))
    assert len(found["images"]) == N + 1 and found["broken"] == []


@pytest.mark.parametrize(
    ("n", "bad", "message"),
    [
        (0, 0, "has 0 different readable images"),
        (99, 0, "has 99 different readable images"),
        (99, 1, "1 unreadable ones, e.g. bad-0.jpg"),
    ],
)
@pytest.mark.parametrize("write", [write_folder, write_archive])
def test_too_few_images_is_an_error_with_the_remedy(tmp_path, pictures, write, n, bad, message):
    place = tmp_path / ("cats" if write is write_folder else "cats.tar")
    if write is write_folder:
        place.mkdir()
    write(place, dict(list(pictures.items())[:n]) | {f"bad-{k}.jpg": b"" for k in range(bad)})
    with pytest.raises(
        ValueError, match=r"expected at least 100 .*Add images or move .* away"
    ) as caught:
        photos.read(place)
    said = str(caught.value).replace("cats/bad", "bad").replace("'", "")
    assert message in said and str(place) in said


def test_an_empty_cats_folder_is_an_error_and_not_the_next_rung(tmp_path, data_home, monkeypatch):
    (tmp_path / "cats").mkdir()
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="has 0 different readable images; expected at least 100"):
        load("cats")


@pytest.mark.parametrize("archive", ARCHIVES)
@pytest.mark.parametrize(
    "name",
    ["../../outside.png", "../../../outside.txt", "/outside/absolute.png", "..\\..\\outside.png"],
)
def test_an_archive_that_leads_out_of_itself_is_refused(tmp_path, pictures, archive, name):
    place = tmp_path / archive
    files = {**pictures, "evil": pictures["0/000.png"]}
    if archive == "cats.zip":
        with zipfile.ZipFile(place, "w") as packed:
            for key, content in files.items():
                packed.writestr(name if key == "evil" else key, content)
    else:
        with tarfile.open(place, "w:gz" if archive.endswith("gz") else "w") as packed:
            for key, content in files.items():
                info = tarfile.TarInfo(name if key == "evil" else key)
                info.size = len(content)
                packed.addfile(info, io.BytesIO(content))
    with pytest.raises(
        ValueError, match=r"leads out of the archive; expected plain relative paths"
    ) as caught:
        photos.read(place)
    assert str(place) in str(caught.value) and "outside" in str(caught.value)
    assert list(tmp_path.iterdir()) == [place]  # nothing was unpacked


# A tar is blocks of 512 bytes: of each file here one header and one block. Cut inside either, and
# between two files.
CUTS = [
    ("cats.tar", 20 * 1024 + 512 + 40),
    ("cats.tar", 20 * 1024 + 40),
    ("cats.tar", 105 * 1024),
    ("cats.tar", 0),
    ("cats.tar.gz", 1500),
    ("cats.zip", 5000),
]


@pytest.mark.parametrize(("archive", "kept"), CUTS)
def test_a_truncated_archive_is_never_taken_for_a_whole_one(tmp_path, pictures, archive, kept):
    place = write_archive(tmp_path / archive, pictures)
    assert kept < place.stat().st_size
    place.write_bytes(place.read_bytes()[:kept])
    with pytest.raises(
        ValueError, match="expected a whole archive of images. Copy or download it again"
    ) as caught:
        photos.read(place)
    assert str(place) in str(caught.value)


# Split and cache.


def test_the_split_is_a_tenth_of_names_and_of_folders():
    for names in ([f"cat_{k}.jpg" for k in range(5000)], [f"{k}/cat.jpg" for k in range(5000)]):
        assert 0.08 < sum(map(photos.is_held_out, names)) / len(names) < 0.12


def test_a_folder_of_one_image_each_is_split_like_any_other(tmp_path, pictures):
    """The whole path decides: the last part of each name here is the same."""
    files = {f"{k}/cat.png": content for k, content in enumerate(pictures.values())}
    for place in (tmp_path / "cats", tmp_path / "cats.tar"):
        (write_archive if place.suffix else write_folder)(place, files)
        held_out = photos.read(place)["held_out"]
        assert 0 < held_out.sum() < 0.3 * N


@pytest.mark.parametrize("top", ["", "./", "cats/", "./cats/", "Photos of cats/"])
def test_the_folder_around_an_archive_does_not_change_the_split(tmp_path, pictures, top):
    files = {f"{top}{k}.png": content for k, content in enumerate(pictures.values())}
    with tarfile.open(tmp_path / "cats.tar", "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    expected = [
        hashlib.sha256(f"{k}.png".encode()).digest()[0] % 10 == 0
        for k in sorted(range(N), key=lambda k: f"{k}.png")
    ]
    assert photos.read(tmp_path / "cats.tar")["held_out"].tolist() == expected


@pytest.mark.parametrize("side", [True, False])
def test_a_set_with_one_side_of_the_split_empty_is_refused(tmp_path, pictures, monkeypatch, side):
    monkeypatch.setattr(photos, "is_held_out", lambda name: side)
    with pytest.raises(ValueError, match="on one side of the split.*give the files other names"):
        photos.read(write_folder(tmp_path / "cats", pictures))


def test_train_and_test_share_no_image_and_stay_when_images_are_added(
    tmp_path, data_home, monkeypatch, pictures
):
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    write_folder(tmp_path / "cats", pictures)
    before = load("cats")
    write_folder(
        tmp_path / "cats",
        {f"new/{k}.png": encoded(Image.new("RGB", (5, 5), (k, 0, 0))) for k in range(40)},
    )
    after = load("cats")

    def colours(images):
        return {tuple(colour) for colour in images[:, :, 0, 0].tolist()}

    assert not colours(before.train) & colours(before.test) and colours(before.test)
    assert colours(before.train) <= colours(after.train) and colours(before.test) <= colours(
        after.test
    )
    assert len(after.train) + len(after.test) == N + 40
    assert (
        after.classes == ["cat"]
        and not after.train_labels.any()
        and len(after.test_labels) == len(after.test)
    )


@pytest.mark.parametrize("place", ["cats", "cats.zip"])
def test_the_second_load_reads_the_cache_until_something_changes(
    tmp_path, data_home, monkeypatch, pictures, place
):
    given = _folder(tmp_path / "given")
    write = write_folder if place == "cats" else write_archive
    monkeypatch.setenv("LABKIT_DATA", str(given))
    write(given / place, pictures)
    reads, read = [], photos.read
    monkeypatch.setattr(photos, "read", lambda where: reads.append(where) or read(where))
    first, second = load("cats"), load("cats")
    assert reads == [given / place]
    assert torch.equal(first.train, second.train) and torch.equal(first.test, second.test)
    write(given / place, {**pictures, "another.png": encoded(Image.new("RGB", (9, 9), WHITE))})
    assert len(load("cats").train) + len(load("cats").test) == N + 1
    assert len(reads) == 2


@pytest.mark.parametrize("place", ["cats", "cats.tar"])
def test_other_photographs_of_the_same_size_and_time_are_read_again(
    tmp_path, data_home, monkeypatch, pictures, place
):
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    write = write_folder if place == "cats" else write_archive
    raw = {
        name: encoded(Image.new("RGB", (9, 9), (9, 9, k)), "BMP") for k, name in enumerate(NAMES)
    }
    write(tmp_path / place, raw)
    path = tmp_path / place / NAMES[0] if place == "cats" else tmp_path / place
    before, first = path.stat(), load("cats")
    path.write_bytes(path.read_bytes().replace(bytes([0, 9, 9] * 9), bytes([7, 80, 7] * 9)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert load("cats").key != first.key


# Files that would harm.


def test_names_that_do_not_decode_are_read_and_named_without_terminal_escapes(
    tmp_path, data_home, monkeypatch, capsys, pictures
):
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    strange = {os.fsdecode(b"caf\xe9.png"): encoded(Image.new("RGB", (9, 9), WHITE))}
    broken = {os.fsdecode(b"\x1b[2J\xff.jpg"): b"", "copy.png": pictures["0/000.png"]}
    write_folder(tmp_path / "cats", {**pictures, **strange, **broken})
    for _ in range(2):  # read, and from the cache
        found = load("cats")
        assert len(found.train) + len(found.test) == N + 1
        printed = capsys.readouterr().out
        assert r"'\x1b[2J\udcff.jpg'" in printed and "\x1b" not in printed
        printed.encode("utf-8")
        assert "damaged" not in printed


@pytest.mark.parametrize("place", ["cats", "cats.tar", "cats.zip"])
def test_a_file_too_large_for_an_image_is_left_out_unread(tmp_path, monkeypatch, pictures, place):
    monkeypatch.setattr(photos, "MOST_BYTES", 5_000)
    write = write_folder if place == "cats" else write_archive
    found = photos.read(write(tmp_path / place, {**pictures, "huge.png": encoded(noise(50))}))
    assert len(found["images"]) == N
    (broken,) = found["broken"]
    assert broken.endswith("huge.png' (ValueError)")


def test_a_file_too_large_for_an_image_is_not_hashed_either(tmp_path, monkeypatch, pictures):
    monkeypatch.setattr(photos, "MOST_BYTES", 5_000)
    place = write_folder(tmp_path / "cats", {**pictures, "huge.jpg": bytes(6_000)})
    before = photos.key(place)
    (place / "huge.jpg").write_bytes(bytes([1]) * 6_000)
    assert photos.key(place) == before
    (place / "0" / "000.png").write_bytes(bytes(10))
    assert photos.key(place) != before


def test_a_cache_ends_with_the_code_or_the_pillow_that_made_it(tmp_path, monkeypatch, pictures):
    place = write_folder(tmp_path / "cats", pictures)
    before = photos.key(place)
    monkeypatch.setattr(photos, "VERSION", photos.VERSION + 1)
    after = photos.key(place)
    monkeypatch.setattr("PIL.__version__", "0")
    assert len({before, after, photos.key(place)}) == 3


def test_a_single_folder_in_a_folder_counts_so_that_others_can_come(tmp_path, pictures):
    """An archive's one top folder is its name; a folder's subfolders are part of the paths."""
    files = {f"first/{k:03}.png": content for k, content in enumerate(pictures.values())}
    found = photos.read(write_folder(tmp_path / "cats", files))
    assert found["held_out"].tolist() == [photos.is_held_out(name) for name in sorted(files)]
    assert found["held_out"].tolist() != [photos.is_held_out(n[6:]) for n in sorted(files)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("side", [7_100, 10_000, 13_400])
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path, monkeypatch, pictures, side
):
    content = encoded(Image.new("1", (side, side)))
    place = write_folder(tmp_path / "cats", {**pictures, "bomb.png": content})
    load_pixels = ImageFile.ImageFile.load

    def guarded(self):
        assert self.width < 1000, "decoded"
        return load_pixels(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", guarded)
    found = photos.read(place)
    assert len(found["images"]) == N
    assert found["broken"] in (["'bomb.png' (ValueError)"], ["'bomb.png' (DecompressionBombError)"])


def test_a_zip_with_a_password_is_told_how_to_go_on(tmp_path, pictures):
    place = write_archive(tmp_path / "cats.zip", pictures)
    content = bytearray(place.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flags of every entry
        start = content.find(mark)
        while start >= 0:
            content[start + offset] |= 1
            start = content.find(mark, start + 1)
    place.write_bytes(content)
    with pytest.raises(ValueError, match="locked with a password; unpack it into a folder"):
        photos.read(place)


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_place_that_may_not_be_read_is_an_error_and_not_fewer_cats(
    tmp_path, data_home, monkeypatch, pictures, what
):
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    write_folder(tmp_path / "cats", pictures)
    closed, scandir, opened = str(tmp_path / "cats" / "0"), os.scandir, type(tmp_path).open

    def refuse(path, *args, **kwargs):
        denied = PermissionError(13, "Permission denied", str(path))
        if what == "folder" and str(path) == closed:
            raise denied
        if what == "file" and str(path).endswith("000.png"):
            raise denied
        return (scandir if what == "folder" else opened)(path, *args, **kwargs)

    if what == "folder":
        monkeypatch.setattr(os, "scandir", refuse)
    else:
        monkeypatch.setattr(type(tmp_path), "open", refuse)
    with pytest.raises(PermissionError, match=f"{closed}.* may not be read by this user.*chmod"):
        load("cats")
