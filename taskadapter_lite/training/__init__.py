"""Training episodes -> trained adapters: the loop, then the step; settings, checkpoints, several processes.

Start at `train` in `loop`; what one step computes is in `step`.
"""

from taskadapter_lite.training.checkpoints import (
    CheckpointError,
    fingerprint,
    load_checkpoint,
    load_model,
    save_checkpoint,
)
from taskadapter_lite.training.config import PUBLISHED, TrainConfig
from taskadapter_lite.training.distributed import Team
from taskadapter_lite.training.loop import train

__all__ = [
    "PUBLISHED",
    "CheckpointError",
    "Team",
    "TrainConfig",
    "fingerprint",
    "load_checkpoint",
    "load_model",
    "save_checkpoint",
    "train",
]
