"""Video files and folders -> labelled clips: decoding, data sets, public splits, checking.

Start at `ClipFolder` (one folder a class) or `open_dataset` (a published split); `read_clip` is the pixel path below.
"""

from taskadapter_lite.data.checking import Report, check_dataset
from taskadapter_lite.data.clips import read_clip, read_frames, resize_and_crop, sample_frames
from taskadapter_lite.data.datasets import (
    ClipFolder,
    FrameFolder,
    ListedClips,
    SpriteClips,
    bundled_clips,
    open_dataset,
)
from taskadapter_lite.data.decoding import VIDEO_SUFFIXES, ClipError
from taskadapter_lite.data.labelled import FileClips, LabelledClips
from taskadapter_lite.data.own_videos import VideoTask, find_videos, read_videos
from taskadapter_lite.data.public import PARTS, ListedClip, published_datasets, published_split, read_split_list
from taskadapter_lite.files import data_dir
from taskadapter_lite.sprites.bundled import verify_bundled

__all__ = [
    "PARTS",
    "VIDEO_SUFFIXES",
    "ClipError",
    "ClipFolder",
    "FileClips",
    "FrameFolder",
    "LabelledClips",
    "ListedClip",
    "ListedClips",
    "Report",
    "SpriteClips",
    "VideoTask",
    "bundled_clips",
    "check_dataset",
    "data_dir",
    "find_videos",
    "open_dataset",
    "published_datasets",
    "published_split",
    "read_clip",
    "read_frames",
    "read_split_list",
    "read_videos",
    "resize_and_crop",
    "sample_frames",
    "verify_bundled",
]
