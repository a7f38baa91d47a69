"""Lab 03: the parts of a VAE (Kingma & Welling 2014), one training step, and the grid of codes."""

import copy
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.exercises.core import Exercise, Function, Observation
from labkit.models import vae as V

# ── reparameterize(mu, log_var) → z (N, J) ──

MU, LOG_VAR = torch.tensor([3.0, -1.0, 0.5]), torch.tensor([-2.4, 0.8, 1.6])
DRAWS = 20_000


def _look_at_draws(f: Function) -> Observation:
    """Statistics of many draws, rounded so that every right way to draw looks the same."""
    mu, log_var = (part.repeat(DRAWS, 1).requires_grad_() for part in (MU, LOG_VAR))
    z, again, sigma = f(mu, log_var), f(mu, log_var), (0.5 * LOG_VAR).exp()
    seen: Observation = {"z": tuple(z.shape) if isinstance(z, Tensor) else type(z).__name__}
    if seen["z"] != tuple(mu.shape):
        return seen
    away = (z - mu).detach()
    if (z[0] - mu[0]).allclose(z[1] - mu[1]) and (away.std(0) < 1e-5).any():
        drawn = bool((away.abs() > 1e-5).any())
        return seen | {"each image has noise of its own": False, "z differs from μ": drawn}
    ratio, e = away.std(0) / sigma, (away - away.mean(0)) / away.std(0)
    beyond = (e.abs() > 2).double().mean().item()  # 4.55 % of a normal
    seen |= {
        "each image has noise of its own": True,
        "the mean of (z − μ) / σ": ((away.mean(0) / sigma) / 0.25).round() * 0.25 + 0.0,
        "the standard deviation of z, divided by σ": ((ratio.log() / 0.2).round() * 0.2).exp(),
        "the noise has the tails of a normal": abs(beyond - 0.0455) < 0.01,
        "the dimensions have noise of their own": bool(torch.corrcoef(e.T)[0, 1].abs() < 0.5),
        "the next call draws other noise": not torch.equal(z, again),
    }
    gradients = [torch.zeros_like(mu)] * 2
    if z.requires_grad:
        found = torch.autograd.grad(z.sum(), (mu, log_var), allow_unused=True)
        pairs = zip(found, gradients, strict=True)
        gradients = [zero if g is None else g for g, zero in pairs]
    half = away / 2  # ∂z/∂log σ² = ½ σ ε
    seen["∂z/∂μ"] = gradients[0].mean(0)
    seen["∂z/∂log σ², divided by ½ (z − μ)"] = (gradients[1] * half).sum(0) / half.square().sum(0)
    return seen


def _sigma(log_var: Tensor) -> Tensor:
    return (0.5 * log_var).exp()


def _reparameterize(
    mu: Tensor, log_var: Tensor, *, scale=_sigma, noise=torch.randn_like, centre=torch.clone
) -> Tensor:
    return centre(mu) + scale(log_var) * noise(mu)


reparameterize = Exercise(
    "reparameterize",
    _reparameterize,
    observe=_look_at_draws,
    points=2,
    right="Every code of your VAE is drawn by it. Notice that ε depends on nothing that is learned,"
    " so the gradient goes around it to μ and to log σ².",
    hints=(
        "Draw noise of the shape of μ first, from a standard normal that knows nothing of the"
        " network. Then shift and stretch it.",
        "You are given log σ². Half of it is log σ, and exp undoes the logarithm.",
        "In one line: z = μ + σ ⊙ ε; torch.randn_like(mu) draws ε.",
    ),
)


def variance(log_var: Tensor) -> Tensor:
    return log_var.exp()


def log_variance(log_var: Tensor) -> Tensor:
    return log_var


def inverse(log_var: Tensor) -> Tensor:
    return (-0.5 * log_var).exp()


def one(log_var: Tensor) -> Tensor:
    return torch.ones_like(log_var)


def detached_sigma(log_var: Tensor) -> Tensor:
    return (0.5 * log_var).exp().detach()


def uniform(mu: Tensor) -> Tensor:
    return torch.rand_like(mu)


def uniform_around_0(mu: Tensor) -> Tensor:
    return 2 * torch.rand_like(mu) - 1


def one_row(mu: Tensor) -> Tensor:
    return torch.randn(mu.shape[1:]).expand_as(mu)


def one_number_per_image(mu: Tensor) -> Tensor:
    return torch.randn(len(mu), 1).expand_as(mu)


def always_the_same(mu: Tensor) -> Tensor:
    return torch.randn(mu.shape, generator=torch.Generator().manual_seed(0))


