"""What all panels share: a card of controls, pictures and a sentence, and a still that outlives it.

Controls are those that ipywidgets 7.7.1 (Colab) and 8 have. An ipywidgets.Image of PNG bytes
neither flickers nor moves the page.
"""

import base64
import html
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

import ipywidgets
import torch
from torch import Tensor, nn

from labkit import plots
from labkit.profile import profile
from labkit.widgets import canvas

LOOK = resources.files("labkit.widgets").joinpath("panel.css").read_text(encoding="utf-8")
HINT = "This is a still: run this cell to move its controls."
SMOKE = "Smoke run: a model trained in this notebook has learned for seconds only."
PADDING = 12  # pixels to the left and right of a picture, as in panel.css


class Unfinished(ValueError):
    """Input that is no mistake yet: more of it may make it right."""


class Panel:
    """Controls, pictures and a sentence that follow them, on a card.

    render(**values of the controls) → (PNG bytes or a list of them, sentence). A ValueError from
    `render` stands in amber below the dimmed pictures, an `Unfinished` one in grey; while the panel
    is being made, the error is raised.

    rows: the widgets above the pictures, if not one control a row; place: instead, the pictures'
    widgets → all widgets but the sentence; name: the box has the CSS class labkit-<name>.
    """

    def __init__(
        self,
        render: Callable[..., tuple[bytes | Sequence[bytes], str]],
        controls: dict[str, Any],
        rows: Sequence[ipywidgets.Widget] = (),
        name: str = "panel",
        place: Callable[[list[ipywidgets.Image]], Sequence[ipywidgets.Widget]] | None = None,
    ):
        self.render, self.controls, self.sentence = render, controls, ""
        self.images, self.shown = [], ipywidgets.HBox().add_class("labkit-pictures")
        self.message, self.box = ipywidgets.HTML(), ipywidgets.VBox()  # HTML wraps, no Label does
        self._draw()
        above = place(self.images) if place else [*(rows or controls.values()), self.shown]
        note = f'<div class="labkit-smoke">{SMOKE}</div>' if profile() == "smoke" else ""
        hide = f".labkit-still-{self.box.model_id} {{ display: none }}"
        look = ipywidgets.HTML(f"<style>{LOOK}{hide}</style>{note}").add_class("labkit-look")
        self.box.children = [*above, self.message, look]
        self.box.add_class("labkit-panel").add_class(f"labkit-{name}")
        longest = max((len(control.description) for control in controls.values()), default=0)
        for k, control in enumerate(controls.values()):
            beside = isinstance(control, ipywidgets.Dropdown) and k  # in a row, after the first
            if control.description:
                control.style.description_width = "initial" if beside else f"{longest + 2}ch"
        for control in controls.values():
            control.observe(self._update, names="value")

    @property
    def image(self) -> ipywidgets.Image:
        """The first picture."""
        return self.images[0]

    def _draw(self) -> None:
        values = {name: control.value for name, control in self.controls.items()}
        pictures, sentence = self.render(**values)
        pictures = [pictures] if isinstance(pictures, bytes) else pictures
        while len(self.images) < len(pictures):
            self.images.append(ipywidgets.Image(format="png", layout=dict(max_width="100%")))
        for image, picture in zip(self.images, pictures, strict=False):
            image.layout.width = f"{canvas.size_on_page(picture)[0] + PADDING}px"
            image.value = picture
        self.shown.children = self.images[: len(pictures)]
        self._say(sentence)

    def _update(self, change: Any) -> None:
        try:
            self._draw()
        except ValueError as error:
            self._say(str(error), "unfinished" if isinstance(error, Unfinished) else "refused")

    def _say(self, sentence: str, state: str = "") -> None:
        self.sentence, text = sentence, html.escape(sentence, quote=False)
        self.message.value = (
            f'<div class="labkit-said" role="status" aria-live="polite">{text}</div>'
        )
        for other in ("refused", "unfinished"):
            (self.box.add_class if other == state else self.box.remove_class)(f"labkit-{other}")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        """The live widget, and a still picture for GitHub, nbconvert and notebooks not yet run."""
        whole, width, _ = canvas.side_by_side([bytes(image.value) for image in self.shown.children])
        kind, still = plots.fewer_bytes(whole)
        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        data = {
            "application/vnd.jupyter.widget-view+json": view,
            kind: base64.b64encode(still).decode(),
            "text/plain": f"{self.sentence} ({HINT})",
        }
        return data, {kind: {"alt": self.sentence, "width": width}}

    def _ipython_display_(self) -> None:
        """The bundle, and below it what stays when the kernel is gone: sentence, hint and still.

        The live widget brings a style that hides the second output. Where JupyterLab finds no model
        for the first, it shows no other kind of it either: there the second has the still as well.
        """
        from IPython.display import display

        data, metadata = self._repr_mimebundle_()
        display(data, metadata=metadata, raw=True)
        _, width, height = canvas.side_by_side([bytes(i.value) for i in self.shown.children])
        (kind,), name = metadata, f"labkit-still-{self.box.model_id}"
        text, alt = (html.escape(self.sentence, quote=quote) for quote in (False, True))
        ground = f"white url(data:{kind};base64,{data[kind]}) 0 0 / 100% no-repeat"
        size = f"width: {width}px; max-width: 100%; aspect-ratio: {width} / {height}"
        style = f"<style>.lm-Widget .{name} .picture {{ {size}; background: {ground} }}</style>"
        said = f'<div class="picture" role="img" aria-label="{alt}"></div><p>{text}</p>'
        note = f'{style}<div class="{name}">{said}<p><em>{HINT}</em></p></div>'
        display({"text/html": note, "text/plain": ""}, raw=True)


def verdict(
    classifier: Callable[[Tensor], Tensor] | None, image: Tensor, classes: Sequence[str] = ()
) -> tuple[str, Tensor]:
    """What a classifier sees in a uint8 image (1, C, H, W), in words, and p (K,); K = 0 without."""
    if classifier is None:
        return ".", torch.empty(0)
    p = applied(classifier, image).float().cpu().softmax(1)[0]
    best = int(p.argmax())
    name = classes[best] if classes else best
    return f": the classifier sees {name} with p = {p[best]:.2f}.", p


@torch.inference_mode()
def applied(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """model(x), where a network, or that of a method, is on its own device and in eval mode."""
    network = getattr(model, "__self__", model)
    if not isinstance(network, nn.Module):
        return model(x)
    was_training, weight = network.training, next(network.parameters(), x)
    network.eval()
    result = model(x.to(weight.device))
    network.train(was_training)
    return result


def row(*controls: ipywidgets.Widget, name: str = "row") -> ipywidgets.HBox:
    """Widgets side by side, below each other where the screen is too narrow."""
    return ipywidgets.HBox(controls).add_class(f"labkit-{name}")


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, and with the minus that sliders show."""
    return f"{value:+.{digits}f}".replace("-", "−")


def dropdown(description: str, options: Sequence, value: Any = None) -> ipywidgets.Dropdown:
    """A Dropdown with `value` chosen, or its first option."""
    made = ipywidgets.Dropdown(options=options, description=description)
    made.value = made.value if value is None else value
    return made


def slider(name: str, low: float, high: float, step: float, digits: str, value: float = 0) -> Any:
    """A FloatSlider; digits: the format of its number, e.g. "+.1f"."""
    ends = dict(value=value, min=low, max=high, step=step, readout_format=digits)
    return ipywidgets.FloatSlider(description=name, **ends)
