"""Report E's linear GANs, trained for 50 epochs, longer than a lesson lasts: what the kit supplies,
and how it was made.

python -m labkit weights linear_cgan_mnist      trains one anew and writes
data/weights/linear_cgan_mnist.pt and .json
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from labkit import weights
from labkit.data.images import load
from labkit.metrics.class_balance import classify
from labkit.models.classifier import Classifier
from labkit.models.conditional import LinearGenerator, draw
from labkit.pretrained import classifier_for
from labkit.training.conditional import build, rebuild, train

LATENT_DIM = 100
KINDS = {
    "linear_cgan_mnist": ("linear cGAN", "mnist"),
    "linear_gan_fashion": ("linear GAN", "fashion"),
}


def supplied(name: str) -> tuple[LinearGenerator, dict[str, Any]]:
    """The generator `name`, one of KINDS, and the facts about it: "history" holds its losses.
    Raises what weights.load raises.
    """
    generator = build(KINDS[name][0], LATENT_DIM)[0]
    return generator, weights.load(name, generator)


def make(name: str, epochs: int = 50, seed: int = 0) -> dict[str, float]:
    """Train one of KINDS on real images and ship its generator, rounded to float16; returns what
    `measure` does.

    Raises FileNotFoundError without real images.
    """
    kind, data = KINDS[name]
    images = load(data)
    if images.is_stand_in:
        raise FileNotFoundError(
            f"the real {images.title} is needed; set LABKIT_DATA to a folder that holds it"
        )
    run = train(kind, epochs, LATENT_DIM, data, seed=seed, show=True)
    rounded = rebuild(kind, LATENT_DIM, run["weights"]).half()
    measured = measure(
        rebuild(kind, LATENT_DIM, rounded.state_dict()), classifier_for(images, say=False)
    )
    every = max(1, len(run["history"]) // 300)  # rows, for a curve
    history = [
        {k: round(row[k], 3) for k in ("epoch", "d_loss", "g_loss")}
        for row in run["history"][::every]
    ]
    command = f"python -m labkit weights {name}"
    weights.save(
        name,
        rounded,
        data=images.title,
        seed=seed,
        epochs=epochs,
        command=command,
        measured=measured,
        history=history,
    )
    return measured


def measure(generator: LinearGenerator, classifier: Classifier) -> dict[str, float]:
    """What the classifier sees in 5,000 images: its mean confidence and, if a class can be asked for,
    how often it agrees, both in [0, 1].
    """
    asked = torch.arange(5000) % 10
    z = torch.randn(5000, LATENT_DIM, generator=torch.Generator().manual_seed(1))
    p = classify(classifier, draw(generator, z, asked))[1]
    agrees = (
        {"conditional_accuracy": (p.argmax(1) == asked).double().mean().item()}
        if generator.classes
        else {}
    )
    return {"confidence": p.amax(1).mean().item(), **agrees}


MAKERS: dict[str, Callable[[], dict]] = {name: partial(make, name) for name in KINDS}
