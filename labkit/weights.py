"""The small trained networks that are supplied with the kit, in data/weights/.

Each is a plain state dict, `<name>.pt`, and `<name>.json`: data, seed, command, measures, sha256.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labkit import folders
from labkit.files import readable, replacing


@readable()
def load(name: str, model: nn.Module) -> dict[str, Any]:
    """Put the weights `name` into `model`, in eval mode; returns what <name>.json knows of them.

    Raises FileNotFoundError if there are none, ValueError if they are damaged or do not fit.
    """
    path = folders.weights() / f"{name}.pt"
    facts_path = path.with_suffix(".json")
    remedy = f"get it again from the repository, or: python -m labkit weights {name} --replace"
    for part in (path, facts_path):
        if not part.is_file():
            raise FileNotFoundError(f"{part} is missing; {remedy}")
    try:
        facts = json.loads(facts_path.read_text(encoding="utf-8"))
        found, expected = hashlib.sha256(path.read_bytes()).hexdigest(), str(facts["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{facts_path} is no record of weights ({error!r}); {remedy}") from error
    if found != expected:
        what = f"has the sha256 {found[:12]}…, expected {expected[:12]}…"
        raise ValueError(f"{path} {what}; {remedy}")
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        theirs = {key: tuple(value.shape) for key, value in state.items()}
    except Exception as error:  # torch's own text advises weights_only=False, which runs such code
        what = f"is damaged or holds something other than tensors ({type(error).__name__})"
        warning = "Do not load it in any other way: it could run a program on this machine"
        raise ValueError(f"{path} {what}. {warning}; {remedy}") from None
    ours = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    if theirs != ours:
        key = next(key for key in [*theirs, *ours] if theirs.get(key) != ours.get(key))
        what = f"does not fit the model: {key} is {theirs.get(key)}, expected {ours.get(key)}"
        raise ValueError(f"{path} {what}; build the model as {name} was built, or {remedy}")
    model.load_state_dict(state)
    model.eval()
    return {**facts, "file": path.name}


def save(name: str, model: nn.Module, *, replace: bool = True, **facts: Any) -> Path:
    """Write the weights of `model` and what is known of them into data/weights/; returns the path.

    Raises FileExistsError if they are there and `replace` is False, OSError if it cannot write.
    """
    path = folders.weights() / f"{name}.pt"
    if path.exists() and not replace:
        raise FileExistsError(f"{path} is there already; move it away, or ask to replace it")
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    with replacing(path) as temporary:
        torch.save(state, temporary)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    facts = {"name": name, **facts, "torch": torch.__version__, "sha256": digest}
    with replacing(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return path
