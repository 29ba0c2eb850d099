"""Task-Adapter: few-shot action recognition with a frozen image model.

    video files -> clips -> episode -> tokens -> features -> scores -> loss, accuracy -> results, figures

The names below can be imported from here; each is loaded on first use, so that `import taskadapter_lite` is instant.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "data": "ClipError ClipFolder FrameFolder LabelledClips SpriteClips bundled_clips open_dataset read_clip "
    "read_split_list sample_frames",
    "sprites": "ACTIONS render_clips render_images",
    "episodes": "Episode EpisodeSampler EpisodeSpec load_episodes save_episodes",
    "backbone": "find_weights load_backbone",
    "adapters": "AdaptedBlock Adapter attend_along scope_mask",
    "model": "TaskAdapterViT",
    "attention": "record_attention",
    "metrics": "METRICS TRX bimhm_scores cosine_scores euclidean_scores otam_scores",
    "text": "TextFeatures fuse_scores",
    "results": "RunResult accuracy_interval comparison_table",
    "cache": "PrefixCache",
    "evaluation": "evaluate",
    "prediction": "Familiarity predict",
    "training": "CheckpointError TrainConfig load_checkpoint load_model save_checkpoint train",
}
_MODULE = {name: module for module, names in _HOME.items() for name in names.split()}
# whole modules
_PACKAGES = ("attention", "course", "data", "figures", "metrics", "sprites", "studies", "training", "widgets")
__all__ = sorted([*_MODULE, *_PACKAGES])


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"taskadapter_lite.{name}")
    if name not in _MODULE:
        raise AttributeError(f"module 'taskadapter_lite' has no attribute {name!r}")
    return getattr(import_module(f"taskadapter_lite.{_MODULE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
