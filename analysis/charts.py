# SPDX-License-Identifier: Apache-2.0
"""The charts, one function each: draw(axes, groups) draws what the groups' runs have and answers whether there was
anything. With one run the bands are its 95% intervals (bootstrap over held-out examples); where a setting has several
seeds a line is their mean and the band goes from the least to the largest."""
import dataclasses
import textwrap
import typing
import warnings

import numpy
from matplotlib.ticker import EngFormatter, MaxNLocator

from .run import position_bins
from .style import BAND, MUTED, color

MOST_POINTS = 240  # of a curve over steps
MOST_MARKS = 30  # of a curve over rounds, before it is a line alone


@dataclasses.dataclass
class Chart:
    name: str
    title: str
    caption: str
    draw: typing.Callable  # (axes, groups) -> bool
    of_many: tuple = None  # (title, caption) where several runs are drawn, if they are others

    def texts(self, groups):
        return self.of_many if self.of_many and not single(groups) else (self.title, self.caption)


def thin(steps, values):
    """(steps, mean, least, largest) in at most MOST_POINTS equal parts; values of one step as they are."""
    parts = min(len(steps), MOST_POINTS)
    edges = numpy.linspace(0, len(steps), parts + 1).astype(int)[:-1]
    counts = numpy.diff(numpy.append(edges, len(steps)))
    return (steps[edges] + (counts - 1) / 2, numpy.add.reduceat(values, edges) / counts,
            numpy.minimum.reduceat(values, edges), numpy.maximum.reduceat(values, edges))


def smooth(values, width):
    """Mean over a centred window of `width` (odd: an even one is made one larger), narrower at both ends."""
    half = width // 2
    sums = numpy.concatenate([[0.0], numpy.cumsum(values)])
    begins, ends = (numpy.clip(numpy.arange(len(values)) + shift, 0, len(values)) for shift in (-half, half + 1))
    return (sums[ends] - sums[begins]) / (ends - begins)


def over_seeds(runs, read):
    """(x, mean, least, largest) of `read(run)` = (x, y) or None, at those x that all runs have; None where there is
    none."""
    curves = [found for found in (read(run) for run in runs) if found is not None and len(found[0])]
    if not curves:
        return None
    common = curves[0][0]
    for x, _ in curves[1:]:
        common = numpy.intersect1d(common, x)
    values = numpy.array([y[numpy.searchsorted(x, common)] for x, y in curves])
    if not len(common) or not numpy.isfinite(values).any():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # columns where no seed has a value
        return common, numpy.nanmean(values, axis=0), numpy.nanmin(values, axis=0), numpy.nanmax(values, axis=0)


def single(groups):
    """The run, where there is only one."""
    return groups[0].runs[0] if len(groups) == 1 and len(groups[0].runs) == 1 else None


def legend(axes, groups=(1, 2), **options):
    if len(groups) > 1 and axes.get_legend_handles_labels()[0]:
        axes.legend(**options)


def rounds_axis(axes):
    axes.set_xlabel("round")
    low, high = axes.get_xlim()
    if high - low < 1:  # a single round
        axes.set_xlim((low + high) / 2 - 1, (low + high) / 2 + 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))


def shade_methods(axes, run):
    """Names the method of each stretch of rounds over the steps axis."""
    steps, rounds = run.steps["step"], run.steps["round"]
    turns = (numpy.nonzero(numpy.diff(rounds))[0] + 1).tolist()  # first rows of rounds
    edges = [0] + [i for i in turns if run.method_of(rounds[i]) != run.method_of(rounds[i - 1])] + [len(rounds)]
    if len(edges) < 3:
        return
    for number, (begin, end) in enumerate(zip(edges, edges[1:])):
        if number % 2:
            axes.axvspan(steps[begin] - 0.5, steps[end - 1] + 0.5, color=BAND, zorder=0, linewidth=0)
        axes.text((steps[begin] + steps[end - 1]) / 2, 0.995,
                  run.method_of(rounds[begin]).replace(" ", "\n"), fontsize=7, color=MUTED, ha="center", va="top",
                  transform=axes.get_xaxis_transform(), linespacing=0.95)