for function, sentence in (
    (
        variance,
        "The noise is multiplied by σ², because exp(log σ²) is the variance. The noise must have"
        " the standard deviation σ.",
    ),
    (
        log_variance,
        "The noise is multiplied by log σ² itself. That number may be negative, and it is not a"
        " width: the logarithm has to be undone.",
    ),
    (
        inverse,
        "The noise is divided by σ and not multiplied: where the encoder is sure, your noise is"
        " large.",
    ),
    (
        one,
        "The noise has the same width for every image: σ does not enter, so log σ² is never"
        " learned.",
    ),
    (
        detached_sigma,
        "No gradient reaches log σ²: σ was cut off from the graph (detach, .data, no_grad), so the"
        " encoder cannot learn how sure to be.",
    ),
):
    reparameterize.mistake(sentence, scale=function)

for function, sentence in (
    (
        uniform,
        "The noise is uniform between 0 and 1: it pushes every code to one side, and q(z|x) is not"
        " the normal that the KL is computed for.",
    ),
    (
        uniform_around_0,
        "The noise is uniform and not normal: it has no tails, and its standard deviation is not"
        " 1.",
    ),
    (
        one_row,
        "All images of a batch share one ε. The average over a batch then no longer averages the"
        " noise.",
    ),
    (
        one_number_per_image,
        "Each image has one ε for all its dimensions, so its codes lie on a line through μ."
        " Every entry needs an ε of its own.",
    ),
    (
        always_the_same,
        "Each call draws the same noise: something seeds the generator inside of your function.",
    ),
):
    reparameterize.mistake(sentence, noise=function)

reparameterize.mistake(
    "The mean μ is missing: every image gets a code around 0, so the code says nothing of the"
    " image.",
    centre=torch.zeros_like,
)
reparameterize.mistake(
    "No gradient reaches μ: it was cut off from the graph, so the encoder cannot move its codes.",
    centre=torch.detach,
)


@reparameterize.wrong(
    "A code z is drawn, but no gradient reaches μ or log σ²: torch.normal(μ, σ), .sample() and"
    " detach end the graph. Draw noise that does not depend on them, and compute z from it."
)
def drawn_directly(mu: Tensor, log_var: Tensor) -> Tensor:
    return torch.normal(mu, (0.5 * log_var).exp()).detach()


@reparameterize.wrong(
    "There is no noise in z: it is μ. The decoder then never sees how unsure the encoder is, and"
    " σ is free."
)
def no_noise(mu: Tensor, log_var: Tensor) -> Tensor:
    return mu + 0 * log_var


@reparameterize.wrong(
    "Here μ and log σ² have changed places: your codes lie around log σ², and the width of the"
    " noise is exp(½ μ)."
)
def mean_and_variance_swapped(mu: Tensor, log_var: Tensor) -> Tensor:
    return _reparameterize(log_var, mu)


@reparameterize.also_right
def by_distribution(mu: Tensor, log_var: Tensor) -> Tensor:
    return torch.distributions.Normal(mu, log_var.div(2).exp()).rsample()


@reparameterize.also_right
def by_box_and_muller(mu: Tensor, log_var: Tensor) -> Tensor:
    radius = (-2 * (1 - torch.rand_like(mu)).log()).sqrt()
    angle = 2 * torch.pi * torch.rand_like(mu)
    return log_var.exp().sqrt() * (radius * angle.cos()) + mu


# ── kl_divergence(mu, log_var) → (N,) ──


def sum_over_dimensions(terms: Tensor) -> Tensor:
    return terms.sum(1)


def _same(values: Tensor) -> Tensor:
    return values


def _kl_divergence(
    mu: Tensor,
    log_var: Tensor,
    *,
    reduce=sum_over_dimensions,
    one=1.0,
    half=0.5,
    sign=1,
    of_variance=torch.exp,
    of_logarithm=_same,
    of_mean=torch.square,
) -> Tensor:
    terms = of_mean(mu) + of_variance(log_var) - one - of_logarithm(log_var)
    return sign * reduce(half * terms)


kl_divergence = Exercise(
    "kl_divergence",
    _kl_divergence,
    probes=[
        lambda g: (
            torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]]),
            torch.tensor([[0.0, 1.0, -2.0], [-1.0, 0.5, 2.0]]),
        ),
        lambda g: (2 * torch.randn(5, 7, generator=g), 1.5 * torch.randn(5, 7, generator=g)),
    ],
    points=3,
    right="It is the price of a code in nats, one number per image. Notice that it is 0 only for"
    " μ = 0 and σ = 1 in every dimension.",
    hints=(
        "Compute the four parts of the formula for each dimension, (N, J). What is left to do is a"
        " sum over the dimensions.",
        "The variance σ² is log_var.exp(), and log σ² is log_var as it is.",
        "Each dimension costs ½ (μ² + σ² − 1 − log σ²), then .sum(1): the images of a batch stay"
        " apart.",
    ),
)


def mean_over_dimensions(terms: Tensor) -> Tensor:
    return terms.mean(1)


def sum_over_all(terms: Tensor) -> Tensor:
    return terms.sum()


def mean_over_images(terms: Tensor) -> Tensor:
    return terms.sum(1).mean()


