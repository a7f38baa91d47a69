"""The kit's speed bars on this machine: python tests/benchmark.py [slider_moves …]. Not a test:
times depend on what else runs.
"""

import contextlib
import importlib
import io
import itertools
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import matplotlib.pyplot as plt
import nbformat
import torch
import torch.nn.functional as F

from labkit import latent, plots, widgets
from labkit.data import arithmetic, images, load, palindromes, synthetic
from labkit.metrics import frechet, kid, prdc
from labkit.models import LSTM, Classifier, VanillaRNN
from labkit.models.gan import Generator
from labkit.models.seq2seq import AttentionSeq2Seq, Seq2Seq
from labkit.models.transformer import Transformer
from labkit.models.vae import face_vae, linear_vae
from labkit.pretrained import SETTINGS, new_classifier
from labkit.profile import autocast
from labkit.studies import arithmetic as seq2seq
from labkit.studies import gan_stages
from labkit.studies.report_networks import ReportAGenerator
from labkit.training import gan
from labkit.training.classify import accuracy
from labkit.training.sweep import sweep
from labkit.training.vae import ReconstructionSettings, train_vae
from labkit.widgets import canvas


def alternate(*functions, repeats=30):
    """Median seconds of each function, taken in turns so that whatever else the machine does meets
    all alike.
    """
    times = [[] for _ in functions]
    for k in range(repeats + 3):
        for seconds, function in zip(times, functions, strict=True):
            start = time.perf_counter()
            function()
            if k >= 3:  # the first rounds warm up
                seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in times]


def report(what, measured, bar="-"):
    print(f"{what:<62} {measured:>24}   bar: {bar}", flush=True)


def milliseconds(seconds):
    return f"{1000 * seconds:.1f} ms"


class TorchLSTM(torch.nn.Module):
    """torch.nn.LSTM with the read-out of the last step that ours has."""

    def __init__(self):
        super().__init__()
        self.lstm, self.read_out = (
            torch.nn.LSTM(10, 128, batch_first=True),
            torch.nn.Linear(128, 10),
        )

    def forward(self, x):
        return self.read_out(self.lstm(x)[0][:, -1])


def training_step(model, length):
    """A function that does one step: forward, backward, clipping, RMSprop; batch 128."""
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    digits = palindromes.sample(128, length, "train", torch.Generator().manual_seed(0))
    x, y = palindromes.inputs(digits), palindromes.targets(digits)

    def step():
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()

    return step


def lstm_against_torch():
    ours, torchs = alternate(
        training_step(LSTM(10, 128, 10), 51), training_step(TorchLSTM(), 51)
    )  # 50 steps are read
    report(
        "LSTM step, T = 50, hidden 128, batch 128: ours / torch.nn",
        f"{milliseconds(ours)} / {milliseconds(torchs)}",
    )
    report("  ratio", f"{ours / torchs:.2f}", "1.5")


def palindrome_steps():
    for length in (5, 10, 20, 50, 100):
        lstm, rnn = alternate(
            training_step(LSTM(10, 128, 10), length),
            training_step(VanillaRNN(10, 128, 10), length),
            repeats=15,
        )
        report(
            f"palindrome training step, T = {length}: LSTM / RNN",
            f"{milliseconds(lstm)} / {milliseconds(rnn)}",
        )


def imports():
    def seconds(statement):
        return lambda: subprocess.run([sys.executable, "-c", statement], check=True)

    statements = ["labkit", "labkit.data", "labkit.models", "labkit.training"]
    torch_alone, *ours = alternate(
        seconds("import torch"),
        *(seconds(f"import torch, {name}") for name in statements),
        repeats=5,
    )
    report("import torch", f"{torch_alone:.2f} s")
    for name, whole in zip(statements, ours, strict=True):
        report(
            f"  import {name} on top of it",
            f"{whole - torch_alone:+.2f} s",
            "0.2 s" if name == "labkit" else "-",
        )


def stand_in_digits():
    start = time.perf_counter()
    synthetic.digits(60_000)
    report("60,000 stand-in digits", f"{time.perf_counter() - start:.1f} s", "30 s")


def cats_again():
    """The second load of the cats of LABKIT_DATA or data/, if there are any."""
    if images.find("cats") is None:
        report("cats, second load", "no cats found", "1 s")
        return
    load("cats")  # makes the cache, if there is none
    (seconds,) = alternate(lambda: load("cats"), repeats=3)
    report("cats, second load", f"{seconds:.2f} s", "1 s")


