"""Latent spaces: a walk between two codes, the plane of a 2-D VAE, one style in all classes."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import ipywidgets
import torch
from torch import Tensor

from labkit import latent
from labkit.widgets import canvas
from labkit.widgets.panel import Panel, applied, dropdown, row, slider, verdict

STEPS = 9  # images in the strip of a walk
WAYS = {"SLERP": latent.slerp, "LERP": latent.lerp}
TOOLTIPS = ["along a great circle", "straight on"]  # a label above the buttons breaks the row
SIDE = 420  # pixels, of the latent plane


def walk(
    generator: Callable[[Tensor], Tensor],
    codes: dict[str, Tensor],
    classifier: Callable[[Tensor], Tensor] | None = None,
    image_range: tuple[float, float] = (-1, 1),
    classes: Sequence[str] = (),
) -> Panel:
    """Choose two codes, SLERP or LERP, and t: the image there, above nine images of the whole way.

    generator: codes (N, D) → images (N, C, H, W) in `image_range`; codes: name → code (D,), two at
    least; classifier: uint8 images → logits (N, K); classes: their K names, numbers if not given.
    Raises ValueError for codes of different lengths and for images outside of `image_range`.
    """
    shapes = {name: tuple(code.shape) for name, code in codes.items()}
    if len(codes) < 2 or len({*shapes.values()}) > 1 or len(next(iter(shapes.values()))) != 1:
        wanted = 'walk needs two codes or more of one length, such as {"8": z[0], "3": z[1]}'
        raise ValueError(f"{wanted}; got the shapes {shapes}")

    def drawn(z: Tensor) -> Tensor:
        return canvas.quantise(applied(generator, z), image_range, "generator")

    @lru_cache(maxsize=32)
    def whole_way(start: str, end: str, way: str) -> Tensor:
        return drawn(WAYS[way](codes[start], codes[end], torch.linspace(0, 1, STEPS)))

    def render(start: str, end: str, way: str, t: float) -> tuple[bytes, str]:
        z = WAYS[way](codes[start], codes[end], t)
        image = drawn(z[None])
        seen, p = verdict(classifier, image, classes)
        picture = canvas.over_strip(
            whole_way(start, end, way), image[0], t * (STEPS - 1), p, classes
        )
        return canvas.png(
            picture
        ), f"{start} → {end}, {way}, t = {t:.2f}, |z| = {z.norm():.2f}{seen}"

    start, end = (dropdown(end, list(codes), 200) for end in ("from", "to"))
    end.index = 1
    way = ipywidgets.ToggleButtons(options=list(WAYS), tooltips=TOOLTIPS)
    way.style.button_width = "80px"
    t = slider("t", 0, 1, 0.05, ".2f", 0.5)
    controls = {"start": start, "end": end, "way": way, "t": t}
    return Panel(render, controls, rows=[row(start, end, way), t], name="walk")


def latent_plane(
    decode: Callable[[Tensor], Tensor],
    points: Tensor,
    labels: Tensor,
    classifier: Callable[[Tensor], Tensor] | None = None,
    limit: float = 3.0,
    image_range: tuple[float, float] = (0, 1),
    classes: Sequence[str] = (),
) -> Panel:
    """Two sliders move a point over encoded images; the image decoded there follows.

    decode: codes (N, 2) → images (N, C, H, W) in `image_range`; points: encoded images (N, 2), in
    units of the prior's σ, with labels (N,); the plane is shown to ±limit σ; classifier: uint8
    images → logits (N, K); classes: the K names of its classes and of the labels. Raises ValueError
    for a latent that has not two dimensions and for images outside of `image_range`.
    """
    if points.ndim != 2 or points.shape[1] != 2 or labels.shape != points.shape[:1]:
        found = f"points {tuple(points.shape)} with labels {tuple(labels.shape)}"
        raise ValueError(f"latent_plane needs a model with two latent dimensions, got {found}")
    points, labels = points.detach().cpu().numpy(), labels.cpu().numpy()
    plane, to_pixels = canvas.scatter(points, labels, limit, classes, SIDE)

    def render(z1: float, z2: float) -> tuple[bytes, str]:
        image = canvas.quantise(applied(decode, torch.tensor([[z1, z2]])), image_range, "decode")
        picture, (seen, p) = canvas.enlarge(image[0]), verdict(classifier, image, classes)
        bars = canvas.bars(p, classes, picture.shape[1], SIDE - len(picture) - canvas.GAP)
        column = canvas.arrange([[picture], [bars]])
        whole = canvas.arrange([[canvas.cross_hairs(plane, *to_pixels(z1, z2)), column]])
        return canvas.png(whole), f"z = ({z1:+.1f}, {z2:+.1f}) σ{seen}"

    z1, z2 = (slider(f"{name} in σ", -limit, limit, 0.1, "+.1f") for name in ("z₁", "z₂"))
    return Panel(render, {"z1": z1, "z2": z2}, name="latent-plane")


def same_style(
    models: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Tensor]],
    classes: Sequence[str],
    classifier: Callable[[Tensor], Tensor] | None = None,
) -> Panel:
    """Choose a model, a class and a style: the image, and the same style in all classes below it.

    models: name → (draw, styles). draw: codes (N, Z) and labels (N,) → images (N, C, H, W), uint8
    or in [0, 1]; styles: codes (K, Z), two or more, and between two of them the slider follows the
    great circle. classifier: uint8 images → logits (N, classes). Raises ValueError for no models,
    for fewer than two styles, and for images outside of [0, 1].
    """
    if not models or any(styles.ndim != 2 or len(styles) < 2 for _, styles in models.values()):
        shapes = {name: tuple(styles.shape) for name, (_, styles) in models.items()}
        wanted = "a model or more with styles (K, Z), K ≥ 2, such as torch.randn(20, latent_dim)"
        raise ValueError(f"same_style needs {wanted}; got {shapes}")
    classes, labels = list(classes), torch.arange(len(classes))
    last = min(len(styles) for _, styles in models.values()) - 1

    @lru_cache(maxsize=64)
    def in_all_classes(model: str, style: float) -> Tensor:
        draw, styles = models[model]
        k = min(int(style), last - 1)
        code = latent.slerp(styles[k], styles[k + 1], style - k)
        with torch.inference_mode():
            return canvas.quantise(draw(code.expand(len(classes), -1), labels), (0, 1), model)

    def render(model: str, kind: str, style: float) -> tuple[bytes, str]:
        images, chosen = in_all_classes(model, style), classes.index(kind)
        seen, p = verdict(classifier, images[chosen : chosen + 1], classes)
        picture = canvas.over_strip(images, images[chosen], chosen, p, classes)
        return canvas.png(picture), f"{model}, asked for {kind} in style {style:.1f}{seen}"

    model, kind = dropdown("model", list(models)), dropdown("class", classes)
    style = slider("style", 0, last, 0.1, ".1f")
    controls = {"model": model, "kind": kind, "style": style}
    return Panel(render, controls, rows=[row(model, kind), style], name="same-style")
