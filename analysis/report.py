# SPDX-License-Identifier: Apache-2.0
"""The report: one HTML file that needs nothing else."""
import html
import json
import math
import os
import pathlib
import re

import numpy

from . import compare
from .charts import SECTIONS
from .errors import AnalysisError
from .groups import group_runs, tasks_of
from .samples import ORIGINS, Samples
from .style import panel, role_of, svg
from .tables import comparison_blocks, round_table, written_by

PAGE = pathlib.Path(__file__).parent / "page"
MOST_SAMPLES = 240  # of the token view of all runs together
LEAST_OF_ROUND = 2
ROUNDS_SHOWN = 12  # in the table of rounds; where there are more than twice as many the others are folded away


def build(runs, baseline=None, samples=20, warn=print):
    """The page's text. `samples`: examples of a round in the token view at the most; fewer where runs and rounds are
    many. `warn` is told of files that cannot be read; the page says so too."""
    tasks = {task: group_runs(members) for task, members in tasks_of(runs).items()}
    body, contents = [_head(runs)], []

    def section(title, text):
        if text:
            anchor = re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")
            contents.append(f'<a href="#{anchor}">{html.escape(title)}</a>')
            body.append(f'<section id="{anchor}"><h2>{html.escape(title)}</h2>{text}</section>')

    if len(runs) == 1:
        section(
            "Rounds",
            _rounds(runs[0]) + '<p class="note">Loss: mean of the round\'s steps, in nats per target token. The others '
            "are of the evaluation behind the round, on held-out examples, with 95% intervals (bootstrap over "
            "examples).</p>"
        )
    else:
        section("Comparison", _comparison(runs, baseline))
    for title in SECTIONS:
        section(title, "".join(_charts(title, groups, task) for task, groups in tasks.items()))
    section("Tokens", _tokens(runs, samples, warn))
    decks = [_deck(group.runs[0], len(runs) == 1) for groups in tasks.values() for group in groups]
    section("Deck and events", "".join(decks) + "".join(_events(run) for run in runs[:8]))
    title = f"Selvage: {runs[0].folder.resolve().name}" if len(runs) == 1 else f"Selvage: {len(runs)} runs"
    body.insert(1, "<nav>" + "".join(contents) + "</nav>")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{html.escape(title)}</title><style>{(PAGE / "report.css").read_text()}</style></head>\n<body><main>'
        + "\n".join(body) + f'</main>\n<script>{(PAGE / "report.js").read_text()}</script></body></html>\n')


def write(path, text):
    """Whole or not at all."""
    path = pathlib.Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise AnalysisError(74, f"{path}: cannot be written ({error.strerror}); give another place with -o") from error


def _head(runs):
    if len(runs) == 1:
        return _head_of_one(runs[0])
    tasks = {task: group_runs(members) for task, members in tasks_of(runs).items()}
    labels = list(dict.fromkeys(group.label for groups in tasks.values() for group in groups))
    seeds = sorted({run.seed for run in runs})
    facts = [("runs", str(len(runs)), ""), ("settings", str(len(labels)), ", ".join(labels)),
             ("seeds", str(len(seeds)), ", ".join(map(str, seeds[:12])))]
    if len(tasks) > 1:
        facts.append(("tasks", str(len(tasks)), ", ".join(tasks)))
    going = [run for run in runs if run.state != "finished"]
    facts.append(
        ("finished", f"{len(runs) - len(going)} of {len(runs)}", ", ".join(run.folder.name for run in going[:4])))
    facts.append(("time of all sweeps", _duration(sum(numpy.nansum(run.sweeps["seconds"]) for run in runs)), ""))
    return f'<h1>{len(runs)} runs compared</h1><p class="lead">{html.escape(written_by(runs))}</p>' + _facts(facts)


