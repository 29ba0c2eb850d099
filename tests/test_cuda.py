"""What differs on a CUDA device, each path once against the CPU. Skipped, and NOT tested, where there is none.

The list of these paths is in CONTRIBUTING.md.
"""

import argparse

import pytest
import torch
from tiny_run import ColouredClips, tiny_config, tiny_episodes, tiny_model

from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.commands.shared.options import chosen_device
from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.results import environment, peak_memory
from taskadapter_lite.sprites.render import ACTIONS, render_clips
from taskadapter_lite.training.estimate import estimate_run
from taskadapter_lite.training.loop import train

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="needs a CUDA device: pinning, device caches, autocast and compile are NOT tested",
)
DEVICE = "cuda"


def models(**options):
    return tiny_model(**options), tiny_model(**options).to(DEVICE)


def test_tokens_kept_on_the_device_or_sent_to_it_from_pinned_memory_are_those_of_the_cpu(monkeypatch):
    host, device = models()
    clips = ColouredClips(clips_per_class=2)
    expected = PrefixCache(host, clips).tokens(range(12))
    for place in (DEVICE, "cpu"):
        cache = PrefixCache(device, clips)
        assert cache._tokens.device.type == place  # small ones stay on the device
        found = cache.tokens(range(12))
        assert found.device.type == DEVICE
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))  # then there is no room


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_evaluation_gives_nearly_the_accuracies_of_the_cpu(precision):
    host, device = models()
    clips = ColouredClips()
    episodes = tiny_episodes(clips, 20)
    on_host, on_device = (
        evaluate(model, clips, episodes, precision=precision, progress=False) for model in (host, device)
    )
    assert sum(on_host.accuracies) == pytest.approx(sum(on_device.accuracies), abs=1)
    assert on_device.device.startswith(DEVICE)
    assert on_device.peak_memory > 0


@pytest.mark.parametrize("changes", [{}, {"views": 0, "workers": 2}, {"precision": "bf16"}])
def test_training_moves_the_adapters_as_on_the_cpu(changes):
    host, device = models()
    clips = ColouredClips()
    results = [
        train(model, clips, tiny_episodes(clips), tiny_config(n_steps=6, validation_every=0, **changes), progress=False)
        for model in (host, device)
    ]
    first, last = (result.history[-1]["loss"] for result in results)
    assert last == pytest.approx(first, rel=0.1)


def test_masks_and_marks_of_the_switches_are_made_on_the_device():
    host, device = models(task_frames="all", class_mark=True)
    device.load_adapter_state(host.adapter_state())
    clips = ColouredClips().read_batch(range(6))
    with torch.no_grad():
        for block in (*host.adapted.values(), *device.adapted.values()):
            block.task.up.weight.fill_(0.01)
        expected, found = host(clips, 4, 2), device(clips.to(DEVICE), 4, 2)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)


def test_a_compiled_tail_gives_the_same_features():
    _, device = models()
    clips = ColouredClips().read_batch(range(4)).to(DEVICE)
    with torch.no_grad():
        tokens = device.prefix(clips)
        torch.testing.assert_close(
            torch.compile(device.adapt)(tokens, 2), device.adapt(tokens, 2), rtol=1e-3, atol=1e-3
        )


def test_an_estimate_waits_for_the_device_and_counts_its_memory():
    clips = ColouredClips()
    estimate = estimate_run(tiny_model().to(DEVICE), clips, tiny_episodes(clips), tiny_config(), 12)
    assert estimate.seconds > 0
    assert estimate.memory > 0
    assert peak_memory(DEVICE) > 0
    assert DEVICE in environment(DEVICE)["device"]


def test_clips_rendered_on_the_device_are_nearly_those_of_the_cpu():
    actions = list(ACTIONS)[:8]
    on_host, on_device = (render_clips(actions, range(8), n_frames=4, device=place) for place in ("cpu", DEVICE))
    assert on_device.device.type == DEVICE
    apart = (on_host.int() - on_device.cpu().int()).abs()
    assert (apart > 2).float().mean() < 0.01  # a pixel at an edge may fall on the other side


def test_a_verb_without_a_device_takes_the_first_cuda_device():
    assert chosen_device(argparse.Namespace(device=None)).type == DEVICE
    assert chosen_device(argparse.Namespace(device="cpu")).type == "cpu"
