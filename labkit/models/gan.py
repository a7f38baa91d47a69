"""Deep convolutional generative adversarial networks, with or without labels.

    min_G max_D  E_x[log D(x)] + E_z[log(1 − D(G(z)))],   z ~ N(0, I)

Goodfellow et al. 2014, arXiv:1406.2661; Radford et al. 2016, arXiv:1511.06434 ("DCGAN"). The
generator maps latent codes z (N, Z) to images in [−1, 1]; the discriminator maps images in [−1, 1]
to one logit each, D(x) = σ(logit). `base` scales the width of every layer.

Conditional GANs give both networks the label y as well (Mirza & Osindero 2014, arXiv:1411.1784,
eq. 2). A good image under a wrong label is then a fake like any other, so G must obey.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


def initialise(module: nn.Module) -> None:
    """For `network.apply`: weights N(0, 0.02²), batch-norm scales N(1, 0.02²), biases 0."""
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


def halvings(size: int, smallest: int = 7) -> list[int]:
    """Sides of an image halved until odd or at most `smallest`: 28 → [28, 14, 7]."""
    sides = [size]
    while sides[-1] % 2 == 0 and sides[-1] > smallest:
        sides.append(sides[-1] // 2)
    return sides


class Generator(nn.Module):
    """Codes (N, Z) → images (N, channels, size, size) in [−1, 1].

    It starts at 7×7 or 4×4 and doubles. refine: a 3×3 convolution at that smallest size.
    """

    def __init__(
        self,
        latent_dim: int = 64,
        base: int = 16,
        size: int = 28,
        channels: int = 1,
        refine: bool = True,
    ):
        super().__init__()
        self.latent_dim = latent_dim
        *larger, start = halvings(size)
        width = base * 2 ** len(larger)
        layers = normed(nn.ConvTranspose2d(latent_dim, width, start, bias=False))  # start × start
        if refine:
            layers += normed(nn.Conv2d(width, width, 3, padding=1, bias=False))
        for _ in larger[1:]:  # twice the side, half the width
            up = nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1, bias=False)
            layers, width = layers + normed(up), width // 2
        layers += [nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(initialise)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z[:, :, None, None])


class Discriminator(nn.Module):
    """Images (N, channels, size, size) in [−1, 1] → logits (N,).

    norm: "none" (for the R1 penalty), "batch" (DCGAN; none on the first layer) or "spectral"
    (Miyato et al. 2018: each layer's largest singular value is kept at 1, so that the logits cannot
    change faster than the images). Raises ValueError for another.
    """

    def __init__(self, base: int = 16, size: int = 28, channels: int = 1, norm: str = "none"):
        super().__init__()
        if norm not in ("none", "batch", "spectral"):
            raise ValueError(f'norm must be "none", "batch" or "spectral", got {norm!r}')
        layers, before, width = [], channels, 2 * base
        while size > 4:
            batch_normed = norm == "batch" and before != channels
            kernel = 4 if size % 2 == 0 else 3
            layers.append(
                nn.Conv2d(before, width, kernel, stride=2, padding=1, bias=not batch_normed)
            )
            layers += [nn.BatchNorm2d(width)] * batch_normed + [nn.LeakyReLU(0.2)]
            size, before, width = -(-size // 2), width, 2 * width
        layers += [nn.Flatten(), nn.Linear(before * size**2, 1)]
        self.layers = nn.Sequential(*layers)
        self.apply(initialise)
        if norm == "spectral":
            for layer in self.layers:
                if isinstance(layer, (nn.Conv2d, nn.Linear)):
                    nn.init.orthogonal_(layer.weight)  # its largest singular value is known
                    spectral_norm(layer)

    def features(self, x: Tensor) -> Tensor:
        """What the last layer sees, (N, F)."""
        return self.layers[:-1](x)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[-1](self.features(x)).flatten()


def one_hot(y: Tensor, classes: int) -> Tensor:
    """Labels (N,) as float rows (N, classes) with a single 1 each."""
    return F.one_hot(y, classes).float()


class ConditionalGenerator(nn.Module):
    """Codes (N, Z) and labels (N,) → images in [−1, 1]: the generator, given [z, one-hot y].

    The 1 picks a column of the first layer's weights: an embedding of the label as a small map.
    """

    def __init__(self, latent_dim: int = 64, base: int = 16, classes: int = 10):
        super().__init__()
        self.latent_dim, self.classes = latent_dim, classes
        self.network = Generator(latent_dim + classes, base)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.network(torch.cat([z, one_hot(y, self.classes)], 1))


class ProjectionDiscriminator(nn.Module):
    """Images in [−1, 1] and labels (N,) → logits (N,) (Miyato & Koyama 2018, arXiv:1802.05637).

    ψ scores whether φ(x) looks real at all, ⟨v_y, φ(x)⟩ whether it looks like class y.
    """

    def __init__(self, base: int = 16, classes: int = 10):
        super().__init__()
        network = Discriminator(base)
        self.phi, self.psi = network.layers[:-1], network.layers[-1]
        self.v = nn.Embedding(classes, self.psi.in_features)
        self.phi.apply(initialise)
        nn.init.zeros_(self.v.weight)  # at first no label is more likely than another

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        phi = self.phi(x)  # (N, F)
        # ℓ(x, y) = ψ(φ(x)) + ⟨v_y, φ(x)⟩                                       (eq. 3)
        return self.psi(phi).flatten() + (self.v(y) * phi).sum(1)
