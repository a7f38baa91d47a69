"""A panel for conditional models: one style, drawn in every class."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from labkit import latent
from labkit.widgets import canvas
from labkit.widgets.panel import Panel, dropdown, over_strip, row, slider, verdict


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
        raise ValueError(
            "same_style needs a model or more, each with styles (K, Z), K of 2 or more; got"
            f" {shapes}: torch.randn(20, latent_dim)"
        )
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
        picture = over_strip(images, images[chosen], chosen, p, classes)
        return picture, f"{model}, asked for {kind} in style {style:.1f}{seen}"

    model, kind = dropdown("model", list(models)), dropdown("class", classes)
    style = slider("style", 0, last, 0.1, ".1f")
    controls = {"model": model, "kind": kind, "style": style}
    return Panel(render, controls, rows=[row(model, kind), style], name="same-style")
