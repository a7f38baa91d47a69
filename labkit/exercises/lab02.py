"""Exercises of lab 02: the losses of a GAN, its step, a penalty on D, and a way between codes."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD

from labkit.exercises.core import Exercise
from labkit.training.gan import Players


def _same(x: Any) -> Any:
    return x


# The best discriminator


def _best_discriminator(p_real, p_generated, *, top="real", below="sum"):
    wanted = {"real": p_real, "generated": p_generated}[top]
    return wanted / {"sum": p_real + p_generated, "mean": (p_real + p_generated) / 2}[below]


def _densities(n):
    return lambda g: (torch.rand(n, generator=g) + 0.05, 2 * torch.rand(n, generator=g) + 0.05)


best_discriminator = Exercise(
    "best_discriminator",
    _best_discriminator,
    probes=[_densities(3), _densities(7)],
    right="It is ½ wherever both densities are equal, and then no discriminator can do better.",
    hints=(
        "At x there are p_real(x) real points for every p_generated(x) generated ones.",
        "D(x) is a share: the real points at x over all the points at x.",
    ),
)
best_discriminator.mistake(
    "This is the probability that x was generated. D gives the probability that x is real.",
    top="generated",
)
best_discriminator.mistake(
    "The result can be as large as 2. Divide by all the points at x: the sum, not the mean.",
    below="mean",
)


@best_discriminator.wrong("This is a ratio of two densities, and it has no upper limit.")
def _odds(p_real, p_generated):
    return p_real / p_generated


@best_discriminator.wrong(
    "This is the logit of D, from −∞ to ∞. The task asks for the probability."
)
def _logit(p_real, p_generated):
    return p_real.log() - p_generated.log()


@best_discriminator.wrong(
    "This divides by a sum over all points x. The question is asked at each point x by itself."
)
def _over_all_points(p_real, p_generated):
    return p_real / (p_real + p_generated).sum()


@best_discriminator.also_right
def _from_logit(p_real, p_generated):
    return torch.sigmoid(p_real.log() - p_generated.log())


# The losses

_SIGMOID_TWICE = (
    "A sigmoid is applied before the loss, and the loss applies another. The loss cannot fall "
    "below {} then, and its slope nearly vanishes. Use the logits as they are."
)
_OVERFLOW = (
    "At large logits the sigmoid rounds to 0 or 1, and exp to ∞: the loss is ∞, its gradient "
    "NaN; the probe has logits of ±200. Use F.softplus, which never leaves the logits."
)
_CUT = (
    "The log of a probability is cut off here, inside of F.binary_cross_entropy. At logits of "
    "±200 the gradient is 0 where it should be largest. Use F.softplus on the logits."
)


def _discriminator_loss(
    real_logits, fake_logits, *, labels=(1, 0), inner=_same, reduce=torch.mean, factor=1.0, use="rf"
):
    real_is, fake_is = labels
    real = reduce(F.softplus(inner(real_logits) * (1 - 2 * real_is)))
    fake = reduce(F.softplus(inner(fake_logits) * (1 - 2 * fake_is)))
    return factor * (real * ("r" in use) + fake * ("f" in use))


def _small_logits(g):
    return torch.tensor([2.0, -1.0, 0.5]), torch.tensor([-3.0, 1.0])


def _large_logits(g):
    real = torch.cat([torch.tensor([200.0, -200.0]), torch.randn(5, generator=g)])
    return real, torch.cat([torch.tensor([-200.0, 200.0]), torch.randn(2, generator=g)])


def _as_many_logits(g):  # of either kind: tells a wrong broadcast from other errors
    return torch.randn(5, generator=g), torch.randn(5, generator=g)


_ITEM = (
    "The loss is returned as a plain number (`.item()`): no gradient reaches {} through it, and "
    "nothing is learned. Return the tensor."
)

discriminator_loss = Exercise(
    "discriminator_loss",
    _discriminator_loss,
    probes=[_small_logits, _large_logits, _as_many_logits],
    points=2,
    right="This loss trains D below. It is 2 ln 2 ≈ 1.386 for a D that always says ½.",
    hints=(
        "In logits, −log σ(ℓ) is softplus(−ℓ). Which of the two terms is that?",
        "Because 1 − σ(ℓ) is σ(−ℓ), −log(1 − σ(ℓ)) is softplus(ℓ).",
        "Two terms, a mean over each batch, and their sum.",
    ),
)
discriminator_loss.mistake(
    "The labels are swapped: this D learns to call real images generated.", labels=(0, 1)
)
discriminator_loss.mistake(_SIGMOID_TWICE.format("1.0064"), inner=torch.sigmoid)
discriminator_loss.mistake(
    "The loss is summed over the batch. Its gradient would grow with the batch size.",
    reduce=torch.sum,
)
discriminator_loss.mistake(
    "Here is no mean over the batch: a loss is one number.", reduce=lambda x: x
)
discriminator_loss.mistake(
    "Only the real images count. A D that calls everything real would be perfect.", use="r"
)
discriminator_loss.mistake(
    "Only the generated images count. A D that calls everything generated would be perfect.",
    use="f",
)
discriminator_loss.mistake(
    "The two terms are averaged. Add them: then the equilibrium is 2 ln 2, as in the paper. "
    "(Many programs average, and print half of this loss.)",
    factor=0.5,
)
discriminator_loss.mistake("The sign is turned: this loss has no lowest value.", factor=-1.0)


@discriminator_loss.wrong(_OVERFLOW)
def _log_of_sigmoid(real_logits, fake_logits):
    real, fake = torch.sigmoid(real_logits), torch.sigmoid(fake_logits)
    return -torch.log(real).mean() - torch.log(1 - fake).mean()


@discriminator_loss.wrong(_CUT)
def _bce_of_probabilities(real_logits, fake_logits):
    real, fake = torch.sigmoid(real_logits), torch.sigmoid(fake_logits)
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    return F.binary_cross_entropy(real, ones) + F.binary_cross_entropy(fake, zeros)


@discriminator_loss.wrong(
    "The small constant in the log hides that the sigmoid has rounded to 0. The loss stops growing "
    "there and its gradient vanishes. Use F.softplus on the logits."
)
def _with_a_constant(real_logits, fake_logits):
    real, fake = torch.sigmoid(real_logits), torch.sigmoid(fake_logits)
    return -torch.log(real + 1e-8).mean() - torch.log(1 - fake + 1e-8).mean()


@discriminator_loss.wrong(
    "One mean is taken over both batches together. Take a mean of each and add them: the batches "
    "may differ in size, and the equilibrium is then 2 ln 2."
)
def _mean_of_both(real_logits, fake_logits):
    return torch.cat([F.softplus(-real_logits), F.softplus(fake_logits)]).mean()


@discriminator_loss.wrong(
    "The two terms are added before the mean. The batches may differ in size: take a mean of each."
)
def _added_first(real_logits, fake_logits):
    return (F.softplus(-real_logits) + F.softplus(fake_logits)).mean()


@discriminator_loss.wrong(_ITEM.format("D"))
def _plain_number(real_logits, fake_logits):
    return _discriminator_loss(real_logits, fake_logits).item()


@discriminator_loss.wrong(
    "This is the hinge loss, of another game. It stops caring about logits beyond ±1."
)
def _hinge(real_logits, fake_logits):
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


@discriminator_loss.also_right
def _by_cross_entropy(real_logits, fake_logits):
    bce = F.binary_cross_entropy_with_logits
    ones, zeros = torch.ones_like(real_logits), torch.zeros_like(fake_logits)
    return bce(real_logits, ones) + bce(fake_logits, zeros)


@discriminator_loss.also_right
def _by_logsigmoid(real_logits, fake_logits):
    return -(F.logsigmoid(real_logits).mean() + F.logsigmoid(-fake_logits).mean())


def _generator_loss(fake_logits, *, label=1, inner=_same, reduce=torch.mean, sign=1):
    return sign * reduce(F.softplus(inner(fake_logits) * (1 - 2 * label)))


generator_loss = Exercise(
    "generator_loss",
    _generator_loss,
    probes=[lambda g: _small_logits(g)[1:], lambda g: _large_logits(g)[1:]],
    points=2,
    right="This loss trains G below. Its slope is −1 where D is sure that the image is generated.",
    hints=(
        "G wants D to say “real” of a generated image. Which term of D's loss says so?",
        "In logits, −log D(G(z)) = −log σ(ℓ) = softplus(−ℓ), a mean over the batch.",
    ),
)
generator_loss.mistake(
    "This G learns to be caught: the loss is low where D says “generated”.", label=0
)
generator_loss.mistake("The sign is turned: D(G(z)) would be driven to 0.", sign=-1)
generator_loss.mistake(_SIGMOID_TWICE.format("0.3133"), inner=torch.sigmoid)
generator_loss.mistake(
    "The loss is summed over the batch. Its gradient grows with the batch size.", reduce=torch.sum
)
generator_loss.mistake(
    "Here is no mean over the batch. The loss is to be a single number.", reduce=lambda x: x
)


@generator_loss.wrong(
    "This is the saturating loss log(1 − D). It has the right sign, but where D is sure (ℓ = −10) "
    "its slope is −4.5e-5 in place of −1: a poor G hardly learns."
)
def _saturating(fake_logits):
    return -F.softplus(fake_logits).mean()


@generator_loss.wrong(
    "This is log(1 − D), the saturating loss, and it is −∞ at large logits. Its slope is −4.5e-5 "
    "at ℓ = −10, where a poor G needs −1. Minimise −log D, as a softplus."
)
def _saturating_with_sigmoid(fake_logits):
    return torch.log(1 - torch.sigmoid(fake_logits)).mean()


@generator_loss.wrong(_OVERFLOW.replace("the probe has", "the probe of this loss has"))
def _log_of_sigmoid_g(fake_logits):
    return -torch.log(torch.sigmoid(fake_logits)).mean()


@generator_loss.wrong(_CUT.replace("here", "in this loss"))
def _bce_of_probabilities_g(fake_logits):
    probability = torch.sigmoid(fake_logits)
    return F.binary_cross_entropy(probability, torch.ones_like(probability))


@generator_loss.wrong(_ITEM.format("G"))
def _plain_number_g(fake_logits):
    return _generator_loss(fake_logits).item()


@generator_loss.wrong(
    "This is the loss of a Wasserstein or hinge GAN, the mean logit. The task asks for −log D."
)
def _mean_logit(fake_logits):
    return -fake_logits.mean()


@generator_loss.also_right
def _by_cross_entropy_g(fake_logits):
    return F.binary_cross_entropy_with_logits(fake_logits, torch.ones_like(fake_logits))


# The step


class _CountedGenerator(nn.Module):
    """A small generator that counts its calls and the gradients that arrive."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
        self.calls = self.gradients = 0
        self.layers[2].bias.register_hook(self._arrived)

    def _arrived(self, gradient):
        self.gradients += 1

    def forward(self, z):
        self.calls += 1
        return self.layers(z)


