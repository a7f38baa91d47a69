"""Models that are told what to draw: a label y beside the code z (Mirza & Osindero 2014; Sohn et
al. 2015; Miyato & Koyama 2018).

    min_G max_D  E_{x,y}[log D(x|y)] + E_{z,y}[log(1 − D(G(z|y)|y))]             conditional GAN
    (Mirza & Osindero, eq. 2) log p_θ(x|y) ≥ E_{q_φ(z|x,y)}[log p_θ(x|z,y)] − D_KL(q_φ(z|x,y) ‖ N(0,
    I))   conditional VAE (Sohn et al., eq. 4)

z no longer has to say which class it is, so it is left with the rest: the style. A good image under
a wrong label is a fake like any other: that makes G obey. Labels y are int64 (N,), 0 … classes − 1;
GAN images are in [−1, 1], VAE images in [0, 1].
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.models.gan import Discriminator, Generator, initialise
from labkit.models.vae import VAETerms, dense, kl_divergence, leaky, reconstruction_loss, reparameterize

GAIN = 10.0  # of the label where a VAE takes it in; with 1 its decoder first learns to read the class from z, and long ignores y


def one_hot(y: Tensor, classes: int) -> Tensor:
    """Labels (N,) as float rows (N, classes) of one 1 each."""
    return F.one_hot(y, classes).float()


class LinearGenerator(nn.Module):
    """Report E's generator: codes (N, Z) and labels (N,) → images (N, 1, 28, 28) in [−1, 1].

    classes = 0: unconditional, labels are not looked at. gain: what stands in place of the 1 of a
    one-hot label.
    """

    def __init__(
        self,
        latent_dim: int = 100,
        classes: int = 0,
        hidden: tuple[int, ...] = (256, 512),
        activation: Callable[[], nn.Module] = leaky,
        gain: float = 1.0,
    ):
        super().__init__()
        self.latent_dim, self.classes, self.gain = latent_dim, classes, gain
        layers = dense([latent_dim + classes, *hidden], activation)
        self.layers = nn.Sequential(
            *layers, nn.Linear(hidden[-1], 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28))
        )

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.layers(
            torch.cat([z, self.gain * one_hot(y, self.classes)], 1) if self.classes else z
        )


class LinearDiscriminator(nn.Module):
    """Report E's discriminator: images (N, 1, 28, 28) and labels (N,) → logits (N). The label is
    appended to the pixels.
    """

    def __init__(
        self,
        classes: int = 0,
        hidden: tuple[int, ...] = (512, 256),
        activation: Callable[[], nn.Module] = leaky,
        dropout: float = 0.3,
        gain: float = 1.0,
    ):
        super().__init__()
        self.classes, self.gain = classes, gain
        sizes = zip((784 + classes, *hidden), hidden, strict=False)
        layers = [nn.Sequential(*dense([a, b], activation), nn.Dropout(dropout)) for a, b in sizes]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden[-1], 1))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        pixels = x.flatten(1)
        return self.layers(
            torch.cat([pixels, self.gain * one_hot(y, self.classes)], 1) if self.classes else pixels
        ).flatten()


class ConditionalGenerator(nn.Module):
    """The kit's DCGAN generator with the label appended to the code: (N, Z) and (N,) → images (N,
    1, 28, 28) in [−1, 1].

    A 1 in a one-hot row picks one column of the first layer's weights: an embedding of the label as
    a map (4b, 7, 7).
    """

    def __init__(self, latent_dim: int = 64, base: int = 16, classes: int = 10):
        super().__init__()
        self.latent_dim, self.classes = latent_dim, classes
        self.network = Generator(latent_dim + classes, base)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.network(torch.cat([z, one_hot(y, self.classes)], 1))


class ProjectionDiscriminator(nn.Module):
    """The kit's DCGAN discriminator with a projection (Miyato & Koyama 2018): images (N, 1, 28, 28)
    and labels (N,) → logits (N).

    ψ asks whether φ(x) looks real at all; ⟨v_y, φ(x)⟩ whether it looks like y.
    """

    def __init__(self, base: int = 16, classes: int = 10):
        super().__init__()
        network = Discriminator(base)
        self.phi, self.psi = network.layers[:-1], network.layers[-1]
        self.v = nn.Embedding(classes, self.psi.in_features)
        self.phi.apply(initialise)
        nn.init.zeros_(self.v.weight)  # at first no label is more likely than another

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        phi = self.phi(x)  # (N, 128 b)
        # ℓ(x, y) = ψ(φ(x)) + ⟨v_y, φ(x)⟩
        # (Miyato & Koyama, eq. 3)
        return self.psi(phi).flatten() + (self.v(y) * phi).sum(1)


class ConditionalVAE(nn.Module):
    """q_φ(z|x, y) and p_θ(x|z, y), each told the label: images in [0, 1] (N, 1, 28, 28), labels
    (N,), codes (N, J).

    A linear encoder, and the layers of the DCGAN's generator as decoder, up to the logits.
    """

    def __init__(
        self,
        latent_dim: int = 8,
        classes: int = 10,
        hidden: tuple[int, ...] = (512, 256),
        base: int = 12,
    ):
        super().__init__()
        self.latent_dim, self.classes = latent_dim, classes
        self.encoder = nn.Sequential(
            *dense([784 + classes, *hidden]), nn.Linear(hidden[-1], 2 * latent_dim)
        )
        layers = Generator(latent_dim + classes, base).layers[:-1]  # without its tanh
        self.decoder = nn.Sequential(nn.Unflatten(1, (latent_dim + classes, 1, 1)), *layers)

    def encode(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ² of q_φ(z|x, y), (N, J) each."""
        mu, log_var = (
            self.encoder(torch.cat([x.flatten(1), GAIN * one_hot(y, self.classes)], 1))
            .float()
            .chunk(2, dim=1)
        )
        return mu, log_var

    def logits(self, z: Tensor, y: Tensor) -> Tensor:
        """Logits of p_θ(x|z, y), (N, 1, 28, 28)."""
        return self.decoder(torch.cat([z, GAIN * one_hot(y, self.classes)], 1)).float()

    def decode(self, z: Tensor, y: Tensor) -> Tensor:
        """Images in [0, 1] (N, 1, 28, 28): the mean of p_θ(x|z, y)."""
        return self.logits(z, y).sigmoid()

    def forward(self, x: Tensor, y: Tensor, generator: torch.Generator | None = None) -> VAETerms:
        """The terms of −ELBO of x given y, with one draw of z an image."""
        mu, log_var = self.encode(x, y)
        z = reparameterize(mu, log_var, generator)
        return VAETerms(reconstruction_loss(self.logits(z, y), x), kl_divergence(mu, log_var), mu)


