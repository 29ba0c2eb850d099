"""figures/tasks.py: what is framed, what is written, where the points lie."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from taskadapter_lite.figures import plot_dose_response, plot_two_tasks
from taskadapter_lite.figures.clips import OWN


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def clips(n, value):
    return np.full((n, 1, 3, 8, 8), value, dtype=np.uint8)


def test_the_answer_of_each_task_is_framed_and_the_numbers_stand_beside_it():
    scores = [np.array([0.1, 0.7, 0.2]), np.array([0.9, 0.3, 0.5])]
    figure = plot_two_tasks(
        clips(1, 9)[0],
        [clips(3, 50), clips(3, 99)],
        scores,
        ["colour", "form"],
        ["a", "b"],
        [0.3, 0.9],
        [0.1, 0.1],
        7,
        0.2,
    )
    figure.canvas.draw()
    pictures, chart = figure.axes[:-1], figure.axes[-1]
    framed = [to_hex(ax.spines["left"].get_edgecolor()) == OWN.lower() for ax in pictures]
    assert framed == [False, False, True, False, False, True, False, False]  # the query comes first in each row
    assert [ax.get_xlabel() for ax in pictures[:4]] == ["query", "0.10", "answer (0.70)", "0.20"]
    assert [text.get_text() for ax in pictures for text in ax.texts] == [
        f"Task {i}: the {rule} takes 3 values, the rest two, so the {rule} counts"
        for i, rule in ((1, "colour"), (2, "form"))
    ]
    assert {round(float(ax.images[0].get_array().max()) * 255) for ax in pictures} == {9, 50, 99}
    assert {"30.0 ± 10.0", "90.0 ± 10.0"} <= {text.get_text() for text in chart.texts}
    assert "7 such tasks" in chart.get_xlabel()


def test_lines_go_through_the_means_of_runs_and_each_run_is_a_circle():
    runs = {"without": [[0.8], [0.4, 0.6]], "with": [[0.9], [0.9, 0.8]]}
    ax = plot_dose_response([0, 0.5], runs, chance=0.2, ceiling=[1.0, 0.75])
    means = {line.get_label(): line.get_ydata() for line in ax.lines if line.get_label() in runs}
    np.testing.assert_allclose(means["without"], [80, 50])
    np.testing.assert_allclose(means["with"], [90, 85])
    circles = [tuple(line.get_ydata()) for line in ax.lines if line.get_markerfacecolor() == "none"]
    assert {tuple(np.round(values, 6)) for values in circles} == {(80,), (40, 60), (90,), (90, 80)}
    assert any(np.allclose(line.get_ydata(), [100, 75]) for line in ax.lines)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "50"]