def _observe_step(step) -> dict[str, Any]:
    """Three steps of tiny networks: what is returned, and how both networks change."""
    torch.manual_seed(1)
    generator = _CountedGenerator()
    discriminator = nn.Sequential(nn.Linear(2, 7), nn.Tanh(), nn.Linear(7, 1), nn.Flatten(0))
    optimizers = SGD(generator.parameters(), 0.3), SGD(discriminator.parameters(), 0.5)
    losses = discriminator_loss.reference, generator_loss.reference
    players = Players(generator, discriminator, *optimizers, *losses)
    seen: dict[str, Any] = {}
    tensors = False
    noise = torch.Generator().manual_seed(3)
    for k, penalty in enumerate((None, None, _penalty), start=1):
        before = copy.deepcopy((generator.state_dict(), discriminator.state_dict()))
        x, z = torch.randn(7, 2, generator=noise) + 2, torch.randn(7, 3, generator=noise)
        where = f"step {k}" + " (with a penalty)" * (penalty is not None)
        try:
            returned = step(players, x, z) if penalty is None else step(players, x, z, penalty)
        except RuntimeError as error:  # two mistakes that PyTorch itself finds
            for words in ("a second time", "modified by an inplace operation"):
                if words in str(error):
                    reached = generator.gradients
                    return {"PyTorch's complaint": words, "gradients that reached G": reached}
            raise
        pair = isinstance(returned, tuple | list) and len(returned) == 2
        if not pair or not all(isinstance(v, int | float | Tensor) for v in returned):
            return {"what is returned": "not the two losses, d_loss and g_loss"}
        for name, value in zip(("d_loss", "g_loss"), returned, strict=True):
            seen[f"{name} of {where}"] = float(value)
        if any(isinstance(value, Tensor) for value in returned):
            tensors = True
        changes = zip(("G", "D"), (generator, discriminator), before, strict=True)
        for name, network, old in changes:
            flat = [(network.state_dict()[key] - old[key]).flatten() for key in old]
            seen[f"the change of {name}'s weights in {where}"] = torch.cat(flat)
        seen[f"the calls of G up to {where}"] = generator.calls
        seen[f"how often a gradient reached G up to {where}"] = generator.gradients
    seen["what is returned"] = "tensors" if tensors else "floats"
    return seen


