"""A figure that is hard to read is refused, one that is easy to read passes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from figure_check import check_figure

from labkit import folders, plots


@pytest.fixture(autouse=True)
def style():
    with plt.rc_context():
        plots.style()
        yield
    plt.close("all")


def curve(low=0.0, high=1.0, **settings):
    """A figure with a line from (0, low) to (9, high), axes labelled, and its axes."""
    figure, ax = plt.subplots(figsize=(5, 4))
    ax.plot(np.arange(10), np.linspace(low, high, 10), label="loss")
    ax.set(xlabel="step", ylabel="loss (nats)", **settings)
    return figure, ax


def problems(figure, what):
    return [text for text in check_figure(figure) if what in text]


def by_length(lengths, **settings):
    """Accuracy by category, as lab 01 draws its palindromes' lengths."""
    table = pd.DataFrame({"length": lengths * 2, "accuracy": np.linspace(0.2, 1, 2 * len(lengths))})
    figure, ax = plt.subplots()
    sns.pointplot(table.astype({"length": str}), x="length", y="accuracy", ax=ax)
    ax.set(ylim=(0, 1.05), **settings)
    return figure


def test_a_plain_figure_passes():
    figure, ax = curve()
    ax.legend(loc="upper left")
    assert check_figure(figure) == []


@pytest.mark.parametrize("axis", "xy")
def test_a_label_without_tick_labels_is_refused(axis):
    figure, ax = curve(**{f"{axis}ticks": []})
    (text,) = problems(figure, "no tick label")
    assert f"the {axis}-axis of axes 0" in text and "set ticks" in text
    ax.set(**{f"{axis}label": ""})
    assert check_figure(figure) == []


def test_ticks_outside_of_the_limits_are_no_ticks():
    figure, ax = curve()
    ax.set_yticks([0, 5], ["none", "all"])
    ax.set_ylim(0.1, 1.1)
    assert problems(figure, "no tick label")


def test_ticks_of_the_wrong_kind_are_refused():
    """Categories stand at 0, 1, 2, 3 and the ticks were set at 5, 10, 15, 20: lab 01's figure."""
    lengths = [5, 10, 15, 20]
    assert check_figure(by_length(lengths)) == []
    found = check_figure(by_length(lengths, xticks=lengths))
    assert any("x-axis" in text and "no tick label" in text for text in found)
    assert any("x-axis" in text and "filled by data to" in text for text in found)


def test_one_of_the_axes_that_are_shared_may_have_the_ticks():
    figure, axes = plt.subplots(1, 2, sharey=True)
    for ax in axes:
        ax.plot([0, 1], [3, 4])
        ax.set_ylabel("loss (nats)")
    assert axes[1].get_yticklabels() == [] and check_figure(figure) == []


@pytest.mark.parametrize("settings", [{"ylim": (-5, 10)}, {"ylim": (2, 3)}, {"xlim": (-9, 60)}])
def test_data_that_fill_little_of_an_axis_are_refused(settings):
    figure, _ = curve(1, 1.5, **settings)
    (text,) = problems(figure, "filled by data")
    assert f"the {next(iter(settings))[0]}-axis" in text and "set its limits to the data" in text


def test_a_logarithmic_axis_is_measured_in_its_own_units():
    small = dict(yscale="log", ylim=(1e-6, 1))
    assert check_figure(curve(1e-5, 0.1, **small)[0]) == []
    assert problems(curve(0.1, 0.5, **small)[0], "filled by data to")


def test_reference_lines_are_no_data_but_leave_room():
    figure, ax = curve(1, 1.5)
    ax.axhline(3)
    assert check_figure(figure) == []
    ax.axhline(30)
    assert problems(figure, "filled by data to")
    figure, ax = curve(1, 1.5)
    ax.axvspan(30, 200, alpha=0.2)
    assert problems(figure, "x-axis")


@pytest.mark.parametrize("low, high", [(0, 1), (0, 1.05), (0, 100)])
def test_a_whole_range_of_shares_may_be_filled_a_little(low, high):
    assert check_figure(curve(0.9 * high, 0.95 * high, ylim=(low, high))[0]) == []


def test_bars_and_axes_that_start_at_zero_are_filled_from_there():
    assert check_figure(curve(90, 95, ylim=(0, None))[0]) == []
    assert problems(curve(90, 95, ylim=(0, 900))[0], "filled by data")
    figure, ax = plt.subplots()
    ax.bar(["a", "b"], [90, 95])
    assert check_figure(figure) == []
    ax.set_ylim(-900, 900)
    assert problems(figure, "filled by data")


