"""Labelled clips -> episodes."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
import torch
from torch import Tensor

from taskadapter_lite.files import write_json

EPISODES_FORMAT = 1


@dataclass(frozen=True)
class EpisodeSpec:
    """The size of an episode.

    Attributes:
        n_way: classes in an episode, at least 2.
        k_shot: support clips of each class.
        n_query: query clips of each class.
        query_alpha: None for the usual balanced queries. A positive number draws the class shares of the
            `n_way * n_query` queries from a symmetric Dirichlet distribution with this concentration: a stress test
            for scopes that let queries see each other (Veilleux et al., "Realistic evaluation of transductive
            few-shot learning", NeurIPS 2021, uses 2).
    """

    n_way: int = 5
    k_shot: int = 1
    n_query: int = 1
    query_alpha: float | None = None

    def __post_init__(self) -> None:
        for name, least in (("n_way", 2), ("k_shot", 1), ("n_query", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; an episode needs at least {least}")
        if self.query_alpha is not None and self.query_alpha <= 0:
            raise ValueError(f"query_alpha is {self.query_alpha}; a Dirichlet concentration is above 0")

    @property
    def clips_needed(self) -> int:
        """Clips that each class must have: with unbalanced queries one class may get all of them."""
        return self.k_shot + self.n_query * (1 if self.query_alpha is None else self.n_way)


@dataclass(frozen=True, eq=False)
class Episode:
    """One few-shot task: LongTensors of clip indices and labels, class after class.

    Attributes:
        support: (n_way * k_shot,) clip indices.
        query: (Q,) clip indices, none of them in `support`; Q = n_way * n_query.
        support_labels: (n_way * k_shot,) in 0..n_way-1.
        query_labels: (Q,) in 0..n_way-1.
        classes: (n_way,) data set class of each label.
    """

    support: Tensor
    query: Tensor
    support_labels: Tensor
    query_labels: Tensor
    classes: Tensor

    @property
    def clips(self) -> Tensor:
        """(B,) indices of all clips, the support first."""
        return torch.cat([self.support, self.query])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_way, k_shot, Q)."""
        return len(self.classes), len(self.support) // len(self.classes), len(self.query)


class EpisodeList(Sequence[Episode]):
    """A list of episodes that are drawn when asked for; episode i depends on (seed, i) alone.

    So a list may be cut over workers and devices: `episodes[i]` is the same episode everywhere, and a slice is a list.
    NumPy may change its random streams between versions; `save_episodes` keeps a list for good.

    Args:
        spec: size of an episode.
        n_episodes: length of the list.
        seed: 0 or above.

    Raises:
        ValueError: a length below 1 or a negative seed.
    """

    def __init__(self, spec: EpisodeSpec, n_episodes: int, seed: int) -> None:
        if n_episodes < 1 or seed < 0:
            raise ValueError(f"n_episodes is {n_episodes} and seed {seed}; they must be at least 1 and 0")
        self.spec, self.n_episodes, self.seed = spec, n_episodes, seed

    def draw(self, rng: np.random.Generator) -> Episode:
        """One episode from a source of random numbers of its own."""
        raise NotImplementedError

    def generator(self, i: int) -> np.random.Generator:
        """The source of the random numbers of episode i."""
        return np.random.default_rng((self.seed, i % self.n_episodes))

    def __len__(self) -> int:
        return self.n_episodes

    @overload
    def __getitem__(self, i: int) -> Episode: ...

    @overload
    def __getitem__(self, i: slice) -> list[Episode]: ...

    def __getitem__(self, i: int | slice) -> Episode | list[Episode]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(self.n_episodes))]
        if not -self.n_episodes <= i < self.n_episodes:
            raise IndexError(f"episode {i} of a list of {self.n_episodes}")
        return self.draw(self.generator(i))


