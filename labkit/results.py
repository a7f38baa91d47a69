"""What a notebook measured, as JSON, and its Reported-vs-reproduced table."""

import html
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.files import replacing
from labkit.profile import device, profile

_started = time.perf_counter()  # the first cell of a notebook imports this module
VERDICTS = {True: "holds", False: "does not hold", None: "not tested in this profile"}


@dataclass(frozen=True)
class Claim:
    """A row of the table: what the report says, what this run measured, and whether the one bears
    out the other.

    holds: True, False, None (not tested in this profile), or a verdict of your own in a few words.
    """

    claim: str
    reported: str
    reproduced: str
    holds: bool | str | None

    @property
    def verdict(self) -> str:
        return self.holds if isinstance(self.holds, str) else VERDICTS[self.holds]


@dataclass(frozen=True)
class Record:
    """A written record; in a notebook it shows as the Reported-vs-reproduced table."""

    content: dict[str, Any]
    claims: tuple[Claim, ...]
    path: Path

    @property
    def caption(self) -> str:
        c = self.content
        return f"Reported vs reproduced. Profile {c['profile']}, data {c['data']}, seed {c['seed']}, {c['device']}, {c['seconds']:.0f} s."

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th scope="col" style="text-align:left">{h}</th>'
            for h in ("Claim", "Reported", "Reproduced", "Verdict")
        )
        cells = ([c.claim, c.reported, c.reproduced, c.verdict] for c in self.claims)
        rows = "".join(
            "<tr>"
            + "".join(f'<td style="text-align:left">{html.escape(t)}</td>' for t in row)
            + "</tr>"
            for row in cells
        )
        return f"<table><caption>{html.escape(self.caption)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def __repr__(self) -> str:
        rows = [
            f"- {c.claim}: reported {c.reported}; reproduced {c.reproduced}; {c.verdict}"
            for c in self.claims
        ]
        return "\n".join([self.caption, *rows])


def folder() -> Path:
    """Where records and checkpoints of this profile go: $LABKIT_RESULTS, or results/<profile>/ in
    the repository (else here).
    """
    given = os.environ.get("LABKIT_RESULTS")
    if given:
        return Path(given)
    repository = Path(__file__).resolve().parents[1]
    return (
        (repository if (repository / "notebooks").is_dir() else Path.cwd()) / "results" / profile()
    )


def record(
    notebook: str,
    metrics: dict[str, float | int | str],
    data: str,
    seed: int,
    claims: list[Claim] | tuple[Claim, ...] = (),
) -> Record:
    """Write what `notebook` measured to <folder()>/<notebook>.json; the return value displays the
    Reported-vs-reproduced table.

    metrics: name → number or short text, the same in every run with this profile, machine and seed
    (so no timings); data: where the data came from; seed: the run's first seed. Seconds count from
    the import of this module. Raises ValueError for a metric that is not finite or not plain,
    OSError (with the metrics in its message) if the file cannot be written.
    """
    import torch

    plain = {name: _plain(name, value) for name, value in metrics.items()}
    content = {
        "notebook": notebook,
        "profile": profile(),
        "data": data,
        "seed": seed,
        "seconds": round(time.perf_counter() - _started, 1),
        "torch": torch.__version__,
        "device": _device_name(),
        "metrics": plain,
        "claims": [
            {
                "claim": c.claim,
                "reported": c.reported,
                "reproduced": c.reproduced,
                "verdict": c.verdict,
            }
            for c in claims
        ],
    }
    path = folder() / f"{notebook}.json"
    try:
        with replacing(path) as temporary:
            temporary.write_text(
                json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
    except OSError as error:
        raise OSError(
            f"{error}, e.g. with LABKIT_RESULTS. Nothing is lost: the metrics are {json.dumps(plain)}"
        ) from error
    return Record(content, tuple(claims), path)


def _plain(name: str, value: Any) -> float | int | str:
    if hasattr(value, "item"):  # torch and NumPy scalars
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(
            f"metric {name!r} is {value}; record a finite number, or leave it out and say why in the text"
        )
    if not isinstance(value, int | float | str):
        raise ValueError(
            f"metric {name!r} is a {type(value).__name__}; record a number or a short text"
        )
    return value


def _device_name() -> str:
    import torch

    used = device()
    return (
        torch.cuda.get_device_name(used)
        if used.type == "cuda"
        else f"{used.type} ({os.cpu_count()} cores)"
    )
