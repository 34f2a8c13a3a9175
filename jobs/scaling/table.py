# SPDX-License-Identifier: Apache-2.0
"""Speed, efficiency and communication by ranks: table.py DIR with DIR/{strong,weak}-AXIS-RANKS/run.h5; writes
DIR/scaling.png."""
import pathlib
import sys

import matplotlib
import numpy
from matplotlib.figure import Figure

from analysis import AnalysisError, Run
from analysis.style import PANEL, SETTINGS, color
from analysis.tables import markdown

COLUMNS = ("scaling", "axis", "ranks", "training tokens/s", "efficiency", "communication", "generation tokens/s",
           "efficiency", "evaluation s")


def measured(run):
    """Training tokens/s (of the median step: the first ones warm up), share of communication, generation tokens/s,
    seconds of an evaluation."""
    tokens = run.tokens_of("train") / len(run.steps["step"])
    return {
        "train": tokens / float(numpy.median(run.steps["seconds"])),
        "communication": float(numpy.nanmean(run.sweep_rounds("train", "communication")[1])),
        "generate": run.tokens_of("generate") / run.seconds_of("generate"),
        "evaluate": float(numpy.mean(run.sweep_rounds("evaluate")[1]))}


def series(folder):
    """(scaling, axis) -> {ranks: measured}, ranks rising. One rank is measured once, for all of them."""
    found = {}
    for path in sorted(folder.glob("*-*-*/run.h5")):
        scaling, axis, ranks = path.parent.name.split("-")
        found.setdefault((scaling, axis), {})[int(ranks)] = measured(Run(path.parent))
    one = next((rows[1] for rows in found.values() if 1 in rows), None)
    if one is not None:
        for rows in found.values():
            rows.setdefault(1, one)
    return {key: dict(sorted(rows.items())) for key, rows in found.items()}


def efficiency(rows, ranks, kind):
    """Speed of a rank against that with the fewest ranks."""
    least = min(rows)
    return rows[ranks][kind] / ranks / (rows[least][kind] / least)


def percent(share):
    return f"{100 * share:.0f}%" if numpy.isfinite(share) else "–"


def table(found):
    rows = []
    for (scaling, axis), by_ranks in found.items():
        for ranks, values in by_ranks.items():
            rows.append((scaling, axis, ranks, f"{values['train']:.0f}", percent(efficiency(by_ranks, ranks, "train")),
                         percent(values["communication"]), f"{values['generate']:.0f}",
                         percent(efficiency(by_ranks, ranks, "generate")), f"{values['evaluate']:.2f}"))
    return markdown(COLUMNS, rows)


def plot(found, path):
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(3 * PANEL[0], PANEL[1]), layout="constrained")
        panels = figure.subplots(1, 3)
        for i, ((scaling, axis), rows) in enumerate(found.items()):
            ranks = list(rows)
            for place, kind in zip(panels, ("train", "generate")):
                place.plot(ranks, [100 * efficiency(rows, n, kind) for n in ranks], "o-", color=color(i),
                           label=f"{scaling}, {axis} axis")
            panels[2].plot(ranks, [100 * rows[n]["communication"] for n in ranks], "o-", color=color(i))
        for place, title, label in zip(panels, ("Training", "Generation", "Exposed communication in training"),
                                       ("efficiency, %", "efficiency, %", "% of the ranks' time")):
            place.set_title(title)
            place.set_xscale("log", base=2)
            ranks = sorted({n for rows in found.values() for n in rows})
            place.set_xticks(ranks, ranks)
            place.minorticks_off()
            place.set_xlabel("ranks")
            place.set_ylabel(label)
            place.set_ylim(bottom=0)
        panels[0].legend()
        figure.savefig(path, dpi=200)


def main():
    folder = pathlib.Path(sys.argv[1])
    try:
        found = series(folder)
    except AnalysisError as error:
        print(f"scaling: error: {error}", file=sys.stderr)
        return error.code
    print(table(found))
    plot(found, folder / "scaling.png")
    print(f"\nEfficiency: speed of a rank against that with the fewest ranks. Figure: {folder / 'scaling.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
