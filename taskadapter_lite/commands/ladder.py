"""`ladder`: frozen, fine-tuned, and each adapter and scope, with the same backbone, episodes and budget."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from taskadapter_lite.commands._fields import add_fields, given_fields
from taskadapter_lite.commands._options import add_device_argument, chosen_device
from taskadapter_lite.data import verify_bundled
from taskadapter_lite.data.which_attribute import ATTRIBUTES
from taskadapter_lite.results import markdown_table
from taskadapter_lite.sprites.render import LEVELS
from taskadapter_lite.studies.attribute_figures import draw_dial, draw_rows
from taskadapter_lite.studies.embedding_start import (
    embedding_start_table,
    load_embedding_start,
    run_embedding_start,
)
from taskadapter_lite.studies.ladder import RATES, RUNGS, Budget, Rung, ladder_table, load_results, run_rung, tune
from taskadapter_lite.studies.real_training import (
    RealBudget,
    load_real_training,
    real_training_table,
    run_real_training,
)
from taskadapter_lite.studies.same_source import load_same_source, open_videos, run_same_source, same_source_table
from taskadapter_lite.studies.sim_to_real import (
    SimBudget,
    load_sim_to_real,
    real_folder,
    run_sim_to_real,
    sim_to_real_table,
)
from taskadapter_lite.studies.which_attribute import RUNGS as TASK_RUNGS
from taskadapter_lite.studies.which_attribute import (
    TaskBudget,
    TaskRung,
    load_which_attribute,
    run_which_attribute,
    tune_which_attribute,
    which_attribute_table,
)

HELP = "compare frozen, fine-tuned and adapted models on the same episodes"
TASK_OPTIONS = ("mix", "frames", "rules", "start", "figures")
GROUPS = tuple(dict.fromkeys(rung.group for rung in RUNGS))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `ladder`."""
    parser.add_argument("--out", type=Path, default=Path("runs/ladder"), help="folder of results")
    parser.add_argument(
        "--tasks",
        choices=("plain", "which-attribute", *REAL_TASKS),
        default="plain",
        help="which-attribute: constructed episodes in which only the support tells what counts; sim-to-real: trained "
        "on sprites, tested on real videos; real-training: trained on a few classes of those; same-source: pieces of "
        "one video in support and query; embedding-start: how long its start may be; all take --out, --only, --seeds, "
        "--device and --table (default: plain)",
    )
    parser.add_argument("--mix", type=float, help="share of episodes whose rule is drawn evenly (default: 1)")
    parser.add_argument("--frames", type=int, help="frames a clip of which-attribute (default: 1)")
    parser.add_argument("--rules", nargs="+", choices=ATTRIBUTES, help="which may count (default: colour form)")
    parser.add_argument(
        "--start",
        type=Path,
        help="folder of an earlier run of one frame, or of sim-to-real, to start from its adapters",
    )
    parser.add_argument("--figures", type=Path, help="folder for pictures of the results of which-attribute")
    parser.add_argument("--real", metavar="DIR", help="folder of real videos (default: $TASKADAPTER_REAL)")
    parser.add_argument("--group", choices=GROUPS, nargs="+", default=["main"], help="which rungs (default: main)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="rungs of these names, or that hold these words")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of training (default: 0 1 2)")
    parser.add_argument("--k-shot", type=int, nargs="+", choices=(1, 5), default=[1, 5], help="(default: 1 5)")
    parser.add_argument("--n-episodes", type=int, help="the first so many of the saved list (default: all 2,000)")
    add_device_argument(parser)
    choices = {"precision": ("fp32", "bf16"), "level": LEVELS}
    add_fields(parser, Budget, without=("test_episodes", "device"), choices=choices)
    parser.add_argument(
        "--tune",
        nargs="*",
        metavar="NAME",
        help="choose learning rates on validation classes, of these rungs or all that have some, and stop",
    )
    parser.add_argument("--table", action="store_true", help="only print the table of what is in --out")


def run(args: argparse.Namespace) -> int:
    """Run what is missing, then print a table for each number of shots."""
    starts = ("start",) if args.tasks == "real-training" else ()
    given = [name for name in TASK_OPTIONS if getattr(args, name) is not None and name not in starts]
    if given and args.tasks != "which-attribute":
        raise ValueError(f"--{given[0]} is for --tasks which-attribute; {args.tasks} tasks have no such choice")
    if args.tasks != "plain":
        refuse_other_options(args)
        return run_tasks(args) if args.tasks == "which-attribute" else REAL_TASKS[args.tasks](args)
    if not args.table:
        verify_bundled()
        device = str(chosen_device(args))
        budget = Budget(**given_fields(args, Budget) | {"test_episodes": args.n_episodes, "device": device})
        rungs = [rung for rung in RUNGS if rung.group in args.group and (not args.only or wanted(rung.name, args.only))]
        if args.tune is not None:
            return tune_all(args.tune or list(RATES), budget, args.out)
        for seed in args.seeds:
            for rung in rungs:
                if rung.training is not None or seed == args.seeds[0]:  # a frozen rung has no seed to vary
                    run_rung(rung, budget, seed, tuple(args.k_shot), args.out)
    results = list(load_results(args.out))
    for shots in sorted({result.metadata["shots"] for result in results}):
        print(f"\n5-way {shots}-shot\n\n{markdown_table(ladder_table(results, shots))}")
    return 0