def _penalty(discriminator, x):
    return 0.2 * discriminator(x).square().mean()


def _gan_step(
    players,
    x,
    z,
    penalty=None,
    *,
    clear_d=True,
    clear_g=True,
    cut=True,
    step_d=True,
    step_g=True,
    punish="real",
    d_again=False,
    told="losses",
    anew=False,
    item=True,
):
    generator, discriminator = players.generator, players.discriminator
    fake = generator(z)
    shown = fake.detach() if cut else generator(z)
    d_loss = players.d_loss(discriminator(x), discriminator(shown))
    if clear_d:
        players.optimizer_d.zero_grad()
    total = d_loss
    if penalty is not None and punish != "never":
        total = d_loss + penalty(discriminator, x if punish == "real" else fake.detach())
    total.backward()
    if step_d:
        players.optimizer_d.step()
    g_loss = players.g_loss(discriminator(generator(z) if anew else fake))
    if clear_g:
        players.optimizer_g.zero_grad()
    g_loss.backward()
    if step_g:
        players.optimizer_g.step()
    if d_again:
        players.optimizer_d.step()
    losses = {"losses": (d_loss, g_loss), "swapped": (g_loss, d_loss), "total": (total, g_loss)}
    return tuple(loss.item() if item else loss for loss in losses[told])


