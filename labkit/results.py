"""What a notebook measured, as a JSON record and as its Reported-vs-reproduced table."""

import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from labkit import folders
from labkit.files import replacing
from labkit.profile import device as profile_device
from labkit.profile import profile

_started = time.perf_counter()  # the first cell of a notebook imports this module
VERDICTS = {True: "holds", False: "does not hold", None: "not tested in this profile"}


@dataclass(frozen=True)
class Claim:
    """A row of the table: what the report says, what this run measured, and whether they agree.

    holds: True, False, None (not tested in this profile), or a verdict of your own in a few words.
    """

    claim: str
    reported: str
    reproduced: str
    holds: bool | str | None

    @property
    def row(self) -> dict[str, str]:
        """The claim as the record holds it."""
        verdict = self.holds if isinstance(self.holds, str) else VERDICTS[self.holds]
        return {k: v for k, v in vars(self).items() if k != "holds"} | {"verdict": verdict}


@dataclass(frozen=True)
class Record:
    """A written record; in a notebook it shows as the Reported-vs-reproduced table."""

    content: dict[str, Any]
    path: Path

    @property
    def caption(self) -> str:
        form = "Profile {profile}, data {data}, seed {seed}, {device}, {seconds:.0f} s."
        return f"Reported vs reproduced. {form.format(**self.content)}"

    def _repr_html_(self) -> str:
        pages = jinja2.Environment(loader=jinja2.PackageLoader("labkit"), autoescape=True)
        table = pages.get_template("claims.html.j2")
        return table.render(caption=self.caption, claims=self.content["claims"])

    def __repr__(self) -> str:
        form = "- {claim}: reported {reported}; reproduced {reproduced}; {verdict}"
        rows = (form.format(**claim) for claim in self.content["claims"])
        return "\n".join([self.caption, *rows])


def folder() -> Path:
    """Where records and checkpoints of this profile go: LABKIT_RESULTS, or results/<profile>/."""
    return folders.results(profile())


def record(
    notebook: str, metrics: dict, data: Any, seed: int, claims: Sequence[Claim] = (), device=None
) -> Record:
    """Write what `notebook` measured to <folder()>/<notebook>.json and return it as a table.

    metrics: name → number or short text, the same in every run with this profile, machine and seed
    (so no timings); data: the ImageSet that was used, a list of them, or a text where there are no
    images; seed: the run's first seed; device: the torch device that was used, by default that of
    the profile. Seconds count from the import of this module. Raises ValueError for a metric that
    is not finite or not plain and for other data, OSError if the file cannot be written.
    """
    import torch

    from labkit.fingerprint import fingerprint

    plain = {name: _plain(name, value) for name, value in metrics.items()}
    text, contents = _provenance(data)
    used = torch.device(device or profile_device())
    cpu = f"{used.type} ({os.cpu_count()} cores)"
    run = {"notebook": notebook, "profile": profile(), "seed": seed}
    content = {
        **run,
        "data": text,
        "data_content": contents,
        "fingerprint": fingerprint(data=contents or text, **run),
        "seconds": round(time.perf_counter() - _started, 1),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(used) if used.type == "cuda" else cpu,
        "metrics": plain,
        "claims": [claim.row for claim in claims],
    }
    path = folder() / f"{notebook}.json"
    try:
        with replacing(path) as temporary:
            lines = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
            temporary.write_text(lines, encoding="utf-8")
    except OSError as error:
        kept = f"Nothing is lost: the metrics are {json.dumps(plain)}"
        raise OSError(f"{error}, e.g. with LABKIT_RESULTS. {kept}") from error
    return Record(content, path)


def read(path: Path) -> tuple[dict[str, Any], str]:
    """The record in a file or, where there is none, {} and what to do about it."""
    remedy = "write it with labkit.results.record(...) in the notebook's last cell"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        plain = all(isinstance(value, int | float | str) for value in found["metrics"].values())
        if plain and all(isinstance(c["verdict"], str) for c in found.get("claims", [])):
            return found, ""
        error = "a metric that is no number, or a claim without a verdict"
    except FileNotFoundError:
        return {}, f"{path.name} was not written: {remedy}"
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as raised:
        error = f"{type(raised).__name__}: {raised}"
    return {}, f"{path.name} is no readable record ({error:.100}): {remedy}"


def _provenance(data: Any) -> tuple[str, list[str]]:
    """Where data came from, as text, and the hashes of what was in it."""
    if isinstance(data, str):
        return data, []
    sets = list(data) if isinstance(data, list | tuple) else [data]
    if not sets or not all(hasattr(images, "provenance") for images in sets):
        remedy = "pass the ImageSet that was used, a list of them, or a text"
        raise ValueError(f"data is {data!r:.60}; {remedy}")
    return ", ".join(images.provenance for images in sets), [images.key.content for images in sets]


def _plain(name: str, value: Any) -> float | int | str:
    if hasattr(value, "item"):  # torch and NumPy scalars
        value = value.item()
    if isinstance(value, int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"metric {name!r} is {value!r:.60}; record a finite number or a short text")
