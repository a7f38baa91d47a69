"""A panel for models that are told what to draw: one style, every class."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import ipywidgets
import torch
from torch import Tensor

from labkit import latent, pictures
from labkit.widgets import Panel, reading, wide


def same_style(
    models: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Tensor]],
    classes: Sequence[str],
    classifier: Callable[[Tensor], Tensor] | None = None,
) -> Panel:
    """Choose a model, a class and a style: the image and what the classifier sees in it; below, the
    same style in all classes.

    models: name → (draw, styles), where draw maps codes (N, Z) and labels (N,) to images (N, C, H,
    W), uint8 or in [0, 1], and styles are codes (K, Z), two or more; between two of them the slider
    follows the great circle. classifier: uint8 images → logits (N, classes). Raises ValueError for no
    models, for fewer than two styles, and for images that are not what was said.
    """
    if not models or any(styles.ndim != 2 or len(styles) < 2 for _, styles in models.values()):
        shapes = {name: tuple(styles.shape) for name, (_, styles) in models.items()}
        raise ValueError(
            f"same_style needs a model or more, each with styles (K, Z), K of 2 or more; got {shapes}: torch.randn(20, latent_dim)"
        )
    names, classes, labels = list(models), list(classes), torch.arange(len(classes))
    fewest = min(len(styles) for _, styles in models.values())

    @lru_cache(maxsize=64)
    def in_all_classes(model: str, style: float) -> Tensor:
        draw, styles = models[model]
        k = min(int(style), fewest - 2)
        code = latent.slerp(styles[k], styles[k + 1], style - k)
        with torch.inference_mode():
            return pictures.quantise(draw(code.expand(len(classes), -1), labels), (0, 1), model)

    def render(model: str, kind: str, style: float) -> tuple[bytes, str]:
        images, chosen = in_all_classes(model, style), classes.index(kind)
        strip, picture = pictures.strip(images), pictures.enlarge(images[chosen])
        width = strip.shape[1] - picture.shape[1] - pictures.GAP
        verdict, *bars = reading(
            classifier, images[chosen : chosen + 1], classes, width, len(picture)
        )
        pointer = pictures.pointer(strip.shape[1], pictures.THUMB * (chosen + 0.5))
        canvas = pictures.arrange([[picture, *bars], [pointer], [strip]])
        return pictures.png(
            canvas, full_colour=images.shape[1] == 3
        ), f"{model}, asked for {kind} in style {style:.1f}{verdict}"

    controls = {
        "model": ipywidgets.Dropdown(
            options=names, description="model", layout=ipywidgets.Layout(width="240px")
        ),
        "kind": ipywidgets.Dropdown(
            options=classes, description="class", layout=ipywidgets.Layout(width="240px")
        ),
        "style": ipywidgets.FloatSlider(
            value=0,
            min=0,
            max=fewest - 1,
            step=0.1,
            readout_format=".1f",
            description="style",
            **wide(),
        ),
    }
    return Panel(
        render,
        controls,
        "natural",
        rows=[ipywidgets.HBox([controls["model"], controls["kind"]]), controls["style"]],
        name="same-style",
    )
