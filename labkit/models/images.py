"""From codes to uint8 images and back, for every model that draws or encodes."""

import torch
from torch import Tensor, nn

from labkit.models.vae import reparameterize


@torch.inference_mode()
def draw(model: nn.Module, z: Tensor, y: Tensor | None = None, batch_size: int = 500) -> Tensor:
    """Images uint8 (N, C, H, W) on the CPU, of codes (N, Z) and, if it takes them, labels (N,).

    model: with `decode`, to images in [0, 1], or a generator of images in [−1, 1]; used in eval
    mode. Raises ValueError if there are not as many labels as codes.
    """
    if y is not None and y.shape != z.shape[:1]:
        raise ValueError(
            f"codes (N, Z) need labels (N,), got {tuple(z.shape)} and {tuple(y.shape)}; "
            "the same label for all is y.expand(len(z))"
        )
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    images = []
    for k in range(0, len(z), batch_size):
        given = [t[k : k + batch_size].to(device) for t in (z, y) if t is not None]
        x = model.decode(*given) if hasattr(model, "decode") else (model(*given).float() + 1) / 2
        images.append((x.float().cpu() * 255).round().clamp(0, 255).byte())
    model.train(was_training)
    return torch.cat(images)


@torch.inference_mode()
def encode(
    model: nn.Module,
    images: Tensor,
    labels: Tensor | None = None,
    seed: int | None = None,
    batch_size: int = 1000,
) -> Tensor:
    """Codes (N, J), float32 on the CPU, of uint8 images (N, C, H, W) and, if taken, labels (N,).

    Of a VAE μ of q(z|x) or, with a seed, one draw of it an image; of an autoencoder its code.
    Raises TypeError for a model without an encoder and ValueError for images that are not uint8.
    """
    if not hasattr(model, "encode"):
        raise TypeError(f"a {type(model).__name__} has no encoder; use a VAE, VAE-GAN, autoencoder")
    device, codes = next(model.parameters()).device, []
    noise = None if seed is None else torch.Generator().manual_seed(seed)
    for k in range(0, len(images), batch_size):
        x = unit(images[k : k + batch_size].to(device))
        code = model.encode(x, *([] if labels is None else [labels[k : k + batch_size].to(device)]))
        if isinstance(code, tuple):
            code = code[0] if noise is None else reparameterize(*code, noise)
        codes.append(code.float().cpu())
    return torch.cat(codes)


def unit(images: Tensor) -> Tensor:
    """uint8 images as floats in [0, 1]. Raises ValueError for images that are not uint8."""
    if images.dtype != torch.uint8:
        raise ValueError(f"expected uint8 images, got {images.dtype}; pass them as loaded")
    return images.float() / 255
