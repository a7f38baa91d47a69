"""Diagrams: drawn as SVG in notebooks/pictures/, shown as PNG inside the markdown of a lab.

An author writes `![alternative text](attachment:NAME.svg)`. JupyterLab refuses SVG attachments, and
Colab ignores all attachments, and SVG in data: addresses as well. PNG in a data: address shows in
both and on GitHub. Each PNG knows the SVG that it was drawn from, so a change is noticed.
"""

import base64
import hashlib
import io
import math
import re
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree
from pathlib import Path

from PIL import Image, PngImagePlugin

SCALE = 1.5  # pixels of the PNG for each unit of the SVG
AUTHORS = re.compile(r"\]\(attachment:([^)\s]+\.svg)\)")
EMBEDDED = re.compile(r"\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)")


class PictureError(Exception):
    """A diagram that cannot be shown; the message names the remedy."""


def link(kind: str, picture: str) -> str:
    """The end of a markdown image: `](…)`, with the base64 text of a picture in it."""
    return f"](data:{kind};base64,{picture})"


def refresh(markdown: str, folder: Path) -> str:
    """The text with the diagrams as they are now in `folder`. Raises PictureError."""

    def new(match: re.Match) -> str:
        return link("image/png", drawn(folder / match[1]))

    def renewed(match: re.Match) -> str:
        name, mark = origin(match[1])
        if not name or mark == mark_of(folder / name):
            return match[0]
        return link("image/png", drawn(folder / name))

    return AUTHORS.sub(new, EMBEDDED.sub(renewed, markdown))


def origin(picture: str) -> tuple[str, str]:
    """Name and mark of the SVG that a PNG (base64) was drawn from; empty for any other picture."""
    text = getattr(Image.open(io.BytesIO(base64.b64decode(picture))), "text", {})
    name, _, mark = text.get("Source", "").partition(" ")
    return name, mark


def mark_of(svg: Path) -> str:
    """What tells one version of an SVG from another. Raises PictureError if it is not there."""
    if not svg.is_file():
        raise PictureError(f"there is no picture {svg}")
    lines = svg.read_text(encoding="utf-8").splitlines()  # a clone on Windows has other line ends
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def drawn(svg: Path) -> str:
    """An SVG as PNG in base64, drawn by Chromium. Raises PictureError."""
    facts = PngImagePlugin.PngInfo()
    facts.add_text("Source", f"{svg.name} {mark_of(svg)}")
    image, buffer = Image.open(io.BytesIO(screenshot(svg))).convert("RGBA"), io.BytesIO()
    flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    few = flat.quantize(128, dither=Image.Dither.NONE)
    few.save(buffer, "png", optimize=True, pnginfo=facts)
    return base64.b64encode(buffer.getvalue()).decode()


def screenshot(svg: Path) -> bytes:
    """What Chromium makes of an SVG, at its own size times SCALE."""
    browsers = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, browsers)), None)
    if not browser:
        raise PictureError(f"{svg.name} has changed; to draw it, install Chromium or Chrome")
    text = svg.read_text(encoding="utf-8")
    size = xml.etree.ElementTree.fromstring(text).attrib["viewBox"].replace(",", " ").split()[2:]
    width, height = (math.ceil(float(length)) for length in size)
    look = f"body {{margin: 0}} svg {{width: {width}px; height: {height}px; display: block}}"
    with tempfile.TemporaryDirectory() as folder:
        page, picture = Path(folder, "page.html"), Path(folder, "picture.png")
        html = f"<!doctype html><meta charset=utf-8><style>{look}</style>{text}"
        page.write_text(html, encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--hide-scrollbars"]
        command += [f"--window-size={width},{height}", f"--force-device-scale-factor={SCALE}"]
        command += ["--default-background-color=00000000", f"--screenshot={picture}", page.as_uri()]
        made = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if not picture.is_file():
            raise PictureError(f"{browser} did not draw {svg.name}: {made.stderr[-300:]}")
        return picture.read_bytes()
