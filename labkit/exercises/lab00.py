"""Lab 00: scale images, average classes, find neighbours, score guesses, split without leaks."""

import torch

from labkit.exercises.core import Exercise


def _bytes(*shape: int):
    """A probe: random bytes of these shapes, not one of them 0 or 255."""
    return lambda g: tuple(torch.randint(3, 250, s, generator=g, dtype=torch.uint8) for s in shape)


# scale: bytes → [−1, 1]


def _scale(images, *, divisor=127.5, shift=1.0):
    return images.float() / divisor - shift


scale = Exercise(
    "scale",
    _scale,
    points=1,
    probes=[
        lambda g: (torch.tensor([[[[10, 51]]], [[[204, 100]]]], dtype=torch.uint8),),
        _bytes((3, 1, 5, 7)),
        lambda g: (torch.arange(256, dtype=torch.uint8).view(2, 2, 8, 8),),
    ],
    right="Black is −1 and white is +1 now, whatever the image. Notice that nothing was measured on"
    " the data: the same line serves training and test images.",
    hints=(
        "Two ends must fit: 0 → −1 and 255 → +1. A straight line through them has the form"
        " v / a − b.",
        "Turn the bytes into real numbers first, with .float(). In bytes 200 + 100 is 44.",
        "From −1 to +1 is a distance of 2, so a = 255 / 2.",
    ),
)
scale.mistake(
    "The values run from −1 to 0: the images are scaled to a range of 1, not 2.", divisor=255
)
scale.mistake(
    "The values run from 0 to 2. The range has the right length, but starts at 0.", shift=0
)
scale.mistake("The range ends at 0.992, not at 1: the largest byte is 255, not 256.", divisor=128)
scale.mistake("The range ends at 1.008: half of 255 is not a whole number.", divisor=127)


@scale.wrong("The values run from 0 to 1, the range of a sigmoid. Asked for is −1 to 1.")
def unit_range(images):
    return images / 255


@scale.wrong("The values run from −0.5 to 0.5: centred, but half as long as asked for.")
def half_range(images):
    return images / 255 - 0.5


@scale.wrong(
    "The bytes overflow: 2 · 200 is 144 in uint8, because whole turns of 256 are lost. Bright"
    " pixels come out dark. Make real numbers of them before you calculate."
)
def doubled_as_bytes(images):
    return 2 * images / 255 - 1


@scale.wrong(
    "A byte cannot be negative: in uint8, 100 − 128 is 228. Dark pixels come out bright. Make real"
    " numbers of them before you subtract."
)
def shifted_as_bytes(images):
    return (images - 128) / 127


@scale.wrong("Integer division cuts off every fraction: only −1, 0 and 1 are left, no greys.")
def whole_numbers(images):
    return images // 127.5 - 1


@scale.wrong(
    "Each image is stretched by its own darkest and brightest pixel. A grey shirt and a white one"
    " become alike, and nobody can tell which byte a value came from."
)
def each_image_stretched(images):
    x = images.float()
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return 2 * (x - low) / (high - low) - 1


@scale.wrong(
    "The range is taken from the images at hand, so the same pixel gets another value in another"
    " batch. The range of a byte is known: 0 to 255."
)
def batch_stretched(images):
    x = images.float()
    return 2 * (x - x.min()) / (x.max() - x.min()) - 1


@scale.wrong(
    "That standardizes: mean 0 and standard deviation 1. It is often used, but its values leave"
    " [−1, 1], which a tanh can never reach."
)
def standardized(images):
    x = images.float()
    return (x - x.mean()) / x.std()


@scale.wrong("The sign is turned round: black should be −1 and white +1. This makes negatives.")
def negative(images):
    return 1 - images.float() / 127.5


@scale.wrong(
    "That is right for values from 0 to 1, but these are bytes from 0 to 255: the result goes up to"
    " 509."
)
def not_bytes(images):
    return 2 * images.float() - 1


@scale.wrong("Clamping cuts off, it does not scale: every pixel that is not black becomes 1.")
def clamped(images):
    return images.float().clamp(-1, 1)


@scale.also_right
def scale_by_ends(images):
    return (images.double() - 0) / (255 - 0) * (1 - -1) + -1