def key_presses():
    panel = widgets.palindrome_gates(LSTM(10, 128, 10), "1232")
    for n in (4, 9, 20, 99):

        def press(n=n):
            panel.controls["digits"].value = ""  # refused before anything is drawn
            panel.controls["digits"].value = "7" * n

        (seconds,) = alternate(press, repeats=15)
        what = f"palindrome widget, a key press with {n} digits"
        report(what, milliseconds(seconds), "30 ms" if n <= 20 else "-")


class Decoder(torch.nn.Module):
    """Report E's decoder, untrained: codes (N, 2) → images (N, 1, 28, 28) in [0, 1]."""

    def __init__(self):
        super().__init__()
        layers = (
            torch.nn.Linear(2, 400),
            torch.nn.ReLU(),
            torch.nn.Linear(400, 784),
            torch.nn.Sigmoid(),
        )
        self.layers = torch.nn.Sequential(*layers, torch.nn.Unflatten(1, (1, 28, 28)))

    def forward(self, z):
        return self.layers(z)


def classifier_training():
    """What the MNIST classifier reaches in a short time, trained as the supplied one (6 epochs):
    needs the real images.
    """
    digits = load("mnist", download=False)
    if digits.is_stand_in:
        print("classifier training: skipped, no real MNIST; set LABKIT_DATA")
        return
    for epochs, bar in ((1.6, "99 % in 20 s"), (5, "99.4 % in 60 s")):
        settings = replace(SETTINGS["mnist"], epochs=epochs)
        start = time.perf_counter()
        classifier = new_classifier(digits.train, digits.train_labels, settings)
        seconds = time.perf_counter() - start
        share = accuracy(classifier, digits.test, digits.test_labels)
        report(f"MNIST classifier, {epochs} epochs", f"{seconds:.0f} s, {share:.2%} right", bar)


def gan_steps():
    """A step of study 02's GAN, by number format, memory layout and batch size: why it trains as it
    does.
    """
    cases = list(itertools.product((False, True), ("contiguous_format", "channels_last")))
    for name, recipe, batches in (
        ("small", gan_stages.OURS, (32, 64, 128)),
        ("report", gan_stages.REPORT, (128,)),
    ):
        for batch in batches:
            images = torch.randint(0, 256, (64 * batch, 1, 28, 28), dtype=torch.uint8)
            settings = replace(recipe.settings, epochs=0.25, batch_size=batch)

            def run(fast, layout, recipe=recipe, settings=settings, images=images):
                def cast(device):
                    return autocast(device) if fast else contextlib.nullcontext()

                with (
                    mock.patch.object(gan, "autocast", cast),
                    mock.patch.object(torch, "channels_last", getattr(torch, layout)),
                    contextlib.redirect_stdout(io.StringIO()),
                ):
                    gan.train_gan(*recipe.networks(16), images, settings)

            seconds = alternate(*(partial(run, *case) for case in cases), repeats=3)
            for (fast, layout), s in zip(cases, seconds, strict=True):
                format = "bfloat16" if fast else "float32"
                what = f"GAN step, {name} networks, batch {batch}, {format}, {layout}"
                report(what, f"{milliseconds(s / 16)}, {16 * batch / s:,.0f} images/s")


def vae_steps():
    """A step of study 03's VAE, what it scores after each epoch included."""
    images = torch.randint(0, 256, (128 * 64, 1, 28, 28), dtype=torch.uint8)

    def run():
        with contextlib.redirect_stdout(io.StringIO()):
            train_vae(linear_vae(), images, images[:1000], ReconstructionSettings(1))

    (seconds,) = alternate(run, repeats=3)
    report("VAE step, linear, batch 128", milliseconds(seconds / 64))


def nothing(k):
    return k


def sweep_overhead():
    """What a sweep of ten runs costs that do nothing: the start of the processes."""

    def run():
        with contextlib.redirect_stdout(io.StringIO()):
            sweep(nothing, [dict(k=k) for k in range(10)])

    (seconds,) = alternate(run, repeats=2)
    report("a sweep of ten empty runs", f"{seconds:.1f} s")


