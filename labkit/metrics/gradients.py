"""Does the gradient of the last step's loss reach the first step? (Hochreiter 1991)"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gradient_flow(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """How much the loss at the last step depends on each state of a recurrent network, (T,) each.

    x: (N, T, D); y: labels (N,). "dL/dh": the norm ‖∂L/∂h_t‖, averaged over the batch. For an LSTM
    also "dL/dc", and "forget product", the product of the forget gates after step t, averaged over
    batch and units: ∂c_T/∂c_t if the cell state were the only path.
    """
    states = list(network.states(x))
    # summed over the batch: the gradient at a sequence is then that of the sequence's own loss
    loss = F.cross_entropy(network.read_out(states[-1].h), y, reduction="sum")
    flow = {}
    for name in ("h", "c"):
        if hasattr(states[0], name):
            over_time = [getattr(state, name) for state in states]
            gradients = torch.autograd.grad(loss, over_time, retain_graph=True)
            flow[f"dL/d{name}"] = torch.stack([g.norm(dim=1).mean() for g in gradients])
    if hasattr(states[0], "f"):
        f = torch.stack([state.f for state in states]).detach()  # (T, N, H)
        later = torch.cat([f[1:], torch.ones_like(f[:1])])  # f_{t+1} at t
        flow["forget product"] = later.flip(0).cumprod(0).flip(0).mean(dim=(1, 2))
    return flow
