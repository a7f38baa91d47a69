"""Panels for photographs: along the principal directions of a latent space, and how much of an
image must be seen to restore the rest.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import ipywidgets
import torch
from torch import Tensor

from labkit import pictures
from labkit.data.masks import SIDES, visible_part
from labkit.inpainting import fill
from labkit.latent import PrincipalAxes
from labkit.metrics.inpainting import psnr_hidden
from labkit.widgets import Panel, applied, wide

STRIP = 7  # pictures along one direction


def directions(
    decode: Callable[[Tensor], Tensor],
    axes: PrincipalAxes,
    codes: dict[str, Tensor],
    count: int = 5,
    limit: float = 3.0,
    image_range: tuple[float, float] = (0, 1),
) -> Panel:
    """Choose a face, move it along the first `count` principal directions of the latent space;
    below it, each direction's whole way.

    decode: codes (N, J) → images (N, C, H, W) in `image_range`; axes: what `latent.principal_axes`
    gave; codes: name → code (J,), one at least. Sliders are in σ of that direction, added to the
    code. Raises ValueError for no codes or more directions than there are.
    """
    if not codes or not 1 <= count <= len(axes.sd):
        raise ValueError(
            f"directions needs a code or more and 1 to {len(axes.sd)} directions, got {len(codes)} codes and count={count}"
        )
    steps = torch.linspace(-limit, limit, STRIP)

    def drawn(z: Tensor) -> Tensor:
        return pictures.quantise(applied(decode, z), image_range, "decode")

    def render(face: str, **moves: float) -> tuple[bytes, str]:
        amounts = torch.tensor(list(moves.values()))
        z = codes[face] + (amounts * axes.sd[:count]) @ axes.directions[:count]
        ways = (
            z
            + ((steps[None] - amounts[:, None]) * axes.sd[:count, None])[..., None]
            * axes.directions[:count, None]
        )  # (count, STRIP, J)
        rows = drawn(ways.flatten(0, 1)).unflatten(0, (count, STRIP))
        strips = pictures.arrange([[pictures.strip(row)] for row in rows])
        canvas = pictures.arrange([[pictures.enlarge(drawn(z[None])[0]), strips]])
        moved = (
            ", ".join(f"direction {k + 1}: {a:+.1f} σ" for k, a in enumerate(amounts.tolist()) if a)
            or "no direction moved"
        )
        return pictures.png(
            canvas, full_colour=True
        ), f"{face}; {moved}. Each row: one direction from −{limit:g} to +{limit:g} σ."

    face = ipywidgets.Dropdown(options=list(codes), description="face")
    controls: dict[str, ipywidgets.Widget] = {"face": face}
    for k in range(count):
        slider = ipywidgets.FloatSlider(
            value=0,
            min=-limit,
            max=limit,
            step=0.25,
            readout_format="+.2f",
            description=f"{k + 1} in σ",
            **wide(),
        )
        controls[f"direction_{k + 1}"] = slider
    return Panel(render, controls, "natural", name="directions")


def completeness(
    images: Tensor,
    methods: dict[str, Callable[[Tensor, Tensor], Tensor]],
    names: Sequence[str] = (),
) -> Panel:
    """How much of an image must be seen? A slider for the visible share, from any side; each method
    restores the rest.

    images: uint8 (N, 3, 64, 64) to choose from; methods: name → function of uint8 images (1, 3, 64,
    64) and a mask (1, 64, 64) that returns the whole image in [0, 1]; names: of the images. The
    sentence has the PSNR of each method on the hidden part.
    """
    labels = list(names) or [f"cat {k + 1}" for k in range(len(images))]
    if not len(images) or not methods or len(labels) != len(images):
        raise ValueError(
            f"completeness needs an image, a method and a name an image; got {len(images)}, {len(methods)} and {len(labels)}"
        )

    @lru_cache(maxsize=64)
    def restored(k: int, percent: int, side: str) -> tuple[bytes, str]:
        x, mask = images[k : k + 1], visible_part(percent / 100, side, images.shape[-1])
        guesses = {name: method(x, mask) for name, method in methods.items()}
        shown = [
            fill(x, mask, torch.full(x.shape, 0.5)),
            *(fill(x, mask, guess) for guess in guesses.values()),
            x.float() / 255,
        ]
        canvas = pictures.arrange(
            [[pictures.enlarge((255 * part[0]).round().byte(), 128) for part in shown]]
        )
        if mask.all():
            return pictures.png(
                canvas, full_colour=True
            ), f"{labels[k]}, all of it visible: nothing to restore."
        scores = ", ".join(
            f"{name} {psnr_hidden(x, guess, mask).item():.1f} dB" for name, guess in guesses.items()
        )
        text = f"{labels[k]}, {percent} % visible from the {side}. From the left: what is seen; {scores}; the original."
        return pictures.png(canvas, full_colour=True), text

    def render(cat: int, percent: int, side: str) -> tuple[bytes, str]:
        return restored(cat, percent, side)

    cat = ipywidgets.Dropdown(
        options=[(label, k) for k, label in enumerate(labels)],
        description="image",
        layout={"width": "220px"},
    )
    side = ipywidgets.Dropdown(options=SIDES, description="seen from", layout={"width": "220px"})
    percent = ipywidgets.IntSlider(
        value=50, min=0, max=100, step=5, description="visible %", continuous_update=False, **wide()
    )
    controls = {"cat": cat, "percent": percent, "side": side}
    return Panel(
        render,
        controls,
        "natural",
        rows=[ipywidgets.HBox([cat, side]), percent],
        name="completeness",
    )
