"""Frame features -> how videos lie beside each other, and how two of them are aligned frame by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taskadapter_lite.figures.clips import MARKERS, as_array, as_frames, hide_frame, plain


def principal_plane(features: Any) -> tuple[np.ndarray, np.ndarray]:
    """Unit-length features (B, D) on their two main axes: places (B, 2), and the share of variance of each (2,)."""
    features = _unit(as_array(features).astype(float))
    left, singular, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    return left[:, :2] * singular[:2], singular[:2] ** 2 / (singular**2).sum()


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def plot_feature_shift(
    stages: Mapping[str, Any],
    labels: Any,
    n_support: int,
    class_names: Sequence[str],
    figure: Figure | None = None,
) -> np.ndarray:
    """How adaptation moves the videos of an episode: a panel a stage, videos as points, prototypes as large ones.

    Args:
        stages: what it is (such as "before block 4") -> (B, D) clip features, support first.
        labels: (B,) labels in 0..n_way-1; class_names: n_way names.
        n_support: S; queries (the others) are drawn hollow, each tied to the prototype of its own class.

    Returns:
        Axes (number of stages,).

    Each panel shows its own two main axes (their share of the variance is on the axes): compare who lies beside whom,
    not positions. The plane hides most of the space, so the title counts in the full space: how many queries have the
    prototype of their own class nearest by cosine.
    """
    labels = as_array(labels)
    figure = figure or plt.figure(figsize=(3.9 * len(stages), 4.6))
    axes = figure.subplots(1, len(stages), squeeze=False)[0]
    figure.subplots_adjust(left=0.07, right=0.99, top=0.87, bottom=0.27, wspace=0.28)
    for ax, (name, features) in zip(axes, stages.items(), strict=True):
        features = _unit(as_array(features).astype(float))
        prototypes = np.stack([features[:n_support][labels[:n_support] == c].mean(0) for c in range(len(class_names))])
        places, variance = principal_plane(np.concatenate([features, prototypes]))
        _scatter_episode(ax, places, labels, n_support, class_names)
        cosines = features[n_support:] @ _unit(prototypes).T
        right = int((cosines.argmax(axis=1) == labels[n_support:]).sum())
        ax.set_title(f"{plain(name)}: {right} of {len(cosines)} right")
        ax.set(xlabel=f"main axis 1 ({variance[0]:.0%} of variance)", ylabel=f"main axis 2 ({variance[1]:.0%})")
        ax.margins(0.12)
    handles, texts = axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="lower center", ncols=min(3, len(class_names)))
    return axes


def _scatter_episode(ax: Axes, places: np.ndarray, labels: np.ndarray, n_support: int, names: Sequence[str]) -> None:
    (support_places, query_places), prototypes = np.split(places[: len(labels)], [n_support]), places[len(labels) :]
    for c, (name, prototype) in enumerate(zip(names, prototypes, strict=True)):
        colour, marker = f"C{c % 7}", MARKERS[c % len(MARKERS)]
        support, query = support_places[labels[:n_support] == c], query_places[labels[n_support:] == c]
        for point in query:
            ax.plot(*np.stack([point, prototype]).T, color=colour, linewidth=0.8, alpha=0.6)
        ax.plot(*support.T, marker, color=colour, markersize=5, alpha=0.7)
        ax.plot(*query.T, marker, color=colour, markersize=7, markerfacecolor="white")
        ax.plot(*prototype, marker, color=colour, markersize=12, markeredgecolor="black", label=plain(name))


def plot_alignment(
    distances: Any,
    weights: Any = None,
    query_clip: Any = None,
    support_clip: Any = None,
    title: str | None = None,
    figure: Figure | None = None,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Frame-by-frame similarity of two clips, and which pairs of frames a metric counts.

    Args:
        distances: (T, T) 1 - cosine, rows are query frames, columns are support frames, in [0, 2].
        weights: (T, T) how much each pair counts, 0 or above (`metrics.alignment`); discs have that area.
        query_clip, support_clip: (T, 3, H, W), drawn along the margins.
        limits: similarities drawn darkest and brightest, for figures to be compared; by default the matrix's own.

    Returns:
        The Axes of the matrix; those of the two film strips are in its figure.

    Discs along the falling diagonal: both clips run in the same order. A diagonal in the similarity needs no discs, and
    the other way round: the metric chooses the cheapest order it allows, even where all frames look alike.
    """
    similarity = 1 - as_array(distances).astype(float)
    rows, columns = similarity.shape
    figure = figure or plt.figure()
    figure.set_size_inches(7.2, 6.6)
    ax = figure.add_axes((0.2, 0.09, 0.62, 0.676))
    image = ax.imshow(similarity, cmap="viridis", aspect="auto", clim=limits)
    if weights is not None:
        weights = as_array(weights).astype(float)
        y, x = np.nonzero(weights > 0.01 * weights.max())
        ax.scatter(x, y, s=260 * weights[y, x] / weights.max(), color="white", edgecolor="black", linewidth=1.2)
    ax.set(xticks=range(columns), yticks=range(rows), xlabel="support frame t", ylabel="query frame t")
    hide_frame(ax)
    bar = figure.colorbar(image, cax=figure.add_axes((0.85, 0.09, 0.022, 0.676)))
    bar.set_label("cosine similarity of two frames")
    bar.outline.set_visible(False)
    if support_clip is not None:
        _margin(figure, (0.2, 0.775, 0.62, 0.62 / columns * 7.2 / 6.6), as_frames(support_clip), axis=1)
    if query_clip is not None:
        _margin(figure, (0.055, 0.09, 0.085, 0.676), as_frames(query_clip), axis=0)
    top = 0.775 if support_clip is None else 0.875
    figure.text(0.2, top, plain(title or ""), fontweight="bold", fontsize=10, va="bottom", linespacing=1.4)
    return ax


def _margin(figure: Figure, place: tuple[float, float, float, float], frames: np.ndarray, axis: int) -> None:
    ax = figure.add_axes(place)
    ax.imshow(np.concatenate(list(frames), axis=axis), aspect="auto")
    for t in range(1, len(frames)):
        edge = t * frames.shape[1 + axis] - 0.5
        (ax.axvline if axis else ax.axhline)(edge, color="white", linewidth=2)
    ax.axis("off")
