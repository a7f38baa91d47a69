import pytest
import torch

from labkit.data.synthetic.digits import SEGMENTS, STYLES, catmull_rom, digits, read_hand
from labkit.data.synthetic.geometry import (
    pixel_grid,
    polygon_distance,
    polyline_distance,
    strokes_distance,
)
from labkit.data.synthetic.standin import CHUNK


@pytest.fixture(scope="module")
def sample():
    return digits(600, seed=3)


def test_shapes_types_and_ranges(sample):
    assert sample.images.shape == (600, 1, 28, 28) and sample.images.dtype == torch.uint8
    assert sample.labels.shape == (600,) and sample.labels.dtype == torch.int64
    assert set(sample.labels.tolist()) == set(range(10))
    for name in ("style", "slant", "stroke_width", "aspect", "wobble", "elastic"):
        assert sample.factors[name].shape == (600,) and sample.factors[name].dtype == torch.float32
    hands = torch.tensor([len(STYLES[label]) for label in sample.labels.tolist()])
    assert ((sample.factors["style"] >= 0) & (sample.factors["style"] < hands)).all()


def test_a_small_set_is_the_beginning_of_a_large_one(sample):
    for n in (1, 7, CHUNK + 1):
        small = digits(n, seed=3)
        assert torch.equal(small.images, sample.images[:n]) and torch.equal(
            small.labels, sample.labels[:n]
        )
        for name, value in small.factors.items():
            assert torch.equal(value, sample.factors[name][:n])


def test_labels_can_be_chosen():
    labels = torch.arange(30) % 10
    assert torch.equal(digits(30, seed=1, labels=labels).labels, labels)
    drawn = digits(30, seed=1)
    assert torch.equal(digits(30, seed=1, labels=drawn.labels).images, drawn.images)


def test_seeds_give_disjoint_images(sample):
    pictures = torch.cat([sample.images, digits(600, seed=4).images]).flatten(1)
    assert len(pictures.unique(dim=0)) == 1200


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    digits(3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("n", "labels"),
    [(0, None), (2, torch.tensor([0, 10])), (2, torch.tensor([-1, 0])), (3, torch.tensor([1, 2]))],
)
def test_bad_requests_are_refused(n, labels):
    with pytest.raises(ValueError, match="must be"):
        digits(n, labels=labels)


def test_placed_like_mnist(sample):
    ink = sample.images[:, 0].float()
    axis = torch.arange(28.0)
    mass = ink.sum((1, 2))
    x, y = (ink.sum(1) * axis).sum(1) / mass, (ink.sum(2) * axis).sum(1) / mass
    assert (x - 14).abs().max() < 1.5 and (
        y - 14
    ).abs().max() < 1.5  # a crossing of strokes is weighed twice when placing, once here
    assert abs(x.mean() - 14) < 0.2 and abs(y.mean() - 14) < 0.2
    longest = torch.maximum((ink.amax(1) > 0).sum(1), (ink.amax(2) > 0).sum(1)).float()
    assert 19.5 < longest.mean() < 20.5 and longest.min() >= 17 and longest.max() <= 23
    assert (ink.amax((1, 2)) > 240).all()  # saturated strokes on a black ground
    assert (ink.flatten(1) == 0).float().mean() > 0.7


def upright_bars(n, seed):
    """A set of ones in the hand "long stick" and its factors: the digit on which slant and width
    can be measured.
    """
    ones = digits(n, seed, labels=torch.ones(n, dtype=torch.int64))
    chosen = ones.factors["style"] == list(STYLES[1]).index("long stick")
    return ones.images[chosen, 0].float() / 255, {
        name: value[chosen] for name, value in ones.factors.items()
    }


def correlation(a, b):
    return torch.corrcoef(torch.stack([a, b]))[0, 1]


def test_slant_is_the_true_one():
    ink, factors = upright_bars(600, 5)
    axis = torch.arange(28.0) - 14
    mass = ink.sum((1, 2))
    mean_x, mean_y = (ink.sum(1) * axis).sum(1) / mass, (ink.sum(2) * axis).sum(1) / mass
    dx, dy = (
        axis[None, None, :] - mean_x[:, None, None],
        axis[None, :, None] - mean_y[:, None, None],
    )
    lean = -(
        (ink * dx * dy).sum((1, 2)) / (ink * dy**2).sum((1, 2))
    ).atan()  # slope of x on −y: positive leans to the right
    assert correlation(lean, factors["slant"] + factors["rotation"]) > 0.9
    assert (lean - factors["slant"] - factors["rotation"]).mean().abs() < 0.05


