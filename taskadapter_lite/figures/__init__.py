"""Arrays -> matplotlib Axes: every figure of the course.

A plot function takes arrays and `ax=None`, draws, and returns the Axes; nothing here imports the rest of the library.
"""

from taskadapter_lite.figures.architecture import Architecture
from taskadapter_lite.figures.attention import (
    darkest_share,
    drawn_videos,
    lit_frames,
    mark_token,
    plot_cross_video_attention,
    plot_token_attention,
    query_maps,
    token_maps,
)
from taskadapter_lite.figures.clips import animation_bytes, contact_sheet, play_clip, show_clip, show_episode, use_style
from taskadapter_lite.figures.features import plot_alignment
from taskadapter_lite.figures.matrices import (
    own_class_mass,
    plot_scope_masks,
    plot_video_matrices,
    plot_video_matrix,
    video_matrix,
)
from taskadapter_lite.figures.pictures import Picture, picture, show
from taskadapter_lite.figures.results import (
    plot_differences,
    plot_ladder,
    plot_learning_curves,
    plot_own_class_mass,
    plot_parameters,
    plot_speedups,
)
from taskadapter_lite.figures.tasks import plot_dose_response, plot_two_tasks

__all__ = [
    "Architecture",
    "Picture",
    "animation_bytes",
    "contact_sheet",
    "darkest_share",
    "drawn_videos",
    "lit_frames",
    "mark_token",
    "own_class_mass",
    "picture",
    "play_clip",
    "plot_alignment",
    "plot_cross_video_attention",
    "plot_differences",
    "plot_dose_response",
    "plot_ladder",
    "plot_learning_curves",
    "plot_own_class_mass",
    "plot_parameters",
    "plot_scope_masks",
    "plot_speedups",
    "plot_token_attention",
    "plot_two_tasks",
    "plot_video_matrices",
    "plot_video_matrix",
    "query_maps",
    "show",
    "show_clip",
    "show_episode",
    "token_maps",
    "use_style",
    "video_matrix",
]
