"""How large a run is: smoke (seconds, for tests), cpu (minutes on two cores), full (the reports'
own settings or better).

The environment variable LABKIT_PROFILE chooses; without it `full` where there is a GPU, `cpu`
elsewhere, and `smoke` under pytest.
"""

import os
import random
from typing import TypeVar

PROFILES = ("smoke", "cpu", "full")
T = TypeVar("T")


def profile() -> str:
    """The profile of this run. Raises ValueError for a LABKIT_PROFILE that is none of the three."""
    name = os.environ.get("LABKIT_PROFILE")
    if not name:
        if (
            "PYTEST_VERSION" in os.environ
        ):  # pytest sets it, and the kernels that nbval starts inherit it
            return "smoke"
        return "full" if _accelerator() != "cpu" else "cpu"
    if name not in PROFILES:
        raise ValueError(
            f"LABKIT_PROFILE={name!r} is not a profile; set it to 'smoke', 'cpu' or 'full', or unset it"
        )
    return name


def pick(*, smoke: T, cpu: T, full: T) -> T:
    """The value for this run's profile, e.g. `epochs = pick(smoke=1, cpu=6, full=50)`."""
    return {"smoke": smoke, "cpu": cpu, "full": full}[profile()]


def device():
    """The torch.device to compute on: CUDA or MPS in `full` where there is one, the CPU otherwise
    (same numbers everywhere).
    """
    import torch

    return torch.device(_accelerator() if profile() == "full" else "cpu")


def _accelerator() -> str:
    import torch

    return (
        "cuda"
        if torch.cuda.is_available()
        else "mps"
        if torch.backends.mps.is_available()
        else "cpu"
    )


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators. The one place in labkit that touches
    them.
    """
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def autocast(device):
    """A context: matrix products and convolutions in bfloat16 where `device` has instructions for
    it, else nothing changes.

    On a processor without them bfloat16 is emulated, and slower than float32. Asked of the
    processor, not timed: the same machine always answers the same, so a run can be repeated to the
    last digit.
    """
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        helps = torch.cuda.is_bf16_supported()
    else:
        checks = [
            getattr(torch.cpu, name, None)
            for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        ]
        helps = device.type == "cpu" and any(check() for check in checks if check)
    return torch.autocast(device.type if helps else "cpu", torch.bfloat16, enabled=helps)