class AsTheyAre(torch.nn.Module):
    """Features for torchmetrics that are given, not computed from images."""

    num_features = 64

    def forward(self, x):
        return x


def metric_times():
    """Ours against torchmetrics and prdc on the same 10,000 real and 10,000 generated features of
    64 dimensions.
    """
    try:
        fid, library_kid, library_prdc = (
            importlib.import_module(n)
            for n in ("torchmetrics.image.fid", "torchmetrics.image.kid", "prdc")
        )
    except ImportError as error:
        print(f"metrics against libraries: skipped ({error}); pip install torchmetrics prdc")
        return
    x, y = (
        torch.randn(10_000, 64, generator=torch.Generator().manual_seed(s)).relu() for s in (0, 1)
    )

    def torchmetrics(metric):
        metric.update(x, real=True)
        metric.update(y, real=False)
        return metric.compute()

    def reference():
        with contextlib.redirect_stdout(io.StringIO()):
            library_prdc.compute_prdc(x.numpy(), y.numpy(), 5)

    def torchmetrics_fid():
        return torchmetrics(fid.FrechetInceptionDistance(AsTheyAre()))

    def torchmetrics_kid():
        return torchmetrics(
            library_kid.KernelInceptionDistance(AsTheyAre(), subsets=50, subset_size=1000)
        )

    for what, ours, theirs, repeats in (
        (
            "Fréchet distance: ours / torchmetrics",
            lambda: frechet.frechet_distance(x, y),
            torchmetrics_fid,
            30,
        ),
        (
            "KID, 50 subsets of 1,000: ours / torchmetrics",
            lambda: kid.kid(x, y),
            torchmetrics_kid,
            3,
        ),
        ("precision … coverage: ours / prdc", lambda: prdc.prdc(x, y), reference, 2),
    ):
        seconds = alternate(ours, theirs, repeats=repeats)
        report(what, " / ".join(map(milliseconds, seconds)))
        report("  ratio", f"{seconds[0] / seconds[1]:.2f}", "1")


def faces():
    vae, codes = face_vae(), torch.randn(100, 32)
    return widgets.directions(vae.decode, latent.principal_axes(codes), {"a": codes[0]})


def restored():
    images = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    methods = {name: lambda x, mask: x.float() / 255 for name in ("mean", "network", "search")}
    return widgets.completeness(images, methods)


def same_style():
    generator, classes = Generator(), [str(k) for k in range(10)]
    generator.eval()
    models = {"a": (lambda z, y: (generator(z) + 1) / 2, torch.randn(10, generator.latent_dim))}
    return widgets.same_style(models, classes, Classifier())


def handwritten():
    bank = arithmetic.glyphs(images.load("mnist", (2000, 500)), "test")
    return widgets.handwritten(lambda pictures: torch.zeros(1, 3, 13), bank)


def curves(x):
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.2))
    for ax in axes:
        ax.plot([0, x, 10], [0, 1, 2])
        ax.set(xlabel="x", ylabel="y")
    return figure


def slider_moves():
    """From a slider's new value to the new PNG, with untrained models of the labs' sizes."""
    plots.style()
    classifier, points, labels = Classifier(), torch.randn(10_000, 2), torch.arange(10_000) % 10
    frame = canvas.png(
        canvas.arrange([[canvas.strip(torch.zeros(10, 1, 28, 28, dtype=torch.uint8))]] * 10)
    )

    def walk(generator):
        codes = dict(zip("0123456789", torch.randn(10, generator.latent_dim), strict=True))
        return widgets.walk(generator, codes, classifier), "t", 0.9

    for name, (panel, control, reach) in {
        "scrubber": (widgets.scrubber([frame] * 12, list(range(12))), "frame", 11),
        "latent plane, linear decoder": (
            widgets.latent_plane(Decoder(), points, labels, classifier),
            "z1",
            2.9,
        ),
        "directions, 5 of a VAE of faces": (faces(), "direction_2", 2.9),
        "completeness, methods that take no time": (restored(), "percent", 95),
        "same style": (same_style(), "style", 8.9),
        "handwritten, a model that takes no time": (handwritten(), "hand2", 95),
        "live, a figure of three axes": (widgets.live(curves, x=(0.0, 9.0)), "x", 8.9),
        "walk, the generator of `cpu`": walk(Generator()),
        "walk, Report A's generator (`full`)": walk(ReportAGenerator()),
    }.items():
        slider, moves = panel.controls[control], itertools.cycle(range(10))

        def move(panel=panel, slider=slider, moves=moves, reach=reach):
            getattr(panel.render, "cache_clear", int)()  # completeness keeps what it has drawn
            slider.value = type(reach)(reach * next(moves) / 9)

        (seconds,) = alternate(move, repeats=60)
        report(
            f"{name}, a move of the slider",
            milliseconds(seconds),
            "-" if "full" in name or "live" in name else "25 ms",
        )
    start = itertools.cycle("0123456789")
    panel = walk(Generator())[0]

    def choose():
        panel.controls["start"].value = next(start)

    (seconds,) = alternate(choose, repeats=8)
    report("walk, another digit chosen (the first time: draws the strip)", milliseconds(seconds))


