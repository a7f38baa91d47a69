"""Stand-in clothing: the contract of a generator, true factors, and pictures that look like their
class.
"""

import os

import pytest
import torch

from labkit.data.synthetic.garments import KINDS, SIZE, garments

TROUSER, SANDAL, SHIRT, SNEAKER, BAG, BOOT = 1, 5, 6, 7, 8, 9
UPPER_BODY, SHOES = (0, 2, 3, 4, 6), (SANDAL, SNEAKER, BOOT)


@pytest.fixture(scope="module")
def wardrobe():
    return garments(2000, seed=0)


def of(wardrobe, label):
    """Images (n, 28, 28) in [0, 1] of one class and its factors."""
    own = wardrobe.labels == label
    return wardrobe.images[own, 0] / 255, {
        name: values[own] for name, values in wardrobe.factors.items()
    }


def extent(images, axis):
    """First and last lit row (axis 2) or column (axis 1) of images (n, 28, 28)."""
    lit = (images > 0.04).any(axis).int()
    return lit.argmax(1), SIZE - 1 - lit.flip(1).argmax(1)


def correlation(a, b):
    return torch.corrcoef(torch.stack([a.float(), b.float()]))[0, 1].item()


def test_images_labels_and_factors_keep_the_contract(wardrobe):
    assert wardrobe.images.shape == (2000, 1, 28, 28) and wardrobe.images.dtype == torch.uint8
    assert wardrobe.labels.shape == (2000,) and wardrobe.labels.dtype == torch.int64
    assert set(wardrobe.labels.tolist()) == set(range(10))
    assert {"style", "brightness", "width", "length", "texture"} <= set(wardrobe.factors)
    for values in wardrobe.factors.values():
        assert values.shape == (2000,) and values.dtype == torch.float32
    assert wardrobe.images.flatten(1).amax(1).min() > 25  # nothing is invisible


def test_factors_are_nan_exactly_where_a_class_has_no_such_part(wardrobe):
    owners = {"sleeve": UPPER_BODY, "heel": SHOES, "handle": (BAG,)}
    for name, values in wardrobe.factors.items():
        has = torch.isin(wardrobe.labels, torch.tensor(owners.get(name, range(10))))
        assert torch.equal(~values.isnan(), has), name


def test_a_small_set_is_the_beginning_of_a_large_one(wardrobe):
    for n in (1, 513):
        small = garments(n, seed=0)
        assert torch.equal(small.images, wardrobe.images[:n]) and torch.equal(
            small.labels, wardrobe.labels[:n]
        )
        for name, values in small.factors.items():
            torch.testing.assert_close(
                values, wardrobe.factors[name][:n], equal_nan=True, rtol=0, atol=0
            )


