"""Networks that map 64×64 photographs to a code and back without noise or prior."""

import torch
from torch import Tensor, nn

from labkit.models.vae import conv_decoder, conv_encoder


class Autoencoder(nn.Module):
    """Images (N, 3, 64, 64) in [0, 1] → codes (N, J) → images in [0, 1]."""

    def __init__(self, latent_dim: int = 64, base: int = 16):
        super().__init__()
        self.latent_dim, shape = latent_dim, dict(base=base, size=64)
        self.encoder = conv_encoder(latent_dim, channels=3, **shape)
        self.decoder = conv_decoder(latent_dim, channels=3, activation=nn.ReLU, **shape)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x).float()

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).float().sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


class Inpainter(nn.Module):
    """A context encoder (Pathak et al. 2016): visible pixels and their mask → the whole image.

    Images x (N, 3, 64, 64) in [0, 1], masks (N, 1, 64, 64), 1 where x may be seen. What is behind
    the mask cannot reach the result.
    """

    def __init__(self, latent_dim: int = 256, base: int = 16):
        super().__init__()
        self.latent_dim, shape = latent_dim, dict(base=base, size=64)
        self.encoder = conv_encoder(latent_dim, channels=4, **shape)
        self.decoder = conv_decoder(latent_dim, channels=3, activation=nn.ReLU, **shape)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """The network's idea of the whole image, (N, 3, 64, 64) in [0, 1]."""
        mask = mask.expand(len(x), -1, -1, -1)
        return self.decoder(self.encoder(torch.cat([x * mask, mask], dim=1))).float().sigmoid()