@scale.also_right
def scale_by_table(images):
    return torch.linspace(-1, 1, 256)[images.long()]


# class_means: the mean image of each class


def _labelled(counts, shape):
    """A probe: images with labels that are not sorted; class k has counts[k] of them."""

    def probe(g):
        labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        labels = labels[torch.randperm(len(labels), generator=g)]
        return (
            torch.randn(len(labels), *shape, generator=g) + labels.view(-1, 1, 1, 1),
            labels,
            len(counts),
        )

    return probe


def _class_means(images, labels, classes, *, average=torch.mean, first=0, less=0):
    numbers = range(first, classes + first - less)
    return torch.stack([average(images[labels == k], 0) for k in numbers])


class_means = Exercise(
    "class_means",
    _class_means,
    points=1,
    gradients=False,
    probes=[
        lambda g: (torch.tensor([5.0, 1, 3, 8]).view(4, 1, 1, 1), torch.tensor([2, 0, 0, 1]), 3),
        _labelled([3, 5, 2, 7, 6], (1, 3, 2)),
        _labelled([4, 3, 5], (2, 5, 3)),
    ],
    right="You have ten prototypes, and with them a classifier: the class of the nearest one.",
    hints=(
        "The images of class 3 are images[labels == 3], one tensor (n, 1, H, W).",
        "Average those over their first axis: .mean(0) keeps the pixels apart.",
        "Do that for k = 0, 1, …, classes − 1 and join the results by torch.stack.",
    ),
)
class_means.mistake(
    "These are sums. A class with more images gets a brighter mean.", average=torch.sum
)
class_means.mistake(
    "The classes are counted from 1. Labels begin at 0: class 0 is lost, and one mean of no images"
    " is NaN.",
    first=1,
)
class_means.mistake("The last class is missing: range(n) already stops at n − 1.", less=1)
class_means.mistake(
    "That is the median of each pixel. It is a prototype, too, but asked for is the mean.",
    average=lambda x, axis: x.quantile(0.5, axis),
)


@class_means.wrong("Every class gets the same picture: the mean is taken over all images.")
def over_all(images, labels, classes):
    return images.mean(0).expand(classes, *images.shape[1:]).clone()


@class_means.wrong(
    "Each class is divided by the number of all images. Divide by the number of its own, or each"
    " mean comes out too dark."
)
def divided_by_all(images, labels, classes):
    return torch.stack([images[labels == k].sum(0) for k in range(classes)]) / len(images)


@class_means.wrong(
    "The means are in the order in which the classes first appear. Row k must be class k: else"
    " every guess by these means has the wrong name."
)
def in_order_of_appearance(images, labels, classes):
    return torch.stack([images[labels == k].mean(0) for k in dict.fromkeys(labels.tolist())])


@class_means.wrong(
    "One number a class: .mean() without an axis averages the pixels, too. Name the axis of the"
    " images, 0."
)
def one_number(images, labels, classes):
    return torch.stack([images[labels == k].mean() for k in range(classes)])


@class_means.wrong(
    "The pixels of each image are averaged, and the images kept: that is its brightness. Average"
    " over the images, axis 0, and keep the pixels."
)
def brightness(images, labels, classes):
    return images.mean((1, 2, 3))


@class_means.wrong(
    "The images are cut into equal stretches, as if they were sorted by class. They are not: choose"
    " those of class k by labels == k."
)
def in_stretches(images, labels, classes):
    return torch.stack([part.mean(0) for part in images.tensor_split(classes)])


@class_means.wrong(
    "Wrong axis: .mean(1) averages the channels of each image. Average over axis 0, the images."
)
def over_channels(images, labels, classes):
    return torch.stack([images[labels == k].mean(1) for k in range(classes)])


@class_means.wrong(
    "Wrong axis: .mean((2, 3)) averages the pixels of each image. Average over axis 0, the images."
)
def over_pixels(images, labels, classes):
    return torch.stack([images[labels == k].mean((2, 3)) for k in range(classes)])


