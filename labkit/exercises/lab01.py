"""Lab 01: an LSTM that remembers palindromes."""

import math
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from labkit.data.palindromes import mirror
from labkit.exercises.core import Exercise
from labkit.models.recurrent import LSTM

# ---- what the network reads and what it has to name


def _one_hot(digits):
    return F.one_hot(digits, 10).float()


def _as_number(digits):
    return digits[..., None].float()


def _whole_one_hot(digits):
    return F.one_hot(digits, 10)


def _as_many_as_seen(digits):
    return F.one_hot(digits).float()


def _digits_first(digits):
    return F.one_hot(digits, 10).float().transpose(1, 2)


def _last(digits):
    return digits[:, -1]


def _last_in_a_column(digits):
    return digits[:, -1:]


def _last_but_one(digits):
    return digits[:, -2]


def _last_as_real(digits):
    return digits[:, -1].float()


def _last_in_a_list(digits):
    return digits[:, -1].tolist()


def _one_hot_in_a_list(digits):
    return _one_hot(digits).tolist()


def _read_and_name(digits, *, first=0, last=-1, encode=_one_hot, name=_last):
    return encode(digits[:, first:last]), name(digits)


read_and_name = Exercise(
    "read_and_name",
    _read_and_name,
    probes=[
        lambda g: (torch.tensor([[4, 1, 4], [7, 2, 7]]),),
        lambda g: (mirror(torch.randint(10, (3, 4), generator=g), 7),),
    ],
    points=1,
    tell=("x", "y"),
    right="The network will read x and has to name y. Only the first row of x tells which it is.",
    hints=(
        "Which columns of digits may the network see? digits[:, a:b] takes columns a to b − 1.",
        "The function torch.nn.functional.one_hot(digits, 10) gives whole numbers; a network "
        "multiplies real ones.",
        "The answer y is the last column: one whole number for each palindrome, shape (N,).",
    ),
)
read_and_name.mistake(
    "The last digit is among the inputs. The network could copy it, and would remember nothing.",
    last=None,
)
read_and_name.mistake(
    "The first digit is not read. It is the one that the network has to remember.", first=1
)
read_and_name.mistake(
    "The digits enter as numbers from 0 to 9 in a single column. One-hot gives each digit a column "
    "of its own; the number 9 would push every unit nine times as hard as the number 1.",
    encode=_as_number,
)
read_and_name.mistake(
    "Here x holds whole numbers. A network multiplies x with real weights, so x must be float.",
    encode=_whole_one_hot,
)
read_and_name.mistake(
    "The number of columns depends on the largest digit that happens to be there. Say that there "
    "are ten.",
    encode=_as_many_as_seen,
)
read_and_name.mistake(
    "Time and digits are swapped: x should be (N, T − 1, 10), the ten columns at the end.",
    encode=_digits_first,
)
read_and_name.mistake(
    "Here y has shape (N, 1). A cross-entropy wants one class for each palindrome, shape (N,).",
    name=_last_in_a_column,
)
read_and_name.mistake(
    "Here y is the last digit but one, which the network has just read.", name=_last_but_one
)
read_and_name.mistake(
    "Here y is a real number. A class is a whole number: which of the ten, not how much.",
    name=_last_as_real,
)


read_and_name.mistake("Here x is a Python list. Leave it a tensor.", encode=_one_hot_in_a_list)
read_and_name.mistake("Here y is a Python list. Leave it a tensor.", name=_last_in_a_list)


@read_and_name.wrong(
    "Here x begins with the second digit and ends with the one to be named: shift it."
)
def all_but_the_first(digits):
    return _one_hot(digits[:, 1:]), digits[:, -1]


@read_and_name.also_right
def by_rows_of_the_identity(digits):
    return torch.eye(10)[digits.flip(1)[:, 1:].flip(1)], digits[:, 0]


# ---- training and held-out palindromes


def _is_held_out(digits, *, multiple=5, inside=True):
    return (digits.sum(1) % multiple == 0) == inside


def _coins(seed=0):
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return torch.rand(1000, generator=generator) < 0.2


def _first_three(digits):
    return 100 * digits[:, 0] + 10 * digits[:, 1] + digits[:, 2]


