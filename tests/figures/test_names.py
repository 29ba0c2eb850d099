"""Names of classes, runs and scopes are drawn as they are written, whatever they hold."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text
from small_episode import LABELS, S

from taskadapter_lite import figures

NAME = r"$\oops{$"  # as mathematics it can't be drawn
NAMES = [f"{NAME} {i}" for i in range(5)]

DRAWN = {
    "clip": lambda clips, _: figures.show_clip(clips[0], title=NAME),
    "episode": lambda clips, _: figures.show_episode(
        clips[:S], clips[S:], LABELS[:S], LABELS[S:], NAMES, predictions=[2, 1]
    ),
    "attention": lambda clips, weights: figures.plot_cross_video_attention(
        weights, clips, LABELS, NAMES, query=5, title=NAME, same=NAME
    ),
    "matrix": lambda _, weights: figures.plot_video_matrix(weights, LABELS, NAMES, S, title=NAME),
    "masks": lambda *_: figures.plot_scope_masks({NAME: np.eye(3, dtype=bool)}, 2),
    "alignment": lambda *_: figures.plot_alignment(np.eye(4), title=NAME),
    "ladder": lambda *_: figures.plot_ladder(NAMES, np.ones(5), np.ones(5), 9),
    "curves": lambda *_: figures.plot_learning_curves({name: [{"step": 1, "loss": 1.0}] for name in NAMES}),
    "parameters": lambda *_: figures.plot_parameters(NAMES, range(5), np.ones(5), np.ones(5), 9),
    "mass": lambda *_: figures.plot_own_class_mass({NAME: np.random.default_rng(0).random((3, 2, 2))}, [4, 5], 0.2),
    "speed": lambda *_: figures.plot_speedups(NAMES, np.ones(5), np.ones(5), np.ones(5)),
}


@pytest.mark.parametrize("figure", DRAWN)
def test_a_name_with_dollars_is_text_and_no_mathematics(figure, clips, weights):
    DRAWN[figure](clips, weights)
    texts = [text.get_text().replace("\n", " ") for text in plt.gcf().findobj(Text)]
    assert any("oops" in text for text in texts)
    assert all(r"\$\oops{\$" in text for text in texts if "oops" in text)
    plt.gcf().canvas.draw()  # fails where a name is read as mathematics