class EpisodeSampler(EpisodeList):
    """Draws episodes from labels; episode i depends on (seed, i) alone, see `EpisodeList`.

    Args:
        labels: data set class of each clip.
        spec, n_episodes, seed: as `EpisodeList` takes them.
        class_names: used to name classes in error messages.
        groups: what each clip was cut from, such as a film: one value a clip. Support and query of a class then never
            share a group. None lets every clip stand for itself.

    Raises:
        ValueError: if there are fewer classes than `n_way`, a class has fewer clips than an episode may need, or its
            groups can't be shared out between support and query.
    """

    def __init__(
        self,
        labels: Sequence[int],
        spec: EpisodeSpec,
        n_episodes: int,
        seed: int,
        class_names: Sequence[str] | None = None,
        groups: Sequence[Hashable] | None = None,
    ) -> None:
        super().__init__(spec, n_episodes, seed)
        self.labels = np.asarray(class_numbers(labels), dtype=np.int64)
        self.class_ids = np.unique(self.labels)
        self._clips_of = {c: np.flatnonzero(self.labels == c) for c in self.class_ids.tolist()}
        if len(self.class_ids) < spec.n_way:
            raise ValueError(f"n_way is {spec.n_way} but the labels hold {len(self.class_ids)} classes")
        if groups is not None and len(groups) != len(self.labels):
            raise ValueError(f"each clip needs one group, but there are {len(self.labels)} clips, {len(groups)} groups")
        self.groups = None if groups is None else list(groups)
        n_query = spec.clips_needed - spec.k_shot  # the most that one class may have
        for c, members in self._clips_of.items():
            name = f"{c} ({class_names[c]})" if class_names is not None else str(c)
            if len(members) < spec.clips_needed:
                raise ValueError(
                    f"class {name} needs {spec.clips_needed} clips for k_shot={spec.k_shot} and "
                    f"n_query={spec.n_query}, and has {len(members)}"
                )
            if self.groups is not None and not self._can_share(self._group_sizes(members), len(members), 0, n_query):
                raise ValueError(
                    f"class {name} has {len(members)} clips of {len(self._group_sizes(members))} groups; {spec.k_shot} "
                    f"support and {n_query} query clips that share no group can't be drawn"
                )

    @classmethod
    def of(cls, clips: Any, spec: EpisodeSpec, n_episodes: int, seed: int) -> EpisodeSampler:
        """Draws from labelled clips, by their labels, class names and groups."""
        return cls(clips.labels, spec, n_episodes, seed, clips.class_names, clips.groups)

    def draw_classes(self, rng: np.random.Generator) -> np.ndarray:
        """(n_way,) classes of one episode, drawn evenly and without repetition."""
        return rng.permutation(self.class_ids)[: self.spec.n_way]

    def draw(self, rng: np.random.Generator) -> Episode:
        """An episode of classes and clips drawn evenly."""
        n_way, k_shot = self.spec.n_way, self.spec.k_shot
        classes = self.draw_classes(rng)
        counts = self._query_counts(rng)
        drawn = [
            self._apart(rng.permutation(self._clips_of[c]), n)[: k_shot + n]
            for c, n in zip(classes.tolist(), counts.tolist(), strict=True)
        ]
        return Episode(
            support=torch.from_numpy(np.concatenate([clips[:k_shot] for clips in drawn])),
            query=torch.from_numpy(np.concatenate([clips[k_shot:] for clips in drawn])),
            support_labels=torch.from_numpy(np.repeat(np.arange(n_way), k_shot)),
            query_labels=torch.from_numpy(np.repeat(np.arange(n_way), counts)),
            classes=torch.from_numpy(classes),
        )

    def _group_sizes(self, clips: np.ndarray) -> Counter[Hashable]:
        assert self.groups is not None
        return Counter(self.groups[i] for i in clips.tolist())

    def _can_share(self, undecided: Counter[Hashable], n_clips: int, n_support: int, n_query: int) -> bool:
        """True where some of the undecided groups make up the support and leave enough for the queries.

        Args:
            undecided: clips of each group that is on neither side yet.
            n_clips: clips of the class.
            n_support: clips of the groups that are on the support's side.
            n_query: queries of the class.
        """
        sums = 1  # bit s is set where some groups hold s clips
        for size in undecided.values():
            sums |= sums << size
        least, most = max(self.spec.k_shot - n_support, 0), n_clips - n_query - n_support
        return most >= least and bool((sums >> least) & ((1 << (most - least + 1)) - 1))

    def _apart(self, clips: np.ndarray, n: int) -> np.ndarray:
        """Shuffled clips of a class -> its support, then clips of other groups, both in the order given."""
        if self.groups is None:
            return clips
        undecided = self._group_sizes(clips)
        support: list[int] = []
        ours: set[Hashable] = set()
        n_ours = 0
        for i in clips.tolist():
            group = self.groups[i]
            if group in undecided:  # with the support if the rest then still suffices, else with the queries
                size = undecided.pop(group)
                if self._can_share(undecided, len(clips), n_ours + size, n):
                    ours.add(group)
                    n_ours += size
            if group in ours:
                support.append(i)
            if len(support) == self.spec.k_shot:
                break
        return np.array([*support, *(i for i in clips.tolist() if self.groups[i] not in ours)])

    def _query_counts(self, rng: np.random.Generator) -> np.ndarray:
        """Queries of each class, (n_way,)."""
        n_way, n_query = self.spec.n_way, self.spec.n_query
        if self.spec.query_alpha is None:
            return np.full(n_way, n_query)
        return rng.multinomial(n_way * n_query, rng.dirichlet([self.spec.query_alpha] * n_way))


Episodes = Sequence[Episode]