class _NoHugeTables(TorchFunctionMode):
    """Refuses a table with an entry for each of the 10^10 palindromes of length 20."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        size = args[0] if args else 0
        if isinstance(size, tuple | list) and all(isinstance(n, int) for n in size):
            size = math.prod(size)
        if isinstance(size, int) and size > 10**7:
            raise MemoryError(
                f"a table of {size:.0e} numbers is too large. Use a rule, not a table"
            )
        return func(*args, **(kwargs or {}))


def _all(n_free: int, length: int) -> Tensor:
    return mirror(torch.cartesian_prod(*[torch.arange(10)] * n_free), length)


def _sides(function):
    """What a split does to all palindromes of length 5, each of which comes twice, and others."""
    with _NoHugeTables():
        return _properties(function)


def _properties(function):
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(1))
    digits = _all(3, 5)
    mask = function(digits.repeat(2, 1)[order])
    if isinstance(mask, list | tuple):
        return {"the answer for 2,000 palindromes": "a Python list"}
    if not isinstance(mask, Tensor) or mask.shape != (2000,) or mask.dtype != torch.bool:
        kind = f"{tuple(mask.shape)}, {mask.dtype}" if isinstance(mask, Tensor) else repr(mask)
        return {"the answer for 2,000 palindromes": f"{kind:.80}"}
    one, other = mask[order.argsort()].view(2, 1000)
    again = function(digits.repeat(2, 1)[order])
    seen = {
        "the answer for 2,000 palindromes": "(2000,), torch.bool",
        "the same palindrome is always on the same side": bool((one == other).all()),
        "a second call answers the same": torch.equal(again, mask),
    }
    if not all(seen.values()):  # how many, and which, says nothing then
        return seen
    generator = torch.Generator().manual_seed(2)
    long = mirror(torch.randint(10, (50, 10), generator=generator), 20)
    return seen | {
        "about a fifth is held out": 0.1 < mask.double().mean().item() < 0.3,
        "the number of first digits that training sees": len(digits[~one, 0].unique()),
        "the number of first digits that are held out": len(digits[one, 0].unique()),
        "the number of free digits that matter at T = 5": _matter(one.view(10, 10, 10)),
        "the number of free digits that matter at T = 7": _matter(
            function(_all(4, 7)).view(10, 10, 10, 10)
        ),
        "an answer for each of 50 palindromes of length 20": len(function(long)) == 50,
    }


def _matter(table: Tensor) -> int:
    return sum(bool((table != table.roll(1, k)).any()) for k in range(table.ndim))


is_held_out = Exercise(
    "is_held_out",
    _is_held_out,
    observe=_sides,
    points=2,
    right="The palindrome itself decides, so no palindrome is ever on both sides, however often "
    "you draw it.",
    hints=(
        "The same palindrome must always get the same answer: compute it from its digits, not from "
        "the row in which it stands.",
        "Make one number of all the digits of a palindrome: their sum, for example, with "
        "digits.sum(1).",
        "One whole number in five is a multiple of 5, and % gives the remainder of a division.",
    ),
)
is_held_out.mistake(
    "Four fifths are held out: the comparison is the wrong way round, and little is left to train "
    "on.",
    inside=False,
)
is_held_out.mistake("Half of all is held out. A fifth is enough.", multiple=2)


@is_held_out.wrong(
    "Each call tosses new coins, so what is held out in one batch is trained on in the next."
)
def new_coins_each_call(digits):
    return _coins(None)[_first_three(digits)]


@is_held_out.wrong(
    "One palindrome got two different answers, by chance. It comes up again and again, on both "
    "sides: held-out accuracy would measure what was learned by heart."
)
def a_coin_a_row(digits):
    return torch.rand(len(digits)) < 0.2


@is_held_out.wrong(
    "One palindrome got two different answers: the row decides, not the palindrome. When it is "
    "drawn twice, one copy can be trained on and the other held out."
)
def by_row(digits):
    return torch.arange(len(digits)) >= 0.8 * len(digits)


@is_held_out.wrong(
    "The first digit alone decides. It is also the class to be named, so some classes are never "
    "trained and the network cannot name them."
)
def by_first_digit(digits):
    return digits[:, 0] >= 8


@is_held_out.wrong(
    "The middle digit alone decides. No palindrome leaks, but the network never meets two of the "
    "digits at that place: you would measure more than one thing."
)
def by_middle_digit(digits):
    return digits[:, digits.shape[1] // 2] >= 8


@is_held_out.wrong(
    "The first three digits alone decide. Two of them are read again at the end, and they give "
    "away which first digits never occur in training: a network that remembers nothing would "
    "score below guessing. All digits must count."
)
def by_first_three(digits):
    return _coins()[_first_three(digits)]


@is_held_out.wrong("The answer should be True or False for each palindrome, not a number.")
def as_number(digits):
    return _is_held_out(digits).float()


@is_held_out.wrong("A Python list came back. torch.tensor makes one tensor of its truth values.")
def as_list(digits):
    return _is_held_out(digits).tolist()


@is_held_out.wrong("Nothing is held out. What is there to test on?")
def never(digits):
    return torch.zeros(len(digits), dtype=torch.bool)


@is_held_out.also_right
def by_hash(digits):
    half = (digits.shape[1] + 1) // 2
    key = (digits[:, :half] * 10 ** torch.arange(half)).sum(1)
    return ((key * 6364136223846793005 + 1442695040888963407) >> 33) % 5 == 0


# ---- one step of an LSTM


def _itself(x):
    return x


def _cell(c, i, f, g):
    return f * c + i * g


def _never_forgets(c, i, f, g):
    return c + i * g


def _writes_everything(c, i, f, g):
    return f * c + g


def _no_old_cell(c, i, f, g):
    return i * g


def _shown(squashed, o):
    return o * squashed


def _all_shown(squashed, o):
    return squashed


# what a right step is made of; a mistake exchanges one of these
STEP = {
    "candidate": torch.tanh,
    "gate": torch.sigmoid,
    "squash": torch.tanh,
    "gates": "ifo",  # whose weights i, f and o have
    "recurrent": _itself,
    "matrices": "xh",  # the matrix that x meets, and the one that h meets
    "bias": True,
    "cell": _cell,
    "out": _shown,
    "order": (0, 1),
}


def _lstm_step(x, h, c, p, **exchanged):
    use = SimpleNamespace(**(STEP | exchanged))

    def part(name):
        W_x, W_h = (getattr(p, f"W_{name}{of}") for of in use.matrices)
        b = {True: getattr(p, f"b_{name}"), False: 0, "one": p.b_i}[use.bias]
        return x @ W_x + use.recurrent(h @ W_h) + b

    i, f, o = (use.gate(part(name)) for name in use.gates)
    g = use.candidate(part("g"))
    c = use.cell(c, i, f, g)
    h = use.out(use.squash(c), o)
    return (h, c)[use.order[0]], (h, c)[use.order[1]]


def _step_probe(n, d, hidden):
    def probe(g):
        p = LSTM(d, hidden, 2)
        with torch.no_grad():
            for b in (p.b_i, p.b_f, p.b_o, p.b_g):
                b.normal_(generator=g)
        h, c = torch.randn(2, n, hidden, generator=g)
        return torch.randn(n, d, generator=g), h, 1.5 * c, p

    return probe


lstm_step = Exercise(
    "lstm_step",
    _lstm_step,
    probes=[_step_probe(1, 2, 3), _step_probe(3, 5, 5)],
    points=3,
    tell=("h", "c"),
    right="Your step is an LSTM. Notice the line of c: the old cell is multiplied by f and by "
    "nothing else.",
    hints=(
        "Write the six equations one below the other. x @ p.W_ix is W_ix x for a whole batch.",
        "The three gates i, f and o go through torch.sigmoid, the candidate g through torch.tanh.",
        "First c = f * c + i * g, then h, because h = o * torch.tanh(c) needs the new c. Return h "
        "first.",
    ),
)
lstm_step.mistake(
    "The candidate g goes through σ. It needs tanh, so that it can also lower the cell.",
    candidate=torch.sigmoid,
)
lstm_step.mistake(
    "The gates go through tanh. A gate is a share between 0 and 1: use σ.", gate=torch.tanh
)
lstm_step.mistake(
    "The tanh around c is missing in h. The cell may grow beyond 1; the hidden state should not.",
    squash=_itself,
)
lstm_step.mistake(
    "Gates i and f are exchanged, in their weights or in the line of c: the input gate would "
    "decide what is forgotten.",
    gates="fio",
)
lstm_step.mistake(
    "Gates f and o have each other's weights: the forget gate decides what is shown.", gates="iof"
)
lstm_step.mistake("Gates i and o have each other's weights.", gates="ofi")
lstm_step.mistake(
    "Here h is not used: the gates see only the present digit and cannot know what came before.",
    recurrent=torch.zeros_like,
)
lstm_step.mistake("All four have the bias b_i. Each has its own.", bias="one")
lstm_step.mistake("The biases are missing; b_f is what will hold the memory.", bias=False)
lstm_step.mistake(
    "The old cell is not multiplied by f: it can never forget, and grows from step to step.",
    cell=_never_forgets,
)
lstm_step.mistake(
    "The candidate is not multiplied by i: every digit is written with full strength.",
    cell=_writes_everything,
)
lstm_step.mistake(
    "The old cell is missing: c holds the present digit only, so there is no memory.",
    cell=_no_old_cell,
)
lstm_step.mistake(
    "The output gate is missing: h shows all of the cell at every step.", out=_all_shown
)
lstm_step.mistake(
    "The states c and h are returned in the wrong order; torch.nn.LSTM has h first, too.",
    order=(1, 0),
)


@lstm_step.wrong(
    "The cell was detached: the values are right, but no gradient reaches earlier steps through c."
)
def detached_cell(x, h, c, p):
    return _lstm_step(x, h, c.detach(), p)


@lstm_step.wrong(
    "The hidden state was detached: the values are right, but no gradient reaches earlier steps "
    "through h."
)
def detached_hidden(x, h, c, p):
    return _lstm_step(x, h.detach(), c, p)


@lstm_step.wrong("Here h is made of the old cell. Compute the new c first.")
def old_cell(x, h, c, p):
    shown = torch.tanh(c)
    _, new = _lstm_step(x, h, c, p)
    o = torch.sigmoid(x @ p.W_ox + h @ p.W_oh + p.b_o)
    return o * shown, new


@lstm_step.wrong(
    "The matrices of x and h are exchanged: the second letter says what a matrix is multiplied "
    "with, so W_ih belongs to h."
)
def matrices_exchanged(x, h, c, p):
    return _lstm_step(x, h, c, p, matrices="hx")


@lstm_step.wrong("The recurrent matrices are transposed: it is h @ p.W_ih, without .T.")
def transposed(x, h, c, p):
    i = torch.sigmoid(x @ p.W_ix + h @ p.W_ih.T + p.b_i)
    f = torch.sigmoid(x @ p.W_fx + h @ p.W_fh.T + p.b_f)
    o = torch.sigmoid(x @ p.W_ox + h @ p.W_oh.T + p.b_o)
    c = f * c + i * torch.tanh(x @ p.W_gx + h @ p.W_gh.T + p.b_g)
    return o * torch.tanh(c), c


@lstm_step.also_right
def side_by_side(x, h, c, p):
    W_x = torch.cat([p.W_ix, p.W_fx, p.W_gx, p.W_ox], 1)
    W_h = torch.cat([p.W_ih, p.W_fh, p.W_gh, p.W_oh], 1)
    parts = (x @ W_x + h @ W_h + torch.cat([p.b_i, p.b_f, p.b_g, p.b_o])).chunk(4, 1)
    i, f, o = (parts[k].sigmoid() for k in (0, 1, 3))
    c = torch.addcmul(c * f, parts[2].tanh(), i)
    return c.tanh() * o, c


# ---- cross-entropy of logits


def _log_softmax(logits):
    return logits - torch.logsumexp(logits, 1, keepdim=True)


def _over_the_batch(logits):
    return logits - torch.logsumexp(logits, 0, keepdim=True)


def _of_probabilities(logits):
    return _log_softmax(_log_softmax(logits).exp())


def _no_log(logits):
    return _log_softmax(logits).exp()


def _no_norm(logits):
    return logits


def _most_likely(log_p, y):
    return log_p.max(1).values


def _every_class(log_p, y):
    return log_p.mean(1)


def _in_a_table(log_p, y):
    return log_p * F.one_hot(y, log_p.shape[1])


def _of_every_row(log_p, y):
    return log_p[:, y]


def _own_class(log_p, y):
    return log_p[torch.arange(len(y)), y]


def _cross_entropy(
    logits, y, *, log_p=_log_softmax, picked=_own_class, reduce=torch.mean, sign=-1, unit=1.0
):
    return sign * reduce(picked(log_p(logits), y)) / unit


def _logits_probe(n, k, size):
    def probe(g):
        logits = size * torch.randn(n, k, generator=g)
        return logits, torch.randint(k, (n,), generator=g)

    return probe


cross_entropy = Exercise(
    "cross_entropy",
    _cross_entropy,
    probes=[
        _logits_probe(2, 3, 1.0),
        _logits_probe(5, 11, 3.0),
        lambda g: (
            torch.tensor([[200.0, -200, 0], [0, 200, 1], [200, 0, 9]]),
            torch.tensor([1, 0, 0]),
        ),
    ],
    points=2,
    right="Ten equal logits cost ln 10 = 2.3026 nats, which is the loss of pure guessing. Remember "
    "that number.",
    hints=(
        "The loss of a row, −log p_y, is log Σ exp(logits) − logits_y. The first term is "
        "torch.logsumexp(logits, dim=1).",
        "Indexing logits[torch.arange(len(y)), y] picks each row's own logit.",
        "Average over the batch. There is no softmax in the whole function.",
    ),
)
cross_entropy.mistake(
    "Softmax came before the cross-entropy, which has one of its own. The network can learn, but "
    "this loss can never fall below ln((e + 9)/e) = 1.4612 for ten classes.",
    log_p=_of_probabilities,
)
cross_entropy.mistake(
    "Softmax runs over the batch (dim=0). The probabilities of the classes of one palindrome sum "
    "to 1, so it is dim=1.",
    log_p=_over_the_batch,
)
cross_entropy.mistake(
    "The logarithm is missing: −p has almost no gradient where the network is surely wrong.",
    log_p=_no_log,
)
cross_entropy.mistake(
    "The logits are not normalised: without log Σ exp the loss falls without end as they grow.",
    log_p=_no_norm,
)
cross_entropy.mistake(
    "The loss is summed over the batch: twice the batch would mean twice the learning rate. "
    "Average it.",
    reduce=torch.sum,
)
cross_entropy.mistake(
    "One loss for each palindrome came back. backward() needs a single number: their mean.",
    reduce=_itself,
)
cross_entropy.mistake(
    "The sign is turned: training would make the right class less likely.", sign=1
)
cross_entropy.mistake(
    "This counts in bits (log₂). Use the natural logarithm, as the others do.", unit=math.log(2)
)
cross_entropy.mistake(
    "The probability of the most likely class is used, not that of the class y. The network would "
    "be praised for being sure.",
    picked=_most_likely,
)
cross_entropy.mistake(
    "All classes are averaged, not only the class y of each row.", picked=_every_class
)
cross_entropy.mistake(
    "The mean runs over all N × K entries, most of which are 0. The loss is K times too small.",
    picked=_in_a_table,
)


cross_entropy.mistake(
    "Indexing [:, y] takes the columns y of every row, which makes a table (N, N). Each row needs "
    "its own class only.",
    picked=_of_every_row,
)


@cross_entropy.wrong("A plain number came back. The call of backward() needs the tensor.")
def plain_number(logits, y):
    return _cross_entropy(logits, y).item()


@cross_entropy.wrong(
    "In log Σ exp, exp(200) overflows to infinity, and so the loss does, too. torch.logsumexp "
    "subtracts the largest logit first."
)
def sum_overflows(logits, y):
    return (logits.exp().sum(1).log() - logits[torch.arange(len(y)), y]).mean()


def _capped(eps):
    def capped(logits, y):
        return -(logits.softmax(1)[torch.arange(len(y)), y] + eps).log().mean()

    capped.__name__ = f"capped_{eps:.0e}"
    return capped


for _eps in (1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12):
    cross_entropy.wrong(
        f"The 1e-{-round(math.log10(_eps))} within the logarithm hides that p was rounded to 0: "
        f"the loss stops at {-math.log(_eps):.1f}, and a network that is surely wrong gets no "
        "gradient. Stay with the logits."
    )(_capped(_eps))


@cross_entropy.wrong(
    "The exponential overflows for a logit of 200: infinity divided by infinity. "
    "torch.logsumexp subtracts the largest logit first."
)
def overflows(logits, y):
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    return -p[torch.arange(len(y)), y].log().mean()


@cross_entropy.wrong(
    "The probability of a hopeless class is rounded to 0 and its logarithm is −∞. Stay with the "
    "logits: log Σ exp − logit."
)
def log_of_zero(logits, y):
    return -logits.softmax(1)[torch.arange(len(y)), y].log().mean()


@cross_entropy.also_right
def of_torch(logits, y):
    return F.nll_loss(F.log_softmax(logits, dim=1), y)


# ---- one training step


def _float(loss):
    return loss.item()


def _norm(network, max_norm):
    nn.utils.clip_grad_norm_(network.parameters(), max_norm)


def _value(network, max_norm):
    nn.utils.clip_grad_value_(network.parameters(), max_norm)


def _after_softmax(logits, y):
    return F.cross_entropy(logits.softmax(1), y)


def _summed(logits, y):
    return F.cross_entropy(logits, y, reduction="sum")


def _training_step(
    network,
    optimizer,
    x,
    y,
    max_norm,
    *,
    order="zero backward clip step",
    clip=_norm,
    loss_of=F.cross_entropy,
    result=_float,
):
    loss = loss_of(network(x), y)
    for action in order.split():
        if action == "zero":
            optimizer.zero_grad()
        elif action == "backward":
            loss.backward()
        elif action == "clip":
            clip(network, max_norm)
        else:
            optimizer.step()
    return result(loss)


class _CountedSteps(torch.optim.SGD):
    """Counts its steps, and the gradients that arrived before the first."""

    steps = before = 0

    def step(self, *args, **kwargs):
        self.steps += 1
        if self.steps == 1:
            self.before = len(self.arrived)
        return super().step(*args, **kwargs)


def _three_steps(function):
    """The weights after each of three steps at rate 1; only the first gradient is too long."""
    network = nn.Linear(3, 5)
    optimizer, arrived = _CountedSteps(network.parameters(), lr=1.0), []
    network.weight.register_hook(lambda gradient: arrived.append(1))
    optimizer.arrived = arrived
    seen = {}
    for step, size in enumerate((20.0, 1.0, 0.5), 1):
        x, y = size * torch.randn(7, 3), torch.randint(5, (7,))
        old = network.weight.detach().clone()
        returned = function(network, optimizer, x, y, 0.8)
        kind = type(returned).__name__ if isinstance(returned, float | Tensor) else repr(returned)
        seen[f"what step {step} returns"] = f"{kind:.80}"
        if isinstance(returned, float | Tensor):
            seen[f"the loss that step {step} returns"] = float(returned)
        seen[f"the change of the weights in step {step}"] = network.weight.detach() - old
    return seen | {
        "calls of backward": len(arrived),
        "calls of optimizer.step": optimizer.steps,
        "calls of backward before the first optimizer.step": optimizer.before,
    }


training_step = Exercise(
    "training_step",
    _training_step,
    observe=_three_steps,
    points=3,
    right="These lines train every network of this course; only the loss changes.",
    hints=(
        "The order: logits, loss, old gradients away, new gradients, clip, step.",
        "Clipping, torch.nn.utils.clip_grad_norm_(network.parameters(), max_norm), shortens the "
        "gradients that are there when it is called. Which line makes them?",
        "Return loss.item(), a plain number. The tensor loss would keep its whole graph in memory.",
    ),
)
training_step.mistake(
    "The gradients of earlier batches are still there: backward adds to them. zero_grad is missing "
    "before backward.",
    order="backward clip step",
)
training_step.mistake(
    "Here zero_grad comes between backward and step and wipes the new gradient: nothing is "
    "learned.",
    order="backward clip zero step",
)
training_step.mistake(
    "Here optimizer.step() comes before loss.backward(), and zero_grad has just emptied the "
    "gradients: no weight moves.",
    order="zero step backward clip",
)
training_step.mistake(
    "Here optimizer.step() comes before loss.backward(): it takes the gradients of the batch "
    "before.",
    order="step zero backward clip",
)
training_step.mistake(
    "The step takes a gradient that was not clipped. Clip it after backward, which makes it, and "
    "before step, which uses it.",
    order="zero clip backward step",
)
training_step.mistake(
    "The call of optimizer.step() is missing: gradients are computed, but no weight moves.",
    order="zero backward clip",
)
training_step.mistake(
    "The call of backward() is missing: there is no gradient to step along.", order="zero clip step"
)
training_step.mistake(
    "Each entry of the gradient was clipped on its own, which turns its direction. Clip the norm.",
    clip=_value,
)
training_step.mistake(
    "Softmax came before the cross-entropy, which has one of its own: the loss cannot fall below "
    "1.4612 for ten classes.",
    loss_of=_after_softmax,
)
training_step.mistake(
    "The loss is summed over the batch. Average it, so that it does not depend on the size of the "
    "batch.",
    loss_of=_summed,
)
training_step.mistake(
    "The tensor loss is returned: it would keep the graph of every step in memory. Return "
    "loss.item().",
    result=_itself,
)


@training_step.wrong("The loss that is returned was computed after the step, with other weights.")
def measured_late(network, optimizer, x, y, max_norm):
    _training_step(network, optimizer, x, y, max_norm)
    return F.cross_entropy(network(x), y).item()


@training_step.also_right
def tidied_up_afterwards(network, optimizer, x, y, max_norm):
    loss = -F.log_softmax(network(x), 1).gather(1, y[:, None]).mean()
    loss.backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    norm = torch.stack([g.norm() for g in gradients]).norm()
    for gradient in gradients:
        gradient.mul_((max_norm / (norm + 1e-6)).clamp(max=1))
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach().item()


# ---- where the gates begin


def _from_1(u, T):
    return 1 + u * (T - 2)


def _from_0(u, T):
    return u * (T - 1)


def _to_T(u, T):
    return 1 + u * (T - 1)


def _from_2(u, T):
    return 2 + u * (T - 2)


def _all_alike(u, T):
    return torch.full_like(u, T - 1)


def _logit(tau):
    return torch.log(tau - 1)


def _chrono_biases(u, T, *, steps=_from_1, bias=torch.log, input_bias=torch.neg, order=(0, 1)):
    b_f = bias(steps(u, T))
    both = b_f, input_bias(b_f)
    return both[order[0]], both[order[1]]


chrono_biases = Exercise(
    "chrono_biases",
    _chrono_biases,
    probes=[
        lambda g: (torch.tensor([0.0, 0.25, 0.5]), 10),
        lambda g: (torch.rand(7, generator=g), 50),
    ],
    points=2,
    gradients=False,  # u is drawn, not learned
    tell=("b_f", "b_i"),
    right="Each unit begins with a memory of its own length, from one step to T − 1. Your biases "
    "will start one of the networks below.",
    hints=(
        "First stretch u from [0, 1) to [1, T − 1): that is τ.",
        "The bias b_f is the logarithm of τ: σ(log τ) = τ / (τ + 1) is ½ for τ = 1 and near 1 for "
        "a long memory.",
        "A unit that keeps much should write little: b_i is b_f with a minus.",
    ),
)
chrono_biases.mistake(
    "The logarithm is missing: τ itself as a bias makes σ(τ) = 1 to five digits already at τ = 12, "
    "so that all units keep everything.",
    bias=_itself,
)
chrono_biases.mistake(
    "The bias b_i lacks its minus: units with a long memory would also write the most, and their "
    "cells would grow and grow.",
    input_bias=_itself,
)
chrono_biases.mistake(
    "Here τ begins at 0, and log 0 = −∞. The shortest memory is one step: τ runs from 1 to T − 1.",
    steps=_from_0,
)
chrono_biases.mistake(
    "Here τ runs up to T. Between the first and the last digit lie at most T − 1 steps.",
    steps=_to_T,
)
chrono_biases.mistake("Here τ runs from 2: 1 + u (T − 2) begins at 1.", steps=_from_2)
chrono_biases.mistake(
    "The biases b_f and b_i are swapped: the forget gates would begin closed, and nothing would "
    "be kept.",
    order=(1, 0),
)
chrono_biases.mistake(
    "Every unit got the same τ. u differs from unit to unit, so that each has its own memory.",
    steps=_all_alike,
)
chrono_biases.mistake("This is a logarithm to another base. Use torch.log.", bias=torch.log2)
chrono_biases.mistake(
    "This is log(τ − 1), which gives f = 1 − 1/τ but is −∞ at τ = 1. The paper takes log τ.",
    bias=_logit,
)


@chrono_biases.wrong("Two Python lists came back. torch.tensor makes a tensor of each.")
def two_lists(u, T):
    b_f, b_i = _chrono_biases(u, T)
    return b_f.tolist(), b_i.tolist()


@chrono_biases.also_right
def number_by_number(u, T):
    b_f = [math.log(1 + number * (T - 2)) for number in u.tolist()]
    return torch.tensor(b_f), torch.tensor([-b for b in b_f])


@chrono_biases.also_right
def by_log1p(u, T):
    b_f = torch.log1p(u * (T - 2))
    return b_f, -1 * b_f


# ---- how far a gradient reaches along the cell


def _product(x):
    return x.flip(1).cumprod(1).flip(1)


def _from_the_start(x):
    return x.cumprod(1)


def _sum(x):
    return x.flip(1).cumsum(1).flip(1)


def _not_turned_back(x):
    return x.flip(1).cumprod(1)


def _over_units(x):
    return x.flip(2).cumprod(2).flip(2)


def _later(f):
    return torch.cat([f[:, 1:], torch.ones_like(f[:, :1])], 1)


def _mean(reach):
    return reach.mean((0, 2))


def _total(reach):
    return reach.sum((0, 2))


def _mean_over_units(reach):
    return reach.mean(2)


def _gradient_reach(f, *, gates=_later, along=_product, over=_mean, average_first=False):
    if average_first:
        f = f.mean((0, 2), keepdim=True)
    return over(along(gates(f)))


gradient_reach = Exercise(
    "gradient_reach",
    _gradient_reach,
    probes=[
        lambda g: (torch.tensor([[[0.5], [0.5], [0.8]]]),),
        lambda g: (torch.rand(3, 7, 5, generator=g),),
    ],
    points=2,
    gradients=False,  # a measurement: nothing is learned from it
    right="At f = ½ this product is halved at every step. The next cell lets you open the gate.",
    hints=(
        "For the last step the product is empty, so it is 1. For the one before it is the last f.",
        "With cumprod(1) you multiply along time from the front; flip(1) turns time round, before "
        "and after.",
        "So torch.cat([f[:, 1:], torch.ones_like(f[:, :1])], 1) holds f_{t+1} at place t. "
        "Average over batch and units at the very end.",
    ),
)
gradient_reach.mistake(
    "The step's own gate f_t is in the product. The way from the end back to c_t passes f_{t+1} to "
    "f_S; at the last step nothing is in the way, so it is 1.",
    gates=_itself,
)
gradient_reach.mistake(
    "The product begins at the first step. A gradient comes from the last step and passes the "
    "later gates.",
    along=_from_the_start,
)
gradient_reach.mistake("The gates are added. Each step multiplies the gradient by f.", along=_sum)
gradient_reach.mistake(
    "The result still runs from the last step to the first: turn it round at the end.",
    along=_not_turned_back,
)
gradient_reach.mistake(
    "Only the next gate is there. A gradient passes all gates from t + 1 to S.", along=_itself
)
gradient_reach.mistake(
    "The product runs over units, not over time. f is (N, T, H): time is dimension 1.",
    along=_over_units,
)
gradient_reach.mistake(
    "The gates were averaged before the product. A few units with open gates carry the gradient, "
    "and such a mean hides them.",
    average_first=True,
)
gradient_reach.mistake(
    "The products are summed over batch and units. Average them, so that 1 means: all of it.",
    over=_total,
)
gradient_reach.mistake(
    "One value for each palindrome came back. Average over the batch as well: shape (S,).",
    over=_mean_over_units,
)


@gradient_reach.wrong(
    "The gates f were changed in place. They belong to the caller: work on a copy."
)
def in_place(f):
    with torch.no_grad():
        f.copy_(_product(_later(f)))
    return f.mean((0, 2))


@gradient_reach.wrong("A Python list of numbers came back. torch.tensor makes one tensor of it.")
def numbers_in_a_list(f):
    return _gradient_reach(f).tolist()


@gradient_reach.wrong("A Python list of tensors came back. torch.stack makes one tensor of it.")
def tensors_in_a_list(f):
    return list(_gradient_reach(f))


@gradient_reach.also_right
def in_place_on_a_copy(f):
    p = torch.ones_like(f)
    for t in reversed(range(f.shape[1] - 1)):
        p[:, t] = p[:, t + 1] * f[:, t + 1]
    return torch.tensor([p[:, t].mean().item() for t in range(f.shape[1])])


@gradient_reach.also_right
def backwards_in_a_loop(f):
    reach = [torch.ones_like(f[:, 0])]
    for f_t in f[:, 1:].flip(1).unbind(1):
        reach.append(reach[-1] * f_t)
    return torch.stack([r.mean() for r in reversed(reach)])


# ---- the report's table


def _gain(a, b):
    return b - a


def _turned_round(a, b):
    return a - b


def _per_cent(a, b):
    return 100 * (b - a) / a


def _by_length(row):
    return sum(row) / len(row)


def _by_three(row):
    return sum(row) / 3


def _by_four(row):
    return sum(row) / 4


def _fits(
    rnn,
    lstm,
    gains,
    means,
    *,
    gain=_gain,
    mean=_by_length,
    order=(0, 1),
    tolerance=0.03,
    combine=all,
    use=("gains", "means"),
):
    differences = []
    if "gains" in use:
        pairs = zip(rnn, lstm, gains, strict=False)
        differences += [gain(a, b) - g for a, b, g in pairs]
    if "means" in use:
        rows = [(rnn, lstm)[k] for k in order]
        differences += [mean(row) - m for row, m in zip(rows, means, strict=True)]
    return combine(abs(d) <= tolerance for d in differences)


def _tables(function):
    """Answers for tables that fit, that nearly fit and that do not."""
    rnn, lstm = (50.25, 40.5, 31.0), (60.5, 44.75, 30.0)
    gains, means = (10.25, 4.25, -1.0), (40.58, 45.08)
    cases = {
        "a table that fits": (rnn, lstm, gains, means),
        "a table with rounded numbers": (rnn, lstm, (10.26, 4.24, -1.01), (40.59, 45.08)),
        "a table with a gain wrong by 0.1": (rnn, lstm, (10.25, 4.35, -1.0), means),
        "a table with the last gain wrong": (rnn, lstm, (10.25, 4.25, 1.0), means),
        "a table with the RNN's mean wrong": (rnn, lstm, gains, (41.58, 45.08)),
        "a table with the LSTM's mean wrong": (rnn, lstm, gains, (40.58, 44.08)),
        "a table with the two rows swapped": (lstm, rnn, gains, means),
        "a table with two columns swapped": (
            rnn[1::-1] + rnn[2:],
            lstm[1::-1] + lstm[2:],
            gains,
            means,
        ),
        "a table with every gain turned round": (rnn, lstm, tuple(-g for g in gains), means),
        "a table with gains in per cent of the RNN": (rnn, lstm, (20.40, 10.49, -3.23), means),
        "a table without the last gain": (rnn, lstm, gains[:2], means),
        "a table of four columns that fits": (
            (*rnn, 22.27),
            (*lstm, 29.39),
            (10.26, 4.24, -1.01),
            (36.0, 41.17),
        ),
        "a table with the two means exchanged": (rnn, lstm, gains, means[::-1]),
        "a table where nothing fits": (rnn, lstm, (1.0, 2.0, 3.0), (10.0, 20.0)),
    }
    answers = {name: function(*case) for name, case in cases.items()}
    return {f"the answer for {name}": _truth(value) for name, value in answers.items()}


def _truth(value):
    """A truth value of Python, NumPy or torch as Python's; anything else as it is."""
    if isinstance(value, np.generic | Tensor) and value.reshape(-1).shape == (1,):
        value = value.item()
    return value if isinstance(value, bool) else f"{value!r:.80}"


