"""Numbers for words about generated images: is every class there, can they be read, how far are
they from real ones?
"""

import pandas as pd
import torch
from torch import Tensor, nn

from labkit.metrics.checks import check_images
from labkit.metrics.frechet import frechet_distance, total_variance
from labkit.models.gan import sample


@torch.inference_mode()
def classify(classifier: nn.Module, images: Tensor, batch_size: int = 500) -> tuple[Tensor, Tensor]:
    """Features (N, D) and class probabilities (N, classes) of images uint8 (N, 1, 28, 28), as a
    frozen Classifier sees them.

    Float images in [0, 1] will do, too. Raises ValueError for other shapes, types or ranges, which
    a classifier would take without a word.
    """
    check_images(images)
    features = torch.cat([classifier.features(part) for part in images.split(batch_size)])
    return features, classifier.head(features).softmax(1)


def describe(classifier: nn.Module, images: Tensor, real_features: Tensor) -> dict[str, float]:
    """What `classifier` says of generated images (N, 1, 28, 28) beside features (M, D) of real ones.

    frechet: classifier Fréchet distance; frechet_share: the same over the total variance of the
    real features; confidence: mean of the largest class probability; rarest: the smallest share of
    a class, in [0, 1]; classes: how many have more than 1 %; kl_uniform: KL of the class histogram
    to a uniform one, in nats.
    """
    features, probabilities = classify(classifier, images)
    share = histogram(probabilities)
    d2 = frechet_distance(features, real_features)
    return {
        "frechet": d2,
        "frechet_share": d2 / total_variance(real_features),
        "confidence": probabilities.max(1).values.mean().item(),
        "rarest": share.min().item(),
        "classes": modes_covered(share),
        "kl_uniform": (share.xlogy(share * len(share))).sum().item(),
    }


def histogram(probabilities: Tensor) -> Tensor:
    """Share of images whose likeliest class is each: (classes,), sums to 1."""
    return torch.bincount(probabilities.argmax(1), minlength=probabilities.shape[1]).double() / len(
        probabilities
    )


def modes_covered(share: Tensor, threshold: float = 0.01) -> int:
    """How many classes have more than `threshold` of the images, of shares (classes,); of two kinds
    of 7 it sees one.
    """
    return int((share > threshold).sum())


def histogram_distance(p: Tensor, q: Tensor) -> float:
    """Total variation ½ Σ |p − q| of two histograms (classes,), in [0, 1]: the share of images that
    would have to change class.

    Draws alone make about √(classes / 2N) / 2 of it, so draw the real-vs-real floor. Raises
    ValueError for vectors that are not shares.
    """
    for share in (p, q):
        if (
            share.shape != p.shape
            or share.ndim != 1
            or not ((share >= 0).all() and abs(share.sum() - 1) < 1e-6)
        ):
            raise ValueError(
                f"expected two histograms (classes,) that sum to 1, got {tuple(p.shape)} and {tuple(q.shape)}; see histogram()"
            )
    return 0.5 * (p.double() - q.double()).abs().sum().item()


def histogram_table(probabilities: dict[str, Tensor], classes: list[str]) -> pd.DataFrame:
    """Rows of set, class, share, as seaborn takes them, for probabilities (N, classes) by name of
    the set.
    """
    return pd.concat(
        pd.DataFrame({"images": name, "class": classes, "share": histogram(p)})
        for name, p in probabilities.items()
    )


def codes_of_classes(
    generator: nn.Module, classifier: nn.Module, classes: list[str], n: int = 2000, seed: int = 0
) -> dict[str, Tensor]:
    """For each class a code (Z,) that `generator` draws as it: of n random codes the one that
    `classifier` is surest of.

    A class that the classifier sees in none of them is left out.
    """
    z = torch.randn(n, generator.latent_dim, generator=torch.Generator().manual_seed(seed))
    best, labels = classify(classifier, sample(generator, z))[1].max(1)
    found = {}
    for k, name in enumerate(classes):
        if (labels == k).any():
            found[name] = z[torch.where(labels == k, best, -1).argmax()]
    return found