gan_step = Exercise(
    "gan_step",
    _gan_step,
    points=4,
    observe=_observe_step,
    right="Every GAN of this lab is trained by your step from here on.",
    hints=(
        "First D: its loss on D(x) and on D(fake.detach()), zero_grad, backward, step. "
        "detach keeps D's gradient out of G.",
        "Then G: pass the same fake, not detached, through D again. zero_grad, backward, and a "
        "step of optimizer_g alone.",
        "The penalty belongs to D's half: (d_loss + penalty(discriminator, x)).backward().",
    ),
)
gan_step.mistake(
    "The line optimizer_d.zero_grad() is missing: D also follows old gradients, G's half too.",
    clear_d=False,
)
gan_step.mistake(
    "The line optimizer_g.zero_grad() is missing: G adds up the gradients of all steps.",
    clear_g=False,
)
gan_step.mistake(
    "The images for D are not detached and are made anew. Its gradient runs all through G, for "
    "nothing. Make them once, and detach them for D.",
    cut=False,
)
gan_step.mistake(
    "D is never updated: optimizer_d.step() is missing, or zero_grad stands just before it.",
    step_d=False,
)
gan_step.mistake(
    "G is never updated: optimizer_g.step() is missing, or zero_grad stands just before it.",
    step_g=False,
)
gan_step.mistake("The penalty is not added to D's loss.", punish="never")
gan_step.mistake(
    "The penalty is computed at generated images. R1 asks for the real ones, x.", punish="fake"
)
gan_step.mistake(
    "D is updated again (optimizer_d) after G's backward. It then moves to help G.", d_again=True
)
gan_step.mistake("The two losses are returned in the wrong order.", told="swapped")
gan_step.mistake(
    "The d_loss that is returned includes the penalty. Return it without, so that the curve can "
    "be compared with 2 ln 2.",
    told="total",
)
gan_step.mistake(
    "G was called twice with the same z, which doubles its work. Reuse `fake`: detached for D, as "
    "it is for G.",
    anew=True,
)
gan_step.mistake(
    "Tensors are returned, which keep their graphs in memory. Return floats: `.item()`.", item=False
)