def _head_of_one(run):
    planned = run.key("run.rounds", run.rounds)
    steps = run.steps
    times = {kind: run.seconds_of(kind) for kind in ("generate", "weave", "train", "evaluate")}
    whole = sum(times.values())
    facts = [("state", run.state, f"round {run.rounds} of {planned}, {len(steps['step'])} steps"),
             ("trained on", f"{_count(run.tokens_of('train'))} tokens",
              f"{_count(int(steps['target_tokens'].sum()))} of them targets"),
             ("generated", f"{_count(run.tokens_of('generate'))} tokens", "for training"),
             ("time of sweeps", _duration(whole),
              f"generation {100 * times['generate'] / whole:.0f}%, training {100 * times['train'] / whole:.0f}%"
              if whole else "")]
    for name, text in (("forced_accuracy", "forced accuracy"), ("free_agreement", "free agreement"), ("gap", "gap"),
                       ("rougeL", "ROUGE-L"), ("exact_match", "exact match")):
        metric = run.metric(name)
        if metric is None or not len(metric.value) or math.isnan(metric.value[-1]):
            continue
        if name == "exact_match" and not metric.value.any():
            continue
        value, low, high = (compare.number(float(column[-1]), 3) for column in (metric.value, metric.low, metric.high))
        facts.append((text, value, f"[{low}, {high}] after round {metric.round[-1]}"))
    data = ", ".join(path.name for path in run.deck_paths("data.train"))
    lead = html.escape(f"{run.method}; seed {run.seed}; data {data}. {written_by([run])}")
    return f'<h1>{html.escape(run.folder.resolve().name)}</h1><p class="lead">{lead}</p>' + _facts(facts)


def _facts(facts):
    return '<dl class="facts">' + "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}<small>{html.escape(note)}</small></dd></div>"
        for name, value, note in facts) + "</dl>"


def _count(number):
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def _duration(seconds):
    seconds = float(seconds)
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _table(columns, rows, words=1, mark=None):
    """`words`: how many of the first columns are words; `mark`: the cell that makes a row the baseline's."""

    def cell(name, i, text):
        text = re.sub(r" (\[.*?\]|\([+−].*?\))", r" <small>\1</small>", html.escape(str(text)))
        return f'<{name}{" class=word" if i < words else ""}>{text}</{name}>'

    lines = ["<tr>" + "".join(cell("th", i, name) for i, name in enumerate(columns)) + "</tr>"]
    lines += [
        f'<tr{" class=baseline" if mark is not None and mark in row else ""}>'
        + "".join(cell("td", i, text) for i, text in enumerate(row)) + "</tr>" for row in rows]
    return '<div class="scroll"><table>' + "".join(lines) + "</table></div>"


def _rounds(run):
    columns, rows = round_table(run, digits=3)
    if len(rows) <= 2 * ROUNDS_SHOWN:
        return _table(columns, rows, words=2)
    return (
        _table(columns, rows[-ROUNDS_SHOWN:], words=2) +
        f"<details><summary>The {len(rows) - ROUNDS_SHOWN} rounds before</summary>"
        f"{_table(columns, rows[:-ROUNDS_SHOWN], words=2)}</details>"
    )


def _comparison(runs, baseline):
    """Overviews open, the tables of single metrics folded away."""
    parts, folded = [], []

    def unfold():
        if folded:
            parts.append("<details><summary>Intervals and p-values of each metric</summary>" + "".join(folded)
                         + "</details>")
            folded.clear()

    for level, heading, note, columns, rows in comparison_blocks(runs, baseline):
        into = folded if level > 2 else parts
        if level == 2:
            unfold()
        into.append(f"<h3>{html.escape(heading)}</h3>")
        into += [f'<p class="note">{html.escape(note)}</p>'] if note else []
        into += [_table(columns, rows, mark="baseline")] if rows else []
    unfold()
    return "".join(parts)


def _charts(section, groups, task):
    found, labels = [], {group.label for group in groups}
    for chart in SECTIONS[section]:

        def draw(axes):
            drawn = chart.draw(axes, groups)
            legend = axes.get_legend()
            if legend and {text.get_text() for text in legend.get_texts()} <= labels:
                legend.remove()  # the section has one
            return drawn

        figure = panel(draw)
        if figure is not None:
            title, caption = chart.texts(groups)
            caption = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
            found.append(
                f'<figure data-chart="{chart.name}"><h3>{html.escape(title)}</h3>'
                f"{svg(figure, html.escape(title, quote=True))}{caption}</figure>"
            )
    if not found:
        return ""
    heading = f"<h3>{html.escape(task)}</h3>" if task else ""
    return f'{heading}{_legend(groups)}<div class="charts">' + "".join(found) + "</div>"


def _legend(groups):
    if len(groups) == 1 and len(groups[0].runs) == 1:
        return ""
    seeds = "Lines are means over seeds, bands go from the least to the largest." if any(
        len(group.runs) > 1 for group in groups) else ""
    return '<p class="legend">' + "".join(
        f'<span><i style="background:var(--{role_of(i)})"></i>{html.escape(group.label)}</span>'
        for i, group in enumerate(groups)) + f"<span>{seeds}</span></p>"


