"""You against the machine: name what is in some images, one after the other, with buttons."""

from collections.abc import Sequence

import ipywidgets
from torch import Tensor

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
        self.images_asked, self.labels, self.classes, self.rivals = images, labels, classes, rivals
        self.answers: list[int] = []
        look = dict(width="118px")
        buttons = [ipywidgets.Button(description=name, layout=look) for name in classes]
        for k, button in enumerate(buttons):
            button.on_click(lambda _, k=k: self.answer(k))
        again = ipywidgets.Button(description="Start again", icon="refresh", layout=look)
        again.on_click(lambda _: self.answer(None))
        super().__init__(self._show, {}, [row(*buttons), again], "quiz")

    def answer(self, label: int | None) -> None:
        """What a button does: takes an answer, if there is a question left; None starts again."""
        n = len(self.images_asked)
        self.answers = [] if label is None else [*self.answers, label][:n]
        self._draw()

    def _show(self) -> tuple[bytes | list[bytes], str]:
        k, n = len(self.answers), len(self.images_asked)
        if k < n:
            picture = canvas.png(canvas.enlarge(self.images_asked[k]))
            return picture, f"Image {k + 1} of {n}. What is it? Choose a button."
        guesses = {"you": self.labels.new_tensor(self.answers), **self.rivals}
        pictures = []
        for i, image in enumerate(self.images_asked):
            said = [
                f"{name}: {self.classes[guess[i]]} {'✔' if guess[i] == self.labels[i] else '✘'}"
                for name, guess in guesses.items()
            ]
            named = canvas.captioned(canvas.enlarge(image, 140), self.classes[self.labels[i]])
            below = canvas.caption(said, named.shape[1], 12)
            pictures.append(canvas.png(canvas.np.concatenate([named, below])))
        right = [f"{name} {int((guess == self.labels).sum())}" for name, guess in guesses.items()]
        return pictures, f"Right of {n}: {', '.join(right)}."