def mean_over_all(terms: Tensor) -> Tensor:
    return terms.mean()


def sum_over_images(terms: Tensor) -> Tensor:
    return terms.sum(0)


for function, sentence in (
    (
        mean_over_dimensions,
        "The KL is averaged over the latent dimensions. Independent dimensions add up: with an"
        " average, J dimensions would cost no more than one.",
    ),
    (
        sum_over_all,
        "You summed over the batch, too: one number comes back where each image should have its"
        " own.",
    ),
    (
        mean_over_images,
        "The KL is right for each image, but it is averaged over the batch. Return one number"
        " per image; the step averages later.",
    ),
    (
        mean_over_all,
        "The KL is averaged over images and dimensions. Sum over the dimensions, and keep the"
        " images apart.",
    ),
    (sum_over_images, "You summed over the images (dim 0) and not over the dimensions (dim 1)."),
    (_same, "The sum over the dimensions is missing: the result should have the shape (N,)."),
):
    kl_divergence.mistake(sentence, reduce=function)

kl_divergence.mistake(
    "The sign is wrong. A KL is never negative; training would now push the codes away from the"
    " prior.",
    sign=-1,
)
kl_divergence.mistake(
    "The factor ½ is missing: your KL is twice as large as it should be.", half=1.0
)
kl_divergence.mistake(
    "The −1 is missing. For μ = 0 and σ = 1 the KL must be 0, and yours is ½ per dimension.",
    one=0.0,
)
kl_divergence.mistake(
    "Here σ stands where σ² should: exp(½ log σ²) is the standard deviation. The lowest point is"
    " then no longer at σ = 1.",
    of_variance=_sigma,
)
kl_divergence.mistake(
    "Here σ⁴ stands where σ² should: exp(2 log σ²). The input is log σ² and not log σ.",
    of_variance=lambda log_var: (2 * log_var).exp(),
)
kl_divergence.mistake(
    "Here log σ² itself stands where σ² should. The logarithm has to be undone there.",
    of_variance=torch.clone,
)
kl_divergence.mistake(
    "Here log σ stands where log σ² should: the input is log σ² already and needs no ½ of its own.",
    of_logarithm=lambda log_var: 0.5 * log_var,
)
kl_divergence.mistake(
    "The logarithm is taken twice: log_var is log σ² already.", of_logarithm=torch.log
)
kl_divergence.mistake(
    "The term log σ² has the wrong sign: a σ near 0 would then be rewarded, and the noise would"
    " vanish.",
    of_logarithm=torch.neg,
)
kl_divergence.mistake(
    "The mean μ is not squared: a mean at −2 should cost as much as one at +2.", of_mean=_same
)
kl_divergence.mistake("The μ² part is missing: codes may lie anywhere.", of_mean=torch.zeros_like)


@kl_divergence.wrong(
    "This is the KL the other way round, from the prior to q. The expectation is over q: draws are"
    " made by the encoder."
)
def the_other_way_round(mu: Tensor, log_var: Tensor) -> Tensor:
    return 0.5 * ((1 + mu**2) / log_var.exp() - 1 + log_var).sum(1)


@kl_divergence.wrong(
    "Here μ and log σ² have changed places: log σ² is squared, and μ goes through exp."
)
def arguments_swapped(mu: Tensor, log_var: Tensor) -> Tensor:
    return _kl_divergence(log_var, mu)