def test_images_planes_and_single_values_fill_their_axes():
    figure, axes = plt.subplots(1, 3, figsize=(12, 4))
    axes[0].imshow(np.eye(5))
    axes[1].scatter([0.1, 0.2], [0.1, 0.2])
    axes[1].set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
    axes[2].plot([1, 2, 3], [7, 7, 7])
    assert check_figure(figure) == []


def test_axes_without_data_are_refused_unless_a_text_says_why():
    figure, ax = plt.subplots()
    assert problems(figure, "shows no data")
    ax.text(0.5, 0.5, "no run got there", ha="center")
    assert check_figure(figure) == []


def test_texts_that_overlap_are_refused():
    figure, ax = curve()
    ax.set_xticks(range(10), [f"category {k}" for k in range(10)])
    assert "'category 0' and 'category 1' overlap" in problems(figure, "overlap")[0]
    ax.tick_params(axis="x", rotation=45)
    assert check_figure(figure) == []
    ax.text(5, 0.2, "here")
    ax.text(5.1, 0.21, "there")
    assert len(problems(figure, "'here' and 'there' overlap")) == 1


def test_texts_that_are_cut_off_are_refused():
    figure, ax = curve()
    ax.set_title("a title that is much longer than the figure that it stands over is wide")
    assert "cut off" in check_figure(figure)[0]
    figure, ax = curve()
    figure.set_layout_engine("none")
    ax.set_position((0.05, 0.05, 0.9, 0.9))
    assert problems(figure, "'step' is cut off")


def test_a_legend_on_data_is_refused():
    for loc, count in (("upper left", 0), ("lower left", 1)):
        figure, ax = curve()
        ax.legend(loc=loc)
        assert len(problems(figure, "the legend of axes 0 (loss (nats)) covers data")) == count
    figure, ax = plt.subplots()
    ax.plot([0, 1], [0, 1], label="no corner of this line is in the legend")
    ax.legend(loc="center")
    assert problems(figure, "covers data")
    figure, ax = plt.subplots()
    ax.bar([0, 1, 2], [9, 9, 9], label="full")
    ax.legend(loc="lower right")
    assert problems(figure, "covers data")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    assert check_figure(figure) == []


def test_data_beyond_the_limits_are_not_under_a_legend_beside_the_axes():
    figure, ax = curve(xlim=(0, 6))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    assert check_figure(figure) == []


def test_a_legend_on_points_is_refused():
    figure, ax = plt.subplots()
    ax.scatter(*np.random.default_rng(0).random((2, 200)), label="points")
    ax.legend(loc="upper right")
    assert problems(figure, "covers data")


def test_the_legend_of_a_figure_counts_too():
    figure, ax = curve(1, 0)
    figure.legend(loc="upper left")
    assert problems(figure, "the legend of the figure covers data")


def test_a_hidden_axes_is_not_judged():
    figure, ax = curve(xticks=[])
    ax.axis("off")
    assert check_figure(figure) == []
    figure, ax = curve(ylim=(-50, 50))
    ax.set_visible(False)
    assert check_figure(figure) == []


def test_show_refuses_under_tests_alone(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *args, **more: shown.append(args))
    with pytest.raises(ValueError, match="hard to read:\n- the x-axis of axes 0"):
        plots.show(curve(xticks=[])[0], "caption")
    assert not shown
    monkeypatch.delenv("PYTEST_VERSION")
    plots.show(curve(xticks=[])[0], "caption")
    assert len(shown) == 2
    monkeypatch.setenv("LABKIT_CHECK_FIGURES", "1")
    with pytest.raises(ValueError, match="no tick label"):
        plots.show(curve(xticks=[])[0], "caption")


def test_an_installed_labkit_which_has_no_tests_checks_nothing(monkeypatch, tmp_path):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *args, **more: shown.append(args))
    monkeypatch.setattr(folders, "repository", lambda: tmp_path)
    plots.show(curve(xticks=[])[0], "caption")
    assert len(shown) == 2


def test_axes_with_common_limits_are_filled_if_one_of_them_is():
    figure, (left, right) = plt.subplots(1, 2, sharey=True)
    left.plot([0, 1, 2], [1e-3, 1e-1, 1])
    right.plot([0, 1, 2], [0.02, 0.03, 0.02])
    left.set(yscale="log", ylabel="share", xlabel="level")
    right.set_xlabel("level")
    assert check_figure(figure) == []
    plt.close(figure)
    figure, ax = plt.subplots()
    ax.plot([0, 1, 2], [0.02, 0.03, 0.02])
    ax.set(yscale="log", ylabel="share", xlabel="level", ylim=(1e-3, 1))
    assert any("filled by data" in problem for problem in check_figure(figure))
    plt.close(figure)