@gan_step.wrong(
    "The detach is missing: D's backward runs through G and frees the graph that G's half needs. "
    "D sees fake.detach()."
)
def _not_detached(players, x, z, penalty=None):
    fake = players.generator(z)
    logits = players.discriminator(x), players.discriminator(fake)
    players.d_loss(*logits).backward()
    players.g_loss(players.discriminator(fake)).backward()


@gan_step.wrong(
    "With retain_graph=True nobody sees that detach is missing: D's backward still computes "
    "gradients of G that nobody uses. D sees fake.detach()."
)
def _retained(players, x, z, penalty=None):
    fake = players.generator(z)
    d_loss = players.d_loss(players.discriminator(x), players.discriminator(fake))
    players.optimizer_d.zero_grad()
    extra = 0 if penalty is None else penalty(players.discriminator, x)
    (d_loss + extra).backward(retain_graph=True)
    players.optimizer_d.step()
    return d_loss.item(), _g_half(players, fake)


@gan_step.wrong(
    "G's half draws new noise, which costs another pass through G. Show D the same images again."
)
def _new_noise(players, x, z, penalty=None):
    d_loss = _d_half(players, x, players.generator(z).detach(), penalty)
    return d_loss, _g_half(players, players.generator(torch.randn_like(z)))


@gan_step.wrong(
    "G's half uses the logits from before D's step, whose graph D's step has changed. Ask D again: "
    "discriminator(fake)."
)
def _old_logits(players, x, z, penalty=None):
    fake = players.generator(z)
    logits = players.discriminator(fake)
    _d_half(players, x, fake.detach(), penalty)
    players.g_loss(logits).backward()


@gan_step.wrong(
    "G's half reuses D's logits of the detached images: no gradient reaches G through them. Ask D "
    "again, with the images that are not detached: discriminator(fake)."
)
def _reused_logits(players, x, z, penalty=None):
    logits = players.discriminator(players.generator(z).detach())
    players.d_loss(players.discriminator(x), logits).backward()
    players.g_loss(logits).backward()


@gan_step.wrong(
    "Two things: D's loss needs fake.detach(), and G's half uses the logits from before D's step. "
    "Ask D again there: discriminator(fake)."
)
def _old_logits_not_detached(players, x, z, penalty=None):
    logits = players.discriminator(players.generator(z))
    players.d_loss(players.discriminator(x), logits).backward(retain_graph=True)
    players.optimizer_d.step()
    players.g_loss(logits).backward()


@gan_step.wrong(
    "G's gradients reached D: D steps after the backward of both losses and also learns to please "
    "G. Finish D's half first: its own zero_grad, backward and step."
)
def _one_backward(players, x, z, penalty=None):
    fake = players.generator(z)
    fake_logits = players.discriminator(fake)
    d_loss = players.d_loss(players.discriminator(x), players.discriminator(fake.detach()))
    g_loss = players.g_loss(fake_logits)
    players.optimizer_d.zero_grad()
    players.optimizer_g.zero_grad()
    (d_loss + g_loss + (0 if penalty is None else penalty(players.discriminator, x))).backward()
    players.optimizer_d.step()
    players.optimizer_g.step()
    return d_loss.item(), g_loss.item()


