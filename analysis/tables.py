# SPDX-License-Identifier: Apache-2.0
"""Tables as text: Markdown whose columns line up, or comma-separated values."""
import csv
import io
import math

import numpy

from . import compare
from .groups import group_runs, tasks_of
from .statistics import RESAMPLES


def markdown(columns, rows):
    widths = [max(len(str(row[i])) for row in [columns, *rows]) for i in range(len(columns))]
    lines = [columns, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(str(cell).ljust(width) for cell, width in zip(line, widths)) + " |"
                     for line in lines)


def separated(columns, rows):
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([columns, *rows])
    return buffer.getvalue().rstrip("\n")


ROUND_METRICS = ("forced_nll", "forced_accuracy", "forced_agreement", "free_agreement", "gap", "rougeL", "exact_match",
                 "correction_rate")


def round_values(run, metrics):
    """Rows of one run, one for each evaluation: [round, method ("" before the first round), mean loss of the round's
    steps, then value, low and high of each metric], NaN where there is none."""
    known = [run.metric(name) for name in metrics]
    rounds = sorted({number for metric in known if metric is not None for number in metric.round.tolist()})
    rows = []
    for number in rounds:
        losses = run.steps["loss"][run.steps["round"] == number]
        row = [number, run.method_of(number) if number else "", float(losses.mean()) if len(losses) else math.nan]
        for name in metrics:
            row += compare.at_round(run, name, number)
        rows.append(row)
    return rows


def round_csv(run, metrics=ROUND_METRICS):
    """(columns, rows) of numbers; nan where there is none."""
    bounds = [name + end for name in metrics for end in ("", "_low", "_high")]
    return ["run", "round", "method", "loss", *bounds], [[str(run.folder), *row] for row in round_values(run, metrics)]


def round_table(run, metrics=None, digits=4):
    """(columns, rows) of texts, each metric with its 95% interval. Without a wish those of ROUND_METRICS that are not 0
    throughout."""
    if metrics is None:
        measured = [metric for name in ROUND_METRICS if (metric := run.metric(name)) is not None]
        metrics = [metric.name for metric in measured if numpy.nan_to_num(metric.value).any()]
    rows = []
    for number, method, loss, *values in round_values(run, metrics):
        row = [str(number), method or "–", compare.number(loss, digits)]
        for value, low, high in zip(values[::3], values[1::3], values[2::3]):
            bounds = compare.interval(low, high, lambda bound: compare.number(bound, digits))
            row.append(f"{compare.number(value, digits)} {bounds}".rstrip())
        rows.append(row)
    return ["round", "method", "loss", *metrics], rows


SEED_NOTE = (
    "n: seeds. Interval of a mean: Student's t over seeds (*: one seed, bootstrap over its held-out examples, from its "
    "run log). Difference to the baseline: runs of the same seed are pairs; interval and p of a paired t test over "
    "seeds (–: one seed, or the same difference for all). p (Holm): adjusted for the "
    "settings compared in the metric.")
EXAMPLE_NOTE = (
    "All held-out examples, answered greedily and scored after the run. Each example's difference is averaged over "
    "the seeds; paired bootstrap over "
    f"examples ({RESAMPLES} resamples): it speaks for these trained models, not for other seeds.")

MARK_NOTE = (" In the overview: means, in brackets the difference to the baseline; † p (Holm) < 0.05; "
             "↑ more is better, ↓ less is better.")


def written_by(runs):
    """Which programs wrote the runs, and when the last wrote."""
    versions = sorted({
        f"Selvage {run.attributes.get('selvage_version', '?')} "
        f"(commit {str(run.attributes.get('git_commit', '?'))[:12]})"
        for run in runs})
    return "Written by " + " and ".join(versions) + " until " + max(
        str(run.attributes.get("created", "?")) for run in runs) + "."


def comparison_blocks(runs, baseline=None, metrics=None):
    """What `compare` prints and a report shows: (heading level, heading, note, columns, rows) in order."""
    blocks = []
    for task, members in tasks_of(runs).items():
        groups = group_runs(members)
        base = compare.baseline_of(groups, baseline)
        prefix = f"{task}: " if task else ""
        last = compare.last_common_round(groups)
        blocks.append((2, f"{prefix}cost", "Means over seeds.", compare.COST_COLUMNS, compare.costs(groups)))
        by_seed = [] if last is None else compare.compare_seeds(groups, base, last, metrics)
        by_example, note = compare.compare_examples(groups, base)
        if by_seed:
            blocks.append(
                (2, f"{prefix}after round {last}, over seeds", SEED_NOTE + MARK_NOTE, *_overview(by_seed, base)))
        blocks += [_block(comparison, base) for comparison in by_seed]
        if metrics is None:
            heading = f"{prefix}by held-out example"
            blocks.append((2, heading, EXAMPLE_NOTE + MARK_NOTE,
                           *_overview(by_example, base)) if by_example else (2, heading, note, (), ()))
            blocks += [_block(comparison, base) for comparison in by_example]
    return blocks


def _overview(comparisons, base):
    """(columns, rows): the settings' means, and their differences to the baseline."""
    columns = [
        "setting", *(f"{comparison.metric} {'↑' if comparison.more_is_better else '↓'}" for comparison in comparisons)]
    rows = []
    for i, first in enumerate(comparisons[0].entries):
        cells = [comparison.entries[i] for comparison in comparisons]
        rows.append([first.label] + [
            compare.number(cell.mean) + ("" if i == base else f" ({compare.signed(cell.difference[0])})")
            + (" †" if cell.adjusted < 0.05 else "") for cell in cells])
    return columns, rows


def _block(comparison, base):
    better = "more is better" if comparison.more_is_better else "less is better"
    return (3, f"{comparison.metric} ({better})", "", compare.ENTRY_COLUMNS, compare.entry_rows(comparison, base))


def comparison_text(blocks):
    parts = []
    for level, heading, note, columns, rows in blocks:
        parts.append(f"{'#' * level} {heading}\n")
        parts += [note + "\n"] if note else []
        parts += [markdown(columns, rows) + "\n"] if rows else []
    return "\n".join(parts).rstrip("\n")
