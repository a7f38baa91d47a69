"""Training the VAE-GAN (Larsen et al. 2016, algorithm 1), and the second stage of a VAE (Dai & Wipf
2019): densities of codes.
"""

import os
import warnings
from dataclasses import dataclass
from functools import partial

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from labkit.models.gan import Discriminator
from labkit.models.hybrid import VAEGAN, sample_codes
from labkit.models.images import encode
from labkit.training.gan import ADAM_WITHOUT_MOMENTUM, GANSettings, TrainedGAN, train_gan

GAME = GANSettings(
    epochs=1, lr_g=2e-3, lr_d=2e-3, optimizer=ADAM_WITHOUT_MOMENTUM, batch_size=32, r1=1, ema=0.998
)


@dataclass(frozen=True)
class VAEGANSettings:
    """How `train_vaegan` trains.

    game: of generator and discriminator. precision: λ, the price of a feature's error against the
    KL. gamma: γ, of the game against the features.
    """

    game: GANSettings = GAME
    precision: float = 0.1
    gamma: float = 30.0


def train_vaegan(
    model: VAEGAN,
    discriminator: Discriminator,
    images: Tensor,
    settings: VAEGANSettings,
    checkpoint: str | os.PathLike | None = None,
) -> TrainedGAN:
    """Train encoder, generator and discriminator on uint8 images (N, 1, 28, 28).

        L_D = E_x[−log D(x)] + E_z[−log(1 − D(G(z)))] + R1            z ~ N(0, I)
        L_E = KL + λ ½‖f(x) − f(G(z̃))‖²/s²                            z̃ ~ q(z|x)
        L_G = λ ½‖f(x) − f(G(z̃))‖²/s² + γ E_z[−log D(G(z))]

    Adam does not see the scale of a loss, so γ in L_G does what 1/γ does before the paper's
    features. The game is played with draws of the prior alone: no term of it reaches the encoder,
    as the paper demands, and one backward pass serves L_E and L_G. Returns and raises what
    `train_gan` does; its generator is the model.
    """

    objective = partial(_objective, model, discriminator, settings)
    return train_gan(
        model, discriminator, images, settings.game, objective=objective, checkpoint=checkpoint
    )


def _objective(
    model: VAEGAN,
    discriminator: Discriminator,
    settings: VAEGANSettings,
    x: Tensor,
    noise: torch.Generator,
    g_loss: Tensor,
) -> Tensor:
    feature_error, kl = (t.mean() for t in model.terms((x + 1) / 2, discriminator, noise))
    return settings.precision * feature_error + kl + settings.gamma * g_loss


def fit_mixture(z: Tensor, components: int = 50, seed: int = 0) -> MixtureSameFamily:
    """A Gaussian mixture with full covariances, fitted to codes z (N, J) by scikit-learn's EM.

    Raises ValueError for fewer than J + 1 codes a component: their covariance would be singular.
    """
    needed = components * (z.shape[1] + 1)
    if len(z) < needed:
        raise ValueError(
            f"{components} components in {z.shape[1]} dimensions need {needed} codes, got {len(z)}"
        )
    start = dict(init_params="k-means++", random_state=seed)
    mixture = GaussianMixture(components, reg_covar=1e-4, max_iter=30, tol=1e-2, **start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a little short of the optimum will do
        mixture.fit(z.double().numpy())
    weights, means, covariances = (
        torch.as_tensor(part) for part in (mixture.weights_, mixture.means_, mixture.covariances_)
    )
    scale_tril = torch.linalg.cholesky(covariances).float()
    parts = MultivariateNormal(means.float(), scale_tril=scale_tril)
    return MixtureSameFamily(Categorical(weights.float()), parts)


def class_densities(
    vae: nn.Module, images: Tensor, labels: Tensor, components: int = 20, seed: int = 0
) -> list[MixtureSameFamily]:
    """p(z|y) for y = 0, 1, …: a mixture fitted to draws of q(z|x, y) of each class's images.

    Sohn et al. 2015 learn such a prior with the rest; fitted afterwards it is a second stage, class
    by class. Raises ValueError for a class with too few images.
    """
    z = encode(vae, images, labels, seed)
    return [fit_mixture(z[labels == k], components, seed) for k in range(vae.classes)]


def sample_class_codes(densities: list[MixtureSameFamily], y: Tensor, seed: int) -> Tensor:
    """A code (N, J) of p(z|y) for each label (N,)."""
    z = torch.empty(len(y), *densities[0].event_shape)
    for k in y.unique().tolist():
        z[y == k] = sample_codes(densities[k], int((y == k).sum()), seed + 1000 * k)
    return z
