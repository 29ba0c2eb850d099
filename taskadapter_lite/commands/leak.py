"""`leak`: trained adapters -> how much their scope gains from seeing the other queries."""

from __future__ import annotations

import argparse
from pathlib import Path

from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.commands.shared.options import add_device_argument, chosen_device
from taskadapter_lite.data import bundled_clips, verify_bundled
from taskadapter_lite.evaluation import depends_on_episode
from taskadapter_lite.results import comparison_table, markdown_table
from taskadapter_lite.studies.ladder import saved_episodes
from taskadapter_lite.studies.leak import measure_leak
from taskadapter_lite.training.checkpoints import load_model, read_checkpoint

HELP = "test adapters on the same tasks with their queries in other mixes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `leak`."""
    parser.add_argument(
        "adapters", nargs="+", type=Path, help="files of adapters with task attention, as `ladder` saves"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/leak"), help="folder of results")
    parser.add_argument("--k-shot", type=int, choices=(1, 5), default=1, help="support clips a class")
    parser.add_argument("--n-episodes", type=int, default=1000, help="of the saved list")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of adapted blocks")
    add_device_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Test every file in four companies of queries; print one table."""
    verify_bundled()
    device = chosen_device(args)
    clips, results = bundled_clips("test"), []
    episodes = saved_episodes(args.k_shot, clips)[: args.n_episodes]
    for file in args.adapters:
        model = load_model(file).to(device)
        if not depends_on_episode(model):
            raise ValueError(f"{file} has no task attention: what its queries see can't depend on each other")
        about = read_checkpoint(file)[1]["metadata"]
        seeds = {"training": about.get("seed", 0)}
        how = {"seeds": seeds, "metadata": {"adapters": file.name}, "precision": args.precision}
        for mix, result in measure_leak(model, PrefixCache(model, clips), episodes, **how).items():
            result.metadata |= {"company": mix, "shots": args.k_shot}
            words = f"{model.scope}_{mix}_{args.k_shot}shot_seed{seeds['training']}"
            result.save(args.out / f"{words.replace(' ', '_')}.json")
            results.append(result)
    for name in dict.fromkeys(result.name for result in results):  # companies have different queries: no pairing
        print(markdown_table(comparison_table([r for r in results if r.name == name])))
    return 0
