"""The built-in cat faces: reproducible, varied, and drawn by the factors that they report."""

import pytest
import torch

from labkit.data.synthetic.cats import (
    CHUNK,
    COATS,
    MARKINGS,
    RANGES,
    cat_faces,
    draw_factors,
    render,
)

CATS = 8
LEVEL = 8  # a change of a pixel that an eye can see, in grey levels of 255


@pytest.fixture(scope="module")
def faces():
    return cat_faces(CHUNK + 6, seed=3)


@pytest.fixture
def frontal():
    """Factors of cats that face the camera upright, in middling light, so that a test knows where
    their features are.
    """
    factors = draw_factors(CATS, torch.Generator().manual_seed(0))
    return factors | {
        name: torch.zeros(CATS) for name in ("tilt", "turn", "nod", "light", "exposure")
    }


def drawn(factors, **changed):
    """The cats with some factors set to one value; everything that no factor names is the same at
    every call.
    """
    factors = factors | {name: torch.full((CATS,), float(value)) for name, value in changed.items()}
    return render(factors, torch.Generator().manual_seed(1)).float()


def changed_pixels(before, after):
    return (before - after).abs().amax(1) > LEVEL


def irises(factors, **changed):
    """Where the irises are, (CATS, 64, 64): the pixels that turn from copper to blue with
    `eye_hue`.
    """
    return changed_pixels(
        drawn(factors, eye_hue=0, **changed), drawn(factors, eye_hue=1, **changed)
    )


def surroundings(factors, **changed):
    """Where the background is, (CATS, 64, 64): the pixels that brighten with it."""
    return changed_pixels(
        drawn(factors, background_value=0.2, **changed),
        drawn(factors, background_value=0.8, **changed),
    )


def mean_position(mask):
    """Mean column and row of the pixels in a mask (N, H, W), in pixels, each (N,)."""
    along = [mask.float().sum(axis) for axis in (1, 2)]
    return [(count * torch.arange(count.shape[1])).sum(1) / count.sum(1) for count in along]


def test_shapes_types_and_labels(faces):
    n = CHUNK + 6
    assert faces.images.shape == (n, 3, 64, 64) and faces.images.dtype == torch.uint8
    assert faces.labels.dtype == torch.int64 and torch.equal(
        faces.labels, torch.zeros(n, dtype=torch.int64)
    )
    assert all(
        value.shape == (n,) and value.dtype == torch.float32 for value in faces.factors.values()
    )


def test_same_seed_same_cats_whatever_the_global_state(faces):
    torch.manual_seed(123)
    state = torch.get_rng_state()
    again = cat_faces(CHUNK + 6, seed=3)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(again.images, faces.images)
    assert all(torch.equal(again.factors[name], faces.factors[name]) for name in RANGES)


@pytest.mark.parametrize("n", [1, CHUNK, CHUNK + 1])
def test_a_small_set_is_the_beginning_of_a_large_one(faces, n):
    small = cat_faces(n, seed=3)
    assert torch.equal(small.images, faces.images[:n])
    assert all(torch.equal(small.factors[name], faces.factors[name][:n]) for name in RANGES)


def test_no_cat_appears_twice_within_or_across_seeds(faces):
    both = torch.cat([faces.images, cat_faces(CHUNK, seed=4).images]).flatten(1)
    assert len(both.unique(dim=0)) == len(both)


def test_the_reported_factors_are_the_ones_drawn():
    """Replaying a chunk from what was reported gives the same pictures."""
    faces = cat_faces(CHUNK, seed=7)
    generator = torch.Generator().manual_seed(8 * 1_000_003)
    draw_factors(CHUNK, generator)  # brings the generator to where rendering starts
    assert torch.equal(render(faces.factors, generator), faces.images)


def test_factors_stay_in_their_ranges_and_fill_them():
    factors = draw_factors(2000, torch.Generator().manual_seed(0))
    assert factors.keys() == RANGES.keys()
    for name, (low, high) in RANGES.items():
        assert low <= factors[name].min() < low + 0.05 * (high - low), name
        assert high >= factors[name].max() > high - 0.05 * (high - low), name
    assert factors["coat"].unique().tolist() == list(range(len(COATS)))
    assert factors["marking"].unique().tolist() == list(range(len(MARKINGS)))
    assert (factors["white"][factors["coat"] == list(COATS).index("bicolour")] >= 0.5).all()


@pytest.mark.parametrize("n", [0, -1])
def test_a_count_below_one_is_refused(n):
    with pytest.raises(ValueError, match="at least 1"):
        cat_faces(n)