@gan_step.wrong("G's half sees detached images, too: no gradient reaches G, and it never learns.")
def _always_detached(players, x, z, penalty=None):
    fake = players.generator(z).detach()
    return _d_half(players, x, fake, penalty), _g_half(players, fake)


@gan_step.wrong("Nothing moves: zero_grad stands between backward and step in both halves.")
def _cleared_late(players, x, z, penalty=None):
    fake = players.generator(z)
    d_loss = players.d_loss(players.discriminator(x), players.discriminator(fake.detach()))
    d_loss.backward()
    g_loss = players.g_loss(players.discriminator(fake))
    g_loss.backward()
    return d_loss.item(), g_loss.item()


@gan_step.wrong(
    "G is updated before D. Some programs do so; here D goes first, and G answers the new D."
)
def _g_first(players, x, z, penalty=None):
    fake = players.generator(z)
    g_loss = _g_half(players, fake)
    return _d_half(players, x, fake.detach(), penalty), g_loss


def _d_half(players, x, fake, penalty):
    d_loss = players.d_loss(players.discriminator(x), players.discriminator(fake))
    players.optimizer_d.zero_grad()
    d_loss.backward()
    if penalty is not None:
        penalty(players.discriminator, x).backward()
    players.optimizer_d.step()
    return d_loss.item()


def _g_half(players, fake):
    g_loss = players.g_loss(players.discriminator(fake))
    players.optimizer_g.zero_grad()
    if g_loss.requires_grad:
        g_loss.backward()
    players.optimizer_g.step()
    return g_loss.item()


@gan_step.also_right
def _frozen_for_g(players, x, z, penalty=None):
    fake = players.generator(z)
    d_loss = _d_half(players, x, fake.detach(), penalty)
    players.discriminator.requires_grad_(False)
    g_loss = _g_half(players, fake)
    players.discriminator.requires_grad_(True)
    return d_loss, g_loss


# R1


def _r1_penalty(
    discriminator,
    x,
    gamma,
    *,
    power=2,
    batch=torch.mean,
    half=0.5,
    of=_same,
    graph=True,
    total=torch.sum,
    weigh=True,
):
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(total(of(discriminator(x))), x, create_graph=graph)
    norm = gradient.flatten(1).square().sum(1) ** (power / 2)
    return half * (gamma if weigh else 1.0) * batch(norm)


def _observe_r1(penalty) -> dict[str, Any]:
    """The value, and the gradient that reaches D's weights, on points and on images."""
    torch.manual_seed(2)
    line = nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1), nn.Flatten(0))
    flat = nn.Sequential(nn.Flatten(), nn.Linear(30, 7), nn.Tanh(), nn.Linear(7, 1), nn.Flatten(0))
    seen: dict[str, Any] = {}
    cases = {
        "points x (7, 1)": (line, (7, 1), 3.0),
        "images x (4, 2, 3, 5)": (flat, (4, 2, 3, 5), 0.8),
    }
    for name, (discriminator, shape, gamma) in cases.items():
        discriminator[-2].weight.data *= 10  # so that the penalty is not small
        value = penalty(discriminator, torch.randn(shape), gamma)
        if not isinstance(value, Tensor):
            return {"what is returned": "not a tensor"}
        seen[f"the penalty for {name}"] = value.detach()
        weights = list(discriminator.parameters())
        found = [None] * len(weights)
        if value.requires_grad:
            found = torch.autograd.grad(value.sum(), weights, allow_unused=True)
        parts = [
            torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)
        ]
        seen[f"its gradient for D's weights, for {name}"] = torch.cat([p.flatten() for p in parts])
    return seen