def test_stroke_width_is_in_pixels():
    ink, factors = upright_bars(600, 6)
    across = (
        ink[:, 10:18].sum(2).mean(1) * (factors["slant"] + factors["rotation"]).cos()
    )  # ink in a row, seen across the stroke
    assert correlation(across, factors["stroke_width"]) > 0.8
    assert (across / factors["stroke_width"]).median().sub(1).abs() < 0.2


def test_spline_passes_through_its_points_and_is_straight_on_a_line():
    points = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0], [4.0, 4.0]])
    curve = catmull_rom(points, [3, 5, 2])
    assert curve.shape == (11, 2)
    torch.testing.assert_close(curve[[0, 3, 8, 10]], points)
    line = torch.arange(4.0)[:, None] * torch.tensor([[2.0, -1.0]])
    torch.testing.assert_close(
        catmull_rom(line, [4, 4, 4]),
        torch.linspace(0, 3, 13)[:, None] * torch.tensor([[2.0, -1.0]]),
    )


def test_a_hand_reads_as_written():
    points, strokes, weights = read_hand("0,0 0,100 / 50,100 | 0,50 50,50")
    assert strokes.tolist() == [0, 0, 0, 1, 1]
    starts, ends = (weights.T @ points).split(SEGMENTS)
    torch.testing.assert_close(starts[0], torch.tensor([-0.5, -1.0]))
    lifts = ((starts[1:] - ends[:-1]).norm(dim=1) > 1e-4).sum()
    assert lifts == 1  # the corner is kept, the lifted stroke starts anew
    corner = torch.tensor([-0.5, 1.0])
    assert ((ends - corner).norm(dim=1) < 1e-5).sum() == 1
    torch.testing.assert_close(
        (ends - starts).norm(dim=1).sum(), torch.tensor(4.0)
    )  # 100 + 50 + 50 units of 1/50


@pytest.mark.parametrize("hand", [hand for hands in STYLES.values() for hand in hands.values()])
def test_every_hand_is_a_readable_size(hand):
    points, strokes, weights = read_hand(hand)
    path = weights.T @ points
    assert strokes.max() <= 1  # one lift: a lifted pen lands off by one offset a digit
    assert torch.allclose(
        weights.sum(0), torch.ones(2 * SEGMENTS), atol=1e-5
    )  # moving the points moves the digit with them
    assert (
        path[:, 1].min() > -1.1
        and path[:, 1].max() < 1.1
        and path[:, 1].max() - path[:, 1].min() > 1.8
    )


def test_distance_to_strokes():
    p = torch.tensor([[[0.0, 0.5], [2.0, 0.0], [0.3, 0.0]]])
    a, b = torch.tensor([[[-1.0, 0.0]]]), torch.tensor([[[1.0, 0.0]]])
    torch.testing.assert_close(strokes_distance(p, a, b), torch.tensor([[0.5, 1.0, 0.0]]))
    torch.testing.assert_close(
        strokes_distance(p, a, b, torch.tensor([[0.2]])), torch.tensor([[0.3, 0.8, -0.2]])
    )
    torch.testing.assert_close(
        strokes_distance(p, a, a), (p - a).norm(dim=-1)
    )  # a segment of no length is a dot


def test_distance_does_not_depend_on_the_batch():
    grid = pixel_grid(300, 28)
    path = torch.rand(300, 6, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = polyline_distance(grid, path)
    assert torch.equal(whole[290:], polyline_distance(grid[290:], path[290:]))
    torch.testing.assert_close(whole, polyline_distance(grid[:1], path))


def test_polygon_is_negative_inside():
    square = torch.tensor([[[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]])
    inside = (pixel_grid(1, 32).abs() < 0.5).all(-1)
    distance = polygon_distance(pixel_grid(1, 32), square)
    assert torch.equal(distance < 0, inside)
    assert distance.min() == pytest.approx(-0.5, abs=0.05)
