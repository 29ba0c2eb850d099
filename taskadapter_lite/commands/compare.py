"""`compare`: result files -> one table."""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from taskadapter_lite.figures import plot_ladder, use_style
from taskadapter_lite.results import RunResult, comparison_table, markdown_table

HELP = "tabulate results, with intervals, seeds, and differences on the same episodes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `compare`."""
    parser.add_argument("results", nargs="+", type=Path, help="result files; those of one name are seeds of one row")
    parser.add_argument("--baseline", help="name of the row that the others are compared with, episode by episode")
    parser.add_argument("--figure", type=Path, help="draw means and intervals into this file (.png, .svg, .pdf)")
    parser.add_argument("--csv", type=Path, help="write the numbers to this file")


def run(args: argparse.Namespace) -> int:
    """Print the table as Markdown."""
    results = [RunResult.load(path) for path in args.results]
    table = comparison_table(results, args.baseline)
    print(markdown_table(table))
    if args.csv is not None:
        table.to_csv(args.csv, index=False)
    if args.figure is not None:
        _draw(table, results[0].spec.get("n_way"), args.figure)
    return 0


def _draw(table: pd.DataFrame, n_way: int | None, path: Path) -> None:
    if table["episodes"].nunique() > 1:
        raise ValueError(f"one figure shows one number of episodes, not {sorted(table['episodes'].unique().tolist())}")
    use_style()
    episodes, means, half_widths = int(table["episodes"][0]), table["mean"] / 100, table["ci95"] / 100
    plot_ladder(table["name"].tolist(), means, half_widths, episodes, chance=1 / n_way if n_way else None)
    plt.savefig(path)
    plt.close()
