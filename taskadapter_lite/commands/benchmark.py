"""`benchmark`: the published way against ours, one switch after the other, in one run on one device."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from taskadapter_lite import figures
from taskadapter_lite.commands.shared.options import add_device_argument, chosen_device
from taskadapter_lite.data.decoding import decoders
from taskadapter_lite.files import write_json
from taskadapter_lite.results import environment
from taskadapter_lite.studies.decoding_speed import decoding_speed, decoding_table
from taskadapter_lite.studies.speed import Workload, ladder_of_switches, run_benchmark, table, write_clips

HELP = "time the published way of running Task-Adapter against ours, switch by switch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `benchmark`."""
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"), help="folder to write")
    parser.add_argument("--backbone", default="something_sprites", help="timm name")
    parser.add_argument("--size", type=int, default=64, help="frame side in pixels")
    parser.add_argument("--depth", type=int, nargs="+", default=[3], help="adapted blocks (default: 3)")
    parser.add_argument("--k-shot", type=int, nargs="+", default=[1], help="(default: 1)")
    parser.add_argument("--n-way", type=int, default=5, help="classes of an episode")
    parser.add_argument("--frames", type=int, default=8, help="T, frames a clip")
    parser.add_argument("--episodes-per-step", type=int, default=4, help="of the last switches; 1: leave out")
    parser.add_argument("--repeats", type=int, default=5, help="rounds after a warm-up")
    parser.add_argument("--no-bf16", action="store_true", help="leave bf16 out (slow on CPUs without its instructions)")
    parser.add_argument("--compile", action="store_true", help="add torch.compile (minutes of compiling)")
    parser.add_argument(
        "--decoding", action="store_true", help="time reading clips instead, beside plain PyAV and plain decord"
    )
    add_device_argument(parser)
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's choice)")


def run(args: argparse.Namespace) -> int:
    """Time every depth and number of shots, write benchmark.json and one figure each."""
    if args.threads:
        torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.decoding:
        report = {**environment(), "decoders": decoders(), "rows": decoding_speed(args.repeats)}
        write_json(args.out / "decoding_speed.json", report)
        print(decoding_table(report["rows"]))
        return 0
    device = str(chosen_device(args))
    ways = ladder_of_switches(args.episodes_per_step, args.compile, not args.no_bf16, device)
    report = {**environment(device), "threads": torch.get_num_threads(), "repeats": args.repeats, "runs": []}
    with tempfile.TemporaryDirectory() as folder:
        write_clips(Path(folder), args.size, n=args.n_way * (max(args.k_shot) + 1))
        for depth in args.depth:
            for k_shot in args.k_shot:
                shape = {"n_way": args.n_way, "k_shot": k_shot, "T": args.frames}
                workload = Workload(args.backbone, args.size, depth, device=device, **shape)
                report["runs"].append(run_benchmark(workload, Path(folder), ways, args.repeats))
                print(table(report["runs"][-1]), flush=True)
                write_json(args.out / "benchmark.json", report)  # a run that is stopped keeps what it has
    for found in report["runs"]:
        draw(found, args.out)
    print(f"benchmark.json and figures are in {args.out}")
    return 0


def draw(found: dict, out: Path) -> None:
    """The waterfall of training steps."""
    figures.use_style()
    w, ratios = found["workload"], [row["ratios"]["train"] for row in found["rows"]]
    medians, lows, highs = ([ratio[key] for ratio in ratios] for key in ("median", "least", "largest"))
    ax = figures.plot_speedups([row["name"] for row in found["rows"]], medians, lows, highs)
    ax.set_title(f"{w['backbone']}, L = {w['depth']}, {w['k_shot']}-shot, {w['device']}")
    plt.savefig(out / f"benchmark_L{w['depth']}_{w['k_shot']}shot.png")
    plt.close()