@kl_divergence.also_right
def by_torch(mu: Tensor, log_var: Tensor) -> Tensor:
    q = torch.distributions.Normal(mu, (0.5 * log_var).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    return torch.distributions.kl_divergence(q, prior).sum(dim=-1)


@kl_divergence.also_right
def dimension_by_dimension(mu: Tensor, log_var: Tensor) -> Tensor:
    total = torch.zeros(len(mu))
    for m, v in zip(mu.unbind(1), log_var.unbind(1), strict=True):
        total = total - 0.5 * (1 + v - m * m - v.exp())
    return total


# ── negative_elbo(logits, x, mu, log_var, beta=1.0) → (N,) ──


def bernoulli(logits: Tensor, x: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none")


def _sum(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1)


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1)


def _negative_elbo(
    logits: Tensor,
    x: Tensor,
    mu: Tensor,
    log_var: Tensor,
    beta: float = 1.0,
    *,
    likelihood=bernoulli,
    pixels=_sum,
    dimensions=_sum,
    weigh=lambda reconstruction, kl, beta: reconstruction + beta * kl,
) -> Tensor:
    reconstruction = pixels(likelihood(logits, x))
    kl = dimensions(0.5 * (mu**2 + log_var.exp() - 1 - log_var))
    return weigh(reconstruction, kl, beta)


negative_elbo = Exercise(
    "negative_elbo",
    _negative_elbo,
    probes=[
        lambda g: (
            torch.tensor([0.0, 2.0, -1.0, 4.0, -3.0, 0.5]).view(2, 1, 1, 3),
            torch.tensor([0.0, 1.0, 0.5, 0.0, 0.25, 1.0]).view(2, 1, 1, 3),
            torch.tensor([[1.0, -2.0], [0.0, 0.5]]),
            torch.tensor([[0.0, -1.0], [1.0, -2.0]]),
            1.0,
        ),
        lambda g: (
            torch.randn(3, 1, 5, 7, generator=g) * torch.tensor([1, 10, 200]).view(3, 1, 1, 1),
            torch.rand(3, 1, 5, 7, generator=g),
            torch.randn(3, 2, generator=g),
            torch.randn(3, 2, generator=g) - 1,
            2.5,
        ),
    ],
    points=3,
    right="It is the loss that trains your VAE: the nats to describe an image given its code, plus"
    " those for the code itself. Notice that both terms are sums, one over pixels and one over"
    " dimensions.",
    hints=(
        "Two numbers per image: the reconstruction term from logits and x, and the KL from μ and"
        " log σ². You have a function for the second.",
        "One number per pixel: F.binary_cross_entropy_with_logits(logits, x, reduction='none')."
        " Flatten all but the batch and sum.",
        "It ends so: ….flatten(1).sum(1) + beta * kl_divergence(mu, log_var): shape (N,).",
    ),
)


def sigmoid_twice(logits: Tensor, x: Tensor) -> Tensor:
    return bernoulli(logits.sigmoid(), x)


def clamped(logits: Tensor, x: Tensor) -> Tensor:
    return F.binary_cross_entropy(logits.sigmoid(), x, reduction="none")


def written_out(logits: Tensor, x: Tensor) -> Tensor:
    y = logits.sigmoid()
    return -(x * y.log() + (1 - x) * (1 - y).log())


def with_a_small_number(logits: Tensor, x: Tensor) -> Tensor:
    y = logits.sigmoid()
    return -(x * (y + 1e-8).log() + (1 - x) * (1 - y + 1e-8).log())


def squared_error(logits: Tensor, x: Tensor) -> Tensor:
    return (logits.sigmoid() - x).square()


def only_ink(logits: Tensor, x: Tensor) -> Tensor:
    return -x * F.logsigmoid(logits)


def swapped(logits: Tensor, x: Tensor) -> Tensor:
    return bernoulli(x, logits)


for function, sentence in (
    (
        sigmoid_twice,
        "A sigmoid is applied twice: the function with `with_logits` has one inside. Your pixels"
        " can then only be between 0.50 and 0.73.",
    ),
    (
        clamped,
        "Probabilities instead of logits: for a large logit the sigmoid is exactly 0 or 1, and"
        " torch cuts the loss off at 100 per pixel. The gradient is lost there.",
    ),
    (
        written_out,
        "Here log(σ(logit)) is −∞ for a large negative logit. Use the form that takes logits: it"
        " never computes the probability.",
    ),
    (
        with_a_small_number,
        "A small number inside of the logarithm hides the overflow, but it caps the loss and its"
        " gradient. Use the form that takes logits.",
    ),
    (
        squared_error,
        "This is a squared error. −log p(x|z) of a Bernoulli pixel is a cross-entropy, and only"
        " that is in nats like the KL.",
    ),
    (
        only_ink,
        "Only the term x log y is there. Without (1 − x) log(1 − y) a white page is always right.",
    ),
    (
        swapped,
        "The arguments logits and x have changed places: the first argument is what the network"
        " says.",
    ),
):
    negative_elbo.mistake(sentence, likelihood=function)


def mean_of_everything(values: Tensor) -> Tensor:
    return values.mean()


def sum_of_everything(values: Tensor) -> Tensor:
    return values.sum()


def sum_over_images_too(values: Tensor) -> Tensor:
    return values.sum() / len(values)


def mean_times_784(values: Tensor) -> Tensor:
    return 784 * _mean(values)


def mean_of_everything_times_784(values: Tensor) -> Tensor:
    return 784 * values.mean()


for function, sentence in (
    (
        _mean,
        "The reconstruction is a mean over pixels beside a summed KL: the KL then weighs as much"
        " more as there are pixels, 784 times for a digit.",
    ),
    (
        mean_of_everything,
        "The reconstruction is one mean over all pixels of all images: that is what the function"
        " returns without a `reduction`. Beside it the KL weighs 784 times too much for a digit,"
        " and training gives the code up. Sum over the pixels of each image.",
    ),
    (
        sum_of_everything,
        "The reconstruction is summed over the batch, too (reduction='sum'): the loss of each image"
        " then holds the pixels of all. Sum over the pixels and keep the images apart.",
    ),
    (
        sum_over_images_too,
        "The reconstruction is summed over pixels, which is right, but averaged over the batch:"
        " all images get the same one. Keep the images apart; the step averages later.",
    ),
    (
        mean_times_784,
        "A mean over pixels times 784 is the sum only if there are 784 pixels, and the check's"
        " images have 3 and 35. A sum over the pixels is right for every size.",
    ),
    (
        mean_of_everything_times_784,
        "A mean over the whole batch times 784: all images get the same reconstruction, and its"
        " unit is right for 784 pixels only. Sum over the pixels of each image.",
    ),
):
    negative_elbo.mistake(sentence, pixels=function)
negative_elbo.mistake(
    "The KL is averaged over the dimensions. Both terms are sums, or they are not in nats.",
    dimensions=_mean,
)
negative_elbo.mistake(
    "The KL is subtracted from the loss. −ELBO = reconstruction + KL: as a loss it must push the"
    " codes towards the prior.",
    weigh=lambda reconstruction, kl, beta: reconstruction - beta * kl,
)
negative_elbo.mistake(
    "The reconstruction has a minus too many: a cross-entropy is −log p(x|z) already. Training"
    " would make the images as improbable as it can.",
    weigh=lambda reconstruction, kl, beta: beta * kl - reconstruction,
)
negative_elbo.mistake(
    "This is the ELBO, and minimising it would make the model worse. Return −ELBO.",
    weigh=lambda reconstruction, kl, beta: -(reconstruction + beta * kl),
)
negative_elbo.mistake(
    "Your unit is bits (logarithms to base 2); nats use the natural logarithm.",
    weigh=lambda reconstruction, kl, beta: (reconstruction + beta * kl) / math.log(2),
)
negative_elbo.mistake(
    "One number for the batch (a mean) comes back. Return one per image; the step averages later.",
    weigh=lambda reconstruction, kl, beta: (reconstruction + beta * kl).mean(),
)
negative_elbo.mistake(
    "One number for the batch (a sum) comes back: it would grow with the batch. Return one"
    " per image.",
    weigh=lambda reconstruction, kl, beta: (reconstruction + beta * kl).sum(),
)


def without_kl(reconstruction: Tensor, kl: Tensor, beta: float) -> Tensor:
    return reconstruction


def without_reconstruction(reconstruction: Tensor, kl: Tensor, beta: float) -> Tensor:
    return beta * kl


def without_beta(reconstruction: Tensor, kl: Tensor, beta: float) -> Tensor:
    return reconstruction + kl


def beta_at_the_reconstruction(reconstruction: Tensor, kl: Tensor, beta: float) -> Tensor:
    return beta * reconstruction + kl


def beta_at_both(reconstruction: Tensor, kl: Tensor, beta: float) -> Tensor:
    return beta * (reconstruction + kl)


for function, sentence in (
    (
        without_kl,
        "The KL is missing: this is an autoencoder. Nothing keeps the codes where the prior draws.",
    ),
    (without_reconstruction, "The reconstruction term is missing: the images play no part."),
    (without_beta, "The argument beta is not used; the KL is to be multiplied by it."),
    (
        beta_at_the_reconstruction,
        "Your beta multiplies the reconstruction; it is the weight of the KL.",
    ),
    (
        beta_at_both,
        "Your beta multiplies both terms, which only scales the loss; it belongs to the KL.",
    ),
):
    negative_elbo.mistake(sentence, weigh=function)


@negative_elbo.wrong("Here μ and log σ² have changed places in the KL.")
def swapped_in_the_kl(
    logits: Tensor, x: Tensor, mu: Tensor, log_var: Tensor, beta: float = 1
) -> Tensor:
    return _negative_elbo(logits, x, log_var, mu, beta)


@negative_elbo.also_right
def by_softplus(logits: Tensor, x: Tensor, mu: Tensor, log_var: Tensor, beta: float = 1) -> Tensor:
    reconstruction = (F.softplus(logits) - x * logits).sum(dim=(1, 2, 3))
    return reconstruction - beta * 0.5 * (1 + log_var - mu.pow(2) - log_var.exp()).sum(-1)


@negative_elbo.also_right
def mean_times_pixels(
    logits: Tensor, x: Tensor, mu: Tensor, log_var: Tensor, beta: float = 1
) -> Tensor:
    pixels = x[0].numel()
    parts = [F.binary_cross_entropy_with_logits(a, b) for a, b in zip(logits, x, strict=True)]
    return pixels * torch.stack(parts) + beta * V.kl_divergence(mu, log_var)


# ── vae_step(vae, optimizer, x, loss) → a number ──


def _tiny(log_var: float) -> tuple[V.VAE, torch.optim.Optimizer, Tensor]:
    """A VAE of one layer each, for images of six pixels; the encoder says about this log σ²."""
    draw = torch.Generator().manual_seed(7)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
    vae = V.VAE(encoder, nn.Sequential(nn.Linear(2, 6), nn.Unflatten(1, (1, 2, 3))), 2)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
        encoder[1].bias[2:] = log_var
    x = torch.rand(5, 1, 2, 3, generator=draw)
    return vae, torch.optim.SGD(vae.parameters(), lr=0.05), x


def _beta_3(logits: Tensor, x: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    return _negative_elbo(logits, x, mu, log_var, beta=3.0)


def _look_at_steps(f: Function) -> Observation:
    """Two steps where σ is too small for the noise to matter, and two where it is not."""
    vae, optimizer, x = _tiny(log_var=-40.0)
    began, losses, calls = copy.deepcopy(vae.state_dict()), [], {"backward": 0, "step": 0}

    def count(what: str, then: Any = None) -> Any:
        calls[what] += 1
        return then

    vae.decoder[0].bias.register_hook(lambda g: count("backward"))
    plain_step = optimizer.step
    optimizer.step = lambda *a, **k: count("step", plain_step(*a, **k))  # type: ignore
    changes: Observation = {}
    for k in ("first", "second"):
        try:
            losses.append(f(vae, optimizer, x, _beta_3))
        except RuntimeError as error:
            if "grad can be implicitly created only" in str(error):
                return {"backward is called on": "more than one number"}
            raise
        for name, value in vae.state_dict().items():
            changes[f"the change of {name} by the {k} step"] = value - began[name]
        began = copy.deepcopy(vae.state_dict())
    drawn = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        drawn.append(_number(f(*_tiny(log_var=1.0), _beta_3)))
    seen: Observation = {
        "the loss returned by the first step": _number(losses[0]),
        "what is returned holds the graph": any(getattr(v, "requires_grad", 0) for v in losses),
        "the number of calls of backward": calls["backward"],
        "the number of calls of optimizer.step": calls["step"],
        "the decoder is given a draw": drawn[0] != drawn[1],
        "the loss returned by the second step": _number(losses[1]),
    }
    return seen | changes


def _number(value: Any) -> Any:
    """A returned loss as a number, if it is one; else the kind of thing that it is."""
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else f"a tensor of shape {tuple(value.shape)}"
    return value if value is None or isinstance(value, float | int) else type(value).__name__


def _logits(vae: V.VAE, z: Tensor) -> Tensor:
    return vae.decoder(z)


def _call(loss: Function, logits: Tensor, x: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    return loss(logits, x, mu, log_var)


def _all(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _vae_step(
    vae: V.VAE,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    loss: Function,
    *,
    code=V.reparameterize,
    decode=_logits,
    call=_call,
    average=torch.mean,
    update=_all,
) -> float:
    mu, log_var = vae.encode(x)
    value = average(call(loss, decode(vae, code(mu, log_var)), x, mu, log_var))
    update(optimizer, value)
    return value.item()


vae_step = Exercise(
    "vae_step",
    _vae_step,
    observe=_look_at_steps,
    points=4,
    right="Every step of the training below is yours. Notice how short it is: encode, draw, decode,"
    " loss, and the three lines that every training has.",
    hints=(
        "Follow the diagram from left to right: vae.encode(x), reparameterize, vae.decoder(z).",
        "The function loss(logits, x, mu, log_var) returns one number per image; their mean is what"
        " is differentiated.",
        "Then the gradients are cleared, computed, and used: zero_grad, backward, step. Return"
        " value.item().",
    ),
)


def mean_as_code(mu: Tensor, log_var: Tensor) -> Tensor:
    return mu


def drawn_with_arguments_swapped(mu: Tensor, log_var: Tensor) -> Tensor:
    return V.reparameterize(log_var, mu)


def images_swapped(
    loss: Function, logits: Tensor, x: Tensor, mu: Tensor, log_var: Tensor
) -> Tensor:
    return loss(x, logits, mu, log_var)


def codes_swapped(loss: Function, logits: Tensor, x: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    return loss(logits, x, log_var, mu)


def cut_off(mu: Tensor, log_var: Tensor) -> Tensor:
    return V.reparameterize(mu, log_var).detach()


def probabilities(vae: V.VAE, z: Tensor) -> Tensor:
    return vae.decode(z)


def no_zero_grad(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    loss.backward()
    optimizer.step()


def late_zero_grad(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()


def no_step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()


def no_backward(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    optimizer.step()


def uphill(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    _all(optimizer, -loss)


vae_step.mistake(
    "The decoder is given μ and not a draw z. Then it is an autoencoder: nothing fills the space"
    " between the codes.",
    code=mean_as_code,
)
vae_step.mistake(
    "The code z was cut off from the graph, so the encoder learns from the KL alone and never"
    " hears how well its codes were decoded.",
    code=cut_off,
)
vae_step.mistake(
    "The loss is given probabilities where it takes logits, so a sigmoid is applied twice. Pass"
    " on what vae.decoder(z) returns, as it is; vae.decode(z) is its sigmoid.",
    decode=probabilities,
)
vae_step.mistake(
    "The draw takes μ first and then log σ²; you gave them the other way round.",
    code=drawn_with_arguments_swapped,
)
vae_step.mistake(
    "The loss takes logits first and then the images; you gave them the other way round.",
    call=images_swapped,
)
vae_step.mistake(
    "The loss takes μ and then log σ², after logits and images; you gave the two the other way"
    " round, so the KL belongs to another normal.",
    call=codes_swapped,
)
vae_step.mistake(
    "The mean over the batch is missing: loss(…) returns one number per image, and backward needs a"
    " single one.",
    average=torch.clone,
)
vae_step.mistake(
    "The loss is summed over the batch. The step then grows with the batch; take the mean.",
    average=torch.sum,
)
for function, sentence in (
    (
        no_zero_grad,
        "The gradients are never cleared: the second step uses the sum of both. Call"
        " optimizer.zero_grad() before backward.",
    ),
    (
        late_zero_grad,
        "The gradients are cleared after backward and before the step, so nothing is left to use.",
    ),
    (no_step, "The call optimizer.step() is missing: the gradients are computed and never used."),
    (
        no_backward,
        "The call of backward() is missing: there are no gradients, and the weights do not move.",
    ),
    (uphill, "The step goes uphill: −loss was differentiated. The loss is −ELBO already."),
):
    vae_step.mistake(sentence, update=function)


@vae_step.wrong("The encoder returns μ first and then log σ²; you have them the other way round.")
def log_var_first(vae: V.VAE, optimizer: torch.optim.Optimizer, x: Tensor, loss: Function) -> float:
    log_var, mu = vae.encode(x)
    value = loss(vae.decoder(V.reparameterize(mu, log_var)), x, mu, log_var).mean()
    _all(optimizer, value)
    return value.item()


@vae_step.wrong(
    "What you return still holds the graph, so a list of such losses fills the memory. Return a"
    " number: .item()."
)
def with_its_graph(
    vae: V.VAE, optimizer: torch.optim.Optimizer, x: Tensor, loss: Function
) -> Tensor:
    mu, log_var = vae.encode(x)
    value = loss(vae.decoder(V.reparameterize(mu, log_var)), x, mu, log_var).mean()
    _all(optimizer, value)
    return value


@vae_step.wrong(
    "You return a loss that was computed anew after the step. Return the one that was"
    " differentiated: it needs no second pass, and it is the loss of the weights that the step"
    " began with."
)
def after_the_step(
    vae: V.VAE, optimizer: torch.optim.Optimizer, x: Tensor, loss: Function
) -> float:
    _vae_step(vae, optimizer, x, loss)
    with torch.no_grad():
        mu, log_var = vae.encode(x)
        return loss(vae.decoder(V.reparameterize(mu, log_var)), x, mu, log_var).mean().item()


@vae_step.wrong("The argument `loss` is not used: the lab calls your step with other losses, too.")
def own_loss(vae: V.VAE, optimizer: torch.optim.Optimizer, x: Tensor, loss: Function) -> float:
    return _vae_step(vae, optimizer, x, _negative_elbo)


@vae_step.also_right
def cleared_at_the_end(
    vae: V.VAE, optimizer: torch.optim.Optimizer, x: Tensor, loss: Function
) -> Tensor:
    mu, log_var = vae.encode(x)
    z = torch.distributions.Normal(mu, (0.5 * log_var).exp()).rsample()
    value = sum(loss(vae.decoder(z), x, mu, log_var)) / len(x)
    value.backward()
    optimizer.step()
    for parameter in vae.parameters():
        parameter.grad = None
    return value.detach()


# ── quantile_grid(n) → (n·n, 2) ──


def _centres(n: int) -> Tensor:
    return (torch.arange(n) + 0.5) / n


def _rows(q: Tensor) -> Tensor:
    second, first = torch.meshgrid(q.flip(0), q, indexing="ij")
    return torch.stack([first, second], -1).flatten(0, 1)


def _look_at_grids(f: Function) -> Observation:
    """The grids for two n; of a list only that it is one, whatever is in it."""
    grids = {f"the grid for n = {n}": f(n) for n in (2, 5)}
    if any(isinstance(grid, list | tuple) for grid in grids.values()):
        return {"a tensor is returned": False}
    return {
        name: grid.detach().clone() if isinstance(grid, Tensor) else _kind_of(grid)
        for name, grid in grids.items()
    }


def _kind_of(value: Any) -> Any:
    """A NumPy array in words; None and numbers as they are; else the kind of thing that it is."""
    if isinstance(value, np.ndarray):
        return f"a NumPy array of shape {value.shape}, not a tensor"
    return _number(value)


def _quantile_grid(n: int, *, shares=_centres, inverse=torch.special.ndtri, order=_rows) -> Tensor:
    return order(inverse(shares(n)))


quantile_grid = Exercise(
    "quantile_grid",
    _quantile_grid,
    observe=_look_at_grids,
    points=2,
    right="Your grid decodes the plane: each picture stands for an equal share of the prior's"
    " draws. Notice that its points are dense near 0 and wide apart outside.",
    hints=(
        "First the shares: cut the numbers from 0 to 1 into n equal parts and take the middle of"
        " each. 0 and 1 themselves are never among them.",
        "A function for it: torch.special.ndtri(share) is the value below which that share of a"
        " standard normal lies.",
        "For the order: rows from the top, so z₂ falls from row to row, and z₁ grows along a row."
        " torch.meshgrid(q.flip(0), q, indexing='ij') has z₂ first and z₁ second.",
    ),
)


def with_both_ends(n: int) -> Tensor:
    return torch.linspace(0, 1, n)


def left_ends(n: int) -> Tensor:
    return torch.arange(n) / n


def between(n: int) -> Tensor:
    return torch.arange(1, n + 1) / (n + 1)


def from_5_percent(n: int) -> Tensor:
    return torch.linspace(0.05, 0.95, n)


for function, sentence in (
    (
        with_both_ends,
        "Both 0 and 1 are among your shares, and their quantiles are −∞ and +∞: the border of the"
        " grid decodes to nonsense.",
    ),
    (
        left_ends,
        "You took the left end of each share: the first is 0, and its quantile is −∞. Take the"
        " middle.",
    ),
    (
        between,
        "Your shares are k / (n + 1): the two outer parts are then wider than the others. Take the"
        " middles of n equal parts.",
    ),
    (
        from_5_percent,
        "Your shares run from 5 % to 95 %, whatever n is: a tenth of the draws in each direction is"
        " never shown. Take the middles of n equal parts.",
    ),
):
    quantile_grid.mistake(sentence, shares=function)


def equal_steps(shares: Tensor) -> Tensor:
    return torch.linspace(-3, 3, len(shares))


def smaller_steps(shares: Tensor) -> Tensor:
    return torch.linspace(-2, 2, len(shares))


def without_root_2(shares: Tensor) -> Tensor:
    return torch.erfinv(2 * shares - 1)


for function, sentence in (
    (
        equal_steps,
        "Equal steps from −3 to 3 give most of the picture to corners where the prior hardly ever"
        " draws. Use quantiles.",
    ),
    (smaller_steps, "Equal steps from −2 to 2 are not quantiles: equal shares are."),
    (
        torch.special.ndtr,
        "This is Φ, from values to shares. You need its inverse, from shares to values.",
    ),
    (_same, "These are the shares themselves, between 0 and 1. Their quantiles are missing."),
    (without_root_2, "The factor √2 is missing: Φ⁻¹(p) = √2 erfinv(2p − 1)."),
):
    quantile_grid.mistake(sentence, inverse=function)


def swapped_axes(q: Tensor) -> Tensor:
    return _rows(q).flip(1)


def upside_down(q: Tensor) -> Tensor:
    return torch.stack(torch.meshgrid(q, q, indexing="xy"), -1).flatten(0, 1)


def mirrored(q: Tensor) -> Tensor:
    return _rows(q) * torch.tensor([-1, 1])


def transposed(q: Tensor) -> Tensor:
    return torch.cartesian_prod(q, q)


def not_flat(q: Tensor) -> Tensor:
    return _rows(q).unflatten(0, (len(q), len(q)))


def diagonal(q: Tensor) -> Tensor:
    return torch.stack([q, q], 1)


for function, sentence in (
    (
        swapped_axes,
        "Your z₁ and z₂ have changed places: the first column is z₁, growing along a row.",
    ),
    (
        upside_down,
        "The picture is upside down: the first row is drawn at the top, where z₂ is largest.",
    ),
    (mirrored, "The picture is mirrored: z₁ grows from left to right."),
    (
        transposed,
        "In your grid z₂ runs along each row and z₁ from row to row. A picture has z₁ along the"
        " row, and z₂ falling from row to row.",
    ),
    (not_flat, "The points are right, but the shape is (n, n, 2); the decoder takes (n·n, 2)."),
    (diagonal, "These are n points on the diagonal: every z₁ has to meet every z₂."),
):
    quantile_grid.mistake(sentence, order=function)


@quantile_grid.wrong(
    "You return a list (or a tuple) and the decoder takes a tensor of shape (n·n, 2). Its values"
    " were not looked at: make a tensor of it and run the cell again."
)
def a_list(n: int) -> list:
    return _quantile_grid(n).tolist()


@quantile_grid.also_right
def by_loops(n: int) -> Tensor:
    q = [2**0.5 * torch.erfinv(torch.tensor((2 * k + 1) / n - 1)) for k in range(n)]
    return torch.tensor([[q[i], q[j]] for j in reversed(range(n)) for i in range(n)])


@quantile_grid.also_right
def by_distribution_icdf(n: int) -> Tensor:
    q = torch.distributions.Normal(0.0, 1.0).icdf((2 * torch.arange(n) + 1) / (2 * n))
    return torch.cartesian_prod(q.flip(0), q).flip(1)
