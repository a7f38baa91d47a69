"""Training and scoring of a classifier on uint8 images."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.profile import autocast
from labkit.training.loop import Loop


def shift(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """The batch (N, C, H, W) moved by one random offset of at most `pixels` each way, black flowing
    in.
    """
    dy, dx = torch.randint(-pixels, pixels + 1, (2,), generator=generator).tolist()
    padded = F.pad(images, [pixels] * 4)
    return padded[
        ...,
        pixels + dy : pixels + dy + images.shape[-2],
        pixels + dx : pixels + dx + images.shape[-1],
    ]


def train_classifier(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epochs: float,
    seed: int,
    batch_size: int = 128,
    lr: float = 3e-3,
    shift_by: int = 2,
    mirror: bool = False,
    show: bool = False,
) -> nn.Module:
    """Adam on a one-cycle schedule (Smith & Topin 2019) with cross-entropy; each batch is moved by
    up to `shift_by` pixels.

    images uint8 (N, C, H, W); labels int64 (N,). mirror: flip every second batch, where left and
    right do not matter (garments). Returns the model in eval mode.
    """
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    model.to(
        memory_format=torch.channels_last
    )  # with bfloat16 twice as fast as without either, on a CPU that has bf16 instructions
    steps = max(1, round(epochs * len(images) / batch_size))
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=steps + 1)
    loop = Loop(steps, {}, desc="classifier", show=show)
    model.train()
    order = torch.empty(0, dtype=torch.int64)
    for step in loop:
        if len(order) < batch_size:
            order = torch.cat([order, torch.randperm(len(images), generator=generator)])
        batch, order = order[:batch_size], order[batch_size:]
        x = shift(images[batch], shift_by, generator).to(device)
        x = x.flip(-1) if mirror and step % 2 else x
        with autocast(device):
            loss = F.cross_entropy(model(x), labels[batch].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, batch_size: int = 500) -> Tensor:
    """Logits (N, classes) of images (N, C, H, W), in batches."""
    device = next(model.parameters()).device
    return torch.cat([model(batch.to(device)).cpu() for batch in images.split(batch_size)])


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images whose likeliest class is the label, in [0, 1]."""
    return (predict(model, images).argmax(1) == labels).double().mean().item()
