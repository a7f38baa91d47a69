"""The adversarial networks of Reports A, D and E, as the reports describe them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from labkit.models.gan import initialise, normed, one_hot
from labkit.models.vae import dense, leaky


class ReportAGenerator(nn.Module):
    """Report A's generator: codes (N, Z) → images (N, 1, 28, 28) in [−1, 1]."""

    def __init__(self, latent_dim: int = 100, base: int = 128):
        super().__init__()
        self.latent_dim, b = latent_dim, base

        def up(before: int, after: int) -> list[nn.Module]:
            return normed(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False))

        self.layers = nn.Sequential(
            *normed(nn.ConvTranspose2d(latent_dim, 8 * b, 4, bias=False)),  # (N, 8b, 4, 4)
            *up(8 * b, 4 * b),  # (N, 4b, 8, 8)
            *up(4 * b, 2 * b),  # (N, 2b, 16, 16)
            *up(2 * b, b),  # (N, b, 32, 32)
            *normed(nn.Conv2d(b, b, 3, dilation=2, bias=False)),  # (N, b, 28, 28)
            nn.Conv2d(b, 1, 3, padding=1),  # (N, 1, 28, 28)
            nn.Tanh(),
        )
        self.apply(initialise)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z[:, :, None, None])


class ReportADiscriminator(nn.Module):
    """Report A's discriminator: images in [−1, 1] → logits (N,); its sigmoid is in the loss."""

    def __init__(self, base: int = 128):
        super().__init__()
        b = base

        def down(before: int, after: int) -> list[nn.Module]:
            return normed(nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False))

        self.layers = nn.Sequential(
            *down(1, b),  # (N, b, 14, 14)
            *down(b, 2 * b),  # (N, 2b, 7, 7)
            *down(2 * b, 4 * b),  # (N, 4b, 3, 3)
            *normed(nn.Conv2d(4 * b, 8 * b, 3, bias=False)),  # (N, 8b, 1, 1)
            nn.Conv2d(8 * b, 1, 1, bias=False),  # (N, 1, 1, 1)
        )
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).flatten()


class ReportDGenerator(nn.Module):
    """Report D's generator: codes (N, 512) → images (N, 3, 64, 64), `filters` in every layer."""

    def __init__(self, latent_dim: int = 512, filters: int = 128):
        super().__init__()
        self.latent_dim, f = latent_dim, filters
        ups = [nn.ConvTranspose2d(f, f, 4, stride=2, padding=1, bias=False) for _ in range(3)]
        self.layers = nn.Sequential(
            *normed(nn.ConvTranspose2d(latent_dim, f, 4, bias=False)),  # (N, f, 4, 4)
            *(layer for up in ups for layer in normed(up)),  # 8×8, 16×16, 32×32
            nn.ConvTranspose2d(f, 3, 4, stride=2, padding=1),  # (N, 3, 64, 64)
            nn.Tanh(),
        )
        self.apply(initialise)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z[:, :, None, None])


class ReportDDiscriminator(nn.Module):
    """Report D's discriminator: images (N, 3, 64, 64) → logits (N,)."""

    def __init__(self, filters: int = 128):
        super().__init__()
        f = filters
        downs = [nn.Conv2d(f, f, 4, stride=2, padding=1, bias=False) for _ in range(3)]
        self.layers = nn.Sequential(
            nn.Conv2d(3, f, 4, stride=2, padding=1),  # (N, f, 32, 32)
            nn.LeakyReLU(0.2),
            *(layer for down in downs for layer in normed(down)),  # 16×16, 8×8, 4×4
            nn.Flatten(),
            nn.Linear(16 * f, 1),
        )
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).flatten()


class ReportEGenerator(nn.Module):
    """Report E's linear generator: codes (N, Z) and, if classes > 0, labels (N,) → images.

    gain: what stands in place of the 1 of a one-hot label.
    """

    def __init__(
        self,
        latent_dim: int = 100,
        classes: int = 0,
        activation: Callable[[], nn.Module] = leaky,
        gain: float = 1.0,
    ):
        super().__init__()
        self.latent_dim, self.classes, self.gain = latent_dim, classes, gain
        layers = dense([latent_dim + classes, 256, 512], activation)
        self.layers = nn.Sequential(
            *layers, nn.Linear(512, 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28))
        )

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.classes:
            z = torch.cat([z, self.gain * one_hot(y, self.classes)], 1)
        return self.layers(z)


class ReportEDiscriminator(nn.Module):
    """Report E's linear discriminator: images and, if classes > 0, labels (N,) → logits (N,)."""

    def __init__(
        self,
        classes: int = 0,
        activation: Callable[[], nn.Module] = leaky,
        gain: float = 1.0,
        dropout: float = 0.3,
    ):
        super().__init__()
        self.classes, self.gain = classes, gain
        sizes = ((784 + classes, 512), (512, 256))
        blocks = [nn.Sequential(*dense([*s], activation), nn.Dropout(dropout)) for s in sizes]
        self.layers = nn.Sequential(*blocks, nn.Linear(256, 1))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        pixels = x.flatten(1)
        if self.classes:
            pixels = torch.cat([pixels, self.gain * one_hot(y, self.classes)], 1)
        return self.layers(pixels).flatten()