def seq2seq_steps():
    """A training step of every variant of study 05, batch 128, and a greedy answer to one query."""
    generator = torch.Generator().manual_seed(0)
    batch = seq2seq.Task().sides()[0][:128]
    pairs, found = seq2seq.Task().pairs(batch), images.load("mnist", (2000, 500))
    glyphs = arithmetic.glyphs(found, "train"), arithmetic.glyphs(found, "test")
    models = (Seq2Seq, AttentionSeq2Seq, Transformer)
    variants = [seq2seq.TextToText(model) for model in models] + [
        variant(glyphs=glyphs)
        for variant in (
            seq2seq.ImageToText,
            seq2seq.TextToImage,
            seq2seq.NamedTextToImage,
            seq2seq.StyledTextToImage,
        )
    ]
    for variant in variants:
        network = variant.build(3)
        updates = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad])

        def step(variant=variant, network=network, updates=updates):
            shown, target = variant.batch(pairs, generator)
            with autocast("cpu"):
                loss = variant.loss(network, shown, target, pairs.query, generator)
            updates.zero_grad()
            loss.backward()
            updates.step()

        def answer(variant=variant, network=network):
            if isinstance(variant, seq2seq.TextToImage):
                seq2seq.draw_answers(network, batch[:1])
            else:
                bank = glyphs[1] if isinstance(variant, seq2seq.ImageToText) else None
                seq2seq.answer_queries(network, batch[:1], bank=bank)

        seconds = alternate(step, answer, repeats=5)
        report(
            f"{variant}: a step of 128 queries / an answer",
            " / ".join(map(milliseconds, seconds)),
            "150 ms an answer",
        )


def grading():
    """Sixty submissions of lab 03 in one run on all cores: seconds each, and for 300 on two."""
    from labkit.grading import course, grade

    master = grade.folders.repository() / "notebooks" / "03_vae_latent_grid.ipynb"
    solved = {c.id: c.source for c in nbformat.read(master, 4).cells}
    choose, n = random.Random(0), 60
    with tempfile.TemporaryDirectory() as top:
        for k in range(n):
            notebook = nbformat.reads(course.lab_of(master).released, 4)
            for cell in notebook.cells:
                if cell.metadata.get("nbgrader", {}).get("solution") and choose.random() < 0.7:
                    cell.source = solved[cell.id]
            place = Path(top, "in", f"student{k:02}")
            place.mkdir(parents=True)
            nbformat.write(notebook, place / "lab.ipynb")
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            status = grade.main(grade.Options(Path(top, "in"), "03", out=Path(top, "out")))
        seconds = time.perf_counter() - began
        assert status == 0, status
    workers = grade.fitting(grade.sandbox.Limits())
    report(f"{n} submissions of lab 03, {workers} at a time", f"{seconds:.0f} s")
    report("one submission on one core", f"{seconds * workers / n:.1f} s", "20 s")
    report("300 submissions on two cores", f"{seconds * workers / n * 150 / 60:.0f} min", "50 min")


if __name__ == "__main__":
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; medians")
    chosen = sys.argv[1:]  # names of the functions below; none: all
    for measure in (
        lstm_against_torch,
        palindrome_steps,
        imports,
        stand_in_digits,
        cats_again,
        key_presses,
        slider_moves,
        classifier_training,
        gan_steps,
        vae_steps,
        sweep_overhead,
        metric_times,
        seq2seq_steps,
        grading,
    ):
        if not chosen or measure.__name__ in chosen:
            measure()
