"""What each choice of `ladder --tasks` runs, and how its results are put side by side."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from taskadapter_lite.commands.shared.fields import given_fields
from taskadapter_lite.data import verify_bundled
from taskadapter_lite.results import RunResult, saved_results
from taskadapter_lite.studies import (
    attribute_results,
    embedding_start,
    ladder,
    real_training,
    same_source,
    sim_to_real,
    which_attribute,
)


class Tasks(NamedTuple):
    """One choice of --tasks.

    Attributes:
        run: (options, device) -> None when all that was missing is done, or what learning rates gave with --tune.
        load: folder -> its results.
        table: (results, values) -> those with these values of `apart` in their metadata, side by side.
        apart: what has a table each.
        title: of such a table.
    """

    run: Callable[[argparse.Namespace, str], Iterable[RunResult] | None]
    load: Callable[[Path], Iterable[RunResult]]
    table: Callable[..., pd.DataFrame]
    apart: tuple[str, ...] = ()
    title: str = ""


def run_plain(args: argparse.Namespace, device: str) -> Iterable[RunResult] | None:
    """Every rung that is wanted, on the bundled test classes."""
    verify_bundled()
    budget = ladder.Budget(**given_fields(args, ladder.Budget) | {"test_episodes": args.n_episodes, "device": device})
    if args.tune is not None:
        return ladder.tune_rungs(args.tune or list(ladder.RATES), budget, args.out)
    rungs = [rung for rung in ladder.wanted(ladder.RUNGS, args.only) if rung.group in args.group]
    ladder.run_ladder(budget, args.seeds, tuple(args.k_shot), args.out, rungs)
    return None


def run_rules(args: argparse.Namespace, device: str) -> Iterable[RunResult] | None:
    """The same for episodes with a rule each, on rendered clips."""
    changed = {name: getattr(args, name) for name in ("mix", "frames", "start") if getattr(args, name) is not None}
    changed |= {"rules": tuple(args.rules)} if args.rules else {}
    changed |= {"n_steps": args.n_steps} if "n_steps" in args else {}
    budget = which_attribute.TaskBudget(device=device, **changed)
    if args.tune is not None:
        return which_attribute.tune_which_attribute(budget, args.out)
    rungs = ladder.wanted(which_attribute.RUNGS, args.only)
    which_attribute.run_which_attribute(budget, args.seeds, args.out, rungs)
    return None


def rules_table(results: list[RunResult]) -> pd.DataFrame:
    """Of all mixes; 0.25 is not 0.2."""
    table = attribute_results.which_attribute_table(results)
    return table.assign(mix=table["mix"].map("{:g}".format))


def run_sprites_to_real(args: argparse.Namespace, device: str) -> None:
    """Trained on rendered sprites alone, tested on real videos."""
    folder = sim_to_real.real_folder(args.real)
    sim_to_real.run_sim_to_real(sim_to_real.SimBudget(device=device), args.seeds, folder, args.out, args.only or ())


def run_trained_on_real(args: argparse.Namespace, device: str) -> None:
    """Trained on a few real classes, tested on the others."""
    where = (sim_to_real.real_folder(args.real), args.out, args.only or (), args.start)
    real_training.run_real_training(real_training.RealBudget(device=device), args.seeds, *where)


def run_cut_videos(args: argparse.Namespace, device: str) -> None:
    """Pieces of one video in support and query, allowed and not."""
    videos = same_source.open_videos(sim_to_real.real_folder(args.real))
    same_source.run_same_source(videos, args.out, device)


def run_starts(args: argparse.Namespace, device: str) -> None:
    """Starts of the temporal embedding under few and many blocks, measured and trained from."""
    embedding_start.run_embedding_start(args.seeds, args.out, device)


TASKS = {
    "plain": Tasks(run_plain, ladder.load_results, ladder.ladder_table, ("shots",), "5-way {}-shot"),
    "which-attribute": Tasks(run_rules, attribute_results.load_which_attribute, rules_table),
    "sim-to-real": Tasks(
        run_sprites_to_real, sim_to_real.load_sim_to_real, sim_to_real.sim_to_real_table, ("set",), "{}"
    ),
    "real-training": Tasks(
        run_trained_on_real,
        real_training.load_real_training,
        real_training.real_training_table,
        ("set", "part"),
        "{}, {}",
    ),
    "same-source": Tasks(run_cut_videos, saved_results, same_source.same_source_table),
    "embedding-start": Tasks(run_starts, saved_results, embedding_start.embedding_start_table),
}
