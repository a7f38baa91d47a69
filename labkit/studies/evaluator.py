"""All scores of generated images at once, against one set of real images and one classifier."""

import torch
from torch import Tensor, nn

from labkit.metrics import class_balance
from labkit.metrics.checks import check_counts
from labkit.metrics.frechet import frechet_distance, total_variance
from labkit.metrics.kid import kid
from labkit.metrics.prdc import prdc
from labkit.metrics.sharpness import sharpness_ratio
from labkit.profile import autocast


def evenly_spaced(items: Tensor, n: int) -> Tensor:
    """`n` of the items (N, …) spread evenly over all of them, or all if there are fewer.

    The first n are no fair sample: the first half of MNIST's test images is easier than the second.
    """
    check_counts(n=n)
    return items if len(items) <= n else items[torch.arange(n) * len(items) // n]


class Evaluator:
    """Scores images (N, C, H, W) against `real` ones (M, C, H, W) by the features of a classifier.

    n_near: how many images of each set, evenly spaced, are used for nearest neighbours (the cost
    grows with its square) and for sharpness. Compare scores only at equal N, with one classifier
    and the same real images.
    """

    def __init__(self, classifier: nn.Module, real: Tensor, n_near: int = 2000):
        self.classifier, self.n_near = classifier, n_near
        self.features, probabilities = self._classify(real)
        self.near, self.real = evenly_spaced(self.features, n_near), evenly_spaced(real, n_near)
        self.histogram = class_balance.class_histogram(probabilities)
        self.variance = total_variance(self.features)

    def distance(self, images: Tensor) -> dict[str, float]:
        """Fréchet distance, also in percent of the real variance, and class balance of images.

        classes: how many have more than 1 % of the images; uneven: `histogram_distance` to real.
        """
        return self._distance(*self._classify(images))

    def score(self, images: Tensor) -> dict[str, float]:
        """What `distance` returns, and KID, `prdc` and `sharpness_ratio` by their names."""
        features, probabilities = self._classify(images)
        size = min(1000, len(features) // 2, len(self.features) // 2)
        return (
            self._distance(features, probabilities)
            | {"KID": kid(features, self.features, subsets=10, size=size).mean}
            | prdc(self.near, evenly_spaced(features, self.n_near))
            | sharpness_ratio(evenly_spaced(images, self.n_near), self.real)
        )

    def _classify(self, images: Tensor) -> tuple[Tensor, Tensor]:
        with autocast("cpu"):  # for real and generated images alike, so both are rounded alike
            features, probabilities = class_balance.classify(self.classifier, images)
        return features.float(), probabilities.float()

    def _distance(self, features: Tensor, probabilities: Tensor) -> dict[str, float]:
        share = class_balance.class_histogram(probabilities)
        d2 = frechet_distance(features, self.features)
        return {
            "frechet": d2,
            "percent": 100 * d2 / self.variance,
            "classes": class_balance.classes_covered(share),
            "uneven": class_balance.histogram_distance(share, self.histogram),
        }