def test_the_global_generator_is_neither_used_nor_moved():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = garments(20, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(garments(20, seed=3).images, first.images)


def test_the_number_of_threads_is_given_back():
    before = torch.get_num_threads()
    with pytest.raises(ValueError):
        garments(0)
    garments(1)
    assert torch.get_num_threads() == before


def test_no_image_comes_twice(wardrobe):
    other = garments(1000, seed=1)
    pictures = [image.numpy().tobytes() for image in torch.cat([wardrobe.images, other.images])]
    assert len(set(pictures)) == 3000


def test_labels_are_drawn_as_asked():
    wanted = torch.tensor([9, 0, 0, 4])
    assert torch.equal(garments(4, seed=2, labels=wanted).labels, wanted)


@pytest.mark.parametrize("n, labels", [(0, None), (-3, None), (2, [0, 10]), (2, [-1, 0]), (3, [1])])
def test_bad_requests_are_refused(n, labels):
    with pytest.raises(ValueError, match="must be"):
        garments(n, labels=labels)


@pytest.mark.parametrize("label", range(10))
def test_a_garment_is_centred_and_fills_the_frame_in_its_longer_direction(wardrobe, label):
    images, _ = of(wardrobe, label)
    (top, bottom), (left, right) = extent(images, 2), extent(images, 1)
    longer = torch.maximum(bottom - top, right - left) + 1
    assert (longer >= SIZE - 1).float().mean() > 0.9
    assert (
        (top + bottom - SIZE + 1).abs() <= 4
    ).float().mean() > 0.9  # twice the offset of the centre
    assert ((left + right - SIZE + 1).abs() <= 4).float().mean() > 0.9


@pytest.mark.parametrize("label", range(10))
def test_width_and_length_are_those_of_the_picture(wardrobe, label):
    images, factors = of(wardrobe, label)
    plain = factors["print"] == 0  # a dark stripe at the edge hides the edge
    for name, axis in (("length", 2), ("width", 1)):
        first, last = extent(images[plain], axis)
        assert ((last - first + 1 - factors[name][plain]).abs() <= 2.5).float().mean() > 0.85, name


@pytest.mark.parametrize(
    "label", set(range(10)) - {SANDAL}
)  # a sandal is mostly sole, and its sole has a tone of its own
def test_brightness_is_that_of_the_cloth(wardrobe, label):
    images, factors = of(wardrobe, label)
    plain = factors["print"] == 0
    seen = torch.stack([image[image > 0.04].median() for image in images[plain]])
    assert correlation(seen, factors["brightness"][plain]) > 0.6


def test_every_style_of_every_class_is_drawn(wardrobe):
    for label, kind in enumerate(KINDS):
        drawn = of(wardrobe, label)[1]["style"]
        assert set(drawn.int().tolist()) == set(range(len(kind.styles))), kind.name


def test_texture_roughens_the_cloth(wardrobe):
    images, factors = of(wardrobe, BAG)
    plain = factors["print"] == 0
    patch = images[plain, 14:20, 10:18]
    roughness = (patch[..., 1:] - patch[..., :-1]).abs().flatten(1).median(1).values
    assert correlation(roughness, factors["texture"][plain]) > 0.6


def test_the_longer_the_sleeves_the_wider_a_shirt_is_below_the_elbow(wardrobe):
    images, factors = of(wardrobe, SHIRT)
    first, last = extent(images[:, 18:20], 1)
    assert correlation(last - first, factors["sleeve"]) > 0.6


def test_trousers_have_a_gap_between_the_legs(wardrobe):
    images, _ = of(wardrobe, TROUSER)
    below, above = images[:, 20:27, 12:16].amin(2).mean(), images[:, 2:6, 12:16].amin(2).mean()
    assert below < 0.5 * above


def test_shoes_point_left(wardrobe):
    for label in SHOES:
        images, _ = of(wardrobe, label)
        top_left, top_right = images[:, :14, :14].mean(), images[:, :14, 14:].mean()
        assert top_right > 1.5 * top_left, KINDS[label].name


def test_boots_are_taller_than_sneakers(wardrobe):
    boots, sneakers = (of(wardrobe, label)[1]["length"].mean() for label in (BOOT, SNEAKER))
    assert boots > sneakers + 4


def test_upper_bodies_are_nearly_symmetric_and_shoes_are_not(wardrobe):
    def asymmetry(label):
        images, factors = of(wardrobe, label)
        lit = (images[factors["print"] == 0] > 0.04).float()
        return (lit - lit.flip(2)).abs().sum() / lit.sum()

    assert max(asymmetry(label) for label in UPPER_BODY) < 0.5 * min(
        asymmetry(label) for label in SHOES
    )


def nearest_mean(images, means):
    """Label of the class mean that points most nearly the same way, (n,)."""
    flat = torch.nn.functional.normalize(images.flatten(1) / 255, dim=1)
    return (flat @ torch.nn.functional.normalize(means.flatten(1), dim=1).T).argmax(1)


def class_means(wardrobe):
    return torch.stack([of(wardrobe, label)[0].mean(0) for label in range(10)])


def test_the_class_can_be_told_from_the_mean_of_each_class(wardrobe):
    fresh = garments(1000, seed=7)
    assert (nearest_mean(fresh.images, class_means(wardrobe)) == fresh.labels).float().mean() > 0.5


@pytest.mark.realdata
@pytest.mark.skipif(
    not os.environ.get("LABKIT_DATA"), reason="point LABKIT_DATA at a folder with FashionMNIST"
)
def test_the_mean_stand_in_tells_real_garments_apart(wardrobe):
    datasets = pytest.importorskip("torchvision.datasets")
    real = datasets.FashionMNIST(os.environ["LABKIT_DATA"], train=True)
    told = nearest_mean(real.data[:5000], class_means(wardrobe))
    assert (told == real.targets[:5000]).float().mean() > 0.5