def _tokens(runs, count, warn):
    data = {"runs": [], "origins": ORIGINS, "pieces": [], "samples": []}
    notes = []
    runs = _spread(runs)
    each = max(1, MOST_SAMPLES // len(runs))
    for number, run in enumerate(runs):
        data["runs"].append(f"{run.method}, seed {run.seed}" if len(runs) > 1 else run.folder.name)
        try:
            with Samples(run) as source:
                notes += [source.note] if source.note and source.note not in notes else []
                pieces = _Pieces(data["pieces"], source.tokenizer)
                rounds = _spread_rounds(source.rounds, each // LEAST_OF_ROUND - 1)
                of_round = min(count, max(LEAST_OF_ROUND, each // (len(rounds) + 1)))
                for one in rounds:
                    data["samples"] += [_sample(sample, number, pieces) for sample in source.of_round(one, of_round)]
                data["samples"] += [_sample(sample, number, pieces) for sample in source.heldout(of_round)]
        except AnalysisError as error:
            notes.append(f"Not all examples could be read: {error}")
            warn(notes[-1])
    text = "".join(f'<p class="note">{html.escape(note)}</p>' for note in notes)
    if not data["samples"]:
        return text + "<p>No drafts or woven files yet.</p>"
    filters = "".join(f'<label>{key} <select id="filter-{key}"><option value="">all</option></select></label>\n'
                      for key in ("run", "round", "method", "outcome") if key != "run" or len(runs) > 1)
    encoded = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return (
        text +
        "<p>What the model read and wrote, token by token: some examples of each round, spread over its files. "
        "Under BASH <i>read</i> is the context "
        "of the training example; under RAC it is prompt, draft and template. The loss is on gold alone.</p>" +
        (PAGE / "tokens.html").read_text().replace("{filters}", filters)
        + f'<script type="application/json" id="samples">{encoded}</script>')


def _spread(runs):
    """At most one run of each setting and a dozen in all."""
    return [group.runs[0] for members in tasks_of(runs).values() for group in group_runs(members)][:12]


def _spread_rounds(rounds, most):
    """At most so many rounds (one at least) spread over all, the last among them."""
    most = max(1, min(most, len(rounds)))
    return sorted({rounds[len(rounds) - 1 - i * len(rounds) // most] for i in range(most)}) if rounds else []


class _Pieces:
    """Numbers for the tokens that a page uses; each stands in it once."""

    def __init__(self, pieces, tokenizer):
        self._pieces, self._tokenizer, self._numbers = pieces, tokenizer, {}

    def number(self, token):
        token = int(token)
        if token not in self._numbers:
            self._numbers[token] = len(self._pieces)
            piece = {"text": self._tokenizer.show(token), "id": token}
            self._pieces.append({**piece, "special": 1} if token in self._tokenizer.special else piece)
        return self._numbers[token]

    def text(self, tokens):
        return "".join(self._tokenizer.show(token) for token in tokens)


def _sample(sample, run, pieces):
    lines = []
    for line in sample.lines:
        entry = {
            "name": line.name, "tokens": [pieces.number(token) for token in line.tokens],
            "origin": "".join(map(str, line.origin.tolist()))}
        if numpy.isfinite(line.logprob).any():
            entry["surprise"] = [round(-10 * float(value)) if math.isfinite(value) else None for value in line.logprob]
        if line.gold:
            entry["gold"] = {str(i): pieces.text(tokens) for i, tokens in line.gold.items()}
        lines.append(entry)
    return {
        "run": run, "round": sample.round, "method": sample.method, "example": sample.example, "sample": sample.sample,
        "outcome": sample.outcome, "lines": lines}


def _deck(run, is_only):
    name = "The effective deck" if is_only else f"Deck of {run.method}, {run.folder}"
    return f"<details><summary>{html.escape(name)}</summary><pre>{html.escape(run.deck_text)}</pre></details>"


def _events(run):
    rows = [(kind, time, text) for time, kind, text in run.events]
    sizes, stalls, writing = (run.checkpoints[name] for name in ("bytes", "stall_seconds", "write_seconds"))
    note = ""
    if len(sizes):
        note = (
            f'<p class="note">{len(sizes)} checkpoints of {sizes[-1] / 2**20:.1f} MiB held the run up for '
            f"{stalls.sum():.2f} s in all, {stalls.max():.2f} s at the longest, and were written at "
            f"{numpy.median(sizes / writing) / 1e6:.0f} MB/s.</p>")
    shown = rows if len(rows) <= 200 else rows[:20] + rows[-180:]
    table = _table(("kind", "time", "event"), shown, words=3)
    return f"<details><summary>Events of {html.escape(run.folder.name)} ({len(rows)})</summary>{note}{table}</details>"