@class_means.wrong(
    "Wrong axis: .mean((1, 2, 3)) leaves one number an image. Average over axis 0, the images."
)
def over_all_but_images(images, labels, classes):
    return torch.stack([images[labels == k].mean((1, 2, 3)) for k in range(classes)])


@class_means.wrong("Row k is the k-th image. Use labels == k to choose the images of class k.")
def image_number_k(images, labels, classes):
    return torch.stack([images[k] for k in range(classes)])


@class_means.also_right
def by_one_hot(images, labels, classes):
    member = torch.nn.functional.one_hot(labels, classes).to(images.dtype)
    return torch.einsum("nk,nchw->kchw", member, images) / member.sum(0).view(-1, 1, 1, 1)


@class_means.also_right
def by_adding_up(images, labels, classes):
    sums = torch.zeros(classes, *images.shape[1:]).index_add_(0, labels, images)
    return sums / labels.bincount(minlength=classes)[:, None, None, None]


# nearest: the nearest of many references, for each query


def _nearest(
    queries,
    references,
    *,
    middle=-2.0,
    own=1.0,
    other=1.0,
    best="min",
    axis=1,
    root=True,
    clamp=True,
):
    q, r = queries.flatten(1).float() / 255, references.flatten(1).float() / 255
    squares = own * q.square().sum(1, keepdim=True) + middle * q @ r.T + other * r.square().sum(1)
    means = (squares.clamp(min=0) if clamp else squares) / q.shape[1]
    distances = means.sqrt() if root else means
    return tuple(getattr(distances, best)(axis))


def _apart(queries, references):
    """float differences (Q, R, pixels) of bytes, in [−1, 1]."""
    return (queries.flatten(1)[:, None].float() - references.flatten(1)[None].float()) / 255