def class_numbers(labels: Iterable[Any], n_classes: int | None = None) -> list[int]:
    """Labels as plain integers; 2.0 is 2, while 2.5, "2" and numbers of no class are refused.

    Args:
        labels: a class number a clip, from 0 on.
        n_classes: how many classes there are, if that is known.

    Raises:
        ValueError: names the first label that is no class number.
    """
    numbers = []
    for label in labels:
        try:
            number = None if isinstance(label, str) or float(label) != int(label) else int(label)
        except (TypeError, ValueError, OverflowError):
            number = None
        if number is None or number < 0 or (n_classes is not None and number >= n_classes):
            rule = "0 or above" if n_classes is None else f"0 to {n_classes - 1} for {n_classes} class names"
            raise ValueError(f"a label is a class number, {rule}, not {label!r}")
        numbers.append(number)
    return numbers


def check_disjoint(**splits: Sequence[str]) -> None:
    """Refuses splits that share a class, however it is spelled: `check_disjoint(train=["eat"], test=["sit"])`.

    Raises:
        ValueError: names the two splits and the classes that are in both.
    """
    names = list(splits)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            known = {loose_name(name): name for name in splits[first]}
            shared = sorted({(known[loose_name(name)], name) for name in splits[second] if loose_name(name) in known})
            if shared:
                spelled = ", ".join(own if own == other else f"{own} (spelled {other})" for own, other in shared)
                raise ValueError(f"{first} and {second} classes must not overlap, but both hold {spelled}")


def loose_name(name: str) -> str:
    """What is left of a class or video name when spelling is ignored: "Hula_Hooping (2)" and "hula hooping 2" agree."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", name).casefold().replace("_", " "))
    return " ".join(words) or name  # a name of signs alone stays as it is


def episode_hash(episodes: Iterable[Episode]) -> str:
    """16 hexadecimal digits that stand for exactly these episodes in this order; results quote them."""
    digest = hashlib.sha256()
    for episode in episodes:
        digest.update(episode_bytes(episode))
    return digest.hexdigest()[:16]


def episode_bytes(episode: Episode) -> bytes:
    """What `episode_hash` reads of an episode."""
    parts = (episode.classes, episode.support, episode.query, episode.query_labels)
    return "".join(str(part.tolist()) for part in parts).encode()


def _labels_of(clips: Sequence[int] | object) -> list[int]:
    """Labels, or those of labelled clips: this module lies below `data` and does not import it."""
    return [int(c) for c in cast("Sequence[int]", getattr(clips, "labels", clips))]


def _identity(clips: Sequence[int] | object) -> dict[str, str | None]:
    """What a list was made for: the labels always, the data set's fingerprint where there is one."""
    labels = _labels_of(clips)
    return {
        "labels": hashlib.sha256(str(labels).encode()).hexdigest()[:16],
        "fingerprint": getattr(clips, "fingerprint", None),
    }


def save_episodes(path: str | Path, episodes: Episodes, clips: Sequence[int] | object) -> str:
    """Writes a list of episodes as JSON and returns its hash.

    Args:
        path: the file, replaced in one step.
        episodes: a sampler or a list.
        clips: the labelled clips that the indices point into, or their labels alone.
    """
    spec = asdict(episodes.spec) if isinstance(episodes, EpisodeList) else None
    rows = [[e.classes.tolist(), e.support.tolist(), e.query.tolist()] for e in episodes]
    digest = episode_hash(episodes)
    head = {"format": EPISODES_FORMAT, "hash": digest, **_identity(clips), "spec": spec}
    write_json(path, {**head, "columns": ["classes", "support", "query"], "episodes": rows})
    return digest


def load_episodes(path: str | Path, clips: Sequence[int] | object) -> list[Episode]:
    """Reads a list that `save_episodes` wrote.

    Raises:
        ValueError: if the file was made for other clips or labels, is damaged, or has a newer format.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        version = data["format"]
        if version > EPISODES_FORMAT:
            raise ValueError(f"{path} has format {version}; this version reads up to {EPISODES_FORMAT}: please upgrade")
        made_for, rows, digest = {k: data[k] for k in ("labels", "fingerprint")}, data["episodes"], data["hash"]
    except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a list of episodes ({error!r})") from error
    given = _identity(clips)
    if any(made_for[key] and given[key] and made_for[key] != given[key] for key in given):
        raise ValueError(f"{path} was made for other clips or labels ({made_for}, here {given})")
    labels = torch.tensor(_labels_of(clips))
    try:
        episodes = [_rebuild(labels, *row) for row in rows]
        found = episode_hash(episodes)
    except (IndexError, TypeError, RuntimeError):  # clips or classes that don't exist, rows of another form
        found = "nothing"
    if found != digest:
        raise ValueError(f"{path} is damaged: its episodes hash to {found}, not to {digest}")
    return episodes


def _rebuild(labels: Tensor, classes: list[int], support: list[int], query: list[int]) -> Episode:
    place = torch.full((int(labels.max()) + 1,), -1)
    place[torch.tensor(classes)] = torch.arange(len(classes))
    own, asked = torch.tensor(support), torch.tensor(query)
    return Episode(own, asked, place[labels[own]], place[labels[asked]], torch.tensor(classes))
