"""Ways through a latent space: straight lines, great circles, and a grid that a Gaussian prior
fills evenly.

Paths are computed in float64 on the CPU (they are short) and returned in the type and on the device
of the codes.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class PrincipalAxes(NamedTuple):
    """Of codes: their mean (J,), orthonormal directions (K, J), the standard deviation along each
    (K,), its share of all variance (K,).
    """

    mean: Tensor
    directions: Tensor
    sd: Tensor
    share: Tensor


def lerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Linear interpolation between codes a and b (D,): (D,) for a number t, (K, D) for t (K,); t =
    0 gives a, t = 1 gives b.

    For codes drawn from N(0, I) with large D the middle is about √2 shorter than the ends: a place
    where the prior has next to no mass. Raises ValueError unless a and b are vectors of one length.
    """
    u, v, t = _codes(a, b, t)
    return ((1 - t) * u + t * v).to(a)


def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Spherical linear interpolation (Shoemake 1985; for latent codes White 2016): constant angular
    speed along a great circle.

    Codes a, b (D,) → (D,) for a number t, (K, D) for t (K,). The formula is for vectors of one
    length. Where the lengths differ, the directions take Shoemake's path and the length goes
    linearly from |a| to |b|, so that it never leaves the range between them. Parallel codes need no
    turning; between opposite ones every great circle is as short, and one is picked that depends on
    a alone. Raises ValueError unless a and b are vectors of one length, for a zero vector (it has
    no direction), and for opposite numbers (D = 1).
    """
    u, v, t = _codes(a, b, t)
    length_a, length_b = u.norm(), v.norm()
    if not (length_a > 0 and length_b > 0):
        raise ValueError(
            "slerp needs codes with a direction, and one of these is zero or not a number; use lerp"
        )
    u, v = u / length_a, v / length_b
    cosine = u @ v
    sideways = v - cosine * u  # the part of v at right angles to u
    # ω = ∠(a, b), from the tangent because arccos loses half of its digits near 0 and π
    omega = torch.atan2(sideways.norm(), cosine)
    # w ⟂ u, |w| = 1
    w = (
        sideways / sideways.norm()
        if sideways.norm() > 1e-12
        else _perpendicular(u, opposite=bool(cosine < 0))
    )
    # q(t) = ((1 − t)|a| + t|b|) · (u cos tω + w sin tω), which for |a| = |b| is Shoemake's (a sin
    # (1 − t)ω + b sin tω) / sin ω
    return (
        ((1 - t) * length_a + t * length_b) * (u * torch.cos(t * omega) + w * torch.sin(t * omega))
    ).to(a)


def path_length(points: Tensor) -> float:
    """Length of the polyline through points (K, D), K ≥ 2, in the units of the codes (σ of a
    standard-normal prior): Σ |pₖ₊₁ − pₖ|.
    """
    if points.ndim != 2 or len(points) < 2:
        raise ValueError(
            f"a path has two points or more, as rows of a (K, D) tensor; got {tuple(points.shape)}"
        )
    return points.double().diff(dim=0).norm(dim=1).sum().item()


def normal_grid(n: int) -> Tensor:
    """n × n points (n, n, 2) with equal shares of a 2-D standard normal around each (Kingma &
    Welling 2014, appendix A).

    Coordinates are the quantiles Φ⁻¹((k + ½) / n). Columns go with the first coordinate, left to
    right; row 0 is the top, where the second is largest, so that `decode(grid.reshape(-1, 2))`
    drawn in rows of n is a picture of the plane. Raises ValueError for n < 1.
    """
    if n < 1:
        raise ValueError(f"a grid has at least one point a side, got n = {n}")
    quantiles = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n).float()
    second, first = torch.meshgrid(quantiles.flip(0), quantiles, indexing="ij")
    return torch.stack([first, second], dim=-1)


def principal_axes(codes: Tensor) -> PrincipalAxes:
    """Principal component analysis of codes (N, J), N > J: the directions of largest variance
    first, all J of them.

    Of a direction and its opposite, the same axis, the one whose largest component is positive.
    Raises ValueError for too few codes.
    """
    if codes.ndim != 2 or len(codes) <= codes.shape[1]:
        raise ValueError(
            f"more codes than dimensions are needed, (N, J) with N > J; got {tuple(codes.shape)}"
        )
    from sklearn.decomposition import PCA  # here, for a walk needs none of it

    pca = PCA(svd_solver="full").fit(codes.double().cpu().numpy())
    directions = torch.from_numpy(pca.components_)
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    mean, sd, share = (
        torch.from_numpy(part)
        for part in (pca.mean_, pca.explained_variance_**0.5, pca.explained_variance_ratio_)
    )
    return PrincipalAxes(*(part.float() for part in (mean, directions * largest.sign(), sd, share)))


def _codes(a: Tensor, b: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    """a and b in float64, and t with a last axis to broadcast over them."""
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(
            f"two codes of one length are needed, (D,) and (D,); got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    t = torch.as_tensor(t, dtype=torch.float64, device="cpu")
    if t.ndim > 1:
        raise ValueError(f"t is a number or a (K,) tensor, got {tuple(t.shape)}")
    return a.cpu().double(), b.cpu().double(), t[..., None]


def _perpendicular(u: Tensor, opposite: bool) -> Tensor:
    """A unit vector at right angles to the unit vector u (D,): along the axis that u has least
    of.
    """
    if len(u) == 1:
        if opposite:
            raise ValueError(
                "slerp cannot turn from a number to its opposite, there is no way round; use lerp"
            )
        return torch.zeros_like(u)  # nothing to turn
    k = u.abs().argmin()
    w = -u[k] * u
    w[k] += 1
    return w / w.norm()
