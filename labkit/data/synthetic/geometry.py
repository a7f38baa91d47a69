"""Signed-distance geometry in batched torch: the pen and scissors of the built-in stand-ins.

A shape is a function from points to signed distances (negative inside), as in Quilez's catalogue of
2-D distance functions (iquilezles.org/articles/distfunctions2d). Drawing is one soft threshold of
that distance, so edges are anti-aliased for free. Points are (N, P, 2) with x to the right and y
down, both in [-1, 1]; a distance field is (N, P).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def pixel_grid(n: int, size: int) -> Tensor:
    """Centres of the pixels of `n` square images, (n, size·size, 2)."""
    centre = (torch.arange(size) + 0.5) * (2 / size) - 1
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(1, size * size, 2).expand(n, -1, -1)


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """`n` numbers from U(low, high), (n,)."""
    return torch.rand(n, generator=generator) * (high - low) + low


def polyline_distance(p: Tensor, vertices: Tensor) -> Tensor:
    """Distance from points p (N, P, 2) to the open polyline through vertices (N, V, 2) → (N, P)."""
    return strokes_distance(p, vertices[:, :-1], vertices[:, 1:])


def strokes_distance(p: Tensor, a: Tensor, b: Tensor, radius: Tensor | None = None) -> Tensor:
    """Signed distance from points p (N, P, 2) to the union of S pen strokes → (N, P).

    A stroke is a segment a → b, (N, S, 2), drawn with a pen of `radius` (N, S).
    """
    if radius is None:
        radius = a.new_zeros(a.shape[:2])
    n = max(len(p), len(a))
    # Blocks of fewer than 32,768 numbers stay in cache, and torch keeps them on one thread: where
    # another process keeps a core busy, the threads' waiting for each other costs far more than it
    # saves.
    rows = max(1, 32_000 // p.shape[1])
    blocks = zip(*(t.expand(n, *t.shape[1:]).split(rows) for t in (p, a, b, radius)), strict=True)
    return torch.cat([_strokes_distance(*block) for block in blocks])


def _strokes_distance(p: Tensor, a: Tensor, b: Tensor, radius: Tensor) -> Tensor:
    """The distance to each segment by the frame of the segment itself.

    There, with length L, u along and v across, the distance is √((u − clamp(u, 0, L))² + v²).
    """
    x, y = (
        plane.contiguous() for plane in p.unbind(-1)
    )  # torch works several times faster on planes than on interleaved pairs
    length = (b - a).norm(dim=-1, keepdim=True)
    along = torch.where(
        length > 1e-9, (b - a) / length.clamp_min(1e-9), a.new_tensor([1.0, 0.0])
    )  # a dot has no direction: any will do
    across = torch.stack([-along[..., 1], along[..., 0]], dim=-1)
    start_u, start_v = (a * along).sum(-1, keepdim=True), (a * across).sum(-1, keepdim=True)
    zero, nearest = a.new_zeros(1), x.new_full(x.shape, torch.inf)
    for k in range(a.shape[1]):
        u = torch.addcmul(-start_u[:, k], x, along[:, k, :1]).addcmul_(y, along[:, k, 1:])
        v = torch.addcmul(-start_v[:, k], x, across[:, k, :1]).addcmul_(y, across[:, k, 1:])
        u -= u.clamp(zero, length[:, k])
        distance = (
            u.square_().addcmul_(v, v).pow_(0.5).sub_(radius[:, k, None])
        )  # sqrt_ would split over threads from 2,048 numbers on
        torch.minimum(nearest, distance, out=nearest)
    return nearest


def polygon_distance(p: Tensor, vertices: Tensor) -> Tensor:
    """Signed distance from points (N, P, 2) to polygons of vertices (N, V, 2) → (N, P)."""
    closed = torch.cat([vertices, vertices[:, :1]], dim=1)
    outside = torch.ones(p.shape[:2], dtype=torch.bool)
    for k in range(
        vertices.shape[1]
    ):  # even-odd rule: each edge that a ray to +x crosses toggles inside and outside
        a, b = closed[:, k, None], closed[:, k + 1, None]
        spans = (a[..., 1] > p[..., 1]) != (b[..., 1] > p[..., 1])
        slope = (b[..., 0] - a[..., 0]) / (b[..., 1] - a[..., 1] + 1e-9)
        outside ^= spans & (p[..., 0] < a[..., 0] + slope * (p[..., 1] - a[..., 1]))
    distance = polyline_distance(p, closed)
    return torch.where(outside, distance, -distance)


def ellipse_distance(p: Tensor, centre: Tensor, radii: Tensor) -> Tensor:
    """First-order signed distance to axis-aligned ellipses; centre and radii (N, 2) → (N, P)."""
    q = p - centre[:, None]
    k = (q / radii[:, None]).norm(dim=-1)
    gradient = (q / radii[:, None] ** 2).norm(dim=-1).clamp_min(1e-6)
    return k * (k - 1) / gradient


def smooth_union(a: Tensor, b: Tensor, k: float) -> Tensor:
    """Union of two distance fields whose joint is rounded over a length `k`."""
    h = (0.5 + 0.5 * (b - a) / k).clamp(0, 1)
    return torch.lerp(b, a, h) - k * h * (1 - h)


def coverage(distance: Tensor, softness: float | Tensor) -> Tensor:
    """Ink in [0, 1]: 1 inside, 0 outside, a ramp of half-width `softness` across the edge."""
    return (0.5 - distance / (2 * softness)).clamp(0, 1)


def rotate(p: Tensor, angle: Tensor) -> Tensor:
    """Points p (N, P, 2) turned by `angle` (N,) radians about the origin."""
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    return torch.stack(
        [cos * p[..., 0] - sin * p[..., 1], sin * p[..., 0] + cos * p[..., 1]], dim=-1
    )


def smooth_noise(
    n: int, channels: int, size: int, cells: int, generator: torch.Generator
) -> Tensor:
    """Band-limited noise of unit variance, (n, channels, size, size).

    It has about `cells` bumps along each side.
    """
    coarse = torch.randn(n, channels, cells + 3, cells + 3, generator=generator)
    fine = F.interpolate(
        coarse, scale_factor=max(2, -(-size // cells)), mode="bicubic", align_corners=False
    )
    start = (fine.shape[-1] - size) // 2
    return fine[..., start : start + size, start : start + size] * 1.4


def elastic_warp(p: Tensor, strength: Tensor, cells: int, generator: torch.Generator) -> Tensor:
    """Points of a full pixel grid (N, size², 2), displaced by smooth noise of `strength` (N,).

    Source: Simard et al. 2003.
    """
    size = round(p.shape[1] ** 0.5)
    offset = smooth_noise(len(p), 2, size, cells, generator).flatten(2).transpose(1, 2)
    return p + strength[:, None, None] * offset
