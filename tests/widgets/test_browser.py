"""Episodes in the browser: those of the sampler, or classes in pairs."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from taskadapter_lite import figures
from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec
from taskadapter_lite.widgets import EpisodeBrowser
from taskadapter_lite.widgets.browser import PartnerSampler, pairs_of


def test_the_browser_plays_the_clips_of_the_sampled_episode(clips):
    browser = EpisodeBrowser(clips, max_shot=2)
    browser.way.value, browser.shot.value, browser.seed.value, browser.number.value = 4, 2, 7, 3
    episode = EpisodeSampler(clips.labels, EpisodeSpec(4, 2, 1), 100, seed=7)[3]
    images = browser.note.value.split("base64,")[1:]
    shown = [base64.b64decode(image.split('"')[0]) for image in images]
    rows = [[*episode.support[2 * c : 2 * c + 2], episode.query[c]] for c in range(4)]
    assert shown == [figures.animation_bytes(clips.read(int(i))) for row in rows for i in row]
    for c in episode.classes.tolist():
        assert clips.class_names[c] in browser.note.value


def test_an_episode_that_cannot_be_drawn_is_a_sentence_and_the_picture_stays(clips):
    browser = EpisodeBrowser(clips)
    before = browser.note.value
    browser.shot.value = 5
    browser.n_query.value = 5
    assert "needs 10" in browser.error.value
    assert browser.note.value != ""
    browser.n_query.value = 1
    assert browser.error.value == ""
    browser.shot.value = 1
    assert browser.note.value == before


def test_pairs_are_of_classes_that_are_both_there():
    partners = {"open": "close", "close": "open", "push": "pull", "pull": "push"}
    assert pairs_of(["close", "push", "wave", "open"], partners) == [(0, 3)]


def test_partners_come_together_and_every_pair_comes():
    labels = [c for c in range(7) for _ in range(4)]
    pairs = [(0, 5), (1, 3), (2, 4)]
    sampler = PartnerSampler(pairs, labels, EpisodeSpec(4, 1, 2), 50, 3)
    seen = set()
    for episode in sampler:
        drawn = [tuple(pair) for pair in episode.classes.reshape(-1, 2).tolist()]
        assert len(drawn) == len(set(drawn)) == 2
        assert set(drawn) <= set(pairs)
        assert [labels[i] for i in episode.query] == np.repeat(episode.classes.numpy(), 2).tolist()
        seen |= set(drawn)
    assert seen == set(pairs)
    for n_way in (3, 6):
        with pytest.raises(ValueError, match=f"n_way is {n_way}; 2 pairs"):
            PartnerSampler(pairs[:2], labels, EpisodeSpec(n_way, 1, 1), 5, 0)


def test_partners_only_offers_even_numbers_of_classes_and_gives_the_old_ones_back(clips):
    names = clips.class_names
    browser = EpisodeBrowser(clips, pairs={names[0]: names[1], names[2]: names[5]})
    assert browser.way.value == 5
    before = browser.note.value
    browser.partners.value = True
    assert (tuple(browser.way.options), browser.way.value) == ((2, 4), 4)
    assert sorted(browser.episode.classes.tolist()) == [0, 1, 2, 5]
    assert all(names[c] in browser.note.value for c in (0, 1, 2, 5))
    browser.partners.value, browser.way.value = False, 5
    assert browser.note.value == before
    assert EpisodeBrowser(clips).partners.disabled  # colours have no partners
