"""Study 01: recurrent networks on palindromes, as in Report A."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.data import palindromes
from labkit.models.recurrent import LSTM
from labkit.training.loop import Loop


@dataclass(frozen=True)
class PalindromeRun:
    """One training run; the defaults are the report's.

    network: called with (inputs, hidden units, 10 classes), e.g. VanillaRNN or
        partial(LSTM, forget_bias=3.0). encoding: one of labkit.data.palindromes.
    stop_at: end when two scores in a row reach this accuracy (above 1: never).
    give_up: end after so many steps if the network still guesses (below 15 %).
    """

    network: Callable[[int, int, int], nn.Module] = LSTM
    length: int = 5
    encoding: Callable[[Tensor], Tensor] = palindromes.one_hot
    seed: int = 0
    steps: int = 10_000
    hidden_dim: int = 128
    batch_size: int = 128
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.RMSprop
    lr: float = 1e-3
    max_norm: float = 10.0
    log_every: int = 100
    stop_at: float = 2.0
    give_up: int | None = None
    device: str = "cpu"

    def build(self) -> nn.Module:
        """The untrained network; its weights come from torch's global generator."""
        input_dim = self.encoding(torch.zeros(1, dtype=torch.int64)).shape[-1]
        return self.network(input_dim, self.hidden_dim, 10).to(self.device)

    def trained(self, result: dict[str, Any]) -> nn.Module:
        """The network of a finished run, on the CPU."""
        with torch.random.fork_rng():  # leaves the caller's generator alone
            network = self.build().cpu()
        network.load_state_dict(result["network"])
        return network


def run(
    settings: PalindromeRun, checkpoint: str | os.PathLike | None = None, show: bool = False
) -> dict[str, Any]:
    """Train on fresh palindromes of the training split: cross-entropy at the last step.

    Returns {"network": weights, "history": rows with step, and accuracy in [0, 1] and loss in nats
    on the last batch and on 1,000 held-out palindromes (all, if fewer)}.
    """
    s = settings
    held_out = held_out_set(s.length, 1000).to(s.device)
    with torch.random.fork_rng():  # leaves the caller's generator alone
        torch.manual_seed(s.seed)
        network = s.build()
    generator = torch.Generator().manual_seed(s.seed)
    optimizer = s.optimizer(network.parameters(), lr=s.lr)
    state = {"network": network, "updates": optimizer, "generator": generator}
    desc = f"{label(s.network)} T={s.length}"
    loop = Loop(s.steps, state, checkpoint=checkpoint, facts=s, desc=desc, show=show)
    for step in loop:
        digits = palindromes.sample(s.batch_size, s.length, "train", generator).to(s.device)
        y = palindromes.targets(digits)  # (N,)
        logits = network(palindromes.inputs(digits, s.encoding))  # (N, 10), after the last step
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), s.max_norm)
        optimizer.step()
        if (step + 1) % s.log_every == 0 or step + 1 == s.steps:
            accuracy, held_out_loss = score(network, held_out, s.encoding)
            loop.log(
                train_accuracy=(logits.argmax(1) == y).double().mean().item(),
                train_loss=loss.item(),
                held_out_accuracy=accuracy,
                held_out_loss=held_out_loss,
            )
            last_two = [row["held_out_accuracy"] for row in loop.history[-2:]]
            if len(last_two) == 2 and min(last_two) >= s.stop_at:  # once may be luck
                loop.stop("learned")
            elif s.give_up and step + 1 >= s.give_up and accuracy < 0.15:
                loop.stop("still guessing")
    weights = {name: value.cpu() for name, value in network.state_dict().items()}
    return {"network": weights, "history": loop.history}


@torch.no_grad()
def score(network: nn.Module, digits: Tensor, encoding: Callable) -> tuple[float, float]:
    """Accuracy in [0, 1] and cross-entropy in nats on palindromes (N, T)."""
    parts = digits.split(1000)
    logits = torch.cat([network(palindromes.inputs(part, encoding)) for part in parts])
    y = palindromes.targets(digits)
    return (logits.argmax(1) == y).double().mean().item(), F.cross_entropy(logits, y).item()


def held_out_set(length: int, n: int) -> Tensor:
    """`n` held-out palindromes (n, T), the same for every network; all of them for T up to 6."""
    if length <= 6:
        return palindromes.enumerate_all(length, "held_out")[:n]
    return palindromes.sample(n, length, "held_out", torch.Generator().manual_seed(1_000_000))


def label(function: Callable) -> str:
    """A network or encoding in words: "LSTM", "one_hot", "LSTM(forget_bias=3.0)"."""
    if isinstance(function, partial):
        chosen = ", ".join(f"{name}={value}" for name, value in function.keywords.items())
        return f"{label(function.func)}({chosen})"
    return function.__name__


def summary(settings: Sequence[PalindromeRun], runs: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row a run: its settings, functions by their label, `accuracy` and `learned_at`.

    accuracy: held out, at the end. learned_at: the step of the first of two scores in a row at
    99.9 % or more, or NaN; two, because RMSprop's accuracy can spike and fall back.
    """
    rows = []
    for setting, run in zip(settings, runs, strict=True):
        values = {field.name: getattr(setting, field.name) for field in fields(setting)}
        row = {name: label(v) if callable(v) else v for name, v in values.items()}
        good = [(r["step"], r["held_out_accuracy"] >= 0.999) for r in run["history"]]
        learned = (
            step for (step, now), (_, after) in zip(good, good[1:], strict=False) if now and after
        )
        row["accuracy"] = run["history"][-1]["held_out_accuracy"]
        rows.append({**row, "learned_at": next(learned, float("nan"))})
    return pd.DataFrame(rows)


def gate_panels(trace: tuple, digits: Sequence[int | str], axes: np.ndarray) -> np.ndarray:
    """Gates and cell of an LSTM over one sequence: units × time above, the mean of units below.

    trace: an LSTMState of arrays (T, H); digits: the T digits read, as tick labels; axes: (2, 4).
    Units are sorted by |c| at the end.
    """
    cell = np.asarray(trace.c)
    order, limit = np.argsort(-np.abs(cell[-1])), np.abs(cell).max()
    every = -(-len(digits) // 20)  # more tick labels than this would touch
    gates = {"input gate i": trace.i, "forget gate f": trace.f, "output gate o": trace.o}
    panels, pictures = gates | {"cell state c": cell}, []
    for (above, below), (name, values) in zip(axes.T, panels.items(), strict=True):
        values, look = np.asarray(values), dict(vmin=0, vmax=1, cmap="viridis")
        if name not in gates:
            look = dict(vmin=-limit, vmax=limit, cmap="RdBu_r")
        look |= dict(aspect="auto", interpolation="nearest")
        pictures.append(above.imshow(values.T[order], **look))
        above.set(xlabel=name, xticks=[], yticks=[])
        below.plot(np.abs(values).mean(axis=1), marker=".")
        below.set_xticks(range(0, len(digits), every), digits[::every])
        below.set(xlim=(-0.5, len(values) - 0.5), xlabel="digit read")
        below.set_ylim(0, 1 if name in gates else None)
    bars = [(pictures[2], axes[:, :3], 100), (pictures[3], axes[:, 3], 30)]
    for picture, columns, aspect in bars:  # one scale for the three gates, one for the cell
        axes[0, 0].figure.colorbar(picture, ax=columns, location="top", shrink=0.9, aspect=aspect)
    axes[0, 0].set(ylabel="unit", yticks=[0, len(order) - 1], yticklabels=[1, len(order)])
    axes[1, 0].set_ylabel("mean")
    axes[1, 3].set_ylabel("mean |c|")
    return axes
