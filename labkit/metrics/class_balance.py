"""Does a model generate every class, as often as the real images have it?"""

import pandas as pd
import torch
from torch import Tensor, nn

from labkit.metrics.checks import check_images
from labkit.metrics.frechet import frechet_distance, total_variance
from labkit.models import draw


@torch.inference_mode()
def classify(classifier: nn.Module, images: Tensor, batch_size: int = 500) -> tuple[Tensor, Tensor]:
    """Features (N, D), probabilities (N, K) of images, uint8 or in [0, 1]; else a ValueError."""
    check_images(images)
    features = torch.cat([classifier.features(part) for part in images.split(batch_size)])
    return features, classifier.head(features).softmax(1)


def describe(classifier: nn.Module, images: Tensor, real_features: Tensor) -> dict[str, float]:
    """Scores of generated images (N, C, H, W) against the features (M, D) of real ones.

    frechet_share: Fréchet distance over the total variance of the real features; confidence: mean
    of the largest class probability; rarest: share of the rarest class; classes: how many have more
    than 1 % of the images; kl_uniform: D_KL(class histogram ‖ uniform) in nats.
    """
    features, probabilities = classify(classifier, images)
    d2, share = frechet_distance(features, real_features), class_histogram(probabilities)
    return {
        "frechet": d2,
        "frechet_share": d2 / total_variance(real_features),
        "confidence": probabilities.max(1).values.mean().item(),
        "rarest": share.min().item(),
        "classes": classes_covered(share),
        "kl_uniform": share.xlogy(share * len(share)).sum().item(),
    }


def class_histogram(probabilities: Tensor) -> Tensor:
    """Share of images whose likeliest class is k, (K,); ValueError unless (N, K) and finite."""
    if probabilities.ndim != 2 or not len(probabilities) or not probabilities.isfinite().all():
        found = f"{tuple(probabilities.shape)}, {int(probabilities.isnan().sum())} of them NaN"
        raise ValueError(f"expected finite class probabilities (N, K), got {found}; see classify()")
    counts = probabilities.argmax(1).bincount(minlength=probabilities.shape[1])
    return counts.double() / len(probabilities)


def classes_covered(share: Tensor, threshold: float = 0.01) -> int:
    """How many classes have more than `threshold` of the images, from their shares (K,)."""
    return int((share > threshold).sum())


def histogram_distance(p: Tensor, q: Tensor) -> float:
    """Total variation distance ½ Σ |p − q| of two class histograms (K,), in [0, 1].

    It is the share of images that would have to change class: about √(K / 2N) / 2 for two samples
    of N images of one distribution. Raises ValueError for vectors that are not histograms.
    """
    shares = all((h >= 0).all() and abs(h.sum() - 1) < 1e-6 for h in (p, q))
    if not shares or p.ndim != 1 or p.shape != q.shape:
        raise ValueError(f"expected two histograms (K,) that sum to 1, got {p} and {q}")
    return 0.5 * (p.double() - q.double()).abs().sum().item()


def histogram_table(probabilities: dict[str, Tensor], classes: list[str]) -> pd.DataFrame:
    """Class histograms as rows (images, class, share), from probabilities (N, K) by name of set."""
    return pd.concat(
        pd.DataFrame({"images": name, "class": classes, "share": class_histogram(p)})
        for name, p in probabilities.items()
    )


def codes_of_classes(
    generator: nn.Module, classifier: nn.Module, classes: list[str], n: int = 2000, seed: int = 0
) -> dict[str, Tensor]:
    """For each class found in n random images, the code (Z,) of the one found most surely."""
    z = torch.randn(n, generator.latent_dim, generator=torch.Generator().manual_seed(seed))
    best, labels = classify(classifier, draw(generator, z))[1].max(1)
    surest = {k: torch.where(labels == k, best, -1).argmax() for k in labels.unique().tolist()}
    return {classes[k]: z[place] for k, place in surest.items()}
