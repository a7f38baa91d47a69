"""The second stage of a VAE: a density of its codes (Dai & Wipf 2019, arXiv:1903.05789).

The codes of a trained VAE follow the aggregate posterior q(z) = E_x[q(z|x)], not quite the prior
N(0, I). A mixture of Gaussians is fitted to them, and codes are drawn from it.
"""

import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily, MultivariateNormal

from labkit.models.images import draw


class TwoStage:
    """A trained VAE or VAE-GAN that draws its codes from a density of q(z) in place of the prior.

    Raises ValueError if the density has another number of dimensions than the codes.
    """

    def __init__(self, model: nn.Module, density: Distribution):
        if density.event_shape != (model.latent_dim,):
            raise ValueError(
                f"the model's codes have {model.latent_dim} dimensions, the density has "
                f"{tuple(density.event_shape)}; fit it to the codes of this model"
            )
        self.model, self.density = model, density

    def draw(self, n: int, seed: int) -> Tensor:
        """n images uint8 (n, C, H, W) of codes drawn from the density."""
        return draw(self.model, sample_codes(self.density, n, seed))


def sample_codes(density: Distribution, n: int, seed: int) -> Tensor:
    """n codes (n, J) of a density; leaves torch's global generator alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return density.sample((n,))


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
