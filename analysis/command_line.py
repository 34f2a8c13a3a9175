# SPDX-License-Identifier: Apache-2.0
"""The commands of python3 -m analysis."""
import argparse
import contextlib
import os
import pathlib
import sys

from . import report, tables
from .charts import CHARTS
from .errors import IO, USAGE, AnalysisError, missing
from .groups import group_runs, tasks_of
from .run import Run
from .samples import Samples
from .style import PANEL, SETTINGS
from .tokenizer import Tokenizer

ANSI = {0: "", 1: "\033[33m", 2: "\033[36m", 3: "\033[35m"}  # prompt, gold, own, template


class Parser(argparse.ArgumentParser):

    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: error: {message}\n")


def parser():
    top = Parser(prog="python3 -m analysis", description="Looks at output folders of selvage run, also while it runs.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    def command(function, name, text, many=True):
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(function=function)
        added.add_argument(
            "folders" if many else "folder", nargs="+" if many else None, metavar="OUT_DIR",
            help="output folder of a run" +
            (" (several are compared: settings by name, seeds as bands)" if many else ""))
        return added

    added = command(make_report, "report", "one HTML file: summary, charts, tokens")
    added.add_argument("-o", "--output", default="report.html", metavar="FILE", help="where to (report.html)")
    added.add_argument("--samples", type=int, default=20, metavar="N",
                       help="examples of a round in the token view, at the most (20)")
    added.add_argument("--baseline", metavar="NAME",
                       help="the setting that others are held against (none, else the first)")
    added = command(print_table, "table", "a row for each round: loss and metrics with 95%% intervals")
    added.add_argument("--metrics", metavar="A,B,...", help="metrics of the run log to show")
    added.add_argument("--csv", action="store_true", help="comma-separated")
    added = command(plot, "plot", "charts into a PNG, SVG or PDF file")
    added.add_argument("-o", "--output", default="plot.png", metavar="FILE",
                       help="where to; its ending says what (plot.png)")
    added.add_argument("--charts", default="loss,agreement,gap,rougeL", metavar="A,B,...",
                       help="which of: " + ", ".join(CHARTS))
    added = command(print_samples, "samples", "examples of a round as text, tokens coloured by origin", many=False)
    added.add_argument("--round", type=int, metavar="R", help="the round (the last); 0: OUT_DIR/heldout/")
    added.add_argument("--count", type=int, default=5, metavar="N", help="how many (5)")
    added.add_argument("--seed", type=int, default=1, help="other examples (1)")
    added.add_argument("--example", type=int, metavar="ROW", help="this example of the data alone")
    added.add_argument("--outcome", metavar="TEXT", help="those whose outcome has this text in it: wrong, differ, ...")
    added = command(print_comparison, "compare",
                    "settings against a baseline: means, 95%% intervals, paired significance")
    added.add_argument("--baseline", metavar="NAME",
                       help="the setting that others are held against (none, else the first)")
    added.add_argument("--metrics", metavar="A,B,...", help="metrics of the run log to compare")
    return top


def make_report(arguments):
    text = report.build(open_runs(arguments.folders), arguments.baseline, max(1, arguments.samples),
                        lambda warning: print(f"analysis: warning: {warning}", file=sys.stderr))
    report.write(arguments.output, text)
    print(f"{arguments.output}: {len(text.encode()) / 2**20:.2f} MiB")


def print_table(arguments):
    runs = open_runs(arguments.folders)
    check_metrics(arguments.metrics, runs)
    wanted = arguments.metrics.split(",") if arguments.metrics else None
    if arguments.csv:
        found = [tables.round_csv(run, wanted or tables.ROUND_METRICS) for run in runs]
        print(tables.separated(found[0][0], [row for _, rows in found for row in rows]))
        return
    for run in runs:
        columns, rows = tables.round_table(run, wanted)
        if len(runs) > 1:
            columns, rows = ["run", *columns], [[str(run.folder), *row] for row in rows]
        print(tables.markdown(columns, rows) + "\n")


def plot(arguments):
    import matplotlib
    from matplotlib.figure import Figure
    names = arguments.charts.split(",")
    unknown = [name for name in names if name not in CHARTS]
    if unknown:
        raise AnalysisError(USAGE, f"no chart is called {', '.join(unknown)}; there are: {', '.join(CHARTS)}")
    tasks = {task: group_runs(members) for task, members in tasks_of(open_runs(arguments.folders)).items()}
    columns = min(2, len(names))
    cells = [(task, groups, CHARTS[name]) for task, groups in tasks.items() for name in names]
    rows = -(-len(cells) // columns)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).flatten()
        for place, (task, groups, chart) in zip(axes, cells):
            place.set_title(f"{task}: {chart.title}" if task else chart.title)
            if not chart.draw(place, groups):
                place.text(0.5, 0.5, "nothing in these runs", ha="center", transform=place.transAxes)
        for place in axes[len(cells):]:
            place.set_axis_off()
        try:
            figure.savefig(arguments.output, dpi=200)
        except (OSError, ValueError) as error:
            raise AnalysisError(
                IO, f"{arguments.output}: cannot be written ({error}); give another file with -o") from error
    print(arguments.output)


def print_samples(arguments):
    run = Run(arguments.folder)
    with Samples(run) as source:
        if source.note:
            print(source.note, file=sys.stderr)
        for sample in chosen_samples(source, arguments):
            where = f"round {sample.round}" if sample.round else "held-out"
            print(f"== {where}, {sample.method}, example {sample.example}, sample {sample.sample}: {sample.outcome}")
            for line in sample.lines:
                print(f"{line.name:>12}  {coloured(line, source.tokenizer)}")


def chosen_samples(source, arguments):
    if not source.rounds and arguments.round != 0:
        raise missing(f"{source.run.folder}: no drafts and no woven files yet")
    number = source.rounds[-1] if arguments.round is None else arguments.round
    if number != 0 and number not in source.rounds:
        raise missing(
            f"{source.run.folder}: nothing of round {number}; there are {source.rounds[0]} to {source.rounds[-1]}")
    many = arguments.count * (40 if arguments.outcome else 1)
    if arguments.example is not None and number:
        found = source.example(number, arguments.example)
    else:
        found = source.of_round(number, many, arguments.seed) if number else source.heldout(many, arguments.seed)
    if arguments.outcome:
        found = [sample for sample in found if arguments.outcome in sample.outcome]
    return found[:arguments.count]


def coloured(line, tokenizer: Tokenizer):
    """Own tokens that differ are followed by what gold has, in brackets, where the output is not a terminal's."""
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    text = ""
    for i, token in enumerate(line.tokens):
        shown = tokenizer.show(token).replace("\n", "↵")
        if i in line.gold and (i == 0 or line.gold[i] != line.gold.get(i - 1) or len(line.gold[i]) == 1):
            shown += "{" + "".join(tokenizer.show(t) for t in line.gold[i]).replace("\n", "↵") + "}"
        text += f"{ANSI[int(line.origin[i])]}{shown}\033[0m" if colours else shown
    return text


def print_comparison(arguments):
    runs = open_runs(arguments.folders)
    check_metrics(arguments.metrics, runs)
    metrics = {name: tables.compare.METRICS.get(name, True)
               for name in arguments.metrics.split(",")} if arguments.metrics else None
    text = tables.comparison_text(tables.comparison_blocks(runs, arguments.baseline, metrics))
    print(f"{tables.written_by(runs)}\n\n{text}")


def check_metrics(text, runs):
    known = sorted({name for run in runs for name in run.metric_names})
    unknown = [name for name in (text.split(",") if text else []) if name not in known]
    if unknown:
        raise AnalysisError(USAGE, f"no metric is called {', '.join(unknown)}; there are: {', '.join(known)}")


def open_runs(folders):
    return [Run(pathlib.Path(folder)) for folder in folders]


def main(words=None):
    """The exit code."""
    arguments = parser().parse_args(words)
    try:
        with contextlib.suppress(BrokenPipeError):
            arguments.function(arguments)
        return 0
    except AnalysisError as error:
        print(f"analysis: error: {error}", file=sys.stderr)
        return error.code
