"""Training one recurrent network on palindromes, as Report A does: RMSprop, gradients clipped,
cross-entropy at the last step.
"""

import os
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.data import palindromes
from labkit.models.recurrent import LSTM, VanillaRNN
from labkit.training.loop import Loop


def build(
    model: str, input_dim: int, hidden_dim: int, length: int, forget_bias: float | str = 0.0
) -> nn.Module:
    """The network called `model`: "LSTM", "RNN", or "RNN, orthogonal" for digits 0 to 9 of
    palindromes of `length`.
    """
    if model == "LSTM":
        return LSTM(input_dim, hidden_dim, 10, forget_bias, max_length=length)
    if model in ("RNN", "RNN, orthogonal"):
        return VanillaRNN(input_dim, hidden_dim, 10, orthogonal=model != "RNN")
    raise ValueError(f'model must be "LSTM", "RNN" or "RNN, orthogonal", got {model!r}')


@torch.no_grad()
def score(network: nn.Module, digits: Tensor, encoding: str) -> tuple[float, float]:
    """Accuracy in [0, 1] and cross-entropy in nats on palindromes (N, T)."""
    batches = [
        (network(palindromes.inputs(part, encoding)), palindromes.targets(part))
        for part in digits.split(1000)
    ]
    logits, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return (logits.argmax(1) == y).double().mean().item(), F.cross_entropy(logits, y).item()


def train(
    model: str = "LSTM",
    length: int = 5,
    encoding: str = "one_hot",
    forget_bias: float | str = 0.0,
    seed: int = 0,
    steps: int = 10_000,
    hidden_dim: int = 128,
    batch_size: int = 128,
    optimizer: str = "RMSprop",
    lr: float = 1e-3,
    max_norm: float = 10.0,
    log_every: int = 100,
    stop_at: float = 2.0,
    give_up: int | None = None,
    device: str = "cpu",
    checkpoint: str | os.PathLike | None = None,
    show: bool = False,
) -> dict[str, Any]:
    """Train `model` on fresh palindromes of the training split; score it every `log_every` steps on
    1,000 held-out ones (all, if fewer).

    optimizer: a class of torch.optim. stop_at: end when two scores in a row reach this (above 1:
    never).
    give_up: end after this many steps if the network still guesses (below 15 %). The other defaults
    are the report's. Returns {"network" weights, "history" rows with step, train and held-out
    accuracy in [0, 1] and loss in nats}.
    """
    held_out = held_out_set(length, 1000).to(device)
    input_dim = palindromes.inputs(held_out[:1], encoding).shape[-1]
    with torch.random.fork_rng():  # leaves the caller's generator alone
        torch.manual_seed(seed)
        network = build(model, input_dim, hidden_dim, length, forget_bias).to(device)
    generator = torch.Generator().manual_seed(seed)
    updates = getattr(torch.optim, optimizer)(network.parameters(), lr=lr)
    settings = dict(
        model=model,
        length=length,
        encoding=encoding,
        forget_bias=forget_bias,
        seed=seed,
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
    )
    loop = Loop(
        steps,
        {"network": network, "updates": updates, "generator": generator},
        checkpoint,
        settings,
        f"{model} T={length}",
        show,
    )
    for step in loop:
        digits = palindromes.sample(batch_size, length, "train", generator).to(device)
        logits, y = (
            network(palindromes.inputs(digits, encoding)),
            palindromes.targets(digits),
        )  # (N, 10), (N)
        loss = F.cross_entropy(logits, y)  # on logits, of the last step only
        updates.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), max_norm)  # after backward, before the step
        updates.step()
        if (step + 1) % log_every == 0 or step + 1 == steps:
            accuracy, held_out_loss = score(network, held_out, encoding)
            train_accuracy = (logits.argmax(1) == y).double().mean().item()
            loop.log(
                train_accuracy=train_accuracy,
                train_loss=loss.item(),
                held_out_accuracy=accuracy,
                held_out_loss=held_out_loss,
            )
            if (
                len(loop.history) > 1
                and min(row["held_out_accuracy"] for row in loop.history[-2:]) >= stop_at
            ):  # once may be luck
                loop.stop("learned")
            elif give_up and step + 1 >= give_up and accuracy < 0.15:
                loop.stop("still guessing")
    return {
        "network": {name: value.cpu() for name, value in network.state_dict().items()},
        "history": loop.history,
    }


def held_out_set(length: int, n: int) -> Tensor:
    """`n` held-out palindromes (n, T), the same ones for every model; every one of them for T up to
    6, where there are fewer.
    """
    if length <= 6:
        return palindromes.enumerate_all(length, "held_out")[:n]
    return palindromes.sample(n, length, "held_out", torch.Generator().manual_seed(1_000_000))


def summary(settings: list[dict[str, Any]], runs: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a run of `train`: its settings, `accuracy` (held out, at the end), and `learned_at`:
    the step of the first of two scores in a row at 99.9 % or more, or NaN. Two, because RMSprop's
    accuracy can spike and fall back.
    """
    rows = []
    for setting, run in zip(settings, runs, strict=True):
        good = [(row["step"], row["held_out_accuracy"] >= 0.999) for row in run["history"]]
        learned = [
            step for (step, now), (_, after) in zip(good, good[1:], strict=False) if now and after
        ]
        rows.append(
            {
                **setting,
                "accuracy": run["history"][-1]["held_out_accuracy"],
                "learned_at": learned[0] if learned else float("nan"),
            }
        )
    return pd.DataFrame(rows)
