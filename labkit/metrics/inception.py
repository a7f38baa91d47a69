"""A judge trained on photographs: the features of torchvision's Inception v3. Optional, 104 MB of
weights.

The score made with them is named *torchvision-Inception Fréchet distance*. Published FIDs use
another Inception (TensorFlow's of 2015), another resizing and 50,000 samples; the numbers must
never be mixed (Parmar et al. 2022). Of grey 28×28 digits such a judge says little.
"""

from urllib.error import URLError

import torch
from torch import Tensor, nn

from labkit.metrics.checks import unit_range
from labkit.metrics.frechet import frechet_distance
from labkit.metrics.samples import read

NAMES = {
    "reader": "classifier Fréchet distance",
    "inception": "torchvision-Inception Fréchet distance",
}


def inception() -> nn.Module:
    """torchvision's Inception v3 with its ImageNet weights, frozen, giving the 2048 features before
    its classifier.

    Raises OSError if the weights are neither in torch's cache nor to be downloaded.
    """
    from torchvision.models import (
        Inception_V3_Weights,
        inception_v3,
    )  # only who asks for it waits for torchvision

    weights = Inception_V3_Weights.IMAGENET1K_V1
    try:
        network = inception_v3(weights=weights)
    except (URLError, OSError, RuntimeError) as error:
        name = weights.url.rsplit("/", 1)[-1]
        raise OSError(
            f"the weights of Inception v3 could not be had ({error}); connect to the internet, or put {name} into "
            f"{torch.hub.get_dir()}/checkpoints, or measure with the kit's own reader: features=reader_for(images)"
        ) from error
    network.fc = nn.Identity()
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def inception_features(network: nn.Module, images: Tensor, batch_size: int = 50) -> Tensor:
    """Features (N, 2048) of images (N, C, H, W), uint8 or float in [0, 1], grey ones three times,
    enlarged to 299×299.
    """
    mean, sd = (
        torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    found = []
    for part in images.split(batch_size):
        x = nn.functional.interpolate(
            unit_range(part), size=(299, 299), mode="bilinear", antialias=True, align_corners=False
        )
        found.append(network((x.expand(-1, 3, -1, -1) - mean) / sd))
    return torch.cat(found)


def distance_of_images(images: Tensor, real: Tensor, features: nn.Module | str) -> dict[str, float]:
    """The Fréchet distance of images (N, C, H, W) to real ones (M, C, H, W), under the name that
    says whose features it is made with.

    features: a frozen Reader, or "inception" (N and M above 2048; minutes on a CPU). Raises
    ValueError for another name.
    """
    if isinstance(features, nn.Module):
        return {
            NAMES["reader"]: frechet_distance(read(features, images)[0], read(features, real)[0])
        }
    if features != "inception":
        raise ValueError(f'features must be a reader or "inception", got {features!r}')
    network = inception()
    return {
        NAMES["inception"]: frechet_distance(
            inception_features(network, images), inception_features(network, real)
        )
    }