@torch.inference_mode()
def draw(model: nn.Module, z: Tensor, y: Tensor | None = None, batch_size: int = 500) -> Tensor:
    """Images uint8 (N, 1, 28, 28) on the CPU of codes (N, Z) and labels (N,), in eval mode; of a
    VAE the decoder's means.

    Raises ValueError if there are not as many labels as codes.
    """
    if y is not None and y.shape != z.shape[:1]:
        raise ValueError(
            f"one label a code is needed, (N,) for codes (N, Z); got {tuple(y.shape)} for {tuple(z.shape)}: y.expand(len(z))"
        )
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    images = []
    for k in range(0, len(z), batch_size):
        given = () if y is None else (y[k : k + batch_size].to(device),)
        part = z[k : k + batch_size].to(device)
        # a VAE's images are in [0, 1], a GAN's in [−1, 1]
        x = (
            model.decode(part, *given)
            if hasattr(model, "decode")
            else (model(part, *given).float() + 1) / 2
        )
        images.append((x.cpu() * 255).round().clamp(0, 255).byte())
    model.train(was_training)
    return torch.cat(images)


@torch.inference_mode()
def styles(
    vae: ConditionalVAE,
    images: Tensor,
    labels: Tensor,
    seed: int | None = None,
    batch_size: int = 1000,
) -> Tensor:
    """μ of q_φ(z|x, y) or, with a seed, one draw of it each: what is left of an image once its
    label is known.

    uint8 images (N, 1, 28, 28), labels (N,) → float32 (N, J) on the CPU.
    """
    device, codes = next(vae.parameters()).device, []
    noise = None if seed is None else torch.Generator().manual_seed(seed)
    for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        mu, log_var = vae.encode(x.to(device).float() / 255, y.to(device))
        codes.append((mu if noise is None else reparameterize(mu, log_var, noise)).cpu())
    return torch.cat(codes)