r1_penalty = Exercise(
    "r1_penalty",
    _r1_penalty,
    points=3,
    observe=_observe_r1,
    right="Your penalty now keeps D smooth at real data, on the line and for digits.",
    hints=(
        "First make x something to take gradients of: x = x.detach().requires_grad_().",
        "Then torch.autograd.grad(discriminator(x).sum(), x, create_graph=True) gives a tuple with "
        "∇ℓ, in the shape of x. The sum is safe: each logit depends on its own x alone.",
        "Square, flatten(1), sum(1): one squared norm an example. Then the mean, times γ/2.",
    ),
)
r1_penalty.mistake("The norm is not squared. R1 is ‖∇ℓ‖².", power=1)
r1_penalty.mistake(
    "The squared norms are summed over the batch. The penalty would grow with the batch size.",
    batch=torch.sum,
)
r1_penalty.mistake("The factor ½ of γ/2 is missing.", half=1.0)
r1_penalty.mistake("The penalty does not depend on γ.", weigh=False)
r1_penalty.mistake(
    "The gradient is that of the probability σ(ℓ). It vanishes where D is sure, just where R1 "
    "is needed. Use the logit.",
    of=torch.sigmoid,
)
r1_penalty.mistake(
    "The argument create_graph=True is missing: the number is right, but it is a constant for D's "
    "weights, and training with it changes nothing.",
    graph=False,
)
r1_penalty.mistake(
    "The gradient is that of the mean logit: each example's is divided by the batch size, and so "
    "the penalty by its square. Use the sum.",
    total=torch.mean,
)


@r1_penalty.wrong(
    "The squares are averaged over the pixels. A squared norm is their sum over the pixels."
)
def _mean_over_pixels(discriminator, x, gamma):
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return gamma / 2 * gradient.square().mean()


@r1_penalty.wrong(
    "Only the axis of the channels is summed, and the mean takes the pixels, too. Sum all axes but "
    "the first."
)
def _sum_over_channels(discriminator, x, gamma):
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return gamma / 2 * gradient.square().sum(1).mean()


@r1_penalty.wrong(
    "This is (‖∇ℓ‖ − 1)², the penalty of WGAN-GP, which wants slope 1. R1 wants "
    "slope 0 at real data."
)
def _wgan_gp(discriminator, x, gamma):
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return gamma / 2 * (gradient.flatten(1).norm(dim=1) - 1).square().mean()


@r1_penalty.wrong(
    "The gradient is taken with respect to D's weights. R1 wants it with respect to x."
)
def _of_the_weights(discriminator, x, gamma):
    weights = list(discriminator.parameters())
    gradients = torch.autograd.grad(discriminator(x).mean(), weights, create_graph=True)
    return gamma / 2 * sum(g.square().sum() for g in gradients)


@r1_penalty.also_right
def _one_at_a_time(discriminator, x, gamma):
    squares = []
    for one in x.clone().requires_grad_().split(1):
        (gradient,) = torch.autograd.grad(discriminator(one).squeeze(), one, create_graph=True)
        squares.append((gradient**2).sum())
    return gamma * torch.stack(squares).mean() / 2


# SLERP


def _slerp(a, b, t, *, swap=False, unit=True, divide=True, parallel=True, clamp=True, ends=_same):
    if swap:
        a, b = b, a
    t = t[:, None]
    cosine = a @ b / (a.norm() * b.norm()) if unit else a @ b
    omega = torch.arccos(cosine.clamp(-1, 1) if unit and clamp else cosine)
    a, b = ends(a), ends(b)
    if parallel and torch.sin(omega) < 1e-6:
        return (1 - t) * a + t * b
    arc = torch.sin((1 - t) * omega) * a + torch.sin(t * omega) * b
    return arc / torch.sin(omega) if divide else arc


def _nearly_parallel(g):  # in float32 their cosine is 1 + 1.2e-7, whatever the order of the sums
    a = torch.tensor([1.0, 0.4, 0.6])
    return a, 1.7 * a, torch.tensor([0.25, 1.0])


