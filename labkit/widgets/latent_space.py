"""Panels for latent spaces, and what a model restores of an image that is partly hidden."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import ipywidgets
import numpy as np
import torch
from torch import Tensor

from labkit import latent
from labkit.data.masks import SIDES, visible_part
from labkit.studies.inpainting import fill, psnr_hidden
from labkit.widgets import canvas
from labkit.widgets.panel import Panel, applied, dropdown, row, signed, slider, verdict

STEPS = 9  # images in the strip of a walk
WAYS = {"SLERP": latent.slerp, "LERP": latent.lerp}
TOOLTIPS = {"SLERP": "along a great circle", "LERP": "straight on"}  # a label breaks the row
SIDE, GROUND = 400, 15  # pixels of the latent plane; decoded images a side, faintly behind it
STRIP = 5  # images along one direction


def walk(
    generator: Callable[[Tensor], Tensor],
    codes: dict[str, Tensor],
    classifier: Callable[[Tensor], Tensor] | None = None,
    image_range: tuple[float, float] = (-1, 1),
    classes: Sequence[str] = (),
    start: Sequence[str] = (),
    ways: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = WAYS,
) -> Panel:
    """Choose two codes, a way and t: the image there, above nine images of the whole way.

    generator: codes (N, D) → images (N, C, H, W) in `image_range`; codes: name → code (D,), two at
    least; classifier: uint8 images → logits (N, K); classes: their K names, numbers if not given;
    start: the names to begin with; ways: name → function of codes a, b (D,) and t (K,) that returns
    (K, D). Raises ValueError for codes of different lengths and for images outside of
    `image_range`.
    """
    shapes = {name: tuple(code.shape) for name, code in codes.items()}
    if len(codes) < 2 or len({*shapes.values()}) > 1 or len(next(iter(shapes.values()))) != 1:
        wanted = 'walk needs two codes or more of one length, such as {"8": z[0], "3": z[1]}'
        raise ValueError(f"{wanted}; got the shapes {shapes}")

    def drawn(z: Tensor) -> Tensor:
        return canvas.quantise(applied(generator, z), image_range, "generator")

    @lru_cache(maxsize=32)
    def whole_way(start: str, end: str, way: str) -> Tensor:
        return drawn(ways[way](codes[start], codes[end], torch.linspace(0, 1, STEPS)))

    def render(start: str, end: str, way: str, t: float) -> tuple[list[bytes], str]:
        z = ways[way](codes[start], codes[end], torch.tensor([t]))
        image = drawn(z)
        seen, p = verdict(classifier, image, classes)
        below = [start, *[""] * (STEPS - 2), end]
        place = t * (STEPS - 1), f"t = {t:.2f}", below
        large = canvas.captioned(canvas.enlarge(image[0]), f"{way}, t = {t:.2f}")
        whole = canvas.png(canvas.strip(whole_way(start, end, way), *place))
        pictures = [canvas.png(large), *canvas.seen(p, classes), whole]
        return pictures, f"{start} → {end}, {way}, t = {t:.2f}, |z| = {z.norm():.2f}{seen}"

    first, last = start or ("38" if {*"38"} <= {*codes} else [*codes][:2])
    begin, end = dropdown("from", list(codes), first), dropdown("to", list(codes), last)
    way = ipywidgets.ToggleButtons(
        options=list(ways), tooltips=[TOOLTIPS.get(name, name) for name in ways]
    )
    way.style.button_width = "80px"
    t = slider("t, share of the way", 0, 1, 0.05, ".2f", 0.5)
    controls = {"start": begin, "end": end, "way": way, "t": t}
    return Panel(render, controls, [row(begin, end, way), t], "walk")


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

    def drawn(z: Tensor) -> Tensor:
        return canvas.quantise(applied(decode, z), image_range, "decode")

    line = torch.linspace(-limit, limit, 2 * GROUND + 1)[1::2]  # the middles of squares
    squares = drawn(torch.cartesian_prod(-line, line).flip(1)).unflatten(0, (GROUND, GROUND))
    ground = np.concatenate(np.concatenate(squares.permute(0, 1, 3, 4, 2).numpy(), 1), 1)
    plane, to_pixels = canvas.scatter(points, labels, limit, classes, SIDE, ground)
    axes = *to_pixels(-limit, limit), *to_pixels(limit, -limit)

    def render(z1: float, z2: float) -> tuple[list[bytes], str]:
        image = drawn(torch.tensor([[z1, z2]]))
        said, p = verdict(classifier, image, classes)
        here = f"z = ({signed(z1)}, {signed(z2)}) σ"
        large = canvas.captioned(canvas.enlarge(image[0]), f"decoded at {here}")
        pictures = [canvas.cross_hairs(plane, *to_pixels(z1, z2), axes), large]
        return [
            *map(canvas.png, pictures),
            *canvas.seen(p, classes, width=canvas.SIDE),
        ], here + said

    def place(images: list[ipywidgets.Image]) -> list[ipywidgets.Widget]:
        across = ipywidgets.VBox([images[0], z1.add_class("labkit-across")])
        z2.add_class("labkit-up")
        return [row(row(z2, across, name="plane"), ipywidgets.VBox(images[1:]))]

    z1, z2 = (slider(name, -limit, limit, 0.1, "+.2f") for name in ("z₁", "z₂"))
    z2.orientation = "vertical"
    z2.layout.height = f"{SIDE}px"
    return Panel(render, {"z1": z1, "z2": z2}, name="latent-plane", place=place)


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

    def render(model: str, kind: str, style: float) -> tuple[list[bytes], str]:
        images, asked = in_all_classes(model, style), classes.index(kind)
        seen, p = verdict(classifier, images[asked : asked + 1], classes)
        large = canvas.captioned(canvas.enlarge(images[asked]), f"asked for {kind}")
        whole = canvas.strip(images, asked, f"style {style:.1f}", classes)
        pictures = [canvas.png(large), *canvas.seen(p, classes, asked), canvas.png(whole)]
        return pictures, f"{model}, asked for {kind} in style {style:.1f}{seen}"

    model, kind = dropdown("model", list(models)), dropdown("class", classes)
    style = slider("style", 0, last, 0.1, ".1f", last // 2)
    controls = {"model": model, "kind": kind, "style": style}
    return Panel(render, controls, [row(model, kind), style], "same-style")


def directions(
    decode: Callable[[Tensor], Tensor],
    axes: latent.PrincipalAxes,
    codes: dict[str, Tensor],
    count: int = 5,
    limit: float = 3.0,
    image_range: tuple[float, float] = (0, 1),
    start: str = "",
) -> Panel:
    """Move an image along the first principal directions of a latent space, a slider for each.

    decode: codes (N, J) → images (N, C, H, W) in `image_range`; axes: `latent.principal_axes`;
    codes: name → code (J,); start: the name to begin with, else the first that is no mean. Sliders
    are in σ of their direction and add to the code; beside each stands its whole way. Raises
    ValueError for no codes or more directions than there are.
    """
    if not codes or not 1 <= count <= len(axes.sd):
        wanted = f"directions needs a code or more and 1 to {len(axes.sd)} directions"
        raise ValueError(f"{wanted}, got {len(codes)} codes and count={count}")
    one_sigma = axes.sd[:count, None] * axes.directions[:count]  # (count, J)
    steps = torch.linspace(-limit, limit, STRIP)

    def drawn(z: Tensor) -> Tensor:
        return canvas.quantise(applied(decode, z), image_range, "decode")

    def render(face: str, **moves: float) -> tuple[list[bytes], str]:
        amounts = torch.tensor(list(moves.values()))
        z = codes[face] + amounts @ one_sigma
        # along its own direction each row goes from −limit to +limit; the other moves stay
        ways = z + (steps - amounts[:, None])[..., None] * one_sigma[:, None]  # (count, STRIP, J)
        image, *images = drawn(torch.cat([z[None], ways.flatten(0, 1)])).split(
            [1, *[STRIP] * count]
        )
        places = ((amounts / limit + 1) / 2 * (STRIP - 1)).tolist()
        pictures = [canvas.captioned(canvas.enlarge(image[0]), face)]
        pictures += [canvas.strip(*part) for part in zip(images, places, strict=True)]
        moved = [f"direction {k + 1}: {signed(a)} σ" for k, a in enumerate(amounts.tolist()) if a]
        ends = f"Each row: one direction from −{limit:g} to +{limit:g} σ."
        said = f"{face}; {', '.join(moved) or 'no direction moved'}. {ends}"
        return [canvas.png(picture) for picture in pictures], said

    def place(images: list[ipywidgets.Image]) -> list[ipywidgets.Widget]:
        reset = ipywidgets.Button(description="Reset", tooltip="all directions back to 0")
        reset.on_click(lambda _: [setattr(way, "value", 0) for way in ways])
        rows = [row(*pair, name="way") for pair in zip(ways, images[1:], strict=True)]
        return [row(faces, reset), row(images[0], ipywidgets.VBox(rows))]

    faces = dropdown(
        "face", list(codes), start or next((n for n in codes if "mean" not in n), None)
    )
    ways = [
        slider(f"direction {k} ({share:.0%}), σ", -limit, limit, 0.25, "+.2f")
        for k, share in enumerate(axes.share[:count].tolist(), 1)
    ]
    controls = {"face": faces} | {f"direction_{k}": way for k, way in enumerate(ways, 1)}
    return Panel(render, controls, name="directions", place=place)


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
    def render(cat: int, percent: int, side: str) -> tuple[list[bytes], str]:
        x, mask = images[cat : cat + 1], visible_part(percent / 100, side, images.shape[-1])
        guesses = {name: method(x, mask) for name, method in methods.items()}
        parts = [fill(x, mask, part) for part in (torch.full(x.shape, 0.5), *guesses.values())]
        shown = canvas.quantise(torch.cat([*parts, x.float() / 255]), (0, 1), "a method")
        said, scores, best = f"{labels[cat]}, all of it visible: nothing to restore.", {}, ""
        if not mask.all():
            psnr = {name: psnr_hidden(x, guess, mask).item() for name, guess in guesses.items()}
            best, scores = max(psnr, key=psnr.get), {n: f"{v:.1f} dB" for n, v in psnr.items()}
            listed = ", ".join(f"{name} {score}" for name, score in scores.items())
            seen = f"{labels[cat]}, {percent} % visible from the {side}"
            said = f"{seen}. PSNR of the hidden part: {listed}."
        drawn = [
            canvas.captioned(
                canvas.enlarge(image, 128), name, scores.get(name, ""), best=name == best
            )
            for name, image in zip(("what is seen", *guesses, "the original"), shown, strict=True)
        ]
        return [canvas.png(picture) for picture in drawn], said

    cat = dropdown("image", [(label, k) for k, label in enumerate(labels)])
    side = dropdown("seen from", SIDES)
    look = dict(description="visible %", continuous_update=False)
    percent = ipywidgets.IntSlider(value=50, step=5, **look)
    controls = {"cat": cat, "percent": percent, "side": side}
    return Panel(render, controls, [row(cat, side), percent], "completeness")
