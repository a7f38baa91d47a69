"""What a notebook measured, as a JSON record and as a table beside what others reported."""

import json
import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jinja2

from labkit import folders
from labkit.files import replacing
from labkit.profile import device as profile_device
from labkit.profile import profile

_started = time.perf_counter()  # the first cell of a notebook imports this module
MACHINE = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
DATE = "%Y-%m-%d %H:%M"
MIME = "application/vnd.labkit.record+json"  # a record beside its table in a saved notebook
SAVED = ("notebook", "profile", "seed", "data", "data_content", "metrics", "fingerprint", "torch")
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
    def tables(self) -> list[tuple]:
        """(caption, names of the columns, rows) of each table that is shown."""
        form = "Profile {profile}, data {data}, seed {seed}, {device}, {seconds:.0f} s."
        return [_claims(f"Reported vs reproduced. {form.format(**self.content)}", self.content)]

    def _repr_html_(self) -> str:
        pages = jinja2.Environment(loader=jinja2.PackageLoader("labkit"), autoescape=True)
        return pages.get_template("tables.html.j2").render(tables=self.tables)

    def __repr__(self) -> str:
        lines = []
        for caption, names, rows in self.tables:
            lines.append(caption)
            for first, *others, last in rows:
                said = [f"{n.lower()} {x}; " for n, x in zip(names[1:], others, strict=False)]
                lines.append(f"- {first}: {''.join(said)}{last}")
        return "\n".join(lines)


class Found(Record):
    """A lab's record, shown beside the band of five seeds and the verdicts of the study."""

    @property
    def tables(self) -> list[tuple]:
        ours, form = self.content, "profile {profile}, data {data}, {date}"
        theirs, evidence = band(ours["notebook"]), study(ours["notebook"])
        by = "data_content" if ours["data_content"] or theirs.get("data_content") else "data"
        same = all(ours[fact] == theirs.get(fact) for fact in ("profile", by))
        names, said = ("", "You"), "no other seeds of this lab have been measured yet"
        if same:
            names = ("", "You", "Seeds 0 to 4", "Yours is")
            said = f"seeds 0 to 4: {form.format(**theirs)}. One new seed in three lies outside"
        elif theirs:
            said = f"no comparison with seeds 0 to 4, which were run with {form.format(**theirs)}"
        rows = [_beside(*metric, theirs.get("metrics", {})) for metric in ours["metrics"].items()]
        caption = f"What you found: {form.format(**ours)}; {said}."
        tables = [(caption, names, [row[: len(names)] for row in rows])]
        if evidence:
            n = len(evidence["seeds"])
            of = f"{form.format(**evidence)}, at most {n} seed{'s' * (n > 1)} per claim"
            tables += [_claims(f"Reported vs reproduced in the study: {of}.", evidence)]
        return tables

    def _repr_mimebundle_(self, **_: Any) -> dict[str, dict]:
        """The record itself, which grading reads; Jupyter adds text and HTML."""
        return {MIME: {fact: self.content[fact] for fact in (*SAVED, "date")}}


def _claims(caption: str, content: dict) -> tuple:
    """The table of a record's claims."""
    rows = [(c["claim"], c["reported"], c["reproduced"], c["verdict"]) for c in content["claims"]]
    return caption, ("Claim", "Reported", "Reproduced", "Verdict"), rows


def _beside(name: str, value: float | str, bands: dict[str, list]) -> tuple[str, str, str, str]:
    """A metric, its value, the band, and where the value lies."""
    yours = f"{value:.4g}" if isinstance(value, float) else str(value)
    if name not in bands or isinstance(value, str):
        return name, yours, "", ""
    low, high = min(bands[name]), max(bands[name])
    near = 1e-6 * max(abs(low), abs(high))  # sums of another machine differ in the last digits
    place = "below" if value < low - near else "above" if value > high + near else "inside"
    return name, yours, f"{low:.4g} to {high:.4g}", place


def folder() -> Path:
    """Where records and checkpoints of this profile go: LABKIT_RESULTS, or results/<profile>/."""
    return folders.results(profile())


def record(
    notebook: str,
    metrics: dict,
    data: Any,
    seed: int,
    claims: Sequence[Claim] = (),
    device=None,
    seeds: Sequence[int] = (),
) -> Record:
    """Write what `notebook` measured to <folder()>/<notebook>.json and return it as a table.

    metrics: name → number or short text, the same in every run with this profile, machine and seed
    (so no timings); data: the ImageSet that was used, a list of them, or a text where there are no
    images; seed: the run's first seed; seeds: all that a comparison had, if more; device: the torch
    device that was used, by default that of the profile. Seconds count from the import of this
    module. Raises ValueError for a metric that is not finite or not plain and for other data,
    OSError if the file cannot be written.
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
        "seeds": list(seeds) or [seed],
        "command": f"python -m labkit run {notebook} --profile {profile()}",
        "date": time.strftime(DATE),
        "machine": MACHINE,
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
        write(path, content)
    except OSError as error:
        kept = f"Nothing is lost: the metrics are {json.dumps(plain)}"
        raise OSError(f"{error}, e.g. with LABKIT_RESULTS. {kept}") from error
    return Record(content, path)


def found(notebook: str, metrics: dict, data: Any, seed: int, device=None) -> Found:
    """`record` at the end of a lab, shown as the last expression of a cell: your numbers beside the
    band of five seeds, and the reports' claims with the verdicts of the study of the same name.
    """
    made = record(notebook, metrics, data, seed, device=device)
    return Found(made.content, made.path)


def supplied(kind: str, notebook: str) -> dict[str, Any]:
    """The file of data/results/<kind>/ that comes with the kit; {} if there is none."""
    path = folders.measured() / kind / f"{notebook}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        remedy = "get it again from the repository"
        raise ValueError(f"{path} is damaged ({error}); {remedy}") from error


study = partial(supplied, "studies")  # the record of an executed study
band = partial(supplied, "labs")  # what five seeds of a lab gave: {metrics: {name: [one, …]}, …}


def write(path: Path, content: dict[str, Any]) -> None:
    """Writes a record as JSON, whole or not at all."""
    with replacing(path) as temporary:
        lines = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        temporary.write_text(lines, encoding="utf-8")


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
