"""One yardstick: every measure of lab 04 of a set of images, against the same real images, seen by
the same frozen classifier.
"""

from torch import Tensor, nn

from labkit.metrics.class_balance import classify, histogram, histogram_distance, modes_covered
from labkit.metrics.frechet import frechet_distance, total_variance
from labkit.metrics.kid import kid
from labkit.metrics.prdc import prdc
from labkit.metrics.sharpness import sharpness_ratio
from labkit.profile import autocast


def evenly_spaced(items: Tensor, n: int) -> Tensor:
    """n of the items (N, …) at equal steps, or all if there are fewer. Not the first n: MNIST's
    first test images are its cleanest.
    """
    return items[:: max(1, len(items) // n)][:n]


class Evaluator:
    """Measures images uint8 (N, 1, 28, 28) against `real` ones (M, 1, 28, 28) in the features of
    `classifier`.

    n_near: how many of either are taken for neighbours and sharpness, whose cost grows with the
    square of it. Scores of one yardstick compare at equal N; those of two (other classifier, other real
    images) do not compare at all.
    """

    def __init__(self, classifier: nn.Module, real: Tensor, n_near: int = 2000):
        self.classifier, self.n_near = classifier, n_near
        self.features, probabilities = self._read(real)
        self.near, self.real = evenly_spaced(self.features, n_near), evenly_spaced(real, n_near)
        self.histogram, self.variance = histogram(probabilities), total_variance(self.features)

    def distance(self, images: Tensor) -> dict[str, float]:
        """Classifier Fréchet distance: "frechet", and "percent" of the total variance of the real
        features.

        "classes": how many have more than 1 %; "uneven": share of images that would have to change
        class for the real histogram.
        """
        return self._of(*self._read(images))

    def score(self, images: Tensor) -> dict[str, float]:
        """`distance`, and "KID", "precision", "recall", "density", "coverage", and the ratios
        "laplacian" and "high_frequency".
        """
        features, probabilities = self._read(images)
        near = prdc(self.near, features[: self.n_near])
        sharp = sharpness_ratio(images[: self.n_near], self.real)
        subset = min(1000, len(features) // 2, len(self.features) // 2)
        return (
            self._of(features, probabilities)
            | {"KID": kid(features, self.features, subsets=10, size=subset).mean}
            | near
            | sharp
        )

    def _read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        with autocast(
            "cpu"
        ):  # real and generated images alike, so that rounding cannot tell them apart
            features, probabilities = classify(self.classifier, images)
        return features.float(), probabilities.float()

    def _of(self, features: Tensor, probabilities: Tensor) -> dict[str, float]:
        share, d2 = histogram(probabilities), frechet_distance(features, self.features)
        uneven = histogram_distance(share, self.histogram)
        return {
            "frechet": d2,
            "percent": 100 * d2 / self.variance,
            "classes": modes_covered(share),
            "uneven": uneven,
        }
