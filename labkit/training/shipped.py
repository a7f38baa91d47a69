"""The weights that the kit ships, and how each is made: `python -m labkit weights NAME`."""

import sys
import time
from collections.abc import Callable
from functools import partial

from labkit.training import classifiers, faces, gan, linear_gans, vae

MAKERS: dict[str, Callable[[], dict]] = {
    f"classifier_{name}": partial(classifiers.make_classifier, name) for name in classifiers.RECIPES
}
MAKERS |= {"classifier_symbols": classifiers.make_symbol_classifier}
MAKERS |= {
    f"gan_{name}": partial(gan.make_gan, name, epochs)
    for name, epochs in (("mnist", 10), ("fashion", 10))
}
MAKERS |= {f"vae_{name}": partial(vae.make_vae, name) for name in ("mnist", "fashion")}
MAKERS |= faces.MAKERS | linear_gans.MAKERS


def main(name: str) -> int:
    """Train the weights `name` on real images, write them to data/weights/, print what was
    measured; returns the exit status.
    """
    if name not in MAKERS:
        print(
            f"labkit: there are no weights {name!r}; choose one of {', '.join(MAKERS)}",
            file=sys.stderr,
        )
        return 2
    start = time.monotonic()
    try:
        measured = MAKERS[name]()
    except (OSError, ValueError) as error:
        print(f"labkit: {error}", file=sys.stderr)
        return 1
    print(
        f"{name}: {', '.join(f'{k} {v:.4g}' for k, v in measured.items())}, in {time.monotonic() - start:.0f} s"
    )
    return 0