def run_tasks(args: argparse.Namespace) -> int:
    """The same for episodes with a rule each, on rendered clips."""
    if not args.table:
        budget = task_budget(args)
        if args.tune is not None:
            for result in tune_which_attribute(budget, args.out):
                print(result.summary())
            return 0
        chosen = [rung for rung in TASK_RUNGS if not args.only or wanted(rung.name, args.only, TASK_RUNGS)]
        run_which_attribute(budget, args.seeds, args.out, chosen)
    results = list(load_which_attribute(args.out))
    table = which_attribute_table(results)
    print(markdown_table(table.assign(mix=table["mix"].map("{:g}".format))))  # 0.25 is not 0.2
    if args.figures is not None:
        draw_rows([r for r in results if r.metadata["mix"] == 1], args.figures / "which_attribute.png")
        if len({r.metadata["mix"] for r in results}) > 1:
            draw_dial(results, args.figures / "which_attribute_dial.png")
    return 0


def refuse_other_options(args: argparse.Namespace) -> None:
    """Tasks with a budget of their own take no option of the plain one."""
    own = ("device", "n_steps") if args.tasks == "which-attribute" else ("device",)
    given = [name for name in given_fields(args, Budget) if name not in own]
    given += ["n_episodes"] if args.n_episodes is not None else []
    given += ["tune"] if args.tune is not None and args.tasks != "which-attribute" else []
    if given and not args.table:
        option = f"--{given[0].replace('_', '-')}"
        raise ValueError(f"--tasks {args.tasks} has a budget of its own, so that {option} says nothing there")


def run_sprites_to_real(args: argparse.Namespace) -> int:
    """Trained on rendered sprites alone, tested on real videos; a table for each set."""
    if not args.table:
        budget = SimBudget(device=str(chosen_device(args)))
        run_sim_to_real(budget, args.seeds, real_folder(args.real), args.out, args.only or ())
    results = list(load_sim_to_real(args.out))
    for name in dict.fromkeys(result.metadata["set"] for result in results):
        print(f"\n{name}\n\n{markdown_table(sim_to_real_table(results, name))}", flush=True)
    return 0


def run_trained_on_real(args: argparse.Namespace) -> int:
    """Trained on a few real classes, tested on the others; a table for each set and part."""
    if not args.table:
        budget = RealBudget(device=str(chosen_device(args)))
        run_real_training(budget, args.seeds, real_folder(args.real), args.out, args.only or (), args.start)
    results = list(load_real_training(args.out))
    for name, part in dict.fromkeys((result.metadata["set"], result.metadata["part"]) for result in results):
        print(f"\n{name}, {part}\n\n{markdown_table(real_training_table(results, name, part))}", flush=True)
    return 0


def run_cut_videos(args: argparse.Namespace) -> int:
    """Pieces of one video in support and query, allowed and not; one table."""
    if not args.table:
        run_same_source(open_videos(real_folder(args.real)), "dinov2_small", args.out, str(chosen_device(args)))
    print(markdown_table(same_source_table(list(load_same_source(args.out)))))
    return 0


def run_starts(args: argparse.Namespace) -> int:
    """Starts of the temporal embedding under few and many blocks, measured and trained from; one table."""
    if not args.table:
        run_embedding_start(args.seeds, args.out, str(chosen_device(args)))
    print(markdown_table(embedding_start_table(list(load_embedding_start(args.out)))))
    return 0


REAL_TASKS = {
    "sim-to-real": run_sprites_to_real,
    "real-training": run_trained_on_real,
    "same-source": run_cut_videos,
    "embedding-start": run_starts,
}


def task_budget(args: argparse.Namespace) -> TaskBudget:
    """The budget of which-attribute, with what the options change."""
    changed = {name: getattr(args, name) for name in ("mix", "frames", "start") if getattr(args, name) is not None}
    changed |= {"rules": tuple(args.rules)} if args.rules else {}
    changed |= {"n_steps": args.n_steps} if "n_steps" in args else {}
    return TaskBudget(device=str(chosen_device(args)), **changed)


def wanted(name: str, words: list[str], rungs: Sequence[Rung | TaskRung] = RUNGS) -> bool:
    """A word that is the whole name of a rung means that one alone; others mean all names that hold them."""
    full = {rung.name for rung in rungs}
    return any(word == name if word in full else word in name for word in words)


def tune_all(names: list[str], budget: Budget, out: Path) -> int:
    """Try the learning rates of these rungs and print how each did on the validation classes."""
    if unknown := sorted(set(names) - set(RATES)):
        raise ValueError(f"no learning rates are listed for {unknown[0]!r}, but for {', '.join(RATES)}")
    for name in names:
        for result in tune(name, budget, out):
            print(result.summary())
    return 0