def over_steps(column, label, scale="linear", smoothing=True):

    def running_mean(values, width):  # on a logarithmic axis that of the logarithms: a single peak stays one
        return numpy.exp(smooth(numpy.log(numpy.maximum(values, 1e-30)), width)) if scale == "log" else smooth(
            values, width)

    def draw(axes, groups):
        run, drawn = single(groups), False
        for i, group in enumerate(groups):
            curve = over_seeds(group.runs, lambda one: (one.steps["step"], one.steps[column]))
            if curve is None:
                continue
            drawn = True
            steps, mean, low, high = curve
            width = max(1, len(steps) // 40) if smoothing else 1
            if run:
                x, _, least, largest = thin(steps, mean)
                axes.fill_between(x, least, largest, color=color(i), alpha=0.25, linewidth=0.6)
            else:
                x, _, least, _ = thin(steps, running_mean(low, width))
                axes.fill_between(x, least,
                                  thin(steps, running_mean(high, width))[3], color=color(i), alpha=0.18, linewidth=0)
            x, line, _, _ = thin(steps, running_mean(mean, width))
            axes.plot(x, line, color=color(i), label=group.label)
        axes.set_yscale(scale)
        if scale == "linear":
            axes.ticklabel_format(axis="y", scilimits=(-2, 5))
        axes.set_xlabel("optimizer step")
        axes.set_ylabel(label)
        if run and drawn:
            shade_methods(axes, run)
        legend(axes, groups)
        return drawn

    return draw


def metric_band(run, name):
    metric = run.metric(name)
    if metric is None or not numpy.nan_to_num(metric.value).any():  # never measured, or 0 throughout
        return None
    return metric.round, metric.value, metric.low, metric.high


def plot_band(axes, x, value, low, high, which, **options):
    axes.plot(x, value, color=which, marker="o" if len(x) <= MOST_MARKS else None, **options)
    axes.fill_between(x, low, high, color=which, alpha=0.16, linewidth=0)


def over_rounds(names, label, zero=False, least_round=0):
    """Metrics over rounds. `names`: metric -> what one run's legend calls it; of several runs only the first is drawn,
    a line for each setting."""

    def draw(axes, groups):
        run, drawn = single(groups), False
        lines = [(name, text, i) for i, (name, text) in enumerate(names.items())] if run else []
        for name, text, i in lines:
            band = metric_band(run, name)
            if band is None:
                continue
            keep = band[0] >= least_round
            plot_band(axes, *(column[keep] for column in band), color(i), label=text)
            drawn = True
        if not run:
            name = next(iter(names))
            for i, group in enumerate(groups):
                if len(group.runs) == 1:
                    curve = metric_band(group.runs[0], name)
                else:
                    curve = over_seeds(group.runs, lambda one: (band := metric_band(one, name)) and band[:2])
                if curve is not None:
                    keep = curve[0] >= least_round
                    plot_band(axes, *(column[keep] for column in curve), color(i), label=group.label)
                    drawn = True
        if zero:
            axes.axhline(0, color=MUTED, linewidth=0.8)
        rounds_axis(axes)
        axes.set_ylabel(label)
        legend(axes, lines or groups)
        return drawn

    return draw


def bin_labels(bins):
    begins = position_bins(bins + 1)
    return [f"{a}–{b - 1}" for a, b in zip(begins, begins[1:])]


def by_position(name, label, zero=False):
    """A curve by answer position: of one run after each evaluation, of several after the last."""

    def curves(run):
        metric = run.metric(name)
        if metric is None or metric.by_position is None:
            return None
        used = [i for i in range(len(metric.round)) if metric.count[i].any()]
        return (metric, used) if used else None

    def draw(axes, groups):
        run = single(groups)
        found = [(group, [c for c in map(curves, group.runs) if c]) for group in groups]
        if not any(each for _, each in found):
            return False
        bins = 1 + max(int(numpy.nonzero(c[0].count.any(axis=0))[0].max()) for _, each in found for c in each)
        x = numpy.arange(bins)
        if run:
            metric, used = found[0][1][0]
            for i in used:
                share = (used.index(i) + 1) / len(used)
                axes.plot(x, metric.by_position[i, :bins], color=color(0), marker="o", alpha=0.2 + 0.8 * share**2,
                          linewidth=0.9 + 0.9 * share,
                          label=f"round {metric.round[i]}" if i in (used[0], used[-1]) else None)
            axes.legend()
        else:
            for i, (group, each) in enumerate(found):
                values = numpy.array([metric.by_position[used[-1], :bins] for metric, used in each])
                if len(values):
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore", RuntimeWarning)
                        mean, low, high = (f(values, axis=0) for f in (numpy.nanmean, numpy.nanmin, numpy.nanmax))
                    plot_band(axes, x, mean, low, high, color(i), label=group.label)
            legend(axes, groups)
        if zero:
            axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.set_xticks(x, bin_labels(bins))
        axes.set_xlabel("answer position (tokens)")
        axes.set_ylabel(label)
        return True

    return draw


def rates(axes, groups):
    run = single(groups)
    if run:
        return over_rounds(
            {"correction_rate": "wrong → right (correction)", "corruption_rate": "right → wrong (corruption)"},
            "share of answers")(axes, groups)
    return over_rounds({"correction_rate": ""}, "share of wrong answers made right")(axes, groups)


SWEEPS = ("generate", "weave", "train", "evaluate")


def sweep_times(axes, groups):
    """One run: seconds of each round's sweeps, stacked; several: mean seconds of a run of each setting."""
    run = single(groups)
    if run:
        rounds = numpy.unique(run.sweeps["round"])
        heights = {
            kind: numpy.array([
                run.sweeps["seconds"][(run.sweeps["kind"] == kind) & (run.sweeps["round"] == number)].sum()
                for number in rounds])
            for kind in SWEEPS}
        x, names = rounds, None
    else:
        heights = {
            kind: numpy.array([numpy.mean([one.seconds_of(kind) for one in group.runs]) for group in groups])
            for kind in SWEEPS}
        x, names = numpy.arange(len(groups)), [group.label for group in groups]
    bottom = numpy.zeros(len(x))
    for i, kind in enumerate(SWEEPS):
        if heights[kind].any():
            axes.bar(x, heights[kind], bottom=bottom, color=color((1, 4, 0, 2)[i]), width=0.7, label=kind, linewidth=0)
            bottom += heights[kind]
    axes.set_ylabel("seconds")
    if names is None:
        rounds_axis(axes)
    else:
        axes.set_xticks(x, [textwrap.fill(name, 13) for name in names], fontsize=6.5)
    axes.set_ylim(0, max(bottom.max(initial=0) * 1.22, 1e-9))
    axes.legend(ncols=4, loc="upper left")
    return bool(bottom.any())


def share_over_rounds(axes, groups, share, label):
    """`share` of a run: its rounds and percents, or None."""
    drawn = False
    for i, group in enumerate(groups):
        curve = over_seeds(group.runs, share)
        if curve is not None:
            plot_band(axes, *curve, color(i), label=group.label)
            drawn = True
    axes.set_ylim(bottom=0)
    rounds_axis(axes)
    axes.set_ylabel(label)
    legend(axes, groups)
    return drawn


def generation_share(axes, groups):

    def share(run):
        rounds, _ = run.sweep_rounds("train")
        made = dict(zip(*(column.tolist() for column in run.sweep_rounds("generate"))))
        all_of = {number: run.sweeps["seconds"][run.sweeps["round"] == number].sum() for number in rounds.tolist()}
        return rounds, numpy.array([
            100 * made.get(number, 0.0) / all_of[number] if all_of[number] else 0 for number in rounds.tolist()])

    return share_over_rounds(axes, groups, share, "% of the round's time")


def throughput(axes, groups):
    run, drawn = single(groups), False
    for i, group in enumerate(groups):
        for kind, style in (("train", "-"), ("generate", "--")):

            def speed(one):
                rounds, seconds = one.sweep_rounds(kind)
                return rounds, one.sweep_rounds(kind, "tokens")[1] / numpy.where(seconds > 0, seconds, numpy.nan)

            curve = over_seeds(group.runs, speed)
            if curve is not None:
                plot_band(axes, *curve, color({"train": 0, "generate": 1}[kind] if run else i), linestyle=style,
                          label=kind if run else group.label if kind == "train" else None)
                drawn = True
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    rounds_axis(axes)
    axes.set_ylabel("tokens/s")
    if drawn:
        axes.legend()
    return drawn


def checkpoints(axes, groups):
    drawn = False
    for i, group in enumerate(groups):
        for run in group.runs:
            steps, seconds = run.checkpoints["step"], run.checkpoints["stall_seconds"]
            if len(steps):
                axes.vlines(steps, 0, seconds, color=color(i), linewidth=0.9)
                axes.plot(steps, seconds, "o", color=color(i),
                          label=None if drawn and run is not group.runs[0] else group.label)
                drawn = True
    axes.set_ylim(bottom=0)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("seconds")
    legend(axes, groups)
    return drawn


def communication(axes, groups):

    def share(run):
        rounds, values = run.sweep_rounds("train", "communication")
        return (rounds, 100 * values) if numpy.isfinite(values).any() else None

    return share_over_rounds(axes, groups, share, "% of the ranks' time")


def busy(axes, groups):
    """Each rank's share of work in generation (of one run), or the mean of the ranks."""
    run, drawn = single(groups), False
    for i, group in enumerate(groups):
        for kind, marker in (("generate", "o"), ("evaluate", "s")):
            for one in group.runs:
                chosen = one.sweeps["kind"] == kind
                rounds, by_rank = one.sweeps["round"][chosen], 100 * one.sweeps["busy_by_rank"][chosen]
                if not numpy.isfinite(by_rank).any():
                    continue
                if run:
                    width = 0.5 / by_rank.shape[1]
                    for rank in range(by_rank.shape[1]):
                        axes.plot(rounds + (rank - (by_rank.shape[1] - 1) / 2) * width, by_rank[:, rank], marker,
                                  color=color({"generate": 1,
                                               "evaluate": 2}[kind]), alpha=0.75, label=None if rank else kind)
                elif kind == "generate":
                    axes.plot(rounds, by_rank.mean(axis=1), marker, color=color(i), alpha=0.75,
                              label=group.label if one is group.runs[0] else None)
                drawn = True
    axes.set_ylim(0, 105)
    rounds_axis(axes)
    axes.set_ylabel("% of the rank's time")
    if drawn:
        axes.legend(loc="lower left")
    return drawn


def memory(axes, groups):
    """Of the first run of each setting, largest names first."""
    runs = [group.runs[0] for group in groups]
    most = {}
    for run in runs:
        for name, size in run.memory.items():
            most[name] = max(size, most.get(name, 0))
    names = sorted(most, key=most.get, reverse=True)[:9]
    if not names:
        return False
    y = numpy.arange(len(names))
    for i, run in enumerate(runs):
        sizes = [run.memory.get(name, 0) / 2**20 for name in names]
        axes.barh(y + (i - (len(runs) - 1) / 2) * 0.8 / len(runs), sizes, 0.8 / len(runs), color=color(i),
                  label=groups[i].label, linewidth=0)
    axes.set_yticks(y, names)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.set_xlabel("MiB at the most, on the rank where it was most")
    legend(axes, groups)
    return True


SECTIONS = {
    "Training": [
        Chart("loss", "Training loss",
              "Mean over a step's target tokens; the line is a running mean, the band what single steps reach.",
              over_steps("loss", "nats per target token"),
              ("Training loss", "Running means of a step's loss over its target tokens.")),
        Chart("learning_rate", "Learning rate", "", over_steps("learning_rate", "learning rate", smoothing=False)),
        Chart("grad_norm", "Gradient norm", "Global norm before clipping, on a logarithmic axis.",
              over_steps("grad_norm", "norm", scale="log")),
        Chart("validation_nll", "Loss on text not trained on",
              "Gold context, per answer token. Choices are made on validation text alone.",
              over_rounds({"validation_nll": "validation", "forced_nll": "held-out"},
                          "nats per token"), ("Loss on validation text", "Gold context, per answer token.")), ],
    "The gap between training and inference": [
        Chart("forced_accuracy", "Accuracy of the next token",
              "Argmax predictions on gold context against gold, held-out.",
              over_rounds({"forced_accuracy": "forced accuracy"}, "share of tokens")),
        Chart(
            "agreement", "Agreement with gold",
            "LCS F1 over words: the model's own text (free), predictions on gold context (forced), and the model's "
            "text against another example's gold (chance). From round 1 on: an untrained model's forced predictions "
            "repeat what they read.",
            over_rounds({"free_agreement": "free", "forced_agreement": "forced", "chance_agreement": "chance"},
                        "LCS F1", least_round=1),
            ("Free agreement with gold", "LCS F1 over words of the model's own text.")),
        Chart("gap", "Gap: forced − free agreement",
              "Paired over examples. Above 0 the model does better where it reads gold. From round 1 on.",
              over_rounds({"gap": "gap"}, "difference", zero=True, least_round=1)),
        Chart("context_gap", "What the own context costs",
              "−log p of gold on the model's own context, less that on gold context, at the same positions.",
              over_rounds({"context_gap": "context gap"}, "nats per token", zero=True)),
        Chart("prefix_shift", "How it goes on after its own tokens",
              "Agreement with gold of what follows l gold tokens, less that of what follows l own tokens (prefix "
              "shift).",
              over_rounds({"prefix_shift": "prefix shift"}, "difference of LCS F1", zero=True, least_round=1)),
        Chart("rougeL", "ROUGE-L of answers",
              "Greedy answers against gold, F1; after a correction turn where there was one.",
              over_rounds({"rougeL": "answer", "rougeL_turn1": "after one correction"},
                          "F1"), ("ROUGE-L of answers", "Greedy answers against gold, F1, without a correction turn.")),
        Chart("exact_match", "Exact match of answers", "By the deck's rule (evaluate.extract).",
              over_rounds({"exact_match": "answer", "exact_match_turn1": "after one correction"}, "share of examples")),
        Chart(
            "rates", "Correction and corruption",
            "Of answers that were wrong, those that a correction made right; of right ones, those that it made wrong.",
            rates, ("Correction rate", "Of answers that were wrong, those that a correction made right.")),
    ], "Error by answer position": [
        Chart("nll_by_position", "Loss on gold context", "After each evaluation, the last darkest.",
              by_position("forced_nll", "nats per token"), ("Loss on gold context", "After the last evaluation.")),
        Chart("context_gap_by_position", "What the own context costs",
              "The same for −log p of gold on the model's own context, less that on gold context.",
              by_position("context_gap", "nats per token",
                          zero=True), ("What the own context costs", "After the last evaluation.")),
    ], "Time and machine": [
        Chart("sweep_times", "Time of sweeps", "By round; round 0 is the evaluation that opens the run.", sweep_times,
              ("Time of sweeps", "Of a whole run, mean over seeds.")),
        Chart("generation_share", "Share that generation takes", "Of all sweeps of a round.", generation_share),
        Chart(
            "throughput", "Tokens per second",
            "Training: tokens read in forward and backward passes. Generation: tokens made.", throughput,
            ("Tokens per second",
             "Full line: training, tokens read in forward and backward passes. Broken line: generation, tokens made.")),
        Chart("checkpoints", "Checkpoint stalls", "How long each checkpoint held the run up.", checkpoints),
        Chart("communication", "Exposed communication",
              "In training, share of the ranks' time that no computation hid.", communication),
        Chart("busy", "Ranks at work", "A mark for each rank; the rest it idled.", busy,
              ("Ranks at work in generation", "Means of the ranks; the rest they idled.")),
        Chart("memory", "Memory by purpose", "", memory, ("Memory by purpose", "Of the first seed of each setting.")),
    ], }
CHARTS = {chart.name: chart for charts in SECTIONS.values() for chart in charts}
