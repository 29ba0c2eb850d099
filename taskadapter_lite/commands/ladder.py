"""`ladder`: frozen, fine-tuned, and each adapter and scope, with the same backbone, episodes and budget."""

from __future__ import annotations

import argparse
from pathlib import Path

from taskadapter_lite.commands.shared import options
from taskadapter_lite.commands.shared.fields import add_fields, given_fields
from taskadapter_lite.commands.shared.tasks import TASKS
from taskadapter_lite.data.which_attribute import ATTRIBUTES
from taskadapter_lite.results import markdown_table
from taskadapter_lite.sprites.render import LEVELS
from taskadapter_lite.studies import ladder
from taskadapter_lite.studies.attribute_results import draw_dial, draw_rows, of_main_setting

HELP = "compare frozen, fine-tuned and adapted models on the same episodes"
TASK_OPTIONS = ("mix", "frames", "rules", "start", "figures")
GROUPS = tuple(dict.fromkeys(rung.group for rung in ladder.RUNGS))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `ladder`."""
    parser.add_argument("--out", type=Path, default=Path("runs/ladder"), help="folder of results")
    parser.add_argument(
        "--tasks",
        choices=TASKS,
        default="plain",
        help="which-attribute: constructed episodes in which only the other clips tell what counts; sim-to-real: "
        "trained on sprites, tested on real videos; real-training: trained on a few classes of those; same-source: "
        "pieces of one video in support and query; embedding-start: how long its start may be; all take --out, --only, "
        "--seeds, --device and --table",
    )
    parser.add_argument("--mix", type=float, help="share of episodes whose rule is drawn evenly (default: 1)")
    parser.add_argument("--frames", type=int, help="frames a clip of which-attribute (default: 1)")
    parser.add_argument("--rules", nargs="+", choices=ATTRIBUTES, help="which may count (default: colour form)")
    text = "folder of an earlier run to go on from: of clips of one frame; for real-training, of sim-to-real"
    parser.add_argument("--start", type=Path, help=text)
    parser.add_argument("--figures", type=Path, help="folder for pictures of the results of which-attribute")
    parser.add_argument("--real", metavar="DIR", help="folder of real videos (default: $TASKADAPTER_REAL)")
    parser.add_argument("--group", choices=GROUPS, nargs="+", default=["main"], help="which rungs (default: main)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="rungs of these names, or that hold these words")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of training (default: 0 1 2)")
    parser.add_argument("--k-shot", type=int, nargs="+", choices=(1, 5), default=[1, 5], help="(default: 1 5)")
    parser.add_argument("--n-episodes", type=int, help="the first so many of the saved list (default: all 2,000)")
    options.add_device_argument(parser)
    choices = {"precision": ("fp32", "bf16"), "level": LEVELS}
    add_fields(parser, ladder.Budget, without=("test_episodes", "device"), choices=choices)
    text = "choose learning rates on validation classes, of these rungs or all that have some, and stop"
    parser.add_argument("--tune", nargs="*", metavar="NAME", help=text)
    parser.add_argument("--table", action="store_true", help="only print the table of what is in --out")


def run(args: argparse.Namespace) -> int:
    """Run what is missing, then print the tables of all results."""
    refuse_unused(args)
    tasks = TASKS[args.tasks]
    if not args.table:
        tuned = tasks.run(args, str(options.chosen_device(args)))
        if tuned is not None:
            for result in tuned:
                print(result.summary())
            return 0
    results = list(tasks.load(args.out))
    for values in dict.fromkeys(tuple(result.metadata[name] for name in tasks.apart) for result in results):
        title = tasks.title.format(*values)
        print(*([f"\n{title}\n"] if title else []), markdown_table(tasks.table(results, *values)), sep="\n", flush=True)
    if args.figures is not None:
        main = [r for r in of_main_setting(results) if r.metadata["mix"] == 1]
        draw_rows(main, args.figures / "which_attribute.png")
        if len({r.metadata["mix"] for r in results}) > 1:
            draw_dial(results, args.figures / "which_attribute_dial.png")
    return 0


def refuse_unused(args: argparse.Namespace) -> None:
    """An option that says nothing about the tasks is refused: those with a budget of their own take few."""
    of_rules = [name for name in TASK_OPTIONS if getattr(args, name) is not None]
    of_rules = [name for name in of_rules if (args.tasks, name) != ("real-training", "start")]
    if of_rules and args.tasks != "which-attribute":
        raise ValueError(f"--{of_rules[0]} is for --tasks which-attribute; {args.tasks} tasks have no such choice")
    if args.tasks == "plain" or args.table:
        return
    taken = ("device", "n_steps") if args.tasks == "which-attribute" else ("device",)
    given = [name for name in given_fields(args, ladder.Budget) if name not in taken]
    given += ["n_episodes"] if args.n_episodes is not None else []
    given += ["tune"] if args.tune is not None and args.tasks != "which-attribute" else []
    if given:
        option = f"--{given[0].replace('_', '-')}"
        raise ValueError(f"--tasks {args.tasks} has a budget of its own, so that {option} says nothing there")
