"""Paths in a latent space, in float64 and returned like the codes, its grids and principal axes."""

from numbers import Integral
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


def lerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Linear interpolation (1 − t) a + t b of codes (D,): (D,) for a number t, (K, D) for t (K,).

    Half way between draws from N(0, I) with large D, the norm is about √2 smaller than at the ends,
    where the prior has almost no mass. Raises ValueError unless a and b are float, of one length.
    """
    a, u, v, t = _codes(a, b, t)
    return ((1 - t) * u + t * v).to(a)


def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Spherical linear interpolation of codes (D,): (D,) for a number t, (K, D) for t (K,).

    The direction moves along a great circle at constant angular speed (Shoemake 1985; for latent
    codes White 2016), and the norm changes linearly. Between opposite codes the circle depends on a
    alone. Raises ValueError as `lerp` does, for a zero vector, and for opposite numbers (D = 1).
    """
    a, u, v, t = _codes(a, b, t)
    norm_a, norm_b = u.norm(), v.norm()
    if not (norm_a > 0 and norm_b > 0):  # NaN fails too
        raise ValueError("slerp needs codes with a direction, not zero and not NaN; use lerp")
    u, v = u / norm_a, v / norm_b
    cosine = u @ v
    w = v - cosine * u  # the part of v at right angles to u
    # ω = ∠(a, b), from the tangent because arccos loses half of its digits near 0 and π
    omega = torch.atan2(w.norm(), cosine)
    if w.norm() <= 1e-12:  # parallel codes: take the axis nearest to a right angle with u
        if len(u) == 1 and cosine < 0:
            raise ValueError("slerp cannot turn a number into its opposite; use lerp")
        axis = F.one_hot(u.abs().argmin(), len(u)).to(u)
        w = axis - (axis @ u) * u
    w = F.normalize(w, dim=0)
    # q(t) = ((1 − t)|a| + t|b|) · (u cos tω + w sin tω)
    # for |a| = |b| this is Shoemake's (a sin (1 − t)ω + b sin tω) / sin ω
    norm = (1 - t) * norm_a + t * norm_b
    return (norm * (u * torch.cos(t * omega) + w * torch.sin(t * omega))).to(a)


def _codes(a: Tensor, b: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """a as given, a, b and t in float64 on the CPU, t with a last axis to broadcast over them."""
    a, b, t = torch.as_tensor(a), torch.as_tensor(b), torch.as_tensor(t).cpu().double()
    if a.ndim != 1 or a.shape != b.shape or t.ndim > 1:
        shapes = [tuple(part.shape) for part in (a, b, t)]
        raise ValueError(f"expected codes (D,) and (D,), and t a number or (K,); got {shapes}")
    if not (a.is_floating_point() and b.is_floating_point()):
        raise ValueError(f"codes must be float, got {a.dtype} and {b.dtype}; use .float()")
    return a, a.cpu().double(), b.cpu().double(), t[..., None]


def path_length(points: Tensor) -> float:
    """Length Σ |pₖ₊₁ − pₖ| of the polyline through points (K, D), K ≥ 2."""
    if points.ndim != 2 or len(points) < 2:
        raise ValueError(f"a path has two points or more, (K, D); got {tuple(points.shape)}")
    return points.double().diff(dim=0).norm(dim=1).sum().item()


def normal_grid(n: int) -> Tensor:
    """n × n points (n, n, 2), each the centre of an equal share of a 2-D standard normal.

    Coordinates are Φ⁻¹((k + ½) / n) (Kingma & Welling 2014, appendix A), growing to the right and
    to the top of a picture with rows of n images. ValueError unless n is a whole number, 1 or more.
    """
    if not isinstance(n, Integral) or n < 1:
        raise ValueError(f"n must be a whole number, at least one point a side; got {n!r}")
    quantiles = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n).float()
    second, first = torch.meshgrid(quantiles.flip(0), quantiles, indexing="ij")
    return torch.stack([first, second], dim=-1)


class PrincipalAxes(NamedTuple):
    """Mean (J,), orthonormal directions (K, J), and the sd and share of variance of each (K,)."""

    mean: Tensor
    directions: Tensor
    sd: Tensor
    share: Tensor


def principal_axes(codes: Tensor) -> PrincipalAxes:
    """All J principal axes of codes (N, J), largest variance first; ValueError unless N > J."""
    if codes.ndim != 2 or len(codes) <= codes.shape[1]:
        raise ValueError(f"expected codes (N, J) with N > J, got {tuple(codes.shape)}")
    from sklearn.decomposition import PCA  # here: interpolation does not need it

    pca = PCA(svd_solver="full").fit(codes.double().cpu().numpy())
    parts = pca.mean_, pca.components_, pca.explained_variance_**0.5, pca.explained_variance_ratio_
    mean, directions, sd, share = (torch.from_numpy(part).float() for part in parts)
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))  # made positive
    return PrincipalAxes(mean, directions * largest.sign(), sd, share)
