"""Frozen tokens on disk: one folder for many models; bfloat16. More: tests/test_evaluation.py."""

import json

import pytest
import torch
from tiny_run import ColouredClips, tiny_model

from taskadapter_lite.cache import PrefixCache, prefix_key
from taskadapter_lite.files import write_json


def test_a_folder_keeps_the_tokens_of_each_model_and_data_set_apart(tmp_path):
    model, clips = tiny_model(), ColouredClips(clips_per_class=2)
    first = PrefixCache.in_folder(tmp_path, model, clips, views=1).fill(progress=False)
    first.tokens(range(len(clips)), [0] * len(clips))
    assert first.known == 1
    again = PrefixCache.in_folder(tmp_path, model, clips, views=1)
    assert again.known == 1
    assert torch.equal(again.tokens([3], [0]), model.prefix(clips.read_batch([3], [0])))
    others = [
        PrefixCache.in_folder(tmp_path, tiny_model(seed=4), clips, views=1),
        PrefixCache.in_folder(tmp_path, tiny_model(depth=2), clips, views=1),
        PrefixCache.in_folder(tmp_path, model, ColouredClips(clips_per_class=2, seed=3), views=1),
        PrefixCache.in_folder(tmp_path, model, clips, views=2),
        PrefixCache.in_folder(tmp_path, model, clips, views=1, precision="bf16"),
        PrefixCache.in_folder(tmp_path, model, clips, views=1, dtype=torch.bfloat16),
    ]
    assert all(other.known < 0.2 for other in others)
    assert len(list(tmp_path.glob("*.tokens"))) == 1 + len(others)


def test_a_file_of_the_folder_that_says_otherwise_is_refused(tmp_path):
    model, clips = tiny_model(), ColouredClips(clips_per_class=2)
    PrefixCache.in_folder(tmp_path, model, clips)
    described = next(tmp_path.glob("*.json"))
    write_json(described, json.loads(described.read_text()) | {"depth": 2})
    with pytest.raises(ValueError, match="was made for other clips, views or another model"):
        PrefixCache.in_folder(tmp_path, model, clips)


def test_frozen_blocks_in_bfloat16_are_close_and_another_file(tmp_path):
    model, clips = tiny_model(), ColouredClips(clips_per_class=2)
    exact, rough = PrefixCache(model, clips), PrefixCache(model, clips, precision="bf16")
    a, b = exact.tokens(range(12)), rough.tokens(range(12))
    assert not torch.equal(a, b)
    assert (a - b).abs().max() < 0.03 * a.abs().max()
    PrefixCache(model, clips, path=tmp_path / "tokens", precision="bf16")
    with pytest.raises(ValueError, match="was made for"):
        PrefixCache(model, clips, path=tmp_path / "tokens")
    with pytest.raises(ValueError, match="precision is 'fp16'"):
        PrefixCache(model, clips, precision="fp16")


def test_a_clips_bytes_follow_the_type():
    model, clips = tiny_model(), ColouredClips(clips_per_class=2)
    sizes = [PrefixCache(model, clips, dtype=dtype).clip_bytes for dtype in (torch.float32, torch.bfloat16)]
    assert sizes[0] == 2 * sizes[1] == 4 * model.prefix(clips.read_batch([0])).numel()


def test_a_file_of_another_type_is_refused(tmp_path):
    model, clips = tiny_model(), ColouredClips(clips_per_class=2)
    for here, other in [(torch.float32, torch.bfloat16), (torch.bfloat16, torch.float32)]:
        path = tmp_path / str(here)
        PrefixCache(model, clips, path=path, dtype=here)
        with pytest.raises(ValueError, match="was made for other clips"):
            PrefixCache(model, clips, path=path, dtype=other)


def test_models_of_other_frames_have_other_keys():
    """Their frozen weights are the same, and so would be the tokens of a frame."""
    keys = {
        prefix_key(tiny_model(T=T, temporal_embedding=embedding)) for T in (2, 3) for embedding in (None, "adapted")
    }
    assert len(keys) == 2
    clips = ColouredClips(clips_per_class=2)
    cache = PrefixCache(tiny_model(), clips)
    cache.check_fits(tiny_model(), clips)
    with pytest.raises(ValueError, match="tokens of another frozen model"):
        cache.check_fits(tiny_model(T=2), clips)


def test_a_row_that_could_not_be_computed_is_not_known(monkeypatch):
    model, clips = tiny_model(), ColouredClips(clips_per_class=2)
    cache, own, tries = PrefixCache(model, clips), model.below, []

    def below_that_fails_once(pixels: torch.Tensor) -> torch.Tensor:
        tries.append(len(pixels))
        if len(tries) == 1:
            raise KeyboardInterrupt
        return own(pixels)

    monkeypatch.setattr(model, "below", below_that_fails_once)
    known = cache.known
    with pytest.raises(KeyboardInterrupt):
        cache.tokens([2, 3])
    assert cache.known == known
    assert torch.equal(cache.tokens([2, 3]), model.prefix(clips.read_batch([2, 3])))
