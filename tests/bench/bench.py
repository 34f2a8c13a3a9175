#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the measurements of plan.py: the workers of a group take turns, round after round; prints a table and writes
JSON. Started by run.sh, which sets up and builds."""
import argparse
import pathlib
import sys
import time

import figures
import plan
from workers import WorkerError

ROUNDS, QUICK_ROUNDS = 3, 2
MOST_BUSY = 0.1  # share of the processors that others may use


def start_workers(group, note):
    running = {}
    for name, begin in group.workers.items():
        try:
            running[name] = begin()
            if "variant" in running[name].about:
                note(f"{group.name}: PyTorch is fastest with {running[name].about['variant']}; seconds of all tried: "
                     f"{running[name].about['tried']}")
        except (WorkerError, OSError, ImportError) as error:
            note(f"{group.name}: {name} is left out: {error}")
    return running


def measure(group, rounds, note):
    """Rows of figures of one group."""
    running = start_workers(group, note)
    taken = []
    try:
        for _ in range(rounds):
            taken.append({})
            for name in list(running):
                try:
                    taken[-1][name] = running[name].round()
                except (WorkerError, KeyError, OSError) as error:
                    note(f"{group.name}: {name} is left out: {error}")
                    running.pop(name).close()
    finally:
        for worker in running.values():
            worker.close()
    taken, best = figures.with_best(taken, "ours", plan.OURS)
    if best is not None and len(set(plan.OURS) & set(group.workers)) > 1:
        note(f"{group.name}: our best is {best} (ranks x threads)")
    return [row for row in (figures.evaluate(figure, taken) for figure in group.figures) if row is not None]


def parse(arguments):
    parser = argparse.ArgumentParser(prog="bench.py", description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True, help="build folder")
    parser.add_argument("--python", default="", help="a Python with PyTorch; without: no figures against it")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures")
    parser.add_argument("--quick", action="store_true", help="few and short rounds")
    parser.add_argument("--only", default="", help="groups whose name contains this")
    return parser.parse_args(arguments)


def main():
    options = parse(sys.argv[1:])
    programs = plan.Programs(options.build, options.python, quick=options.quick)
    about, notes, rows = figures.machine(), [], []

    def note(text):
        notes.append(text)
        print(f"  {text}", flush=True)

    about["selvage"] = plan.version_of_selvage(options.build / "selvage")
    about["torch"] = plan.version_of_torch(options.python) if options.python else ""
    if not about["torch"]:
        programs = plan.Programs(options.build, quick=options.quick)
        note("no PyTorch here: the figures against it are left out")
    chosen = [group for group in plan.groups(programs) if options.only in group.name]
    if not chosen:
        print(f"bench.py: no group has \"{options.only}\" in its name; there are "
              f"{', '.join(group.name for group in plan.groups(programs))}", file=sys.stderr)
        sys.exit(64)
    about["busy_before"] = round(figures.busy_share(), 3)
    if about["busy_before"] > MOST_BUSY:
        note(f"other programs use {100 * about['busy_before']:.0f}% of the processors: the figures will be off")
    begun = time.monotonic()
    for group in chosen:
        print(f"[{time.monotonic() - begun:4.0f} s] {group.name}", flush=True)
        measured = measure(group, QUICK_ROUNDS if options.quick else ROUNDS, note)
        print(*(f"    {line}" for line in figures.table(measured).splitlines()[1:]), sep="\n", flush=True)
        rows += measured
    print(f"[{time.monotonic() - begun:4.0f} s] done\n")
    print(*(f"{key}: {value}" for key, value in about.items()), "", figures.table(rows), sep="\n")
    if options.json:
        figures.write_json(options.json, about, rows, notes)


if __name__ == "__main__":
    main()
