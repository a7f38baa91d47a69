"""How large a run is: smoke (seconds, for tests), cpu (minutes on two cores), full (the reports').

The variable LABKIT_PROFILE chooses; without it `smoke` under pytest, `full` with a GPU, or `cpu`.
"""

import os
import random
from typing import TypeVar

PROFILES = ("smoke", "cpu", "full")
T = TypeVar("T")


def profile() -> str:
    """The profile of this run. Raises ValueError for a LABKIT_PROFILE that is none of the three."""
    name = os.environ.get("LABKIT_PROFILE")
    if name and name not in PROFILES:
        raise ValueError(f"LABKIT_PROFILE={name!r} is no profile; set it to one of {PROFILES}")
    if name:
        return name
    if "PYTEST_VERSION" in os.environ:  # set by pytest; the kernels of nbval inherit it
        return "smoke"
    return "cpu" if _accelerator() == "cpu" else "full"


def pick(*, smoke: T, cpu: T, full: T) -> T:
    """The value for this run's profile, e.g. `epochs = pick(smoke=1, cpu=6, full=50)`."""
    return {"smoke": smoke, "cpu": cpu, "full": full}[profile()]


def device():
    """The torch.device to compute on: in `full` CUDA or MPS where there is one, else the CPU."""
    import torch

    return torch.device(_accelerator() if profile() == "full" else "cpu")


def _accelerator() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def seed_of_run() -> int:
    """The seed of this run: LABKIT_SEED, or 0. Raises ValueError for what is no integer."""
    given = os.environ.get("LABKIT_SEED", "").strip() or "0"
    if not given.isdecimal():
        what = "is no seed; set it to a whole number such as 0, or unset it"
        raise ValueError(f"LABKIT_SEED={given!r} {what}")
    return int(given)


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch; nothing else in labkit does so."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def has_bf16(device) -> bool:
    """Whether `device` has instructions for bfloat16; emulated, it is slower than float32."""
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    # asked and not timed: the same machine always answers alike, so runs repeat
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, name, lambda: False)() for name in names)


def autocast(device):
    """A context in which `device` multiplies in bfloat16 if it has instructions for it."""
    import torch

    helps = has_bf16(device)
    return torch.autocast(torch.device(device).type if helps else "cpu", torch.bfloat16, helps)
