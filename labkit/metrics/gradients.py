"""Does the gradient of the last step's loss reach the first step? (Hochreiter 1991; Pascanu et al.
2013, arXiv:1211.5063)
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gradient_flow(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """How much of the loss at the last step depends on each earlier state, for x (N, T, D) and
    labels y (N,).

    Returns (T,) arrays: "dL/dh", the norm ‖∂L/∂h_t‖ averaged over the batch; for an LSTM also
    "dL/dc", and "forget product", the product of the forget gates after t averaged over batch and
    units: what ∂c_T/∂c_t would be if the cell were the only path.
    """
    states = list(network.states(x))
    loss = F.cross_entropy(
        network.read_out(states[-1].h), y, reduction="sum"
    )  # summed, so each sequence has its own gradient
    flow = {}
    for name in ("h", "c"):
        if hasattr(states[0], name):
            gradients = torch.autograd.grad(
                loss, [getattr(s, name) for s in states], retain_graph=True
            )
            flow[f"dL/d{name}"] = torch.stack([g.norm(dim=1).mean() for g in gradients])
    if hasattr(states[0], "f"):
        f = torch.stack([s.f for s in states]).detach()  # (T, N, H)
        after = (
            torch.cat([f[1:], torch.ones_like(f[:1])]).flip(0).cumprod(0).flip(0)
        )  # ∏ of f over steps t + 1 … T
        flow["forget product"] = after.mean(dim=(1, 2))
    return flow
