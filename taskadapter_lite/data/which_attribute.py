"""Rendered clips with known attributes -> episodes whose support alone tells which attribute counts.

Constructed data. In each episode one attribute counts, its rule: action, colour, form or place. It takes another value
in each class, while every other attribute takes only two values over the whole support. A query has its class's value
of the attribute that counts; of the others it has the value that its own class does *not* show. So whatever a fixed
metric gives to one attribute misleads it in the episodes of another rule: with R equally frequent rules, no fixed
weighting of the true attributes is right in more than 1 / R of the episodes. This is the setting of Flexible Few-Shot
Learning (Ren, Triantafillou et al., 2020), on video and with values that training never showed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from taskadapter_lite.data.labelled import RenderedClips
from taskadapter_lite.episodes import Episode, EpisodeList, EpisodeSpec
from taskadapter_lite.sprites.actions import ACTIONS
from taskadapter_lite.sprites.motions import Draws, Stage
from taskadapter_lite.sprites.render import SHAPES, TEXTURES, render_clips, render_portraits

ATTRIBUTES = ("action", "colour", "form", "place")
N_HUES = 14  # colours of each part, evenly spread; those of the other parts lie between them
N_PLACES = 8  # of each part, evenly spread on a circle around the middle, again between those of the other parts
_RADIUS = 0.5  # of that circle, in half image sizes
_SHIFT = {"train": 0, "val": 1, "test": 2}  # in thirds of the way to the next hue or place
_FORMS = {"train": range(4), "val": range(4, 6), "test": range(6, 8)}  # by (shape + 2 texture) modulo 8


class AttributeClips(RenderedClips):
    """One thing that acts, for every combination of an action, a colour and a form, rendered when asked for.

    Clip i depends on i alone. No colour, form, place or action of one part occurs in another part.

    Args:
        part: "train", "val" or "test".
        n_draws: clips of each combination; place, size, background and camera differ.
        n_actions: take the first so many actions of the part, or None for all of them.
        T: frames a clip, chosen among 16 rendered ones.
        places: the place is an attribute too: every combination is shown at each of `N_PLACES`, its action within a
            third of the image. Otherwise places are drawn, and an action takes up the whole image.

    Attributes:
        values: (number of clips, 3) int64, or 4 with places: the value of each attribute of each clip, in the order of
            `ATTRIBUTES`.
        sizes: how many values each attribute has.
        labels: the clip's colour; episodes make classes of their own.
        class_names: the names of all values, attribute after attribute; `offsets` says where each attribute starts.

    Raises:
        ValueError: an unknown part, or a number below 1.
    """

    size = 64  # pixels, height and width

    def __init__(
        self, part: str, n_draws: int = 1, n_actions: int | None = None, T: int = 8, places: bool = False
    ) -> None:
        if part not in _SHIFT:
            raise ValueError(f'part is "train", "val" or "test", not {part!r}')
        if n_draws < 1 or (n_actions is not None and n_actions < 1):
            raise ValueError(f"n_draws is {n_draws} and n_actions {n_actions}; each must be at least 1")
        self.actions = _actions(part)[:n_actions]
        self.hues = [(3 * k + _SHIFT[part]) / (3 * N_HUES) for k in range(N_HUES)]
        self.forms = [(s, t) for s in range(8) for t in range(4) if (s + 2 * t) % 8 in _FORMS[part]]
        turns = [(3 * k + _SHIFT[part]) / (3 * N_PLACES) for k in range(N_PLACES)] if places else []
        self.places = [(_RADIUS * math.cos(2 * math.pi * t), _RADIUS * math.sin(2 * math.pi * t)) for t in turns]
        sizes = (len(self.actions), len(self.hues), len(self.forms), *([N_PLACES] if places else []))
        grid = torch.cartesian_prod(*(torch.arange(n) for n in sizes))
        self.values, self.sizes = grid.repeat_interleave(n_draws, dim=0), sizes
        self.n_draws = n_draws
        self.offsets = tuple(sum(sizes[:attribute]) for attribute in range(len(sizes)))
        names = [*self.actions, *(f"colour at {360 * hue:.0f} degrees" for hue in self.hues)]
        names += [f"{SHAPES[s]}, {TEXTURES[t]}" for s, t in self.forms]
        names += [f"place at {360 * turn:.0f} degrees" for turn in turns]
        recipe = f"which attribute {part} {self.size} seed 0{' with places' if places else ''}"
        labels = (self.values[:, 1] + self.offsets[1]).tolist()
        super().__init__([f"{recipe}/{i}" for i in range(len(labels))], labels, names, T)

    def find(self, values: Sequence[int], draw: int) -> int:
        """Number of the clip with these values, in the order of `ATTRIBUTES`."""
        number = 0
        for value, size in zip(values, self.sizes, strict=True):
            number = number * size + value
        return number * self.n_draws + draw

    def render(self, indices: list[int]) -> torch.Tensor:
        names = [self.actions[a] for a in self.values[indices, 0].tolist()]
        return render_clips(names, indices, self.seed, self.n_frames, self.size, looks=self._looks(indices))

    def _looks(self, indices: list[int]) -> dict[str, torch.Tensor]:
        """Colour, form and place of clips, as the renderer takes them."""
        _, hue, form, *place = self.values[indices].T
        looks = {
            "hue": torch.tensor(self.hues, dtype=torch.float64)[hue],
            "shape": torch.tensor([s for s, _ in self.forms])[form],
            "texture": torch.tensor([t for _, t in self.forms])[form],
        }
        for number in place:
            looks["x"], looks["y"] = torch.tensor(self.places, dtype=torch.float64)[number].T
        return looks


class AttributePortraits(AttributeClips):
    """One large thing on grey for every combination of a colour and a form: episodes that are learnt in a minute.

    Clips of one frame, with every random view the same. 224 training portraits of each draw are rendered in a second,
    so the frozen tokens of all of them fit a `PrefixCache`, and a loop of training needs nothing else::

        pool = AttributePortraits("train")
        cache = PrefixCache(model, pool).fill()
        episodes = AttributeEpisodes(pool, EpisodeSpec(n_way=5, k_shot=1), n_episodes=6000, seed=0)
        for step in range(750):
            batch = episodes[8 * step : 8 * step + 8]
            features = model.adapt(cache.episode_tokens(batch), n_support=5)  # (8, 10, 1, D)
            scores = cosine_scores(features[:, :5, None], features[:, 5:])  # (8, 5 queries, 5 classes)
            loss = F.cross_entropy(16 * scores.mT, torch.stack([episode.query_labels for episode in batch]))
            optimiser.zero_grad(), loss.backward(), optimiser.step()

    Args:
        part: "train", "val" or "test"; no colour or form of one part occurs in another.
        n_draws: portraits of each combination; place, size and angle differ.
    """

    n_frames = 1

    def __init__(self, part: str, n_draws: int = 2) -> None:
        super().__init__(part, n_draws, n_actions=1, T=1)
        self.paths = [f"portrait {path}" for path in self.paths]

    def render(self, indices: list[int]) -> torch.Tensor:
        return render_portraits(indices, self._looks(indices), self.seed, self.size)[:, None]


class AttributeEpisodes(EpisodeList):
    """Episodes of `AttributeClips` with a rule each; episode i depends on (seed, i) alone, see `EpisodeList`.

    Args:
        clips: where the values of each clip are known.
        spec, n_episodes, seed: as `EpisodeList` takes them; queries are balanced.
        rules: the attributes that may count; attributes that are no rule take one value in the whole episode.
        mix: share of episodes whose rule is drawn from all rules evenly; the others have the first rule. 0 is plain
            few-shot learning, 1 makes every rule equally frequent.
        neutral: share of episodes in which nothing misleads: attributes that do not count take one value in the support
            and another one in all queries. Or such a share for each rule that has one, as `{"action": 0.5}`.

    Raises:
        ValueError: an unknown rule, a share outside [0, 1], or more classes than an attribute has values.
    """

    def __init__(
        self,
        clips: AttributeClips,
        spec: EpisodeSpec,
        n_episodes: int,
        seed: int,
        rules: Sequence[str] = ("colour", "form"),
        mix: float = 1.0,
        neutral: float | Mapping[str, float] = 0.0,
    ) -> None:
        if unknown := [rule for rule in rules if rule not in ATTRIBUTES]:
            raise ValueError(f"rule {unknown[0]!r} is none of {', '.join(ATTRIBUTES)}")
        shares = dict(neutral) if isinstance(neutral, Mapping) else dict.fromkeys(rules, neutral)
        if unknown := [rule for rule in shares if rule not in rules]:
            raise ValueError(f"neutral names {unknown[0]!r}, which is none of the rules {', '.join(rules)}")
        if not rules or not 0 <= mix <= 1 or not all(0 <= share <= 1 for share in shares.values()):
            raise ValueError(
                f"rules is {tuple(rules)}, mix {mix} and neutral {neutral}; at least one rule and shares in [0, 1] are "
                "needed"
            )
        if spec.query_alpha is not None:
            raise ValueError(f"query_alpha is {spec.query_alpha}; episodes with a rule have balanced queries (None)")
        if "place" in rules and not clips.places:
            raise ValueError(
                "rules name place, but these clips have places of their own: give AttributeClips places=True"
            )
        for rule in rules:
            if (found := clips.sizes[ATTRIBUTES.index(rule)]) < spec.n_way:
                raise ValueError(f"n_way is {spec.n_way}, but {rule} has {found} values here")
        super().__init__(spec, n_episodes, seed)
        self.clips, self.rules, self.mix, self.neutral = clips, tuple(rules), mix, shares

    def draw(self, rng: np.random.Generator) -> Episode:
        """An episode with a rule of its own."""
        rule = ATTRIBUTES.index(self._rule(rng))
        share = self.neutral.get(ATTRIBUTES[rule], 0.0)
        misleads = not share or rng.random() >= share
        support, query = self._values(rng, rule, misleads)  # (n_way, attributes) each
        n_way, k_shot, n_query = self.spec.n_way, self.spec.k_shot, self.spec.n_query
        drawn: set[int] = set()
        support_clips = [self._find_unused(rng, values, drawn) for values in support for _ in range(k_shot)]
        query_clips = [self._find_unused(rng, values, drawn) for values in query for _ in range(n_query)]
        labels = torch.arange(n_way)
        return Episode(
            support=torch.tensor(support_clips),
            query=torch.tensor(query_clips),
            support_labels=labels.repeat_interleave(k_shot),
            query_labels=labels.repeat_interleave(n_query),
            classes=torch.from_numpy(support[:, rule] + self.clips.offsets[rule]),
        )

    def rule_of(self, i: int) -> str:
        """The attribute that counts in episode i."""
        return self._rule(self.generator(i))

    def _rule(self, rng: np.random.Generator) -> str:
        drawn = self.rules[int(rng.integers(len(self.rules)))]
        return drawn if rng.random() < self.mix else self.rules[0]

    def _values(self, rng: np.random.Generator, rule: int, misleads: bool) -> tuple[np.ndarray, np.ndarray]:
        """Values of support and query of each class, (n_way, attributes) each."""
        n_way = self.spec.n_way
        support = np.zeros((n_way, len(self.clips.sizes)), dtype=np.int64)
        query = support.copy()
        for attribute, size in enumerate(self.clips.sizes):
            values = rng.permutation(size)
            sides = rng.permutation(np.arange(n_way) % 2)  # which of two values a class shows
            if attribute == rule:
                support[:, attribute] = query[:, attribute] = values[:n_way]
            elif ATTRIBUTES[attribute] in self.rules and not misleads:
                support[:, attribute], query[:, attribute] = values[0], values[1]
            elif ATTRIBUTES[attribute] in self.rules:
                support[:, attribute], query[:, attribute] = values[sides], values[1 - sides]
            else:
                support[:, attribute] = query[:, attribute] = values[0]
        return support, query

    def _find_unused(self, rng: np.random.Generator, values: np.ndarray, drawn: set[int]) -> int:
        """A clip with these values that is not in the episode yet."""
        for draw in rng.permutation(self.clips.n_draws).tolist():
            if (clip := self.clips.find(values.tolist(), draw)) not in drawn:
                drawn.add(clip)
                return clip
        shared = len(self.rules) == 1  # then a query differs in nothing from the support clips of its class
        needed = (sum if shared else max)((self.spec.k_shot, self.spec.n_query))
        raise ValueError(
            f"n_draws is {self.clips.n_draws}, but {needed} clips of one combination are needed: an episode never "
            "holds a clip twice"
        )


def _actions(part: str) -> list[str]:
    """Actions of one thing that keep its colour, in the order of `ACTIONS`."""
    found = [name for name, action in ACTIONS.items() if action.split == part and "colour" not in name]
    keys = torch.zeros(1, dtype=torch.int64)
    return [name for name in found if len(ACTIONS[name].program(Stage(Draws(keys), 2))) == 1]
