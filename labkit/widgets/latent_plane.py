"""A panel for a two-dimensional latent space: a point on the plane, and what is decoded there."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from labkit.widgets import canvas
from labkit.widgets.panel import Panel, applied, slider, verdict

SIDE = 420  # pixels, of the plane


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
        raise ValueError(
            f"latent_plane draws points (N, 2) with labels (N,), got {tuple(points.shape)} and"
            f" {tuple(labels.shape)}: give it a model with two latent dimensions"
        )
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
