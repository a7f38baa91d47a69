"""Paths and grids in a latent space: straight lines, great circles, principal axes.

Paths are computed in float64 on the CPU (they are short) and returned in the type and on the device
of the codes. Codes are float tensors or NumPy arrays.
"""

from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor


def lerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Linear interpolation (1 − t) a + t b of codes (D,): (D,) for a number t, (K, D) for t (K,).

    Half way between two draws from N(0, I) with large D, the norm is about √2 smaller than at the
    ends, where the prior has almost no mass. Raises ValueError unless a and b are float vectors of
    one length.
    """
    a, b, t = _codes(a, b, t)
    return ((1 - t) * a.cpu().double() + t * b.cpu().double()).to(a)


def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Spherical linear interpolation of codes (D,): (D,) for a number t, (K, D) for t (K,).

    The direction moves along a great circle at constant angular speed (Shoemake 1985; for latent
    codes White 2016). The formula is for vectors of one norm; here the norm changes linearly from
    |a| to |b|. Between opposite codes all great circles are equally short, and the one taken
    depends on a alone. Raises ValueError unless a and b are float vectors of one length, for a
    vector without a direction (zero), and for opposite numbers (D = 1).
    """
    a, b, t = _codes(a, b, t)
    u, v = a.cpu().double(), b.cpu().double()
    norm_a, norm_b = u.norm(), v.norm()
    if not (norm_a > 0 and norm_b > 0):  # written so that NaN fails too
        raise ValueError("slerp needs codes with a direction, not zero and not NaN; use lerp")
    u, v = u / norm_a, v / norm_b
    cosine = u @ v
    sideways = v - cosine * u  # the part of v at right angles to u
    # ω = ∠(a, b), from the tangent because arccos loses half of its digits near 0 and π
    omega = torch.atan2(sideways.norm(), cosine)
    parallel = sideways.norm() <= 1e-12
    w = _perpendicular(u, bool(cosine < 0)) if parallel else sideways / sideways.norm()
    # q(t) = ((1 − t)|a| + t|b|) · (u cos tω + w sin tω), where w ⟂ u, |w| = 1
    # for |a| = |b| this is Shoemake's (a sin (1 − t)ω + b sin tω) / sin ω
    direction = u * torch.cos(t * omega) + w * torch.sin(t * omega)
    return (((1 - t) * norm_a + t * norm_b) * direction).to(a)


def path_length(points: Tensor) -> float:
    """Length Σ |pₖ₊₁ − pₖ| of the polyline through points (K, D), K ≥ 2."""
    if points.ndim != 2 or len(points) < 2:
        raise ValueError(f"a path has two points or more, (K, D); got {tuple(points.shape)}")
    return points.double().diff(dim=0).norm(dim=1).sum().item()


def normal_grid(n: int) -> Tensor:
    """n × n points (n, n, 2), each the centre of an equal share of a 2-D standard normal.

    Coordinates are the quantiles Φ⁻¹((k + ½) / n) (Kingma & Welling 2014, appendix A). The first
    grows from left to right, the second from the bottom row to the top, so that
    `decode(grid.reshape(-1, 2))` drawn in rows of n is a picture of the plane. Raises ValueError
    unless n is a whole number of at least 1.
    """
    if not isinstance(n, Integral) or n < 1:
        raise ValueError(f"n must be a whole number, at least one point a side; got {n!r}")
    quantiles = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n).float()
    second, first = torch.meshgrid(quantiles.flip(0), quantiles, indexing="ij")
    return torch.stack([first, second], dim=-1)


class PrincipalAxes(NamedTuple):
    """Principal component analysis of codes, largest variance first.

    The mean (J,), orthonormal directions (K, J), the standard deviation along each (K,), and its
    share of the total variance (K,).
    """

    mean: Tensor
    directions: Tensor
    sd: Tensor
    share: Tensor


def principal_axes(codes: Tensor) -> PrincipalAxes:
    """Principal component analysis of codes (N, J), N > J, with all J directions.

    The sign of a direction is chosen so that its largest component is positive. Raises ValueError
    for too few codes.
    """
    if codes.ndim != 2 or len(codes) <= codes.shape[1]:
        raise ValueError(f"expected codes (N, J) with N > J, got {tuple(codes.shape)}")
    from sklearn.decomposition import PCA  # here: interpolation does not need it

    pca = PCA(svd_solver="full").fit(codes.double().cpu().numpy())
    directions = torch.from_numpy(pca.components_)
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    mean, sd, share = (
        torch.from_numpy(part)
        for part in (pca.mean_, pca.explained_variance_**0.5, pca.explained_variance_ratio_)
    )
    return PrincipalAxes(*(part.float() for part in (mean, directions * largest.sign(), sd, share)))


def _codes(a: Tensor, b: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    """a and b as tensors, and t as float64 with a last axis to broadcast over them."""
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    if a.ndim != 1 or a.shape != b.shape:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"two codes of one length are needed, (D,) and (D,); got {shapes}")
    if not (a.is_floating_point() and b.is_floating_point()):
        raise ValueError(f"codes must be float, got {a.dtype} and {b.dtype}; use .float()")
    t = torch.as_tensor(t, dtype=torch.float64, device="cpu")
    if t.ndim > 1:
        raise ValueError(f"t is a number or a (K,) tensor, got {tuple(t.shape)}")
    return a, b, t[..., None]


def _perpendicular(u: Tensor, opposite: bool) -> Tensor:
    """A unit vector at right angles to the unit vector u (D,), near u's smallest axis."""
    if len(u) == 1:
        if opposite:
            raise ValueError("slerp cannot turn a number into its opposite; use lerp")
        return torch.zeros_like(u)  # nothing to turn
    k = u.abs().argmin()
    w = -u[k] * u
    w[k] += 1
    return w / w.norm()
