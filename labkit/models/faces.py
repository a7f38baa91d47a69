"""Networks for 64×64 colour photographs (Report D): autoencoder, variational autoencoder,
inpainter, and two generative adversarial pairs.

All stand on the same four convolutions of stride 2, from 64×64 down to 4×4 and back, with twice as
many filters at each. They are kept in the memory format `channels_last`, which a processor computes
faster.
"""

import torch
from torch import Tensor, nn

from labkit.models.gan import initialise, normed
from labkit.models.vae import VAE


def encoder(outputs: int, width: int = 16, channels: int = 3) -> nn.Sequential:
    """Images (N, channels, 64, 64) → (N, outputs): four convolutions of `width` to 8 · `width`
    filters with LeakyReLU(0.2), a dense one.
    """
    layers, before = [], channels
    for filters in (width, 2 * width, 4 * width, 8 * width):  # 32×32, 16×16, 8×8, 4×4
        layers += [nn.Conv2d(before, filters, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        before = filters
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * before, outputs)).to(
        memory_format=torch.channels_last
    )


def decoder(latent_dim: int, width: int = 16) -> nn.Sequential:
    """Codes (N, J) → logits (N, 3, 64, 64): the mirror image of `encoder`, with transposed
    convolutions and ReLU.
    """
    layers = [nn.Linear(latent_dim, 128 * width), nn.Unflatten(1, (8 * width, 4, 4))]
    for filters in (4 * width, 2 * width, width):  # 8×8, 16×16, 32×32
        layers += [nn.ReLU(), nn.ConvTranspose2d(2 * filters, filters, 4, stride=2, padding=1)]
    layers += [nn.ReLU(), nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1)]  # 64×64
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def face_vae(latent_dim: int = 32, width: int = 16) -> VAE:
    """Report D's variational autoencoder: four layers of 16, 32, 64 and 128 filters, one Bernoulli
    a pixel and colour, images in [0, 1].
    """
    return VAE(encoder(2 * latent_dim, width), decoder(latent_dim, width), latent_dim)


class Autoencoder(nn.Module):
    """Images (N, 3, 64, 64) in [0, 1] → codes (N, J) → images in [0, 1]. No noise and no prior: the
    code may lie anywhere.
    """

    def __init__(self, latent_dim: int = 64, width: int = 16):
        super().__init__()
        self.latent_dim = latent_dim
        self.encoder, self.decoder = encoder(latent_dim, width), decoder(latent_dim, width)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x).float()

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).float().sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


@torch.inference_mode()
def features(autoencoder: Autoencoder, images: Tensor, batch_size: int = 500) -> Tensor:
    """Codes (N, J), float32 on the CPU, of uint8 images (N, 3, 64, 64): the feature space in which
    lab 07 measures distances.
    """
    device = next(autoencoder.parameters()).device
    return torch.cat(
        [
            autoencoder.encode(part.to(device).float() / 255).cpu()
            for part in images.split(batch_size)
        ]
    )


class Inpainter(nn.Module):
    """An autoencoder that is told what is missing (context encoder, Pathak et al. 2016): visible
    pixels and mask in, the whole image out.

    Images x (N, 3, 64, 64) in [0, 1] and masks m (N, 1, 64, 64), 1 where x may be seen. What is
    behind the mask cannot reach the result.
    """

    def __init__(self, latent_dim: int = 256, width: int = 16):
        super().__init__()
        self.latent_dim = latent_dim
        self.encoder, self.decoder = (
            encoder(latent_dim, width, channels=4),
            decoder(latent_dim, width),
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """The network's idea of the whole image, (N, 3, 64, 64) in [0, 1]; `labkit.inpainting.fill`
        puts it behind the visible part.
        """
        mask = mask.expand(len(x), -1, -1, -1)
        return self.decoder(self.encoder(torch.cat([x * mask, mask], dim=1))).float().sigmoid()


class ReportGenerator(nn.Module):
    """Report D's generator: codes (N, 512) → images (N, 3, 64, 64) in [−1, 1], `filters` in every
    layer, tanh.
    """

    def __init__(self, latent_dim: int = 512, filters: int = 128):
        super().__init__()
        self.latent_dim = latent_dim
        growing = [
            nn.ConvTranspose2d(filters, filters, 4, stride=2, padding=1, bias=False)
            for _ in range(3)
        ]
        self.layers = nn.Sequential(
            *normed(nn.ConvTranspose2d(latent_dim, filters, 4, bias=False)),  # (N, filters, 4, 4)
            *(
                layer for deconvolution in growing for layer in normed(deconvolution)
            ),  # 8×8, 16×16, 32×32
            nn.ConvTranspose2d(filters, 3, 4, stride=2, padding=1),  # (N, 3, 64, 64)
            nn.Tanh(),
        )
        self.apply(initialise)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z[:, :, None, None])


class ReportDiscriminator(nn.Module):
    """Its opponent: images (N, 3, 64, 64) in [−1, 1] → logits (N), `filters` in every layer, batch
    norm in all but the first.
    """

    def __init__(self, filters: int = 128):
        super().__init__()
        shrinking = [
            nn.Conv2d(filters, filters, 4, stride=2, padding=1, bias=False) for _ in range(3)
        ]
        self.layers = nn.Sequential(
            nn.Conv2d(3, filters, 4, stride=2, padding=1),  # (N, filters, 32, 32)
            nn.LeakyReLU(0.2),
            *(
                layer for convolution in shrinking for layer in normed(convolution)
            ),  # 16×16, 8×8, 4×4
            nn.Flatten(),
            nn.Linear(16 * filters, 1),
        )
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).flatten()


class Generator(nn.Module):
    """A generator for two cores: codes (N, Z) → images (N, 3, 64, 64) in [−1, 1]. Few channels
    where the image is large.
    """

    def __init__(self, latent_dim: int = 128, width: int = 16):
        super().__init__()
        self.latent_dim = latent_dim
        growing = [
            nn.ConvTranspose2d(2 * c, c, 4, stride=2, padding=1, bias=False)
            for c in (4 * width, 2 * width, width)
        ]
        self.layers = nn.Sequential(
            *normed(nn.ConvTranspose2d(latent_dim, 8 * width, 4, bias=False)),  # (N, 8w, 4, 4)
            *(
                layer for deconvolution in growing for layer in normed(deconvolution)
            ),  # 8×8, 16×16, 32×32
            nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1),  # (N, 3, 64, 64)
            nn.Tanh(),
        )
        self.apply(initialise)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z[:, :, None, None])


class Discriminator(nn.Module):
    """Its opponent, without batch norm, for R1: images (N, 3, 64, 64) in [−1, 1] → logits (N)."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.layers = encoder(1, width)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).flatten()
