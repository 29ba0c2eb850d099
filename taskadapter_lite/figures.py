"""Arrays -> matplotlib Axes: every figure of the course, gathered from the three modules that draw them."""

from taskadapter_lite.figures_attention import (
    lit_frames,
    own_class_mass,
    plot_cross_video_attention,
    query_maps,
    token_maps,
)
from taskadapter_lite.figures_clips import animation_bytes, play_clip, show_clip, show_episode, use_style
from taskadapter_lite.figures_results import plot_ladder, plot_learning_curves, plot_scope_masks

__all__ = [
    "animation_bytes",
    "lit_frames",
    "own_class_mass",
    "play_clip",
    "plot_cross_video_attention",
    "plot_ladder",
    "plot_learning_curves",
    "plot_scope_masks",
    "query_maps",
    "show_clip",
    "show_episode",
    "token_maps",
    "use_style",
]
