"""`import taskadapter_lite as ta`: the names that notebooks and the README use, loaded on first use."""

import subprocess
import sys
from types import ModuleType

import pytest

import taskadapter_lite as ta

NAMES = """
    sample_frames read_clip ClipError
    LabelledClips ClipFolder FrameFolder SpriteClips bundled_clips open_dataset read_split_list
    ACTIONS render_clips render_images
    EpisodeSpec Episode EpisodeSampler save_episodes load_episodes
    load_backbone
    Adapter AdaptedBlock attend_along scope_mask
    TaskAdapterViT
    record_attention
    cosine_scores euclidean_scores otam_scores bimhm_scores TRX METRICS
    TextFeatures fuse_scores
    RunResult accuracy_interval comparison_table
    save_checkpoint load_checkpoint load_model CheckpointError
    evaluate PrefixCache predict
    TrainConfig train
"""
PACKAGES = ["course", "data", "figures", "metrics", "sprites", "studies", "training", "widgets"]


@pytest.mark.parametrize("name", NAMES.split())
def test_every_name_of_the_contract_is_there(name):
    assert not isinstance(getattr(ta, name), ModuleType)
    assert name in dir(ta)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_is_there(name):
    assert getattr(ta, name).__name__ == f"taskadapter_lite.{name}"
    assert all(hasattr(getattr(ta, name), one) for one in getattr(getattr(ta, name), "__all__", ()))


def fresh(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_import_loads_nothing_and_a_name_only_what_it_needs():
    assert fresh("import sys, taskadapter_lite; print(sorted({'torch', 'numpy', 'timm'} & set(sys.modules)))") == "[]"
    code = "import sys, taskadapter_lite as ta; ta.RunResult; print('taskadapter_lite.training' in sys.modules)"
    assert fresh(code) == "False"


def test_star_import_and_typing_find_the_names():
    assert fresh("from taskadapter_lite import *; print(predict.__name__, data.__name__)").startswith("predict task")
    with pytest.raises(AttributeError, match="'taskadapter_lite' has no attribute 'train_all'"):
        ta.train_all  # noqa: B018
