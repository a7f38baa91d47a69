"""Interactive panels from ipywidgets' core controls: they take a trained model and never train.

They run on ipywidgets 7.7.1 (Colab) and 8. Pictures are PNG bytes in an ipywidgets.Image, which
neither flickers nor reflows.
"""

import base64
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from labkit import latent, pictures, plots
from labkit.data import palindromes

MARGINS = dict(
    left=0.05, right=0.99, bottom=0.17, top=0.97, wspace=0.28, hspace=0.4
)  # shares of the figure or of an axes
STEPS = 9  # pictures in the strip of a walk
SCATTER = 420  # pixels, a side of the latent plane


class Panel:
    """Controls above a picture and a sentence that follow them; a still of it is saved with the
    notebook.

    render(**values of the controls) → (PNG bytes, sentence). A ValueError from it becomes the
    sentence, and the picture stays; while the panel is being made it is raised. The sentence says
    what the picture shows: it is its alternative text, too.
    width: of the picture, in CSS units, or "natural" for as many screen pixels as it has; rows: the
    widgets above the picture, if not one control a row; name: adds the CSS class labkit-<name> to
    the box, beside labkit-panel.
    """

    def __init__(
        self,
        render: Callable[..., tuple[bytes, str]],
        controls: dict[str, Any],
        width: str = "100%",
        rows: Sequence[ipywidgets.Widget] | None = None,
        name: str = "",
    ):
        self.render, self.controls = render, controls
        self.image = ipywidgets.Image(
            format="png", layout=ipywidgets.Layout(width=width, max_width="100%")
        )
        self.message = ipywidgets.Label()
        self.box = ipywidgets.VBox(
            [*(controls.values() if rows is None else rows), self.image, self.message]
        )
        for css_class in ["labkit-panel"] + [f"labkit-{name}"] * bool(name):
            self.box.add_class(css_class)
        for control in controls.values():
            control.observe(self._update, names="value")
        self._draw()
        if width == "natural":
            self.image.layout.width = f"{pictures.png_width(self.image.value)}px"

    def _draw(self) -> None:
        self.image.value, self.message.value = self.render(
            **{name: control.value for name, control in self.controls.items()}
        )

    def _update(self, change: Any = None) -> None:
        try:
            self._draw()
        except ValueError as error:
            self.message.value = str(error)

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The live widget for a running notebook, and beside it the picture for GitHub, nbconvert
        and notebooks not yet run.
        """
        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        still = plots.fewer_bytes(self.image.value)
        text, kind = (
            f"{self.message.value} (run the notebook to use the controls)",
            plots.mime(still),
        )
        data = {
            "application/vnd.jupyter.widget-view+json": view,
            kind: base64.b64encode(still).decode(),
            "text/plain": text,
        }
        return data, {kind: {"alt": self.message.value}}


@torch.no_grad()
def read_digits(network: nn.Module, text: str, encoding: str = "one_hot") -> tuple[bytes, str]:
    """Feed the digits of `text` to an LSTM: its gates over time as a PNG, and what it predicts
    after the last of them.

    Raises ValueError, saying what to type, for anything but 1 to 99 digits.
    """
    digits = text.replace(" ", "")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 99:
        raise ValueError(f"Type 1 to 99 digits and nothing else, for example 1232; got {text!r}")
    read = torch.tensor(
        [[int(d) for d in digits] + [0]]
    )  # the last place stands for the digit to predict; inputs() leaves it out
    trace = network.trace(palindromes.inputs(read, encoding))
    probabilities = network.read_out(trace.h[0, -1]).softmax(0)
    with plt.rc_context(
        {"figure.constrained_layout.use": False}
    ):  # which would take twice as long, at every key press
        figure, axes = plt.subplots(
            2, 4, figsize=(12, 3.6), height_ratios=[3, 1], gridspec_kw=MARGINS
        )
        plots.gate_panels(type(trace)(*(part[0] for part in trace)), list(digits), axes)
    best = int(probabilities.argmax())
    verdict = (
        "the first digit, as in a palindrome"
        if best == int(digits[0])
        else f"not the first digit, which was {digits[0]}"
    )
    return plots.png(
        figure, dpi=80
    ), f"After {digits} the model predicts {best} with p = {probabilities[best]:.3f}: {verdict}."


def palindrome_reader(network: nn.Module, start: str, encoding: str = "one_hot") -> Panel:
    """Type digits, see the gates of `network` and its prediction live; begins with the digits
    `start`.
    """
    box = ipywidgets.Text(
        value=start,
        description="Digits read",
        placeholder="for example 1232",
        layout=ipywidgets.Layout(width="100%"),
    )
    return Panel(
        lambda digits: read_digits(network, digits, encoding),
        {"digits": box},
        name="palindrome-classifier",
    )


def scrubber(frames: Sequence[bytes], labels: Sequence[str], description: str = "epoch") -> Panel:
    """A slider through pictures made beforehand (PNG bytes, one label each), dragged, stepped with
    the arrow keys or played.

    It begins with the last one. Raises ValueError unless there is one label a frame, and one frame
    at least.
    """
    if not frames or len(frames) != len(labels):
        raise ValueError(
            f"scrubber needs one label a frame and a frame at least; got {len(frames)} frames and {len(labels)} labels"
        )
    last, frames, labels = len(frames) - 1, list(frames), [str(label) for label in labels]
    options = [(label, k) for k, label in enumerate(labels)]
    slider = ipywidgets.SelectionSlider(
        options=options, value=last, description=description, **wide()
    )
    play = ipywidgets.Play(min=0, max=last, value=last, interval=700)  # milliseconds a frame
    ipywidgets.jslink((play, "value"), (slider, "index"))  # in the browser, so that it keeps time

    def render(frame: int) -> tuple[bytes, str]:
        return frames[frame], f"{description} {labels[frame]} ({frame + 1} of {last + 1})"

    width = f"{max(map(pictures.png_width, frames))}px"
    return Panel(
        render, {"frame": slider}, width, rows=[ipywidgets.HBox([play, slider])], name="scrubber"
    )


def walk(
    generator: Callable[[Tensor], Tensor],
    codes: dict[str, Tensor],
    classifier: Callable[[Tensor], Tensor] | None = None,
    image_range: tuple[float, float] = (-1, 1),
    classes: Sequence[str] = (),
) -> Panel:
    """Choose two codes, LERP or SLERP, and t: the image on the way follows, with what the classifier
    sees in it; below it the whole way.

    generator: codes (N, D) → images (N, C, H, W) in `image_range`; codes: name → code (D,), two at
    least; classifier: uint8 images → logits (N, K); classes: their K names, numbers if not given.
    Networks are used in eval mode. Raises ValueError for codes of different lengths and for images
    that are not what was said.
    """
    if (
        len(codes) < 2
        or len({tuple(code.shape) for code in codes.values()}) != 1
        or next(iter(codes.values())).ndim != 1
    ):
        shapes = {name: tuple(code.shape) for name, code in codes.items()}
        raise ValueError(
            f'walk needs two codes or more of one length, for example {{"8": z[0], "3": z[1]}}; got the shapes {shapes}'
        )
    ways = {"SLERP": latent.slerp, "LERP": latent.lerp}

    @lru_cache(maxsize=32)
    def whole_way(start: str, end: str, way: str) -> Tensor:
        points = ways[way](codes[start], codes[end], torch.linspace(0, 1, STEPS))
        return pictures.strip(
            pictures.quantise(applied(generator, points), image_range, "generator")
        )

    def render(start: str, end: str, way: str, t: float) -> tuple[bytes, str]:
        z = ways[way](codes[start], codes[end], t)
        image = pictures.quantise(applied(generator, z[None]), image_range, "generator")
        strip = whole_way(start, end, way)
        thumb, picture = strip.shape[1] / STEPS, pictures.enlarge(image[0])
        verdict, *bars = reading(
            classifier,
            image,
            classes,
            strip.shape[1] - picture.shape[1] - pictures.GAP,
            len(picture),
        )
        pointer = pictures.pointer(strip.shape[1], thumb * (0.5 + t * (STEPS - 1)))
        canvas = pictures.arrange([[picture, *bars], [pointer], [strip]])
        return pictures.png(
            canvas, full_colour=image.shape[1] == 3
        ), f"{start} → {end}, {way}, t = {t:.2f}, |z| = {z.norm():.2f}{verdict}"

    names = list(codes)
    narrow = {"layout": ipywidgets.Layout(width="200px")}
    start = ipywidgets.Dropdown(options=names, value=names[0], description="from", **narrow)
    end = ipywidgets.Dropdown(options=names, value=names[1], description="to", **narrow)
    tooltips = [
        "along a great circle",
        "straight on",
    ]  # a description would stand above the buttons and break the row
    way = ipywidgets.ToggleButtons(
        options=list(ways), tooltips=tooltips, style={"button_width": "80px"}
    )
    t = ipywidgets.FloatSlider(value=0.5, min=0, max=1, step=0.05, description="t", **wide())
    controls = {"start": start, "end": end, "way": way, "t": t}
    return Panel(
        render, controls, "natural", rows=[ipywidgets.HBox([start, end, way]), t], name="walk"
    )


def latent_plane(
    decode: Callable[[Tensor], Tensor],
    points: Tensor,
    labels: Tensor,
    classifier: Callable[[Tensor], Tensor] | None = None,
    limit: float = 3.0,
    image_range: tuple[float, float] = (0, 1),
    classes: Sequence[str] = (),
) -> Panel:
    """Two sliders move a point on the scatter of `points`; the image decoded there follows, with
    what the classifier sees in it.

    decode: codes (N, 2) → images (N, C, H, W) in `image_range`; points: encoded images (N, 2), in
    units of the prior's σ, with labels (N,); the plane is shown to ±limit σ; classifier, classes: as
    for `walk`, and classes name the labels. Raises ValueError for a latent that has not two
    dimensions and for images that are not what was said.
    """
    if points.ndim != 2 or points.shape[1] != 2 or labels.shape != points.shape[:1]:
        raise ValueError(
            f"latent_plane draws points (N, 2) with labels (N,), got {tuple(points.shape)} and {tuple(labels.shape)}: "
            "give it a model with two latent dimensions"
        )
    plane, to_pixels = pictures.scatter(
        points.detach().cpu().numpy(), labels.cpu().numpy(), limit, classes, SCATTER
    )

    def render(z1: float, z2: float) -> tuple[bytes, str]:
        image = pictures.quantise(applied(decode, torch.tensor([[z1, z2]])), image_range, "decode")
        picture = pictures.enlarge(image[0])
        verdict, *bars = reading(
            classifier, image, classes, picture.shape[1], SCATTER - len(picture) - pictures.GAP
        )
        column = pictures.arrange([[picture], *([bar] for bar in bars)])
        canvas = pictures.arrange([[pictures.cross_hairs(plane, *to_pixels(z1, z2)), column]])
        return pictures.png(
            canvas, full_colour=image.shape[1] == 3
        ), f"z = ({z1:+.1f}, {z2:+.1f}) σ{verdict}"

    def slider(name: str) -> ipywidgets.FloatSlider:
        return ipywidgets.FloatSlider(
            value=0,
            min=-limit,
            max=limit,
            step=0.1,
            readout_format="+.1f",
            description=name,
            **wide(),
        )

    return Panel(
        render, {"z1": slider("z₁ in σ"), "z2": slider("z₂ in σ")}, "natural", name="latent-plane"
    )


def gallery(
    entries: dict[tuple[str, ...], tuple[Tensor, dict[str, float]]],
    names: Sequence[str],
    columns: int = 10,
) -> Panel:
    """Choose an entry by its names: its images appear, and its first score among those of all
    entries with the same first name.

    entries: a tuple of `names` (say data, model, size) → uint8 images (N, C, H, W) and scores,
    name → number, the first of them positive: it is drawn on a logarithmic scale. The sentence has
    all scores, or says which choices there are. Raises ValueError for no entries, or keys that do
    not fit `names`.
    """
    if not entries or any(len(key) != len(names) for key in entries):
        raise ValueError(
            f"gallery needs an entry or more, each under a tuple of {len(names)} names: {', '.join(names)}"
        )
    controls = {
        name: ipywidgets.Dropdown(
            options=list(dict.fromkeys(key[k] for key in entries)),
            description=name,
            layout={"width": "240px"},
        )
        for k, name in enumerate(names)
    }  # the first option of each is shown at first
    for control, value in zip(controls.values(), next(iter(entries)), strict=True):
        control.value = value

    @lru_cache(maxsize=32)
    def picture(chosen: tuple[str, ...]) -> bytes:
        rivals = [key for key in entries if key[0] == chosen[0]]
        figure, axes = plt.subplots(
            1, 2, figsize=(11, max(3.5, 0.24 * len(rivals))), width_ratios=[1.3, 1]
        )
        plots.image_grid(entries[chosen][0], columns, axes[0], ", ".join(chosen))
        plots.ranking(
            {" ".join(key[1:]): next(iter(entries[key][1].values())) for key in rivals},
            " ".join(chosen[1:]),
            axes[1],
        )
        axes[1].set_xlabel(next(iter(entries[chosen][1])))
        return plots.png(figure, dpi=80)

    def render(**values: str) -> tuple[bytes, str]:
        chosen = tuple(values[name] for name in names)
        if chosen not in entries:
            others = [key[-1] for key in entries if key[:-1] == chosen[:-1]]
            remedy = (
                f"there, {names[-1]} is one of {', '.join(others)}" if others else "choose another"
            )
            raise ValueError(f"There is no {', '.join(chosen)}: {remedy}.")
        return picture(chosen), f"{', '.join(chosen)}: " + ", ".join(
            f"{name} {v:.3g}" for name, v in entries[chosen][1].items()
        )

    return Panel(
        render, controls, "natural", rows=[ipywidgets.HBox(list(controls.values()))], name="gallery"
    )


def wide() -> dict[str, ipywidgets.Layout]:
    """The layout of a slider under its description, as keywords."""
    return {"layout": ipywidgets.Layout(width="500px", max_width="100%")}


@torch.inference_mode()
def applied(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """model(x), for a network or a method of one in eval mode and on its device; its mode is put
    back.
    """
    network = getattr(model, "__self__", model)
    if not isinstance(network, nn.Module):
        return model(x)
    was_training, weight = network.training, next(network.parameters(), x)
    network.eval()
    result = model(x.to(weight.device))
    network.train(was_training)
    return result


def reading(
    classifier: Callable[[Tensor], Tensor] | None,
    image: Tensor,
    classes: Sequence[str],
    width: int,
    height: int,
) -> tuple:
    """What the classifier sees in one uint8 image (1, C, H, W): the end of a sentence, and its bars; a
    full stop alone without a classifier.
    """
    if classifier is None:
        return (".",)
    probabilities = applied(classifier, image).float().cpu().softmax(1)[0]
    names = classes or [str(k) for k in range(len(probabilities))]
    best = int(probabilities.argmax())
    return (
        f": the classifier sees {names[best]} with p = {probabilities[best]:.2f}.",
        pictures.bars(probabilities, names, width, height),
    )
