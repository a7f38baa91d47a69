"""What a notebook measured, as a JSON record and as its Reported-vs-reproduced table."""

import html
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    def verdict(self) -> str:
        return self.holds if isinstance(self.holds, str) else VERDICTS[self.holds]

    @property
    def row(self) -> dict[str, str]:
        """The claim as the record holds it."""
        texts = {name: getattr(self, name) for name in ("claim", "reported", "reproduced")}
        return texts | {"verdict": self.verdict}


@dataclass(frozen=True)
class Record:
    """A written record; in a notebook it shows as the Reported-vs-reproduced table."""

    content: dict[str, Any]
    path: Path

    @property
    def caption(self) -> str:
        c = self.content
        return (
            f"Reported vs reproduced. Profile {c['profile']}, data {c['data']},"
            f" seed {c['seed']}, {c['device']}, {c['seconds']:.0f} s."
        )

    def _repr_html_(self) -> str:
        left = 'style="text-align:left"'
        names = ("claim", "reported", "reproduced", "verdict")
        head = "".join(f'<th scope="col" {left}>{name.capitalize()}</th>' for name in names)
        rows = (
            "".join(f"<td {left}>{html.escape(claim[name])}</td>" for name in names)
            for claim in self.content["claims"]
        )
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return (
            f"<table><caption>{html.escape(self.caption)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )

    def __repr__(self) -> str:
        rows = (
            f"- {c['claim']}: reported {c['reported']}; reproduced {c['reproduced']}; {c['verdict']}"
            for c in self.content["claims"]
        )
        return "\n".join([self.caption, *rows])


def folder() -> Path:
    """Where records and checkpoints of this profile go: LABKIT_RESULTS, or results/<profile>/."""
    return folders.results(profile())


def record(
    notebook: str,
    metrics: dict[str, float | int | str],
    data: Any,
    seed: int,
    claims: Sequence[Claim] = (),
    device: Any = None,
) -> Record:
    """Write what `notebook` measured to <folder()>/<notebook>.json and return it as a table.

    metrics: name → number or short text, the same in every run with this profile, machine and seed
    (so no timings); data: the ImageSet that was used, a list of them, or a text where there are no
    images; seed: the run's first seed; device: the torch device that was used, by default that of
    the profile. Seconds count from the import of this module.

    Raises ValueError for a metric that is not finite or not plain and for other data, OSError (with
    the metrics in its message) if the file cannot be written.
    """
    import torch

    from labkit.fingerprint import fingerprint

    plain = {name: _plain(name, value) for name, value in metrics.items()}
    text, contents = _provenance(data)
    content = {
        "notebook": notebook,
        "profile": profile(),
        "data": text,
        "data_content": contents,
        "seed": seed,
        "fingerprint": fingerprint(
            data=contents or text, profile=profile(), seed=seed, notebook=notebook
        ),
        "seconds": round(time.perf_counter() - _started, 1),
        "torch": torch.__version__,
        "device": _device_name(torch.device(device or profile_device())),
        "metrics": plain,
        "claims": [claim.row for claim in claims],
    }
    path = folder() / f"{notebook}.json"
    try:
        with replacing(path) as temporary:
            lines = json.dumps(content, indent=1, ensure_ascii=False)
            temporary.write_text(f"{lines}\n", encoding="utf-8")
    except OSError as error:
        raise OSError(
            f"{error}, e.g. with LABKIT_RESULTS."
            f" Nothing is lost: the metrics are {json.dumps(plain)}"
        ) from error
    return Record(content, path)


def read(path: Path) -> dict[str, Any]:
    """The record in a file. Raises OSError where there is none, ValueError for anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        metrics, claims = found["metrics"], found.get("claims", [])
        plain = all(isinstance(value, int | float | str) for value in metrics.values())
        told = all(isinstance(claim["verdict"], str) for claim in claims)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not plain or not told:
        raise ValueError("a metric that is no number, or a claim without a verdict")
    return found


def _provenance(data: Any) -> tuple[str, list[str]]:
    """Where data came from, as text, and the hashes of what was in it."""
    if isinstance(data, str):
        return data, []
    sets = list(data) if isinstance(data, list | tuple) else [data]
    if not sets or not all(hasattr(images, "provenance") for images in sets):
        raise ValueError(
            f"data is {data!r:.60}; pass the ImageSet that was used, a list of them, or a text"
        )
    return ", ".join(images.provenance for images in sets), [images.key.content for images in sets]


def _plain(name: str, value: Any) -> float | int | str:
    if hasattr(value, "item"):  # torch and NumPy scalars
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"metric {name!r} is {value}; record a finite number, or leave it out")
    if not isinstance(value, int | float | str):
        kind = type(value).__name__
        raise ValueError(f"metric {name!r} is a {kind}; record a number or a short text")
    return value


def _device_name(used) -> str:
    import torch

    if used.type == "cuda":
        return torch.cuda.get_device_name(used)
    return f"{used.type} ({os.cpu_count()} cores)"