@pytest.mark.parametrize("name", RANGES)
def test_every_factor_changes_every_cat(frontal, name):
    low, high = RANGES[name]
    high = (
        0.5 if name == "background_hue" else high
    )  # the wheel closes: half a turn is the furthest
    loud = {"marking_strength": 1} if name == "marking" else {}
    change = changed_pixels(
        drawn(frontal, **{**loud, name: low}), drawn(frontal, **{**loud, name: high})
    ).sum((1, 2))
    if name == "marking_strength":  # a black cat's stripes and a white cat's spots may be faint
        assert (change > 20).sum() >= CATS // 2
    else:
        assert (change > 20).all(), change


@pytest.mark.parametrize("name", ["eye_hue", "pupil"])
def test_eye_factors_change_pixels_only_around_the_eyes(frontal, name):
    low, high = RANGES[name]
    difference = (
        drawn(frontal, eyelid=0, **{name: low}) - drawn(frontal, eyelid=0, **{name: high})
    ).abs().amax(1) > 0
    rows, columns = difference.any(0).any(1).nonzero(), difference.any(0).any(0).nonzero()
    assert rows.min() >= 16 and rows.max() <= 36  # a band about the eyes, a third of the height
    assert not difference[:, :, 29:35].any(), "the bridge of the nose must not change"
    assert (columns < 32).any() and (columns > 32).any(), "both eyes must change"
    assert torch.equal(difference[:, :, :32].any(2).any(1), difference[:, :, 32:].any(2).any(1))


def test_the_background_stays_behind_the_cat(frontal):
    difference = (
        (drawn(frontal, background_hue=0) - drawn(frontal, background_hue=0.5)).abs().amax(1)
    )
    assert not difference[:, 20:44, 12:52].any()
    assert (difference[:, :12] > 0).any(2).any(1).all()


def test_turn_nod_and_tilt_move_the_eyes_as_their_names_say(frontal):
    for eye in (slice(0, 32), slice(32, 64)):  # one at a time: a turned head shows one eye larger
        (left, _), (right, _) = (
            mean_position(irises(frontal, turn=turn)[:, :, eye]) for turn in (-1, 1)
        )
        (_, up), (_, down) = (mean_position(irises(frontal, nod=nod)[:, :, eye]) for nod in (-1, 1))
        assert (right > left + 2).all() and (down > up + 1).all()
    tilted = irises(frontal, tilt=0.2)  # clockwise: the eye on the right of the picture sinks
    (_, left_row), (_, right_row) = (
        mean_position(tilted[:, :, :32]),
        mean_position(tilted[:, :, 32:]),
    )
    assert (right_row > left_row + 2).all()


def test_larger_eyes_show_more_iris_and_sleepy_ones_less(frontal):
    plain = irises(frontal, eye_size=0.8, eyelid=0).sum((1, 2))
    assert (irises(frontal, eye_size=1.2, eyelid=0).sum((1, 2)) > 1.3 * plain).all()
    assert (irises(frontal, eye_size=0.8, eyelid=0.65).sum((1, 2)) < plain).all()


@pytest.mark.parametrize("name", ["head_width", "ear_size"])
def test_larger_heads_and_ears_hide_more_of_the_background(frontal, name):
    low, high = RANGES[name]
    assert (
        surroundings(frontal, **{name: high}).sum((1, 2))
        < surroundings(frontal, **{name: low}).sum((1, 2))
    ).all()


def test_light_comes_from_the_side_it_says(frontal):
    def lead_of_the_left(light):
        cheeks = drawn(
            frontal, light=light, coat=list(COATS).index("grey"), marking_strength=0, white=0
        )[:, :, 30:42]
        return cheeks[..., 8:24].mean((1, 2, 3)) - cheeks[..., 40:56].mean((1, 2, 3))

    assert (lead_of_the_left(-1) > 5).all() and (lead_of_the_left(1) < -5).all()


def test_coats_have_the_colours_of_their_names(frontal):
    def face(coat):
        red, green, blue = drawn(
            frontal, coat=list(COATS).index(coat), marking_strength=0, white=0, warmth=0
        )[:, :, 18:44, 16:48].mean((0, 2, 3))
        return (red + green + blue) / 3, red - blue

    brightness, warmth = ({coat: face(coat)[k] for coat in COATS} for k in (0, 1))
    assert brightness["black"] < brightness["brown"] < brightness["cream"] < brightness["white"]
    assert brightness["black"] < brightness["grey"] < brightness["white"]
    assert warmth["ginger"] > warmth["cream"] > warmth["white"] and warmth["brown"] > warmth["grey"]


def test_pictures_have_contrast_and_variety(faces):
    x = faces.images.float()
    assert (x.std((1, 2, 3)) > 12).all(), "a picture is nearly flat"
    assert ((x == 255).all(1).float().mean((1, 2)) < 0.5).all(), "a picture is burnt out"
    assert x.mean((1, 2, 3)).std() > 15, "all pictures are equally bright"
    assert (x[:, 0] - x[:, 2]).mean((1, 2)).std() > 8, "all pictures have the same tint"
