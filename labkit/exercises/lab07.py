"""Lab 07: what is hidden of a face, restored by linear regression and by a search for a code."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.exercises.core import Exercise, Function, Observation

# ── conv_transpose_size(n, kernel, stride, padding) → a whole number ──


def conv_transpose(n: int, kernel: int, stride: int, padding: int) -> int:
    return (n - 1) * stride - 2 * padding + kernel


def _conv_transpose_size(n: int, kernel: int, stride: int, padding: int, *, size=conv_transpose):
    return size(n, kernel, stride, padding)


def _layer(n: int, kernel: int, stride: int, padding: int) -> Any:
    return lambda g: (n, kernel, stride, padding)


conv_transpose_size = Exercise(
    "conv_transpose_size",
    _conv_transpose_size,
    probes=[_layer(3, 5, 4, 1), _layer(2, 3, 2, 0), _layer(7, 4, 3, 2), _layer(1, 7, 5, 0)],
    points=1,
    right="It follows a code through every layer of the decoder below. Notice what kernel 4, stride"
    " 2 and padding 1 do to n: they double it.",
    hints=(
        "Draw the squares. Where does the first one begin, where does the last of the n begin, and"
        " where does that one end?",
        "The last square begins (n − 1) strides after the first, and is `kernel` pixels wide.",
        "That is (n − 1) · stride + kernel pixels; `padding` of them are cut off at each end.",
    ),
)

for function, sentence in (
    (
        lambda n, k, s, p: (n + 2 * p - k) // s + 1,
        "This is the size after an ordinary convolution, which makes an image smaller. A transposed"
        " convolution goes the other way.",
    ),
    (
        lambda n, k, s, p: (n + 2 * p - k) / s + 1,
        "This is the size after an ordinary convolution, and as a fraction. A transposed"
        " convolution goes the other way.",
    ),
    (
        lambda n, k, s, p: (n - 1) * s + 2 * p + k,
        "The padding is added. In a transposed convolution it makes the result smaller: it is cut"
        " off at both ends.",
    ),
    (
        lambda n, k, s, p: (n - 1) * s - p + k,
        "The padding is cut off at one end only. It is cut off at both.",
    ),
    (
        lambda n, k, s, p: (n - 1) * s + k,
        "The padding is not cut off: this is the size of the canvas before the last step.",
    ),
    (
        lambda n, k, s, p: n * s - 2 * p + k,
        "There are n squares, so there are n − 1 strides between the first and the last, not n.",
    ),
    (
        lambda n, k, s, p: (n - 1) * s - 2 * p + k - 1,
        "The result is one pixel too small: a square that begins at pixel 0 and is k wide ends"
        " after k pixels.",
    ),
    (
        lambda n, k, s, p: (n - 1) * s - 2 * p + k + 1,
        "The result is one pixel too large. Try n = 1 and padding 0: one square, `kernel` wide.",
    ),
    (
        lambda n, k, s, p: (n - 1) * s - 2 * p,
        "The width of the last square is missing: it begins at pixel (n − 1) · stride and does not"
        " end there.",
    ),
    (
        lambda n, k, s, p: n * s + k,
        "There are n − 1 strides between n squares, not n; and the padding is not cut off.",
    ),
    (
        lambda n, k, s, p: n * k,
        "The squares are laid side by side, n · kernel. They overlap: each begins only `stride`"
        " pixels after the one before. And the padding is cut off at the end.",
    ),
    (
        lambda n, k, s, p: n * k - 2 * p,
        "The squares are laid side by side, n · kernel. They overlap: each begins only `stride`"
        " pixels after the one before.",
    ),
    (
        lambda n, k, s, p: torch.tensor(conv_transpose(n, k, s, p)),
        "The value is right, but it is a tensor. A number of pixels is an int of Python.",
    ),
    (
        lambda n, k, s, p: (conv_transpose(n, k, s, p),) * 2,
        "The value is right, but it comes back twice. Return the side only.",
    ),
    (
        lambda n, k, s, p: n * s,
        "The size is n times the stride only if kernel − stride = 2 · padding. The check's layers"
        " are others.",
    ),
    (
        lambda n, k, s, p: 2 * n,
        "The size doubles for kernel 4, stride 2 and padding 1 only. The check's layers are"
        " others.",
    ),
    (
        lambda n, k, s, p: (n - 1) * k - 2 * p + s,
        "Kernel and stride have changed places: squares begin `stride` pixels apart and are"
        " `kernel` wide.",
    ),
    (
        lambda n, k, s, p: ((n - 1) * s - 2 * p + k) ** 2,
        "This is the number of pixels of a square image. Return its side.",
    ),
):
    conv_transpose_size.mistake(sentence, size=function)


@conv_transpose_size.also_right
def by_torch(n: int, kernel: int, stride: int, padding: int) -> int:
    x, w = torch.zeros(1, 1, n), torch.zeros(1, 1, kernel)
    return F.conv_transpose1d(x, w, stride=stride, padding=padding).shape[-1]


# ── psnr_hidden(x, guess, mask) → (N,) ──


def _each(squares: Tensor, hidden: Tensor) -> Tensor:
    """Mean square of the hidden pixels of each image."""
    return (squares * hidden).flatten(1).sum(1) / hidden.expand(squares.shape[1:]).sum()


def _decibel(mean_square: Tensor) -> Tensor:
    return -10 * torch.log10(mean_square)


def _hidden(mask: Tensor) -> Tensor:
    return 1 - mask


def _psnr_hidden(
    x: Tensor,
    guess: Tensor,
    mask: Tensor,
    *,
    pixels=_hidden,
    error=torch.square,
    mean=_each,
    decibel=_decibel,
) -> Tensor:
    return decibel(mean(error(x - guess), pixels(mask)))


def _image_pair(n: int, channels: int, height: int, width: int, seen: int) -> Any:
    def probe(g: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        mask = (torch.arange(width) < seen).float().expand(1, height, width).contiguous()
        x, guess = (torch.rand(n, channels, height, width, generator=g) for _ in range(2))
        return x, torch.lerp(x, guess, torch.linspace(0.2, 0.9, n)[:, None, None, None]), mask

    return probe


psnr_hidden = Exercise(
    "psnr_hidden",
    _psnr_hidden,
    probes=[_image_pair(2, 1, 1, 3, 1), _image_pair(5, 3, 4, 7, 3)],
    points=3,
    gradients=False,
    right="Every method of this lab is measured by it. Notice that visible pixels, which anybody"
    " could copy, cannot raise it.",
    hints=(
        "Square the differences; then take, for each image, the mean over the pixels where the mask"
        " is 0 only.",
        "Try hidden = mask[0] == 0: it is (H, W) and true where the image is hidden;"
        " difference[:, :, hidden] has the shape (N, C, number of hidden pixels).",
        "Two reductions are left: a mean over all but the first dimension, then −10 · torch.log10.",
    ),
)


def everything(mask: Tensor) -> Tensor:
    return torch.ones_like(mask)


for function, sentence in (
    (
        everything,
        "The mean is over the whole image. The visible part can be copied, so it would flatter"
        " every method: count hidden pixels only.",
    ),
    (
        torch.clone,
        "The mask is the wrong way round: it is 1 where a pixel is visible, and you measure the"
        " visible part.",
    ),
):
    psnr_hidden.mistake(sentence, pixels=function)

psnr_hidden.mistake(
    "The error is absolute and not squared: PSNR is defined by the mean squared error.",
    error=torch.abs,
)
psnr_hidden.mistake(
    "The differences are neither squared nor made positive, so errors cancel; where the mean is"
    " negative the logarithm is not defined.",
    error=torch.clone,
)


def divided_by_all(squares: Tensor, hidden: Tensor) -> Tensor:
    return (squares * hidden).flatten(1).mean(1)


def divided_by_one_channel(squares: Tensor, hidden: Tensor) -> Tensor:
    return (squares * hidden).flatten(1).sum(1) / hidden.sum()


def summed(squares: Tensor, hidden: Tensor) -> Tensor:
    return (squares * hidden).flatten(1).sum(1)


def of_all_images(squares: Tensor, hidden: Tensor) -> Tensor:
    return _each(squares, hidden).mean()


def root(squares: Tensor, hidden: Tensor) -> Tensor:
    return _each(squares, hidden).sqrt()


def per_channel(squares: Tensor, hidden: Tensor) -> Tensor:
    return (squares * hidden).flatten(2).sum(2) / hidden.sum()


for function, sentence in (
    (
        divided_by_all,
        "The visible pixels were set to 0 but still counted: the sum is divided by all pixels, and"
        " the PSNR is too high. Divide by the number of hidden ones.",
    ),
    (
        divided_by_one_channel,
        "The mask has one channel and the image has three: the sum over three channels is divided"
        " by the hidden pixels of one.",
    ),
    (
        summed,
        "The squares are summed, not averaged: the result falls as more is hidden. PSNR uses the"
        " mean.",
    ),
    (
        of_all_images,
        "The mean is over the batch, too, before the logarithm: one number comes back. Return one"
        " PSNR per image; a mean of PSNRs is not the PSNR of the mean error.",
    ),
    (
        root,
        "The root of the mean square goes into 10 · log₁₀: all values are halved. With the root the"
        " factor is 20.",
    ),
    (
        per_channel,
        "One number per colour channel comes back. Take the mean over the channels, too, before the"
        " logarithm.",
    ),
):
    psnr_hidden.mistake(sentence, mean=function)


def of_bytes(m: Tensor) -> Tensor:
    return 10 * torch.log10(255**2 / m)


def of_bytes_unsquared(m: Tensor) -> Tensor:
    return 10 * torch.log10(255 / m)


def positive(m: Tensor) -> Tensor:
    return 10 * torch.log10(m)


def natural(m: Tensor) -> Tensor:
    return -10 * m.log()


def twenty(m: Tensor) -> Tensor:
    return -20 * torch.log10(m)


def bel(m: Tensor) -> Tensor:
    return -torch.log10(m)


def mean_psnr(m: Tensor) -> Tensor:
    return _decibel(m).mean()


for function, sentence in (
    (
        of_bytes,
        "The peak is 255, but these pixels lie in [0, 1]: the largest possible difference is 1, and"
        " your PSNR is 48 dB too high.",
    ),
    (
        of_bytes_unsquared,
        "The peak is 255 in your formula (and not squared); these pixels lie in [0, 1], where the"
        " largest possible difference is 1.",
    ),
    (positive, "The sign is wrong: a smaller error must give a larger PSNR."),
    (natural, "This is the natural logarithm (`log`). Decibels use the one to base 10."),
    (
        twenty,
        "The factor 20 belongs to the root of the mean square. For the mean square itself it is"
        " 10.",
    ),
    (bel, "The factor 10 is missing: this is in bels, and a decibel is a tenth of one."),
    (
        torch.clone,
        "This is the mean squared error. The logarithm is missing: −10 · log₁₀ of it is the PSNR.",
    ),
    (
        mean_psnr,
        "The mean over the images comes back. Return one PSNR per image, so that methods can be"
        " compared cat by cat.",
    ),
):
    psnr_hidden.mistake(sentence, decibel=function)


@psnr_hidden.wrong(
    "The peak is the largest pixel of x (x.max()). It is 1, the largest difference that pixels in"
    " [0, 1] can have, whatever these images hold."
)
def peak_of_the_images(x: Tensor, guess: Tensor, mask: Tensor) -> Tensor:
    return _psnr_hidden(x, guess, mask) + 20 * x.max().log10()


@psnr_hidden.wrong(
    "One error is pooled over the batch, and the peak is the largest pixel (x.max()). Return one"
    " PSNR per image, with the peak 1."
)
def pooled_with_its_peak(x: Tensor, guess: Tensor, mask: Tensor) -> Tensor:
    return _psnr_hidden(x, guess, mask, mean=of_all_images) + 20 * x.max().log10()


@psnr_hidden.wrong(
    "The mask is (1, H, W), and indexing with `mask == 0` uses up its axis of channels, too: the"
    " axes do not fit. The hidden pixels of a picture are mask[0] == 0, (H, W)."
)
def with_its_channel_axis(x: Tensor, guess: Tensor, mask: Tensor) -> Tensor:
    return _decibel((x - guess)[:, :, mask == 0].square().mean((1, 2)))


@psnr_hidden.wrong(
    "The mask has one channel and is indexed as if it had those of the image: this works for grey"
    " pictures only. The hidden pixels of a picture are mask[0] == 0, (H, W)."
)
def as_if_of_all_channels(x: Tensor, guess: Tensor, mask: Tensor) -> Tensor:
    return _decibel((x - guess)[:, mask == 0].square().mean(1))


@psnr_hidden.wrong(
    "The mask holds floats, 0.0 and 1.0, and ~ is for truth values: write mask == 0, or 1 - mask."
)
def inverted_floats(x: Tensor, guess: Tensor, mask: Tensor) -> Tensor:
    return _decibel((x - guess)[:, :, ~mask[0]].square().mean((1, 2)))


@psnr_hidden.also_right
def by_selection(x: Tensor, guess: Tensor, mask: Tensor) -> Tensor:
    difference = (x - guess)[:, :, mask[0] == 0]
    return 10 * torch.log10(1 / (difference**2).mean(dim=(1, 2)))


@psnr_hidden.also_right
def image_by_image(x: Tensor, guess: Tensor, mask: Tensor) -> Tensor:
    hidden = ~mask.bool().expand_as(x[0])
    return torch.stack(
        [
            20 * torch.log10(1 / F.mse_loss(a[hidden], b[hidden]).sqrt())
            for a, b in zip(x, guess, strict=True)
        ]
    )


# ── fit_ridge(X, Y, strength) → W (D, K), b (K,) ──


def _centred(x: Tensor) -> Tensor:
    return x.mean(0)


def _none(x: Tensor) -> Tensor:
    return torch.zeros_like(x[0])


def _penalty(x: Tensor, strength: float) -> Tensor:
    return strength * torch.eye(x.shape[1])


def _bias(my: Tensor, mx: Tensor, w: Tensor) -> Tensor:
    return my - mx @ w


def _fit_ridge(
    X: Tensor, Y: Tensor, strength: float, *, mx=_centred, my=_centred, penalty=_penalty, bias=_bias
) -> tuple[Tensor, Tensor]:
    xc, yc = X - mx(X), Y - my(Y)
    w = torch.linalg.solve(xc.T @ xc + penalty(X, strength), xc.T @ yc)
    return w, bias(my(Y), mx(X), w)


fit_ridge = Exercise(
    "fit_ridge",
    _fit_ridge,
    probes=[
        lambda g: (torch.tensor([[1.0], [2.0], [6.0]]), torch.tensor([[3.0], [4.0], [11.0]]), 2.0),
        lambda g: (
            torch.randn(17, 3, generator=g) + torch.tensor([2.0, -1.0, 0.5]),
            torch.randn(17, 5, generator=g) + 3,
            7.0,
        ),
    ],
    points=3,
    gradients=False,
    tell=("W", "b"),
    rtol=1e-3,
    right="It is the linear baseline of this lab, for the hidden half and later for the resolution."
    " Notice that b costs nothing: a mean is not shrunk.",
    hints=(
        "Subtract the mean of X and of Y first (mean(0)), and solve for W without b.",
        "The equation is (XᵀX + strength · I) W = XᵀY with the centred X and Y;"
        " torch.linalg.solve(left, right) solves it, and torch.eye(D) is I.",
        "The prediction must be the mean of Y where x is the mean of X. Solve that for b.",
    ),
)

fit_ridge.mistake(
    "The intercept is missing: nothing is centred, and b is 0. The line is forced through the"
    " origin.",
    mx=_none,
    my=_none,
)
fit_ridge.mistake(
    "The targets Y are centred and X is not: then W is not the slope around the mean.", mx=_none
)
fit_ridge.mistake("X is centred and Y is not, and b comes out as −mean(X) W.", my=_none)


def no_penalty(x: Tensor, strength: float) -> Tensor:
    return torch.zeros(x.shape[1], x.shape[1])


def squared_strength(x: Tensor, strength: float) -> Tensor:
    return strength**2 * torch.eye(x.shape[1])


def everywhere(x: Tensor, strength: float) -> Tensor:
    return strength * torch.ones(x.shape[1], x.shape[1])


def times_rows(x: Tensor, strength: float) -> Tensor:
    return strength * len(x) * torch.eye(x.shape[1])


def twice(x: Tensor, strength: float) -> Tensor:
    return 2 * strength * torch.eye(x.shape[1])


def over_rows(x: Tensor, strength: float) -> Tensor:
    return strength / len(x) * torch.eye(x.shape[1])


def negative(x: Tensor, strength: float) -> Tensor:
    return -strength * torch.eye(x.shape[1])


for function, sentence in (
    (no_penalty, "The argument strength has no effect: this is least squares without a penalty."),
    (
        squared_strength,
        "The strength is squared. The penalty is strength · ‖W‖², so it enters the equation once.",
    ),
    (
        times_rows,
        "The strength is multiplied by the number of rows. Our squared error is a sum over rows,"
        " not a mean, so the penalty stands as it is.",
    ),
    (
        twice,
        "The strength is doubled. The 2 of the derivative stands before both terms, and cancels.",
    ),
    (
        over_rows,
        "The strength is divided by the number of rows. Our squared error is a sum over rows, not a"
        " mean, so the penalty stands as it is.",
    ),
    (negative, "The penalty is subtracted from XᵀX: that makes large weights cheaper, not dearer."),
):
    fit_ridge.mistake(sentence, penalty=function)


@fit_ridge.wrong(
    "The strength is added to every entry of XᵀX. It belongs on the diagonal only: strength times"
    " torch.eye(D)."
)
def on_every_entry(X: Tensor, Y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    return _fit_ridge(torch.cat([X, X]), torch.cat([Y, Y]), 2 * strength, penalty=everywhere)


def only_y(my: Tensor, mx: Tensor, w: Tensor) -> Tensor:
    return my


def plus(my: Tensor, mx: Tensor, w: Tensor) -> Tensor:
    return my + mx @ w


def zero(my: Tensor, mx: Tensor, w: Tensor) -> Tensor:
    return torch.zeros_like(my)


def turned(my: Tensor, mx: Tensor, w: Tensor) -> Tensor:
    return mx @ w - my


for function, sentence in (
    (
        only_y,
        "Here b is the mean of Y. That is right for a centred x, but the predictions X @ W + b are"
        " made from x as it is: mean(X) W has to be taken off.",
    ),
    (plus, "In b, the part mean(X) W is added; it has to be subtracted."),
    (
        zero,
        "W is right, but b is 0: the means were subtracted before the fit and never given back.",
    ),
    (turned, "The sign of b is wrong: it is mean(Y) − mean(X) W."),
):
    fit_ridge.mistake(sentence, bias=function)


@fit_ridge.wrong(
    "The intercept is penalised: a column of ones was added and the penalty covers it, too. A"
    " stronger penalty would then pull the mean face towards black."
)
def penalised_intercept(X: Tensor, Y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    x = torch.cat([X, torch.ones(len(X), 1)], 1)
    w = torch.linalg.solve(x.T @ x + strength * torch.eye(x.shape[1]), x.T @ Y)
    return w[:-1], w[-1]


@fit_ridge.wrong(
    "W comes back transposed, (K, D). Predictions are X @ W + b, so it should be (D, K)."
)
def transposed(X: Tensor, Y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    w, b = _fit_ridge(X, Y, strength)
    # a 1×1 matrix is its own transpose; the larger probe tells
    return w.T.contiguous(), b


@fit_ridge.wrong(
    "W was fitted to X and Y as they are, and only b uses the means. Without an intercept in the"
    " fit W has to explain the means, too: centre before you solve."
)
def centred_in_b_only(X: Tensor, Y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    w = _fit_ridge(X, Y, strength, mx=_none, my=_none)[0]
    return w, Y.mean(0) - X.mean(0) @ w


@fit_ridge.wrong(
    "X is divided by its standard deviation as well. That is another penalty, and W then belongs to"
    " the scaled X: centre only."
)
def standardised(X: Tensor, Y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    w = _fit_ridge((X - X.mean(0)) / X.std(0), Y, strength)[0]
    return w, Y.mean(0) - X.mean(0) @ w


@fit_ridge.wrong(
    "One mean for the whole of X is subtracted (mean() without an axis). Each column has a mean of"
    " its own: mean(0)."
)
def one_mean(X: Tensor, Y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    xc, yc = X - X.mean(), Y - Y.mean()
    w = torch.linalg.solve(xc.T @ xc + strength * torch.eye(X.shape[1]), xc.T @ yc)
    return w, Y.mean(0) - X.mean(0) @ w


@fit_ridge.wrong(
    "The mean is taken over the wrong axis: mean(1) is a mean over the numbers of one cat. The mean"
    " cat is mean(0)."
)
def mean_of_rows(X: Tensor, Y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    xc, yc = X - X.mean(1, keepdim=True), Y - Y.mean(1, keepdim=True)
    w = torch.linalg.solve(xc.T @ xc + strength * torch.eye(X.shape[1]), xc.T @ yc)
    return w, Y.mean(0) - X.mean(0) @ w


@fit_ridge.wrong(
    "Your function changes X and Y that it was given (-=), and then their means, which b needs, are"
    " 0. Make new tensors: Xc = X - X.mean(0)."
)
def centres_in_place(X: Tensor, Y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    X -= X.mean(0)
    Y -= Y.mean(0)
    return _fit_ridge(X, Y, strength)


@fit_ridge.wrong(
    "Your function changes X that it was given (-=), and then its mean, which b needs, is 0. Make a"
    " new tensor: Xc = X - X.mean(0)."
)
def centres_x_in_place(X: Tensor, Y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    X -= X.mean(0)
    return _fit_ridge(X, Y, strength)


@fit_ridge.wrong(
    "W and b are right, but your function changes X and Y that it was given (-=): the next fit"
    " would get centred images. Make new tensors: Xc = X - X.mean(0)."
)
def right_but_in_place(X: Tensor, Y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    found = _fit_ridge(X, Y, strength)
    X -= X.mean(0)
    Y -= Y.mean(0)
    return found


@fit_ridge.wrong("The results come back in the wrong order: return W, then b.")
def b_first(X: Tensor, Y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    return _fit_ridge(X, Y, strength)[::-1]


@fit_ridge.wrong("Only W comes back. Return two values: `return W, b`.")
def without_b(X: Tensor, Y: Tensor, strength: float) -> Tensor:
    return _fit_ridge(X, Y, strength)[0]


@fit_ridge.wrong(
    "X and Y have changed places: your W predicts what is visible from what is hidden."
)
def the_other_way(X: Tensor, Y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    return _fit_ridge(Y, X, strength)


@fit_ridge.wrong(
    "The right shape but the wrong number of axes: b should be (K,), and yours has a row of its"
    " own, (1, K), from keepdim."
)
def kept_dimension(X: Tensor, Y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    w, b = _fit_ridge(X, Y, strength)
    return w, b[None]


@fit_ridge.also_right
def by_more_rows(X: Tensor, Y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """A penalty is d more rows: √strength · I with the target 0."""
    xc, yc = (part - part.mean(0, keepdim=True) for part in (X, Y))
    d = X.shape[1]
    x = torch.cat([xc, math.sqrt(strength) * torch.eye(d)])
    w = torch.linalg.lstsq(x, torch.cat([yc, torch.zeros(d, Y.shape[1])])).solution
    return w, (Y - X @ w).mean(0)


@fit_ridge.also_right
def with_a_free_column(X: Tensor, Y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    x = torch.cat([X, torch.ones(len(X), 1)], 1).double()
    penalty = strength * torch.eye(x.shape[1], dtype=torch.double)
    penalty[-1, -1] = 0
    w = torch.linalg.inv(x.T @ x + penalty) @ x.T @ Y.double()
    return w[:-1].float(), w[-1].float()


# ── move(z, amounts, directions, sd) → (N, J) ──


def _same(values: Tensor) -> Tensor:
    return values


def _project(steps: Tensor, directions: Tensor) -> Tensor:
    return steps @ directions


def _move(
    z: Tensor,
    amounts: Tensor,
    directions: Tensor,
    sd: Tensor,
    *,
    scale=torch.mul,
    project=_project,
    width=_same,
    start=_same,
    sign=1,
) -> Tensor:
    return start(z) + sign * project(scale(amounts, width(sd)), directions)


def _rotated(n: int, j: int, k: int) -> Any:
    def probe(g: torch.Generator) -> tuple[Tensor, ...]:
        q = torch.linalg.qr(torch.randn(j, j, generator=g))[0]
        sd = torch.linspace(3.0, 0.4, k)
        return (
            torch.randn(n, j, generator=g),
            torch.randn(n, k, generator=g),
            q[:k].contiguous(),
            sd,
        )

    return probe


move = Exercise(
    "move",
    _move,
    probes=[
        lambda g: (
            torch.tensor([[1.0, 2.0]]),
            torch.tensor([[2.0, -1.0]]),
            torch.tensor([[0.6, 0.8], [0.8, -0.6]]),
            torch.tensor([3.0, 0.5]),
        ),
        _rotated(3, 7, 7),
        _rotated(4, 5, 2),
    ],
    points=2,
    right="It moves every face below, and it gives the search its coordinates: amounts in σ, so"
    " that a step of 1 is as usual along one direction as along any other.",
    hints=(
        "One direction first: z + amount · σ · (the direction). With K directions it is a sum.",
        "Here amounts * sd has one number per image and direction, (N, K). A matrix product with"
        " the directions, (K, J), does the sum.",
        "Add the moves, (N, J), to z.",
    ),
)

for function, sentence in (
    (
        torch.square,
        "Here σ² stands where σ should: a variance is not a length. Wide directions move too far,"
        " narrow ones too little.",
    ),
    (torch.sqrt, "Here √σ stands where σ should: sd is the standard deviation already."),
    (
        torch.ones_like,
        "The amounts are not multiplied by σ: then a step of 1 is little in a wide direction and"
        " much in a narrow one.",
    ),
    (
        torch.reciprocal,
        "The amounts are divided by σ. They are given in σ, so they are to be multiplied by it.",
    ),
):
    move.mistake(sentence, width=function)

move.mistake(
    "The move is returned without the code it starts from: every face would be moved from the same"
    " place, z = 0.",
    start=torch.zeros_like,
)
move.mistake("The move is subtracted: positive amounts go backwards along the direction.", sign=-1)
move.mistake(
    "The code z comes back as it was: the amounts have no effect.", project=lambda s, d: 0 * (s @ d)
)


@move.wrong(
    "The matrix of directions is transposed: its rows are the directions, so the product is with"
    " `directions`, (K, J), and not with its transpose."
)
def columns(z: Tensor, amounts: Tensor, directions: Tensor, sd: Tensor) -> Tensor:
    return z + (amounts * sd) @ directions.T


@move.wrong(
    "Only the first direction is followed. The amounts have one column per direction: add all of"
    " the moves."
)
def first_only(z: Tensor, amounts: Tensor, directions: Tensor, sd: Tensor) -> Tensor:
    return z + amounts[:, :1] * sd[0] * directions[0]


@move.wrong(
    "The amounts of the first image are used for all images. Each row of amounts belongs to the"
    " code in the same row."
)
def of_the_first_image(z: Tensor, amounts: Tensor, directions: Tensor, sd: Tensor) -> Tensor:
    return z + (amounts[0] * sd) @ directions


@move.wrong(
    "The whole of z is multiplied by σ, too: you wrote (z + amounts) * sd or similar. Only the"
    " amounts are in units of σ."
)
def everything_scaled(z: Tensor, amounts: Tensor, directions: Tensor, sd: Tensor) -> Tensor:
    return ((z @ directions.T + amounts) * sd) @ directions


@move.wrong(
    "The directions play no part: the amounts, times σ, are added to the numbers of z themselves."
    " They belong to the directions."
)
def without_directions(z: Tensor, amounts: Tensor, directions: Tensor, sd: Tensor) -> Tensor:
    return z + amounts * sd


@move.wrong(
    "The σ multiply the columns of the directions (sd * directions, or after the product). Each row"
    " is a direction and has its own σ: multiply the amounts first."
)
def sigma_too_late(z: Tensor, amounts: Tensor, directions: Tensor, sd: Tensor) -> Tensor:
    return z + (amounts @ directions) * sd


@move.wrong(
    "Your function changes the codes z that it was given (+= or add_). The next face would start"
    " where this one ended: make a new tensor."
)
def in_place(z: Tensor, amounts: Tensor, directions: Tensor, sd: Tensor) -> Tensor:
    z += (amounts * sd) @ directions
    return z


@move.wrong(
    "No gradient passes: the result is cut off from the amounts (detach, no_grad, item, .data). The"
    " search below follows this gradient."
)
def cut_off(z: Tensor, amounts: Tensor, directions: Tensor, sd: Tensor) -> Tensor:
    return _move(z, amounts, directions, sd).detach()


@move.also_right
def one_direction_after_the_other(
    z: Tensor, amounts: Tensor, directions: Tensor, sd: Tensor
) -> Tensor:
    for k, direction in enumerate(directions):
        z = z + amounts[:, k, None] * sd[k] * direction
    return z


@move.also_right
def by_einsum(z: Tensor, amounts: Tensor, directions: Tensor, sd: Tensor) -> Tensor:
    return z + torch.einsum("nk,k,kj->nj", amounts, sd, directions)


# ── objective(a, decode, A, y, weight) → (N,) ──


def _sum(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1)


def _compare(a: Tensor, decode: Function, A: Function, y: Tensor) -> Tensor:
    return A(decode(a)) - y


def _weigh(misfit: Tensor, prior: Tensor, weight: float) -> Tensor:
    return weight * misfit + 0.5 * prior


def _objective(
    a: Tensor,
    decode: Function,
    A: Function,
    y: Tensor,
    weight: float,
    *,
    compare=_compare,
    error=torch.square,
    pixels=_sum,
    square=torch.square,
    dimensions=_sum,
    weigh=_weigh,
) -> Tensor:
    misfit = pixels(error(compare(a, decode, A, y)))
    return weigh(misfit, dimensions(square(a)), weight)


def _decode(a: Tensor) -> Tensor:
    """Codes of three numbers → images (N, 1, 2, 4)."""
    rows = torch.tensor(
        [
            [2.0, -1.0, 0.5, 1.5, -0.5, 1.0, 0.3, -2.0],
            [1.0, 0.0, 2.0, -1.0, 1.0, 1.0, -1.0, 0.5],
            [-0.5, 1.5, 1.0, 0.4, -1.0, 0.2, 2.0, 1.0],
        ]
    )
    return (a @ rows).sigmoid().unflatten(1, (1, 2, 4))


def _left_half(x: Tensor) -> Tensor:
    return x * torch.tensor([1.0, 1.0, 0.0, 0.0])


def _halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2)


def _half_light(x: Tensor) -> Tensor:
    return 0.5 * x


def _problem(A: Function, weight: float, n: int) -> Any:
    def probe(g: torch.Generator) -> tuple:
        y = A(torch.rand(n, 1, 2, 4, generator=g))
        return torch.randn(n, 3, generator=g) * 1.5, _decode, A, y, weight

    return probe


objective = Exercise(
    "objective",
    _objective,
    probes=[_problem(_left_half, 3.0, 2), _problem(_halved, 0.7, 5), _problem(_half_light, 2.0, 3)],
    points=3,
    right="It is what the search below minimises, with any operator A. Notice that hidden pixels"
    " cannot enter: A removes them on both sides.",
    hints=(
        "Decode a, pass the image through A, subtract y: these are the differences that can be"
        " seen.",
        "Sum the squares over everything but the batch: .square().flatten(1).sum(1). The same for"
        " a.",
        "It ends so: weight * misfit + 0.5 * (the sum of a²), shape (N,).",
    ),
)


def without_operator(a: Tensor, decode: Function, A: Function, y: Tensor) -> Tensor:
    return decode(a) - y


def operator_twice(a: Tensor, decode: Function, A: Function, y: Tensor) -> Tensor:
    return A(decode(a)) - A(y)


def operator_on_y_only(a: Tensor, decode: Function, A: Function, y: Tensor) -> Tensor:
    return decode(a) - A(y)


def no_gradient(a: Tensor, decode: Function, A: Function, y: Tensor) -> Tensor:
    return A(decode(a)).detach() - y


def sigmoid_again(a: Tensor, decode: Function, A: Function, y: Tensor) -> Tensor:
    return A(decode(a).sigmoid()) - y


for function, sentence in (
    (
        operator_twice,
        "A is applied to y, too. The observation y has passed through A already: a half is not"
        " halved again.",
    ),
    (
        no_gradient,
        "No gradient passes from the misfit to the code: the decoded image was cut off from the"
        " graph (detach, no_grad, .data). The search would follow the prior alone.",
    ),
    (
        sigmoid_again,
        "A sigmoid is applied to the decoded image. It is in [0, 1] already; twice squeezed it"
        " never gets darker than 0.5.",
    ),
):
    objective.mistake(sentence, compare=function)


@objective.wrong(
    "A is missing: the whole decoded image is compared with y. For a half face this asks the hidden"
    " part to be black, as y is 0 there; for a small y the sizes do not even fit."
)
def hidden_pixels_count(
    a: Tensor, decode: Function, A: Function, y: Tensor, weight: float
) -> Tensor:
    return _objective(a, decode, A, y, weight, compare=without_operator)


@objective.wrong(
    "Both norms are taken over the whole batch at once: one number comes back, and a norm is not"
    " squared. Sum the squares of each image."
)
def norms_of_the_batch(
    a: Tensor, decode: Function, A: Function, y: Tensor, weight: float
) -> Tensor:
    return weight * (A(decode(a)) - y).norm() + 0.5 * a.norm()


@objective.wrong(
    "A is applied to y and not to the decoded image. It is the decoded image that has to be reduced"
    " to what y shows."
)
def wrong_side(a: Tensor, decode: Function, A: Function, y: Tensor, weight: float) -> Tensor:
    return _objective(a, decode, A, y, weight, compare=operator_on_y_only)


def _root_of_sum(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1).sqrt()


def mean_over_pixels(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1)


def sum_of_everything(values: Tensor) -> Tensor:
    return values.sum()


def mean_of_everything(values: Tensor) -> Tensor:
    return values.mean()


for function, sentence in (
    (
        _root_of_sum,
        "The misfit is the norm ‖·‖ and not its square: a root was taken. The formula has ‖·‖².",
    ),
    (
        mean_over_pixels,
        "The misfit is a mean over pixels and the prior is a sum: the weight then means something"
        " else for every operator. Sum over the pixels.",
    ),
    (
        sum_of_everything,
        "The misfit is summed over the batch, too: each image's objective holds the errors of all."
        " Keep the images apart.",
    ),
    (
        mean_of_everything,
        "The misfit is one mean over all images (mse_loss gives that). Sum over the pixels of each"
        " image, and keep the images apart.",
    ),
):
    objective.mistake(sentence, pixels=function)
objective.mistake("The differences are absolute and not squared.", error=torch.abs)
objective.mistake(
    "The differences are not squared: positive and negative errors cancel.", error=_same
)
objective.mistake("The prior has |a| where it should have a²: that is another prior.", square=abs)
objective.mistake(
    "The prior sums a itself and not a²: large negative codes are rewarded.", square=_same
)
for function, sentence in (
    (
        mean_over_pixels,
        "The prior is a mean over the code's numbers. −log N(0, I) is a sum over them.",
    ),
    (
        sum_of_everything,
        "The prior is summed over the batch, too: each image pays for the codes of all.",
    ),
    (
        mean_of_everything,
        "The prior is one mean over all codes of the batch. Sum over the numbers of each code.",
    ),
    (_root_of_sum, "The prior is the norm of a, not half of its square."),
):
    objective.mistake(sentence, dimensions=function)


for function, sentence in (
    (
        lambda m, p, w: w * m,
        "The prior is missing: nothing keeps the code where faces are, and it may go anywhere to"
        " fit the visible pixels.",
    ),
    (lambda m, p, w: 0.5 * p, "The misfit is missing: the best code is then 0 for every cat."),
    (
        lambda m, p, w: m + 0.5 * p,
        "The argument weight is not used; the misfit is to be multiplied by it.",
    ),
    (
        lambda m, p, w: m + w * 0.5 * p,
        "The weight multiplies the prior. It belongs to the misfit: a larger weight is more trust"
        " in y.",
    ),
    (
        lambda m, p, w: w * (m + 0.5 * p),
        "The weight multiplies both terms, which only scales the objective. It belongs to the"
        " misfit.",
    ),
    (
        lambda m, p, w: w * m + p,
        "The factor ½ of the prior is missing: −log N(0, I) is ½‖a‖² and a constant.",
    ),
    (
        lambda m, p, w: 0.5 * w * m + 0.5 * p,
        "The misfit has a factor ½ that the formula does not have: it is in the weight.",
    ),
    (
        lambda m, p, w: 0.5 * (w * m + 0.5 * p),
        "The whole objective is halved. The ½ belongs to the prior only, and stands there once.",
    ),
    (
        lambda m, p, w: w * m - 0.5 * p,
        "The prior is subtracted: codes far away would be rewarded. It is −log p(a), and a loss.",
    ),
    (
        lambda m, p, w: -w * m - 0.5 * p,
        "The sign is wrong: this is log p, and the search minimises. Return the objective itself.",
    ),
    (
        lambda m, p, w: (w * m + 0.5 * p).sum(),
        "One number for the batch comes back (a sum). Return one per image, (N,).",
    ),
    (
        lambda m, p, w: (w * m + 0.5 * p).mean(),
        "One number for the batch comes back (a mean). Return one per image, (N,).",
    ),
):
    objective.mistake(sentence, weigh=function)


@objective.wrong(
    "No gradient passes: what comes back is cut off from the code (detach, no_grad, item, .data)."
    " The search below follows this gradient."
)
def objective_cut_off(a: Tensor, decode: Function, A: Function, y: Tensor, weight: float) -> Tensor:
    return _objective(a, decode, A, y, weight).detach()


@objective.also_right
def by_norms(a: Tensor, decode: Function, A: Function, y: Tensor, weight: float) -> Tensor:
    away = (y - A(decode(a))).flatten(1)
    return weight * (away * away).sum(-1) + a.pow(2).sum(-1) / 2


@objective.also_right
def image_by_image_objective(
    a: Tensor, decode: Function, A: Function, y: Tensor, weight: float
) -> Tensor:
    seen = A(decode(a))
    misfit = [F.mse_loss(p, q, reduction="sum") for p, q in zip(seen, y, strict=True)]
    return (
        weight * torch.stack(misfit)
        - torch.distributions.Normal(0.0, 1.0).log_prob(a).sum(1)
        - 0.5 * a.shape[1] * math.log(2 * math.pi)
    )


# ── search(f, start, steps, lr) → codes (N, J) ──

HESSIAN = torch.tensor([[3.0, 1.0, 0.0], [1.0, 2.0, -0.5], [0.0, -0.5, 1.0]])
LOWEST = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.7, -1.5]])
START = torch.tensor([[0.4, -0.3, 0.2], [-0.6, 1.0, 0.1]])
STEPS, LR = 7, 0.11


def _look_at_searches(f: Function) -> Observation:
    """Seven steps down a paraboloid per row, and what was asked for on the way."""
    asked, start = [], START.clone()

    def valley(a: Tensor) -> Tensor:
        asked.append((a.detach().clone(), bool(a.requires_grad)))
        away = a - LOWEST
        return torch.tensor([1.0, 40.0]) * (0.5 * (away @ HESSIAN * away).sum(1) + 2.0)

    try:
        found = f(valley, start, STEPS, LR)
    except RuntimeError as error:
        if "grad can be implicitly created only" in str(error):
            return {"Backward is called on": "more than one number"}
        if "does not require grad" in str(error):
            return {"Backward finds": "nothing that requires a gradient"}
        if "second time" in str(error):
            return {"Backward is called": "twice on one value of f"}
        if "leaf" in str(error):
            return {"The optimizer or autograd is given": "no leaf"}
        raise
    except TypeError as error:
        if "iterable of Tensors" in str(error):
            return {"Adam is given": "a tensor and not a list"}
        raise
    except ValueError as error:
        if "non-leaf" in str(error):
            return {"The optimizer or autograd is given": "no leaf"}
        raise
    kind = "None (is there a `return`?)" if found is None else f"a {type(found).__name__}"
    if not isinstance(found, Tensor):
        return {"What is returned": kind}
    if found.shape in ((), START.shape[:1]):
        return {"What is returned": "the loss"}
    seen: Observation = {"What is returned": "a Tensor"}
    seen["The codes after the search"] = found.detach().clone()
    seen["That what is returned holds the graph"] = found.requires_grad
    if not torch.equal(start, START):
        seen["start afterwards"] = start.detach().clone()
    if start.requires_grad:
        seen["start afterwards requires a gradient"] = True
    return seen


def _adam(parameters: list[Tensor], lr: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=lr)


def _fresh(start: Tensor) -> Tensor:
    return start.clone().requires_grad_()


def _all(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _finished(a: Tensor) -> Tensor:
    return a.detach()


def _search(
    f: Function,
    start: Tensor,
    steps: int,
    lr: float,
    *,
    begin=_fresh,
    optim=_adam,
    value=torch.sum,
    update=_all,
    count=lambda steps: steps,
    rate=lambda lr: lr,
    finish=_finished,
) -> Tensor:
    a = begin(start)
    optimizer = optim([a], rate(lr))
    for _ in range(count(steps)):
        update(optimizer, value(f(a)))
    return finish(a)


search = Exercise(
    "search",
    _search,
    observe=_look_at_searches,
    points=4,
    right="It restores the faces below. Notice that the weights of the decoder stay as they are:"
    " only the code learns.",
    hints=(
        "What is trained here is the code. Make a copy of `start` that wants a gradient:"
        " start.clone().requires_grad_().",
        "The optimizer gets a list with this one tensor. In each step: clear the gradient, add up"
        " f(a) over the batch, backward, step.",
        "After the loop return a.detach(): a plain tensor of codes.",
    ),
)


def accumulated(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    loss.backward()
    optimizer.step()


def never(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()


def step_before_backward(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.step()
    optimizer.zero_grad()
    loss.backward()


for function, sentence in (
    (
        accumulated,
        "No zero_grad: each gradient is added to the sum of all before it, and the search"
        " runs past the valley.",
    ),
    (
        never,
        "The codes come back where they started: no step reaches them. Check that the gradient is"
        " still there when step is called, and that the optimizer holds the tensor you return.",
    ),
    (
        step_before_backward,
        "The step comes before backward: each one uses the gradient of the step before, and the"
        " first has none.",
    ),
):
    search.mistake(sentence, update=function)


def sgd(parameters: list[Tensor], lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=lr)


def upwards(parameters: list[Tensor], lr: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=lr, maximize=True)


def adamw(parameters: list[Tensor], lr: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=lr)


for function, sentence in (
    (
        sgd,
        "This is plain gradient descent (SGD): the cat whose objective is steep takes steps far too"
        " large. The task asks for Adam, which adapts the size of a step to each number.",
    ),
    (
        upwards,
        "The search climbs: the objective grows with every step. There is a sign too many, or"
        " `maximize`.",
    ),
    (
        adamw,
        "This is AdamW: its weight decay pulls the codes to 0. The prior does that already, in your"
        " objective.",
    ),
):
    search.mistake(sentence, optim=function)


def first_image(values: Tensor) -> Tensor:
    return values[0]


search.mistake(
    "Only the first image is searched for: the loss is f(a)[0]. Add up over the batch.",
    value=first_image,
)
search.mistake(
    "The loss is the worst image of the batch (max): the others wait for it. Add up over the"
    " batch.",
    value=torch.max,
)


def one_more(steps: int) -> int:
    return steps + 1


def one_less(steps: int) -> int:
    return steps - 1


def one(steps: int) -> int:
    return 1


def hundred(steps: int) -> int:
    return 100


for function, sentence in (
    (one_more, "There is one step more than `steps`."),
    (one_less, "There is one step less than `steps`: does your range begin at 1?"),
    (
        one,
        "Only the first step reaches the codes you return: is the `return` inside of the loop, or"
        " is the tensor made anew there (detach, clone), so that the optimizer holds an old one?",
    ),
    (hundred, "The argument steps is not used: the search takes 100 steps, whatever it says."),
):
    search.mistake(sentence, count=function)

for value in (0.1, 0.01, 0.001):
    search.mistake(
        f"The argument lr is not used: the rate is always {value}"
        + (", the default of Adam." if value == 0.001 else "."),
        rate=lambda lr, value=value: value,
    )


def zeros(start: Tensor) -> Tensor:
    return torch.zeros_like(start).requires_grad_()


def noise(start: Tensor) -> Tensor:
    return torch.randn_like(start).requires_grad_()


for function, sentence in (
    (zeros, "The search starts at 0 and not at `start`."),
    (noise, "The search starts at random codes and not at `start`."),
):
    search.mistake(sentence, begin=function)

search.mistake(
    "The codes that come back still hold the graph (requires_grad). Return a.detach(): whoever"
    " draws them wants plain numbers.",
    finish=_same,
)


@search.wrong(
    "The search moves `start` itself: your tensor shares its memory, so the next search begins"
    " where this one ended. Work on start.clone()."
)
def moves_start(f: Function, start: Tensor, steps: int, lr: float) -> Tensor:
    return _search(f, start, steps, lr, begin=lambda s: s.detach().requires_grad_())


@search.wrong(
    "The search moves `start` itself, which also asks for gradients from now on. Work on"
    " start.clone()."
)
def trains_start(f: Function, start: Tensor, steps: int, lr: float) -> Tensor:
    return _search(f, start, steps, lr, begin=lambda s: s.requires_grad_())


@search.wrong(
    "The search moves `start` itself, which asks for gradients from now on, and what comes back"
    " still holds the graph. Work on start.clone(), and return a.detach()."
)
def returns_start(f: Function, start: Tensor, steps: int, lr: float) -> Tensor:
    return _search(f, start, steps, lr, begin=lambda s: s.requires_grad_(), finish=_same)


@search.wrong(
    "The optimizer is made anew in every step: Adam forgets what it has learned of the slopes, and"
    " every step has the length lr. Make it once, before the loop."
)
def optimizer_in_the_loop(f: Function, start: Tensor, steps: int, lr: float) -> Tensor:
    a = _fresh(start)
    for _ in range(steps):
        _all(_adam([a], lr), f(a).sum())
    return a.detach()


@search.wrong(
    "The objective f(a) has one number per image, and backward needs a single one. Add them up"
    " first: .sum()."
)
def without_sum(f: Function, start: Tensor, steps: int, lr: float) -> Tensor:
    return _search(f, start, steps, lr, value=_same)


@search.wrong(
    "The value f(a) is computed once, before the loop. The codes move with every step, so f has to"
    " be asked anew in each."
)
def asked_once(f: Function, start: Tensor, steps: int, lr: float) -> Tensor:
    a = _fresh(start)
    optimizer, loss = _adam([a], lr), f(a).sum()
    for _ in range(steps):
        _all(optimizer, loss)
    return a.detach()


@search.wrong(
    "Nothing here wants a gradient: the codes need requires_grad_() before the loop, and f must be"
    " given them, not a detached copy."
)
def without_gradient(f: Function, start: Tensor, steps: int, lr: float) -> Tensor:
    return _search(lambda a: f(a.detach()), start, steps, lr)


@search.wrong(
    "The optimizer is given a tensor that was computed and not made: after requires_grad_() there"
    " must be no clone, + 0 or * 1. First clone, then requires_grad_()."
)
def no_leaf(f: Function, start: Tensor, steps: int, lr: float) -> Tensor:
    return _search(f, start, steps, lr, begin=lambda s: s.clone().requires_grad_() + 0)


@search.wrong(
    "The loss came back, the value of the objective. Return the codes at which it is low."
)
def returns_the_loss(f: Function, start: Tensor, steps: int, lr: float) -> Tensor:
    return f(_search(f, start, steps, lr)).sum().detach()


@search.wrong(
    "Adam is given the codes themselves. It takes a list of the tensors to be trained: Adam([a])."
)
def without_a_list(f: Function, start: Tensor, steps: int, lr: float) -> Tensor:
    a: Any = _fresh(start)
    _adam(a, lr)
    return a


@search.also_right
def mean_of_the_batch(f: Function, start: Tensor, steps: int, lr: float) -> Tensor:
    """Adam does not see the scale of its loss."""
    return _search(f, start, steps, lr, value=torch.mean)


@search.also_right
def adam_by_hand(f: Function, start: Tensor, steps: int, lr: float) -> Tensor:
    a, m, v = start, torch.zeros_like(start), torch.zeros_like(start)
    for t in range(1, steps + 1):
        a = a.detach().requires_grad_()
        (g,) = torch.autograd.grad(f(a).sum(), a)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        a = a.detach() - lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return a.detach()
