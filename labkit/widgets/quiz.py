"""You against the machine: name what is in some images, one after the other, with buttons."""

from collections.abc import Sequence

import ipywidgets
import matplotlib.pyplot as plt
from torch import Tensor

from labkit import plots
from labkit.widgets import canvas
from labkit.widgets.panel import Panel, row


class Quiz(Panel):
    """An image and a button a class; at the end all images, and your score beside that of others.

    images: uint8 (N, C, H, W); labels int64 (N,); classes: their names; rivals: name → what it
    guessed, int64 (N,). answers: what you said so far. Raises ValueError for other lengths.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, classes: Sequence[str], rivals: dict[str, Tensor]
    ):
        lengths = {name: len(part) for name, part in {"labels": labels, **rivals}.items()}
        if not len(images) or set(lengths.values()) != {len(images)}:
            raise ValueError(f"a quiz of {len(images)} images needs as many guesses; got {lengths}")
        self.images, self.labels, self.classes, self.rivals = images, labels, classes, rivals
        self.answers: list[int] = []
        look = dict(width="118px")
        buttons = [ipywidgets.Button(description=name, layout=look) for name in classes]
        for k, button in enumerate(buttons):
            button.on_click(lambda _, k=k: self.answer(k))
        again = ipywidgets.Button(description="Start again", icon="refresh", layout=look)
        again.on_click(lambda _: self.answer(None))
        super().__init__(self._show, {}, rows=[row(*buttons), again], name="quiz")

    def answer(self, label: int | None) -> None:
        """What a button does: takes an answer, if there is a question left; None starts again."""
        self.answers = [] if label is None else [*self.answers, label][: len(self.images)]
        self._draw()
        self.image.layout.width = f"{canvas.png_width(self.image.value)}px"

    def _show(self) -> tuple[bytes, str]:
        k, n = len(self.answers), len(self.images)
        if k < n:
            picture = canvas.png(canvas.enlarge(self.images[k]))
            return picture, f"Image {k + 1} of {n}. What is it? Choose a button."
        guesses = {"you": self.labels.new_tensor(self.answers), **self.rivals}
        figure, axes = plt.subplots(-(-n // 5), 5, figsize=(10, 2.9 * -(-n // 5)), squeeze=False)
        for ax in axes.flat[n:]:
            ax.set_axis_off()
        for i, ax in enumerate(axes.flat[:n]):
            plots.image_grid(self.images[i, None], 1, ax, self.classes[self.labels[i]])
            said = [
                f"{name}: {self.classes[guess[i]]} {'✔' if guess[i] == self.labels[i] else '✘'}"
                for name, guess in guesses.items()
            ]
            ax.set_xlabel("\n".join(said), fontsize="small")
        right = {name: int((guess == self.labels).sum()) for name, guess in guesses.items()}
        scores = ", ".join(f"{name} {count}" for name, count in right.items())
        return plots.png(figure), f"Right of {n}: {scores}."
