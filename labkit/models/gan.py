"""Deep convolutional generative adversarial networks (Goodfellow et al. 2014; Radford et al. 2016,
"DCGAN") for 28×28 images.

    min_G max_D  E_x[log D(x)] + E_z[log(1 − D(G(z)))],   z ~ N(0, I)

The generator maps a latent code z (N, Z) to images in [−1, 1]; the discriminator maps images in
[−1, 1] to one logit each, so that D(x) = σ(logit). Base width b scales every layer; Report A has
b = 128.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


def initialise(module: nn.Module) -> None:
    """DCGAN's start: weights N(0, 0.02²), batch-norm scales N(1, 0.02²), biases 0. For
    `network.apply`.
    """
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
    if getattr(module, "bias", None) is not None:
        nn.init.zeros_(module.bias)


def normed(layer: nn.Module) -> list[nn.Module]:
    """A layer, batch normalisation of its output, and LeakyReLU(0.2)."""
    return [layer, nn.BatchNorm2d(layer.out_channels), nn.LeakyReLU(0.2)]


class ReportGenerator(nn.Module):
    """Report A's generator: codes (N, Z) → images (N, 1, 28, 28) in [−1, 1]."""

    def __init__(self, latent_dim: int = 100, base: int = 128):
        super().__init__()
        self.latent_dim = latent_dim
        self.layers = nn.Sequential(
            *normed(nn.ConvTranspose2d(latent_dim, 8 * base, 4, bias=False)),  # (N, 8b, 4, 4)
            *normed(
                nn.ConvTranspose2d(8 * base, 4 * base, 4, stride=2, padding=1, bias=False)
            ),  # (N, 4b, 8, 8)
            *normed(
                nn.ConvTranspose2d(4 * base, 2 * base, 4, stride=2, padding=1, bias=False)
            ),  # (N, 2b, 16, 16)
            *normed(
                nn.ConvTranspose2d(2 * base, base, 4, stride=2, padding=1, bias=False)
            ),  # (N, b, 32, 32)
            *normed(
                nn.Conv2d(base, base, 3, dilation=2, bias=False)
            ),  # (N, b, 28, 28): the dilated kernel spans 5
            nn.Conv2d(base, 1, 3, padding=1),  # (N, 1, 28, 28)
            nn.Tanh(),
        )
        self.apply(initialise)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z[:, :, None, None])


class ReportDiscriminator(nn.Module):
    """Report A's discriminator: images (N, 1, 28, 28) in [−1, 1] → logits (N). The report's sigmoid
    is left to the loss.
    """

    def __init__(self, base: int = 128):
        super().__init__()
        self.layers = nn.Sequential(
            *normed(nn.Conv2d(1, base, 4, stride=2, padding=1, bias=False)),  # (N, b, 14, 14)
            *normed(nn.Conv2d(base, 2 * base, 4, stride=2, padding=1, bias=False)),  # (N, 2b, 7, 7)
            *normed(
                nn.Conv2d(2 * base, 4 * base, 4, stride=2, padding=1, bias=False)
            ),  # (N, 4b, 3, 3)
            *normed(nn.Conv2d(4 * base, 8 * base, 3, bias=False)),  # (N, 8b, 1, 1)
            nn.Conv2d(8 * base, 1, 1, bias=False),  # (N, 1, 1, 1)
        )
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).flatten()


class Generator(nn.Module):
    """A DCGAN generator small enough for two cores: it starts at 7×7, so that nothing is computed
    at sizes that are cut off again.

    Codes (N, Z) → images (N, 1, 28, 28) in [−1, 1]. The second layer is the cheap one: at 7×7 each
    of its outputs sees most of the image.
    """

    def __init__(self, latent_dim: int = 64, base: int = 16):
        super().__init__()
        self.latent_dim = latent_dim
        self.layers = nn.Sequential(
            *normed(nn.ConvTranspose2d(latent_dim, 4 * base, 7, bias=False)),  # (N, 4b, 7, 7)
            *normed(nn.Conv2d(4 * base, 4 * base, 3, padding=1, bias=False)),  # (N, 4b, 7, 7)
            *normed(
                nn.ConvTranspose2d(4 * base, 2 * base, 4, stride=2, padding=1, bias=False)
            ),  # (N, 2b, 14, 14)
            nn.ConvTranspose2d(2 * base, 1, 4, stride=2, padding=1),  # (N, 1, 28, 28)
            nn.Tanh(),
        )
        self.apply(initialise)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z[:, :, None, None])


class Discriminator(nn.Module):
    """Its opponent: images (N, 1, 28, 28) in [−1, 1] → logits (N).

    norm: "none" (for R1, see labkit.training.gan), "batch" (DCGAN; none on the first layer, Radford
    et al. 2016) or "spectral" (Miyato et al. 2018: each layer's largest singular value is kept at
    1, so that the logits cannot change faster than the images).
    """

    def __init__(self, base: int = 16, norm: str = "none"):
        super().__init__()
        if norm not in ("none", "batch", "spectral"):
            raise ValueError(f'norm must be "none", "batch" or "spectral", got {norm!r}')

        def normalised(channels: int) -> list[nn.Module]:
            return [nn.BatchNorm2d(channels)] if norm == "batch" else []

        self.layers = nn.Sequential(
            nn.Conv2d(1, 2 * base, 4, stride=2, padding=1),  # (N, 2b, 14, 14)
            nn.LeakyReLU(0.2),
            nn.Conv2d(
                2 * base, 4 * base, 4, stride=2, padding=1, bias=norm != "batch"
            ),  # (N, 4b, 7, 7)
            *normalised(4 * base),
            nn.LeakyReLU(0.2),
            nn.Conv2d(
                4 * base, 8 * base, 3, stride=2, padding=1, bias=norm != "batch"
            ),  # (N, 8b, 4, 4)
            *normalised(8 * base),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(8 * base * 16, 1),
        )
        self.apply(initialise)
        if norm == "spectral":
            for layer in self.layers:
                if isinstance(layer, (nn.Conv2d, nn.Linear)):
                    nn.init.orthogonal_(
                        layer.weight
                    )  # a start whose largest singular value is known
                    spectral_norm(layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).flatten()


@torch.inference_mode()
def sample(generator: nn.Module, z: Tensor, batch_size: int = 500) -> Tensor:
    """Images uint8 (N, 1, 28, 28) of codes (N, Z), drawn in eval mode: with the running statistics
    of batch norm, so that an image does not depend on its neighbours in the batch."""
    was_training, device = generator.training, next(generator.parameters()).device
    generator.eval()
    images = torch.cat([generator(part.to(device)).float().cpu() for part in z.split(batch_size)])
    generator.train(was_training)
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