def _codes(d, k, scale):
    def probe(g):
        a, b = scale * torch.randn(d, generator=g), scale * torch.randn(d, generator=g) + 0.1
        return a, b, torch.rand(k, generator=g)

    return probe


slerp = Exercise(
    "slerp",
    _slerp,
    probes=[
        lambda g: (torch.tensor([3.0, 0.0]), torch.tensor([0.0, 2.0]), torch.tensor([0.0, 0.5])),
        lambda g: (torch.tensor([0.6, 0.0]), torch.tensor([0.2, 0.8]), torch.tensor([0.3])),
        _codes(13, 5, 1.0),
        lambda g: (torch.tensor([2.0, 0.0]), torch.tensor([5.0, 0.0]), torch.tensor([0.0, 0.3, 1])),
        _nearly_parallel,
    ],
    points=2,
    gradients=False,
    right="Its middle keeps the length of its ends, where that of a straight line has 0.71 of it.",
    hints=(
        "The angle is ω = arccos of a·b / (‖a‖ ‖b‖). Clamp the cosine to [−1, 1]: rounding "
        "may leave it.",
        "Here t has shape (K,) and the codes (D,). t[:, None] makes the result (K, D).",
        "For parallel codes sin ω is 0. Return the straight line (1 − t) a + t b there.",
    ),
)
slerp.mistake("The ends are swapped: t = 0 has to give a.", swap=True)
slerp.mistake(
    "The angle is computed from codes that do not have length 1. Divide a·b by both norms.",
    unit=False,
)
slerp.mistake("The division by sin ω is missing: the path does not start at a.", divide=False)
slerp.mistake(
    "Parallel codes divide by sin 0 = 0 and give NaN. Use the straight line there.", parallel=False
)
slerp.mistake(
    "Rounding makes the cosine of nearly parallel codes larger than 1, and its arccos NaN. Clamp "
    "cos ω to [−1, 1].",
    clamp=False,
)
slerp.mistake(
    "The lengths of the codes are lost: the path lies on the unit sphere. Divide by the norms "
    "for the angle only.",
    ends=lambda v: v / v.norm(),
)


@slerp.wrong("This is LERP, the straight line. Its middle is too short.")
def _lerp(a, b, t):
    return (1 - t[:, None]) * a + t[:, None] * b


@slerp.wrong(
    "This is a straight line made as long as its ends. Its direction does not turn at constant "
    "speed: use the sines of the equation."
)
def _stretched_line(a, b, t):
    t = t[:, None]
    line = (1 - t) * a / a.norm() + t * b / b.norm()
    return line / line.norm(dim=1, keepdim=True) * ((1 - t) * a.norm() + t * b.norm())


@slerp.wrong(
    "Direction and length are interpolated apart. That is a good path, too, but another one than "
    "the equation's when the lengths differ."
)
def _apart(a, b, t):
    lengths = (1 - t[:, None]) * a.norm() + t[:, None] * b.norm()
    return lengths * _slerp(a / a.norm(), b / b.norm(), t)


@slerp.wrong(
    "The angle is clamped without dividing by the norms: long codes seem parallel. Divide a·b by "
    "both norms first."
)
def _clamped(a, b, t):
    omega = torch.arccos((a @ b).clamp(-1, 1))
    if torch.sin(omega) < 1e-6:
        return _lerp(a, b, t)
    t = t[:, None]
    return (torch.sin((1 - t) * omega) * a + torch.sin(t * omega) * b) / torch.sin(omega)


@slerp.also_right
def _by_atan2(a, b, t):
    u, v = a / a.norm(), b / b.norm()
    omega = torch.atan2((v - (u @ v) * u).norm(), u @ v)
    if omega < 1e-4:
        return torch.lerp(a[None], b[None], t[:, None])
    weights = torch.stack([torch.sin((1 - t) * omega), torch.sin(t * omega)], 1) / torch.sin(omega)
    return weights @ torch.stack([a, b])
