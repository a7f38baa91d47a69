"""Lab 07: move a photograph along principal directions, and restore what is hidden of it."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import ipywidgets
import torch
from torch import Tensor

from labkit.data.masks import SIDES, visible_part
from labkit.inpainting import fill
from labkit.latent import PrincipalAxes
from labkit.metrics.inpainting import psnr_hidden
from labkit.widgets import canvas
from labkit.widgets.panel import Panel, applied, dropdown, row, slider, wide

STRIP = 7  # images along one direction


def directions(
    decode: Callable[[Tensor], Tensor],
    axes: PrincipalAxes,
    codes: dict[str, Tensor],
    count: int = 5,
    limit: float = 3.0,
    image_range: tuple[float, float] = (0, 1),
) -> Panel:
    """Move an image along the first principal directions of a latent space, a slider for each.

    decode: codes (N, J) → images (N, C, H, W) in `image_range`; axes: from
    `latent.principal_axes`; codes: name → code (J,), one at least. Sliders are in σ of their
    direction and add to the code; each direction's whole way stands beside the image. Raises
    ValueError for no codes or more directions than there are.
    """
    if not codes or not 1 <= count <= len(axes.sd):
        wanted = f"directions needs a code or more and 1 to {len(axes.sd)} directions"
        raise ValueError(f"{wanted}, got {len(codes)} codes and count={count}")
    one_sigma = axes.sd[:count, None] * axes.directions[:count]  # (count, J)
    steps = torch.linspace(-limit, limit, STRIP)

    def drawn(z: Tensor) -> Tensor:
        return canvas.quantise(applied(decode, z), image_range, "decode")

    def render(face: str, **moves: float) -> tuple[bytes, str]:
        amounts = torch.tensor(list(moves.values()))
        z = codes[face] + amounts @ one_sigma
        # along its own direction each row goes from −limit to +limit; the other moves stay
        ways = z + (steps - amounts[:, None])[..., None] * one_sigma[:, None]  # (count, STRIP, J)
        rows = drawn(ways.flatten(0, 1)).unflatten(0, (count, STRIP))
        strips = canvas.arrange([[canvas.strip(images)] for images in rows])
        whole = canvas.arrange([[canvas.enlarge(drawn(z[None])[0]), strips]])
        moved = [f"direction {k + 1}: {a:+.2f} σ" for k, a in enumerate(amounts.tolist()) if a]
        ends = f"Each row: one direction from −{limit:g} to +{limit:g} σ."
        return canvas.png(whole), f"{face}; {', '.join(moved) or 'no direction moved'}. {ends}"

    controls = {"face": dropdown("face", list(codes))}
    for k in range(1, count + 1):
        controls[f"direction_{k}"] = slider(f"{k} in σ", -limit, limit, 0.25, "+.2f")
    return Panel(render, controls, name="directions")


def completeness(
    images: Tensor,
    methods: dict[str, Callable[[Tensor, Tensor], Tensor]],
    names: Sequence[str] = (),
) -> Panel:
    """How much of an image must be seen? A slider for the visible share; methods restore the rest.

    images: uint8 (N, 3, 64, 64) to choose from; methods: name → function of uint8 images (1, 3, 64,
    64) and a mask (1, 64, 64) that returns the whole image in [0, 1]; names: of the images. The
    sentence has the PSNR of each method on the hidden part.
    """
    labels = list(names) or [f"cat {k + 1}" for k in range(len(images))]
    if not len(images) or not methods or len(labels) != len(images):
        found = f"{len(images)}, {len(methods)} and {len(labels)}"
        raise ValueError(f"completeness needs an image, a method, a name an image; got {found}")

    @lru_cache(maxsize=64)
    def render(cat: int, percent: int, side: str) -> tuple[bytes, str]:
        x, mask = images[cat : cat + 1], visible_part(percent / 100, side, images.shape[-1])
        guesses = {name: method(x, mask) for name, method in methods.items()}
        parts = [fill(x, mask, part) for part in (torch.full(x.shape, 0.5), *guesses.values())]
        shown = canvas.quantise(torch.cat([*parts, x.float() / 255]), (0, 1), "a method")
        picture = canvas.png(canvas.arrange([[canvas.enlarge(part, 128) for part in shown]]))
        if mask.all():
            return picture, f"{labels[cat]}, all of it visible: nothing to restore."
        psnr = {name: psnr_hidden(x, guess, mask).item() for name, guess in guesses.items()}
        scores = ", ".join(f"{name} {value:.1f} dB" for name, value in psnr.items())
        seen = f"{labels[cat]}, {percent} % visible from the {side}"
        return picture, f"{seen}. From the left: what is seen; {scores}; the original."

    cat = dropdown("image", [(label, k) for k, label in enumerate(labels)], 220)
    side = dropdown("seen from", SIDES, 220)
    look = dict(description="visible %", continuous_update=False, layout=wide())
    percent = ipywidgets.IntSlider(value=50, step=5, **look)
    controls = {"cat": cat, "percent": percent, "side": side}
    return Panel(render, controls, rows=[row(cat, side), percent], name="completeness")