fits = Exercise(
    "fits",
    _fits,
    observe=_tables,
    points=2,
    right="With this test the computer can try every order of the columns.",
    hints=(
        "A gain is the LSTM's number minus the RNN's, in the same column.",
        "All that is printed is rounded to 0.01, so a difference of up to 0.03 is no "
        "contradiction: compare abs(…) <= 0.03.",
        "Use all(…) over zip(rnn, lstm, gains), and the same for the mean of each row; zip ends "
        "with the shortest, which is what you want for a column without a gain.",
    ),
)
fits.mistake("The gain is the LSTM minus the RNN, not the other way round.", gain=_turned_round)
fits.mistake(
    "A gain is a difference in percentage points here, not a share of the RNN's accuracy.",
    gain=_per_cent,
)
fits.mistake(
    "No table fits, not even one whose numbers agree after rounding. If they are compared exactly: "
    "87.5 − 78.91 is not 8.59 for a computer, so allow 0.03.",
    tolerance=0,
)
fits.mistake("A gain that is wrong by 0.1 passes. Allow no more than 0.03.", tolerance=0.5)
fits.mistake("One number that agrees is not enough: all of them must.", combine=any)
fits.mistake(
    "Each mean is computed as if there were four columns. Divide by the length of the row.",
    mean=_by_four,
)
fits.mistake(
    "Each mean is computed as if there were three columns. Divide by the length of the row.",
    mean=_by_three,
)
fits.mistake(
    "The two means are exchanged: the first belongs to the RNN's row, the second to the LSTM's.",
    order=(1, 0),
)
fits.mistake("The gains are compared, but not the means of the rows.", use=("gains",))
fits.mistake("The means are compared, but not the gains of the columns.", use=("means",))


@fits.wrong("The mean of the LSTM's row is not compared.")
def one_mean(rnn, lstm, gains, means):
    means = (means[0], sum(lstm) / len(lstm))
    return _fits(rnn, lstm, gains, means)


@fits.wrong("Only the first gain is compared.")
def one_gain(rnn, lstm, gains, means):
    return _fits(rnn, lstm, gains[:1], means)


@fits.wrong("A column without a printed gain must not count against a table.")
def needs_every_gain(rnn, lstm, gains, means):
    return len(gains) == len(rnn) and _fits(rnn, lstm, gains, means)


@fits.also_right
def as_tensors(rnn, lstm, gains, means):
    rows = torch.tensor([rnn, lstm], dtype=torch.double)
    found = torch.cat([(rows[1] - rows[0])[: len(gains)], rows.mean(1)])
    return torch.allclose(found, torch.tensor([*gains, *means]).double(), rtol=0, atol=0.03)
