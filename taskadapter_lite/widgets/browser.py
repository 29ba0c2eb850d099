"""Episodes of any size, drawn and played: what the sampler does."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np

from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import Episode, EpisodeSampler, EpisodeSpec
from taskadapter_lite.figures import animation_bytes, show_episode
from taskadapter_lite.sprites import partners
from taskadapter_lite.widgets.base import LABELS, Draw, FigureWidget, names_of, slider

N_EPISODES = 100  # that the browser offers of one seed


class PartnerSampler(EpisodeSampler):
    """An `EpisodeSampler` whose classes come in pairs, such as a movement and the same one backwards.

    `pairs` holds two data set classes each, no class in two pairs; other arguments are those of `EpisodeSampler`.

    Raises:
        ValueError: as in `EpisodeSampler`; an odd number of classes; or fewer pairs than an episode needs.
    """

    def __init__(self, pairs: Sequence[tuple[int, int]], labels: Sequence[int], spec: EpisodeSpec, *draw: Any) -> None:
        super().__init__(labels, spec, *draw)
        if spec.n_way % 2 or spec.n_way > 2 * len(pairs):
            raise ValueError(f"n_way is {spec.n_way}; {len(pairs)} pairs allow an even number up to {2 * len(pairs)}")
        self.pairs = np.array(pairs)

    def draw_classes(self, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(self.pairs)[: self.spec.n_way // 2].ravel()


class EpisodeBrowser(FigureWidget):
    """Draw episodes of any size and see what the sampler did; thumbnails play.

    Args:
        clips: where episodes are drawn from.
        max_shot: most shots and most queries a class to offer.
        pairs: class name -> the name of its partner; those of Something-Sprites by default.

    "Partners only" draws classes in pairs, such as a movement and the same one backwards: the hard episodes.
    Where widgets do not run, the notebook shows the episode as a still grid.
    """

    title = "An episode: support clips left, query clips right"
    pictured = False  # thumbnails play instead

    def __init__(self, clips: LabelledClips, max_shot: int = 5, pairs: Mapping[str, str] | None = None) -> None:
        self.clips = clips
        self._image = lru_cache(maxsize=None)(self._moving)
        self.pairs = pairs_of(clips.class_names, partners() if pairs is None else pairs)
        n_classes = len(set(clips.labels))
        self._ways = list(range(2, min(10, n_classes) + 1))
        self.way = slider("classes (way)", self._ways, min(5, n_classes))
        self.partners = widgets.Checkbox(False, description="partners only", disabled=not self.pairs, indent=False)
        self.partners.observe(self._offer_ways, names="value")
        self.shot = slider("clips a class (shot)", range(1, max_shot + 1))
        self.n_query = slider("queries a class", range(1, max_shot + 1))
        self.seed = widgets.BoundedIntText(0, min=0, max=10**6, description="seed", style=LABELS)
        self.number = slider("episode", range(N_EPISODES))
        super().__init__([[self.way, self.shot], [self.n_query, self.seed], [self.number, self.partners]])

    def _offer_ways(self, change: Mapping[str, Any]) -> None:
        """Pairs make an even number of classes."""
        even = [way for way in self._ways if way % 2 == 0 and way <= 2 * len(self.pairs)]
        ways = even if change["new"] else self._ways
        with self.hold_updates():
            way = max(offered for offered in ways if offered <= max(2, self.way.value))
            self.way.options = ways
            self.way.value = way

    @property
    def episode(self) -> Episode:
        """The episode that is shown."""
        spec = EpisodeSpec(self.way.value, self.shot.value, self.n_query.value)
        draw = (self.clips.labels, spec, N_EPISODES, self.seed.value, self.clips.class_names)
        sampler = PartnerSampler(self.pairs, *draw) if self.partners.value else EpisodeSampler(*draw)
        return sampler[self.number.value]

    def draws(self) -> list[Draw]:
        episode = self.episode
        parts = self.clips.read_batch(episode.support), self.clips.read_batch(episode.query)
        names = names_of(self.clips, episode)
        return [partial(show_episode, *parts, episode.support_labels, episode.query_labels, names)]

    def describe(self) -> str:
        episode, rows = self.episode, []
        parts = (episode.support, episode.support_labels), (episode.query, episode.query_labels)
        for label, c in enumerate(episode.classes.tolist()):
            images = ["".join(map(self._image, clips[labels == label].tolist())) for clips, labels in parts]
            name = escape(self.clips.class_names[c])
            rows.append(
                f"<tr><td style='text-align:right;padding:2px 10px;max-width:200px'>{name}</td>"
                f"<td style='padding:2px'>{images[0]}</td>"
                f"<td style='padding:2px 2px 2px 14px;border-left:2px solid #555'>{images[1]}</td></tr>"
            )
        spec = f"seed {self.seed.value}, episode {self.number.value}: {len(episode.support)} support clips, "
        head = "<tr><td></td><td><b>support</b></td><td style='padding-left:14px'><b>query</b></td></tr>"
        return f"<p>{spec}{len(episode.query)} queries, no clip in both</p><table>{head}{''.join(rows)}</table>"

    def _moving(self, i: int) -> str:
        """Clip i as an image that plays."""
        data = base64.b64encode(animation_bytes(self.clips.read(i))).decode()
        name = escape(f"clip {i}, {self.clips.class_names[self.clips.labels[i]]}", quote=True)
        look = 'style="height:80px;margin:1px;display:inline-block"'
        return f'<img src="data:image/gif;base64,{data}" alt="{name}" title="{name}" {look}>'


def pairs_of(class_names: Sequence[str], partners: Mapping[str, str]) -> list[tuple[int, int]]:
    """Pairs of classes (by number) that are both there, each pair once."""
    number = {name: c for c, name in enumerate(class_names)}
    pairs = [(number[one], number[other]) for one, other in partners.items() if one in number and other in number]
    return sorted({(min(pair), max(pair)) for pair in pairs})
