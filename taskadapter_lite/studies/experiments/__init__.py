"""Experiments as small files: what is trained and tested, with which options, for which shots and seeds.

The verb `experiment` runs them; a file of one's own in the same form does as well.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Experiment:
    """What a file of an experiment says.

    Attributes:
        title, note: what it is, and what to know before it is run.
        data: "bundled", "sprites", or the data set whose folder `--data` has to name.
        options: command-line options of `train` and `evaluate`.
        train, evaluate: further options of each.
        shots: numbers of support clips a class; a model is trained for each.
        seeds: training seeds; episodes of the test are the same for all.
        pretrain: options of a backbone to pre-train first; none: the one that the options name.
        ladder: options of a ladder that is run instead of `train` and `evaluate`, after a choice of learning rates.
    """

    title: str
    note: str
    data: str
    options: list[str]
    train: list[str]
    evaluate: list[str]
    shots: list[int]
    seeds: list[int]
    pretrain: list[str] = field(default_factory=list)
    ladder: list[str] = field(default_factory=list)


def experiment_names() -> list[str]:
    """The experiments that come with the library."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load_experiment(name: str | Path) -> Experiment:
    """An experiment that comes with the library, or one of a file.

    Raises:
        ValueError: no such experiment, or a file that does not describe one.
        OSError: the file can't be read.
    """
    path = Path(name) if str(name).endswith(".json") else FOLDER / f"{name}.json"
    if path.parent == FOLDER and path.stem not in experiment_names():
        raise ValueError(f"no experiment is called {name!r}; there are {', '.join(experiment_names())}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        experiment = Experiment(**found)
    except (TypeError, ValueError) as error:
        wanted = ", ".join(one.name for one in fields(Experiment) if one.default_factory is MISSING)
        raise ValueError(f"{path} describes no experiment, which has {wanted} ({error})") from error
    if not experiment.shots or not experiment.seeds:
        raise ValueError(f"{path} has shots {experiment.shots} and seeds {experiment.seeds}: both need an entry")
    return experiment
