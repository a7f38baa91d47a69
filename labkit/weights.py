"""Small trained weights that come with the kit, so that a slider works seconds after opening a lab.

Beside `<name>.pt`, a plain state dict, lies `<name>.json`: data, seed, the command that made it,
what was measured, the sha256 of the .pt.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labkit.data.images import home
from labkit.files import replacing


def folder() -> Path:
    """data/weights/ of the repository, or the copy inside an installed labkit (Colab)."""
    installed = Path(__file__).parent / "shipped"
    return installed if installed.is_dir() else home() / "weights"


def load(name: str, model: nn.Module) -> dict[str, Any]:
    """Put the weights `name` into `model`, in eval mode; returns the facts about them, "sha256" and
    "file" among them.

    Raises FileNotFoundError if there are none, and ValueError, naming the file, if they are not the
    ones that the facts describe or do not fit the model.
    """
    path = folder() / f"{name}.pt"
    remedy = (
        f"get the file again from the repository, or make it anew: python -m labkit weights {name}"
    )
    for part in (path, path.with_suffix(".json")):
        if not part.is_file():
            raise FileNotFoundError(f"{part} is missing; {remedy}")
    try:
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        expected = facts["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path.with_suffix('.json')} is not a record of weights ({error!r}); {remedy}"
        ) from error
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise ValueError(
            f"{path} has the sha256 {found[:12]}…, expected {expected[:12]}…; {remedy}"
        )
    state = torch.load(path, weights_only=True, map_location="cpu")
    theirs, ours = ({k: tuple(v.shape) for k, v in s.items()} for s in (state, model.state_dict()))
    if theirs != ours:
        name_of_difference = next(k for k in [*theirs, *ours] if theirs.get(k) != ours.get(k))
        raise ValueError(
            f"{path} does not fit the model: {name_of_difference} is {theirs.get(name_of_difference)}, "
            f"expected {ours.get(name_of_difference)}; build the model as {name} was built, or {remedy}"
        )
    model.load_state_dict(state)
    model.eval()
    return {**facts, "file": path.name}


def save(name: str, model: nn.Module, **facts: Any) -> Path:
    """Write the weights of `model` and the facts about them; returns the path of the weights."""
    path = folder() / f"{name}.pt"
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    with replacing(path) as temporary:
        torch.save(state, temporary)
    facts = {
        "name": name,
        **facts,
        "torch": torch.__version__,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    with replacing(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return path
