"""Training and scoring of a classifier on uint8 images."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.profile import autocast
from labkit.training.batches import Batches
from labkit.training.loop import Loop


@dataclass(frozen=True)
class ClassifierSettings:
    """shift_by: pixels that a batch is moved by at most. mirror: flip every second batch."""

    epochs: float
    seed: int = 0
    batch_size: int = 128
    lr: float = 3e-3
    shift_by: int = 2
    mirror: bool = False


def train_classifier(
    model: nn.Module, images: Tensor, labels: Tensor, settings: ClassifierSettings
) -> nn.Module:
    """Train with Adam on a one-cycle schedule (Smith & Topin 2019) and cross-entropy.

    images uint8 (N, C, H, W), labels int64 (N,). Returns the model in eval mode. Raises ValueError
    as `Batches` does, FloatingPointError if the loss is not finite at the end.
    """
    s, device = settings, next(model.parameters()).device
    batches = Batches(images, min(s.batch_size, len(images)), s.seed, labels, device)
    steps, generator = batches.steps(s.epochs), torch.Generator().manual_seed(s.seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=s.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=s.lr, total_steps=steps + 1)
    loop = Loop(steps, {}, desc="classifier")
    model.to(memory_format=torch.channels_last).train()  # faster where there are bf16 instructions
    with torch.random.fork_rng():  # dropout
        torch.manual_seed(s.seed)
        for step in loop:
            x, y = batches(step)
            x = shift(x, s.shift_by, generator)
            with autocast(device):
                loss = F.cross_entropy(model(x.flip(-1) if s.mirror and step % 2 else x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if step + 1 == steps:
                loop.log(loss=loss.item())
    return model.eval()


def shift(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """The batch (N, C, H, W) moved by one random offset of up to `pixels` each way, over black."""
    dy, dx = torch.randint(-pixels, pixels + 1, (2,), generator=generator).tolist()
    padded, (height, width) = F.pad(images, [pixels] * 4), images.shape[-2:]
    return padded[..., pixels + dy : pixels + dy + height, pixels + dx : pixels + dx + width]


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, batch_size: int = 500) -> Tensor:
    """Logits (N, classes) on the CPU, of images (N, C, H, W)."""
    device = next(model.parameters()).device
    return torch.cat([model(batch.to(device)).cpu() for batch in images.split(batch_size)])


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images whose likeliest class is the label, in [0, 1]."""
    return (predict(model, images).argmax(1) == labels).double().mean().item()
