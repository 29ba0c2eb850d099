"""Charts of accuracies and losses: values, intervals, labels."""

from __future__ import annotations

import numpy as np
import pytest
from small_episode import HEADS

from taskadapter_lite import figures
from taskadapter_lite.results import t_factor


def test_ladder_draws_percent_means_and_intervals():
    ax = figures.plot_ladder(
        ["frozen", "adapted"], [0.4, 0.7], [0.02, 0.01], 600, chance=0.2, seeds=[[0.4], [0.69, 0.71]]
    )
    bars = [container.lines[2][0].get_segments()[0] for container in ax.containers]
    np.testing.assert_allclose(bars[0], [[38, 0], [42, 0]])
    np.testing.assert_allclose(bars[1], [[69, 1], [71, 1]])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["frozen", "adapted"]
    assert "600 episodes" in ax.get_xlabel()
    assert "95%" in ax.get_xlabel()
    assert ax.get_ylim() == (1.5, -1.1)  # the first model on top, and above it the word "chance"
    assert "70.0 ± 1.0" in [text.get_text() for text in ax.texts]


def test_the_word_chance_stands_clear_of_a_value_at_chance():
    ax = figures.plot_ladder(["frozen", "adapted"], [0.2, 0.7], [0.02, 0.01], 600, chance=0.2)
    ax.figure.canvas.draw()
    value, chance = (next(text for text in ax.texts if part in text.get_text()) for part in ("20.0 ±", "chance"))
    assert not value.get_window_extent().overlaps(chance.get_window_extent())
    assert ax.get_window_extent().contains(*chance.get_window_extent().max)


def test_names_of_a_ladder_take_at_most_two_lines():
    """A third line ran into the name above where rows are as tight as by default."""
    long = "Something changing colour and then moving / Something moving and then changing colour"
    names = ["frozen", long, "Something circling clockwise / Something circling counterclockwise"]
    ax = figures.plot_ladder(names, [0.5] * 3, [0.1] * 3, 600)
    lines = [label.get_text().split("\n") for label in ax.get_yticklabels()]
    assert [" ".join(parts) for parts in lines] == names
    assert [len(parts) for parts in lines] == [1, 2, 2]


def test_differences_say_above_below_or_not_shown():
    seeds = [[8.0, 9.0], [-3.0, -1.0], [4.0, -1.0], [0.2, 0.6], [7.0]]
    ax = figures.plot_differences([*"abcde"], [8.5, -2, 1.5, 0.4, 7], [1, 1, 1, 0.5, 1], seeds)
    bars = [container.lines[2][0].get_segments()[0] for container in ax.containers]
    np.testing.assert_allclose(bars[0], [[7.5, 0], [9.5, 0]])
    assert ax.containers[1].lines[0].get_xdata()[0] == -2
    said = [text.get_text() for text in ax.texts]
    assert said[:2] == ["+8.5 ± 1.0  above", "-2.0 ± 1.0  below"]
    assert said[2:] == ["+1.5 ± 1.0  not shown", "+0.4 ± 0.5  not shown", "+7.0 ± 1.0  above (one seed)"]
    assert [label.get_text() for label in ax.get_yticklabels()] == [*"abcde"]
    assert figures.plot_differences(["a"], [-0.01], [0.1], [[-0.01]]).texts[0].get_text().startswith("+0.0 ± 0.1")


def test_learning_curves_smooth_at_the_middle_of_the_window():
    history = [{"step": i, "loss": float(i**2)} for i in range(5)] + [{"step": 5, "accuracy": 0.5}]
    ax = figures.plot_learning_curves({"a": history}, window=3)
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [5 / 3, 14 / 3, 29 / 3])
    with pytest.raises(ValueError, match="top5"):
        figures.plot_learning_curves({"a": history}, y="top5")


def test_own_class_mass_chart_has_the_interval_over_episodes():
    values = np.random.default_rng(2).random((9, 2, HEADS))
    ax = figures.plot_own_class_mass({"trained": values, "untrained": values / 2}, blocks=[4, 5], chance=0.2)
    points, _, (bars,) = ax.containers[0].lines
    np.testing.assert_allclose(points.get_ydata(), 100 * values.mean(axis=0).ravel())
    low, high = bars.get_segments()[4][:, 1]
    assert high - low == pytest.approx(2 * t_factor(9) * 100 * values[:, 1, 1].std(ddof=1) / 3, rel=1e-3)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["block 4", "block 5"]


def test_parameters_chart_sets_the_untrained_model_apart():
    ax = figures.plot_parameters(["frozen", "adapted"], [0, 1000], [0.4, 0.7], [0.02, 0.01], 600)
    assert [container.lines[0].get_ydata()[0] for container in ax.containers] == [40, 70]
    assert [container.lines[0].get_xdata()[0] for container in ax.containers] == [100, 1000]
    assert "none" in [text.get_text() for text in ax.texts]


def test_speedups_are_read_off_an_axis_of_plain_numbers():
    ax = figures.plot_speedups(["as published", "faster"], [1.0, 1.9], [1.0, 1.7], [1.0, 2.1])
    ax.figure.canvas.draw()
    low, high = ax.get_xlim()
    shown = [tick.get_text() for tick in ax.get_xticklabels() if low <= tick.get_position()[0] <= high]
    assert {"1", "2"} <= set(shown)
    assert all(text.replace(".", "").isdigit() for text in shown)
