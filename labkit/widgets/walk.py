"""A panel that walks from one latent code to another."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import ipywidgets
import torch
from torch import Tensor

from labkit import latent
from labkit.widgets import canvas
from labkit.widgets.panel import Panel, applied, dropdown, over_strip, row, slider, verdict

STEPS = 9  # images in the strip of the whole way
WAYS = {"SLERP": latent.slerp, "LERP": latent.lerp}
TOOLTIPS = ["along a great circle", "straight on"]  # a label above the buttons breaks the row


def walk(
    generator: Callable[[Tensor], Tensor],
    codes: dict[str, Tensor],
    classifier: Callable[[Tensor], Tensor] | None = None,
    image_range: tuple[float, float] = (-1, 1),
    classes: Sequence[str] = (),
) -> Panel:
    """Choose two codes, SLERP or LERP, and t: the image there, and what the classifier sees in it.

    Below it the whole way is shown in nine images. generator: codes (N, D) → images (N, C, H, W) in
    `image_range`; codes: name → code (D,), two at least; classifier: uint8 images → logits (N, K);
    classes: their K names, numbers if not given. Networks are used in eval mode. Raises ValueError
    for codes of different lengths and for images outside of `image_range`.
    """
    shapes = {name: tuple(code.shape) for name, code in codes.items()}
    if len(codes) < 2 or len({*shapes.values()}) > 1 or len(next(iter(shapes.values()))) != 1:
        raise ValueError(
            'walk needs two codes or more of one length, for example {"8": z[0], "3": z[1]};'
            f" got the shapes {shapes}"
        )

    def drawn(z: Tensor) -> Tensor:
        return canvas.quantise(applied(generator, z), image_range, "generator")

    @lru_cache(maxsize=32)
    def whole_way(start: str, end: str, way: str) -> Tensor:
        return drawn(WAYS[way](codes[start], codes[end], torch.linspace(0, 1, STEPS)))

    def render(start: str, end: str, way: str, t: float) -> tuple[bytes, str]:
        z = WAYS[way](codes[start], codes[end], t)
        image = drawn(z[None])
        seen, p = verdict(classifier, image, classes)
        picture = over_strip(whole_way(start, end, way), image[0], t * (STEPS - 1), p, classes)
        return picture, f"{start} → {end}, {way}, t = {t:.2f}, |z| = {z.norm():.2f}{seen}"

    start, end = (dropdown(end, list(codes), 200) for end in ("from", "to"))
    end.index = 1
    style = {"button_width": "80px"}
    way = ipywidgets.ToggleButtons(options=list(WAYS), tooltips=TOOLTIPS, style=style)
    t = slider("t", 0, 1, 0.05, ".2f")
    t.value = 0.5
    controls = {"start": start, "end": end, "way": way, "t": t}
    return Panel(render, controls, rows=[row(start, end, way), t], name="walk")