nearest = Exercise(
    "nearest",
    _nearest,
    points=3,
    tell=("distance", "index"),
    probes=[
        lambda g: (
            torch.tensor([[[[200, 0], [30, 90]]], [[[90, 180], [240, 40]]]], dtype=torch.uint8),
            torch.tensor(
                [[[[20, 160], [250, 20]]], [[[120, 40], [60, 100]]], [[[250, 255], [5, 9]]]],
                dtype=torch.uint8,
            ),
        ),
        _bytes((7, 1, 5, 3), (11, 1, 5, 3)),
        _bytes((5, 2, 3, 4), (13, 2, 3, 4)),
        lambda g: (_bytes((2, 1, 3, 5))(g)[0] // 5, 130 + _bytes((3, 1, 3, 5))(g)[0] // 2),
        lambda g: _bytes((12, 1, 17, 11))(g) * 2,  # each query has a copy: its distance is 0
    ],
    atol=2e-3,  # the root of what rounding leaves of a copy's zero
    right="It is a classifier without any training: the label of the nearest image. Notice that an"
    " image that is among the references finds itself.",
    hints=(
        "Make rows of the images: x.flatten(1).float(). As bytes, 3 − 5 is 254.",
        "All pairs at once: a column of shape (Q, 1) plus a row of shape (R,) gives (Q, R), and so"
        " does q @ r.T.",
        "Σ(q − r)² = Σq² − 2 Σqr + Σr². Then divide by the number of pixels, take the root, and"
        " .min(1) gives values and places. Rounding can leave −0.0001 for a copy: .clamp(min=0).",
    ),
)
nearest.mistake("The largest distance is taken: this finds the least similar image.", best="max")
nearest.mistake(
    "The axis is mixed up: for each reference you found the nearest query. Rows are queries, so go"
    " along axis 1.",
    axis=0,
)
nearest.mistake(
    "That is the mean of the squares: the root is missing. The nearest stays the same, but the"
    " distance is not in units of grey any more.",
    root=False,
)
nearest.mistake("The middle term needs a 2: (q − r)² = q² − 2qr + r².", middle=-1.0)
nearest.mistake("The middle term has the wrong sign: that is (q + r)², not (q − r)².", middle=2.0)
nearest.mistake(
    "Σq² is missing. It is the same for all references, so the index is right and only the distance"
    " is wrong.",
    own=0.0,
)
nearest.mistake(
    "Σr² is missing. Without it the brightest reference wins, because it has the largest product.",
    other=0.0,
)


@nearest.wrong(
    "Some distances are NaN. By rounding, the sum for a copy may come out slightly below 0, and"
    " its root is then NaN. Raise what is negative to 0 before the root."
)
def not_clamped(queries, references):
    return _nearest(queries, references, clamp=False)


@nearest.wrong(
    "The distance of some copies is NaN: by rounding, the sum of your three means may come out"
    " slightly below 0. Raise what is negative to 0 before the root."
)
def means_not_clamped(queries, references):
    q, r = queries.flatten(1).float() / 255, references.flatten(1).float() / 255
    middle = 2 * (q @ r.T) / q.shape[1]
    means = q.square().mean(1, keepdim=True) - middle + r.square().mean(1)
    return means.sqrt().min(1)


def _byte_products(sign, unit):
    """The identity in bytes: 2 is subtracted or −2 added; the distance in units or grey levels."""

    def function(queries, references):
        q, r = queries.flatten(1), references.flatten(1)
        own, other = q.square().sum(1, keepdim=True), r.square().sum(1)
        squares = own - 2 * q @ r.T + other if sign == "minus" else own + -2 * q @ r.T + other
        return ((squares.clamp(min=0) / q.shape[1]).sqrt() / unit).min(1)

    function.__name__ = f"byte_products_{sign}_{unit}"
    return function


for _sign, _unit in (("minus", 255), ("minus", 1), ("plus", 255), ("plus", 1)):
    nearest.wrong(
        "The squares and the product of the matrices are taken in bytes, which lose whole turns of"
        f" 256: 16² is 0{', and −2 is 254' * (_sign == 'plus')}. Use .float() before you calculate."
        + " And divide by 255, so that the distance is 1 between black and white."
        * (_unit == 1)
    )(_byte_products(_sign, _unit))


@nearest.wrong(
    "The differences are taken in bytes, where 3 − 5 is 254: a slightly brighter pixel counts as"
    " very different. Use .float() before the subtraction."
)
def wraps_around(queries, references):
    difference = queries.flatten(1)[:, None] - references.flatten(1)[None]
    return (difference.float() / 255).square().mean(2).sqrt().min(1)


@nearest.wrong(
    "Differences and squares are taken in bytes, so both lose whole turns of 256: 16² is 0. Use"
    " .float() before you calculate."
)
def squares_wrap_around(queries, references):
    difference = queries.flatten(1)[:, None] - references.flatten(1)[None]
    return (difference.square().float().mean(2).sqrt() / 255).min(1)


@nearest.wrong(
    "Two things: the differences are taken in bytes, where 3 − 5 is 254, so use .float() before you"
    " subtract; and the distances are in grey levels, so divide by 255."
)
def wraps_around_in_grey_levels(queries, references):
    difference = queries.flatten(1)[:, None] - references.flatten(1)[None]
    return difference.float().square().mean(2).sqrt().min(1)


@nearest.wrong(
    "Two things: differences and squares are taken in bytes, where 16² is 0, so use .float() before"
    " you calculate; and the distances are in grey levels, so divide by 255."
)
def squares_wrap_around_in_grey_levels(queries, references):
    difference = queries.flatten(1)[:, None] - references.flatten(1)[None]
    return difference.square().float().mean(2).sqrt().min(1)


@nearest.wrong(
    "That is the mean absolute difference: a root of each square by itself only removes the sign."
    " First the mean over the pixels, then the root."
)
def mean_absolute(queries, references):
    return _apart(queries, references).abs().mean(2).min(1)


@nearest.wrong(
    "The differences are averaged before they are squared, so darker and brighter pixels cancel:"
    " two images with the same mean would be the same image. Square first."
)
def mean_first(queries, references):
    return _apart(queries, references).mean(2).square().sqrt().min(1)


@nearest.wrong(
    "The squares are summed, not averaged. The nearest stays the same, but the distance grows with"
    " the number of pixels and is no longer between 0 and 1."
)
def summed(queries, references):
    return _apart(queries, references).square().sum(2).sqrt().min(1)


@nearest.wrong(
    "The distances are in grey levels from 0 to 255. Divide by 255, so that 1 is the most."
)
def grey_levels(queries, references):
    distances, index = (255 * _apart(queries, references)).square().mean(2).sqrt().min(1)
    return distances, index


@nearest.wrong(
    "The mean is taken over the references, not over the pixels: what is left is one number a"
    " pixel."
)
def mean_over_references(queries, references):
    return _apart(queries, references).square().mean(1).sqrt().min(1)


@nearest.wrong("The two results are exchanged: the distance comes first, then the index.")
def exchanged(queries, references):
    return _nearest(queries, references)[::-1]


@nearest.wrong("Only the index is returned. Asked for are two tensors: distance and index.")
def index_alone(queries, references):
    return _nearest(queries, references)[1]


@nearest.wrong("Only the distance is returned. Asked for are two tensors: distance and index.")
def distance_alone(queries, references):
    return _nearest(queries, references)[0]


@nearest.wrong("Both results have shape (Q, 1). Without keepdim they have the asked-for (Q,).")
def kept_axis(queries, references):
    return tuple(part[:, None] for part in _nearest(queries, references))


@nearest.also_right
def by_differences(queries, references):
    return _apart(queries, references).square().mean(2).sqrt().min(1)


@nearest.also_right
def by_cdist(queries, references):
    q, r = queries.flatten(1) / 255, references.flatten(1) / 255
    distances = torch.cdist(q, r) / q.shape[1] ** 0.5
    index = distances.argmin(dim=1)
    return distances.gather(1, index[:, None])[:, 0], index


# share_right: accuracy with its standard error

_GUESSES = (
    (torch.tensor([3, 1, 4, 1]), torch.tensor([3, 1, 4, 2])),
    (torch.tensor([0, 2, 2, 5, 9, 9, 7]), torch.tensor([0, 2, 1, 5, 0, 9, 8])),
    (torch.arange(11), torch.arange(11)),
)


def _observe_share(function):
    """Numbers, so that a student may return Python's numbers or tensors."""
    seen = {}
    for guesses, labels in _GUESSES:
        case = f"of the guesses {guesses.tolist()} for {labels.tolist()}"
        found = function(guesses, labels)
        if not isinstance(found, tuple | list) or len(found) != 2:
            return {"two values are returned": False}
        seen |= {f"{n} {case}": float(v) for n, v in zip(("p", "s"), found, strict=True)}
    return seen


def _share_right(guesses, labels, *, percent=1, wrong=False, power=0.5, less=0, wide=1.0, n=True):
    right = (guesses == labels).double()
    p, count = right.mean(), len(right) - less
    s = wide * (p * (1 - p) / (count if n else 1)) ** power
    return percent * (1 - p if wrong else p).item(), percent * s.item()


share_right = Exercise(
    "share_right",
    _share_right,
    points=1,
    observe=_observe_share,
    right="From now on each accuracy comes with its error. Notice: ten images give an error of up"
    " to 0.16, and a hundred times as many images make it ten times smaller.",
    hints=(
        "A tensor of true and false is guesses == labels. Its .float().mean() is the share.",
        "Then s = √(p (1 − p) / n), where n is the number of guesses, len(labels).",
    ),
)
share_right.mistake("These are per cent. Return shares between 0 and 1.", percent=100)
share_right.mistake("That p is the share that is wrong. Count guesses == labels.", wrong=True)
share_right.mistake("The root is missing in s.", power=1)
share_right.mistake("The number of images is missing in s: divide p (1 − p) by n.", n=False)
share_right.mistake(
    "You divided by n − 1 in s. For many images it makes no difference, but asked for is n.", less=1
)
share_right.mistake(
    "Your s is multiplied by 1.96: that is half of a 95 % interval. Return the standard error.",
    wide=1.96,
)


@share_right.wrong("Return two numbers, p and s.")
def p_alone(guesses, labels):
    return _share_right(guesses, labels)[0]


@share_right.wrong("The n belongs below the root: √(p (1 − p) / n), not √(p (1 − p)) / n.")
def n_outside(guesses, labels):
    p = (guesses == labels).double().mean().item()
    return p, (p * (1 - p)) ** 0.5 / len(labels)


@share_right.wrong(
    "Your p is how many are right, not their share: divide by the number of guesses."
)
def count_right(guesses, labels):
    p, s = _share_right(guesses, labels)
    return p * len(labels), s


@share_right.wrong(
    "Your s is the standard deviation of a single answer. The share of n answers varies"
    " less: divide by √n."
)
def deviation_of_one(guesses, labels):
    right = (guesses == labels).double()
    return right.mean().item(), right.std().item()


@share_right.also_right
def by_hand(guesses, labels):
    n = len(labels)
    p = sum(g == k for g, k in zip(guesses.tolist(), labels.tolist(), strict=True)) / n
    return p, (p * (1 - p) / n) ** 0.5


@share_right.also_right
def by_deviation(guesses, labels):
    right = (guesses == labels).float()
    return right.mean(), right.std(correction=0) / len(right) ** 0.5


# split: no copy on two sides


def _archive():
    """Group numbers of 300 unsorted files, 1 to 4 a group, and which of them are test files."""
    g = torch.Generator().manual_seed(5)
    group = torch.arange(120).repeat_interleave(torch.randint(1, 5, (120,), generator=g))
    group = group[torch.randperm(len(group), generator=g)]
    return group, torch.rand(len(group), generator=g) < 0.12


def _observe_split(function):
    return {f"“{what}”": value for what, value in _look_at_split(function).items()}


def _look_at_split(function):
    group, is_test = _archive()
    blocked = torch.isin(group, group[is_test])  # test files and copies of them
    usable, runs = group[~blocked].unique(), []
    before = group.clone(), is_test.clone()
    for seed in (1, 1, 2, 3, 4, 5, 6):
        train, validation = function(group, is_test, 0.25, torch.Generator().manual_seed(seed))
        runs.append((torch.as_tensor(train), torch.as_tensor(validation)))
    seen: dict = {"the parts are masks": any(p.dtype == torch.bool for run in runs for p in run)}
    whole = all(not p.is_floating_point() for run in runs for p in run)
    seen["the parts are whole numbers, the indices of files"] = whole
    flat = all(p.ndim == 1 for run in runs for p in run)
    seen["the parts have shape (n,)"] = flat
    if not whole or not flat or seen["the parts are masks"]:
        return seen
    train, validation = ([run[k] for run in runs] for k in (0, 1))
    both = [torch.cat(run) for run in runs]
    inside = all(bool((p < len(group)).all()) and bool((p >= 0).all()) for p in both)
    seen["every number is the index of a file"] = inside
    if not inside:
        return seen
    groups = [group[part].unique() for part in validation]
    seen["a test file was used"] = any(bool(is_test[p].any()) for p in both)
    seen["a copy of a test file was used"] = any(bool((blocked & ~is_test)[p].any()) for p in both)
    shared = [torch.isin(group[t], group[v]).any() for t, v in zip(train, validation, strict=True)]
    seen["copies of one picture are on both sides"] = any(map(bool, shared))
    same = [torch.isin(t, v).any() for t, v in zip(train, validation, strict=True)]
    seen["one file is on both sides"] = any(map(bool, same))
    seen["a file is twice in one part"] = any(len(p.unique()) < len(p) for run in runs for p in run)
    free = (~blocked).nonzero()[:, 0]
    seen["every other file is in a part"] = all(bool(torch.isin(free, p).all()) for p in both)
    aim = 0.25 * len(usable)
    seen["validation has too many pictures"] = any(len(p) >= aim + 1 for p in groups)
    seen["validation has too few pictures"] = any(len(p) <= aim - 1 for p in groups)
    of_training = [len(group[part].unique()) for part in train]
    seen["training has the share of validation"] = all(abs(n - aim) < 1 for n in of_training)
    seen["the number of pictures changes"] = len({len(p) for p in groups}) > 1
    seen["the same generator gives the same split"] = all(map(torch.equal, runs[0], runs[1]))
    seen["another generator gives another split"] = not torch.equal(groups[1], groups[2])
    ends = (usable[: len(groups[0])], usable[len(usable) - len(groups[0]) :])
    seen["validation is one end of the list"] = any(torch.equal(groups[0], end) for end in ends)
    changed = not (torch.equal(group, before[0]) and torch.equal(is_test, before[1]))
    seen["an argument was changed"] = changed
    return seen


def _split(
    group,
    is_test,
    held_out,
    generator,
    *,
    test="out",
    order="shuffled",
    train="rest",
    swap=False,
    what="files",
):
    bad = {"out": torch.isin(group, group[is_test]), "files": is_test, "in": is_test & ~is_test}[
        test
    ]
    pictures = group[~bad].unique()
    if order == "shuffled":
        pictures = pictures[torch.randperm(len(pictures), generator=generator)]
    elif order == "fixed":
        g = torch.Generator().manual_seed(0)
        pictures = pictures[torch.randperm(len(pictures), generator=g)]
    elif order == "global":
        pictures = pictures[torch.randperm(len(pictures))]
    in_validation = torch.isin(group, pictures[: round(held_out * len(pictures))]) & ~bad
    in_train = ~bad if train == "all" else ~bad & ~in_validation
    parts = in_train.nonzero()[:, 0], in_validation.nonzero()[:, 0]
    if what == "one":
        parts = tuple(torch.stack([p[group[p] == k][0] for k in group[p].unique()]) for p in parts)
    return parts[::-1] if swap else parts


split = Exercise(
    "split",
    _split,
    points=3,
    observe=_observe_split,
    right="No picture is on two sides, and the test set stayed out of it. Notice that you shuffled"
    " pictures, not files.",
    hints=(
        "Which files show a picture of the test set? torch.isin(group, some) says of each file"
        " whether its picture is among `some`.",
        "The pictures are group[usable].unique(). Shuffle them:"
        " pictures[torch.randperm(len(pictures), generator=generator)].",
        "The first round(held_out · number of pictures) are for validation. Back to files:"
        " torch.isin again, and mask.nonzero()[:, 0] gives their indices.",
    ),
)
split.mistake(
    "Test files are in your parts. If you choose a model with validation images that are also test"
    " images, the test has lost its meaning.",
    test="in",
)
split.mistake(
    "The test files are left out, but not their copies: training sees pictures of the test set.",
    test="files",
)
split.mistake(
    "Not shuffled: validation is one end of the list. Archives are often sorted, and then"
    " validation has other things in it than training.",
    order="sorted",
)
split.mistake(
    "Every generator gives the same split, because the seed is set inside. Use the generator that"
    " the caller passes.",
    order="fixed",
)
split.mistake(
    "The same generator gives another split each time, so nobody can repeat your result. Pass"
    " generator=generator to torch.randperm.",
    order="global",
)
split.mistake(
    "Training still contains the validation files. Then validation measures memory.", train="all"
)
split.mistake(
    "The parts are exchanged, or held_out is the share of training: it should be the share of"
    " validation. Return training first.",
    swap=True,
)
split.mistake(
    "Only one file of each picture is kept, and the others are lost. That is a fair way, too, but"
    " here each file that is not barred should be in one of the parts.",
    what="one",
)


def _usable(group, is_test):
    return (~torch.isin(group, group[is_test])).nonzero()[:, 0]


@split.wrong(
    "Files were shuffled, not pictures, so copies of one picture are on both sides. Validation then"
    " contains pictures that were trained on. Choose pictures first, then take all their files."
)
def by_files(group, is_test, held_out, generator):
    files = _usable(group, is_test)
    files = files[torch.randperm(len(files), generator=generator)]
    n = round(held_out * len(files))
    return files[n:], files[:n]


@split.wrong(
    "Files were shuffled, not pictures, and the copies of test files are still there: copies sit on"
    " all three sides."
)
def by_files_with_copies_of_test(group, is_test, held_out, generator):
    files = (~is_test).nonzero()[:, 0]
    files = files[torch.randperm(len(files), generator=generator)]
    n = round(held_out * len(files))
    return files[n:], files[:n]


@split.wrong(
    "All files were shuffled, test files as well. Leave those out, and their copies; then choose"
    " pictures, not files, or copies of one picture get on both sides."
)
def by_all_files(group, is_test, held_out, generator):
    files = torch.randperm(len(group), generator=generator)
    n = round(held_out * len(files))
    return files[n:], files[:n]


@split.wrong(
    "These are the numbers of pictures, not the indices of files. One step is missing: which files"
    " show these pictures?"
)
def pictures_not_files(group, is_test, held_out, generator):
    pictures = group[_usable(group, is_test)].unique()
    pictures = pictures[torch.randperm(len(pictures), generator=generator)]
    n = round(held_out * len(pictures))
    return pictures[n:], pictures[:n]


@split.wrong("The validation part is drawn from the test set. It must stay unseen until the end.")
def validation_is_test(group, is_test, held_out, generator):
    return (~torch.isin(group, group[is_test])).nonzero()[:, 0], is_test.nonzero()[:, 0]


@split.wrong(
    "Two masks of true and false are returned. Return the indices instead: mask.nonzero()[:, 0]."
)
def masks(group, is_test, held_out, generator):
    train, validation = _split(group, is_test, held_out, generator)
    places = torch.arange(len(group))
    return torch.isin(places, train), torch.isin(places, validation)


@split.wrong(
    "Return two tensors of indices, each (n,). Yours have shape (n, 1): nonzero gives each index a"
    " row of its own."
)
def columns(group, is_test, held_out, generator):
    return tuple(part[:, None] for part in _split(group, is_test, held_out, generator))


def _parts(group, is_test, pictures):
    usable = ~torch.isin(group, group[is_test])
    validation = usable & torch.isin(group, pictures)
    return (usable & ~validation).nonzero()[:, 0], validation.nonzero()[:, 0]


@split.wrong(
    "Validation must hold round(held_out · number of allowed pictures). A picture counts once,"
    " however many files show it, so yours holds too many."
)
def counts_files(group, is_test, held_out, generator):
    pictures = group[_usable(group, is_test)]
    pictures = pictures[torch.randperm(len(pictures), generator=generator)]
    return _parts(group, is_test, pictures[: round(held_out * len(pictures))])


def _held_out(group, is_test, held_out, generator, more):
    pictures = group[_usable(group, is_test)].unique()
    pictures = pictures[torch.randperm(len(pictures), generator=generator)]
    return _parts(group, is_test, pictures[: round(held_out * len(pictures)) + more])


@split.wrong(
    "Validation must hold round(held_out · number of allowed pictures). Yours holds too many."
)
def too_many(group, is_test, held_out, generator):
    return _held_out(group, is_test, held_out, generator, 2)


@split.wrong(
    "Validation must hold round(held_out · number of allowed pictures). Yours holds too few."
)
def too_few(group, is_test, held_out, generator):
    return _held_out(group, is_test, held_out, generator, -2)


@split.wrong(
    "Pictures were drawn with replacement: some are drawn twice, and validation is too small. Use"
    " torch.randperm, which draws each once."
)
def with_replacement(group, is_test, held_out, generator):
    usable = ~torch.isin(group, group[is_test])
    pictures = group[usable].unique()
    n = round(held_out * len(pictures))
    chosen = pictures[torch.randint(len(pictures), (n,), generator=generator)]
    validation = usable & torch.isin(group, chosen)
    return (usable & ~validation).nonzero()[:, 0], validation.nonzero()[:, 0]


@split.also_right
def by_sets(group, is_test, held_out, generator):
    barred = set(group[is_test].tolist())
    pictures = sorted(set(group.tolist()) - barred)
    order = torch.randperm(len(pictures), generator=generator).tolist()
    count = int(held_out * len(pictures))
    chosen = {pictures[k] for k in order[-count:]}
    parts = [], []
    for place, picture in enumerate(group.tolist()):
        if picture not in barred:
            parts[picture in chosen].append(place)
    return torch.tensor(parts[0]), torch.tensor(parts[1])


@split.also_right
def by_random_keys(group, is_test, held_out, generator):
    key = torch.rand(int(group.max()) + 1, generator=generator)
    bad = torch.isin(group, group[is_test])
    limit = key[group[~bad].unique()].quantile(held_out)
    places = torch.arange(len(group))
    return places[~bad & (key[group] > limit)], places[~bad & (key[group] <= limit)]
