"""Panels for latent spaces, and what a model restores of an image that is partly hidden."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import ipywidgets
import torch
from torch import Tensor

from labkit import latent
from labkit.data.masks import SIDES, visible_part
from labkit.studies.inpainting import fill, psnr_hidden
from labkit.widgets import canvas
from labkit.widgets.panel import Panel, applied, dropdown, row, slider, verdict, wide

STEPS = 9  # images in the strip of a walk
WAYS = {"SLERP": latent.slerp, "LERP": latent.lerp}
TOOLTIPS = ["along a great circle", "straight on"]  # a label above the buttons breaks the row
SIDE = 420  # pixels, of the latent plane
STRIP = 7  # images along one direction


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
        strip, place = whole_way(start, end, way), t * (STEPS - 1)
        picture = canvas.over_strip(strip, image[0], place, p, classes)
        return picture, f"{start} → {end}, {way}, t = {t:.2f}, |z| = {z.norm():.2f}{seen}"

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

    decode: codes (N, 2) → images (N, C, H, W) in `image_range`; points: encoded images (N, 2) with
    labels (N,), shown to ±limit, in σ of the prior; classifier: uint8 images → logits (N, K);
    classes: K names. Raises ValueError for other latent dimensions than two and for other images.
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
        return picture, f"{model}, asked for {kind} in style {style:.1f}{seen}"

    model, kind = dropdown("model", list(models)), dropdown("class", classes)
    style = slider("style", 0, last, 0.1, ".1f")
    controls = {"model": model, "kind": kind, "style": style}
    return Panel(render, controls, rows=[row(model, kind), style], name="same-style")


def directions(
    decode: Callable[[Tensor], Tensor],
    axes: latent.PrincipalAxes,
    codes: dict[str, Tensor],
    count: int = 5,
    limit: float = 3.0,
    image_range: tuple[float, float] = (0, 1),
) -> Panel:
    """Move an image along the first principal directions of a latent space, a slider for each.

    decode: codes (N, J) → images (N, C, H, W) in `image_range`; axes: `latent.principal_axes`;
    codes: name → code (J,). Sliders are in σ of their direction and add to the code; the whole way
    stands beside the image. Raises ValueError for no codes or more directions than there are.
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

    images: uint8 (N, 3, 64, 64), with names; methods: name → function of images (1, 3, 64, 64) and
    a mask (1, 64, 64) that returns them whole in [0, 1], compared by PSNR on the hidden part.
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
