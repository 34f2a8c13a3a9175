# SPDX-License-Identifier: Apache-2.0
"""Settings against a baseline: means over seeds, intervals and paired significance.

Over seeds: runs of the same seed are pairs (same start, same data order); the interval of a mean is Student's t over
seeds, that of a difference and its p are a paired t test. Over examples: where every run has answered or scored the
held-out set after its end (OUT/heldout/, see analysis/README.md), each example's difference to the baseline is averaged
over the seeds and resampled over examples (paired bootstrap): it speaks for these trained models, not for other seeds.
p-values are adjusted by Holm's method for the number of settings that are held against the baseline in one metric."""
import dataclasses
import math

import numpy

from .errors import USAGE, AnalysisError, bad_data
from .files import SelvageFile
from .statistics import holm, mean_interval, paired_bootstrap, paired_t
from .text_scores import is_right, lcs_f1, rouge_l
from .tokenizer import Tokenizer

# Metric -> whether more is better; those of the run log that are compared unless others are asked for.
METRICS = {
    "forced_nll": False, "forced_accuracy": True, "free_agreement": True, "free_agreement_sampled": True, "gap": False,
    "context_gap": False, "rougeL": True, "rougeL_turn1": True, "exact_match": True, "exact_match_turn1": True,
    "correction_rate": True, "corruption_rate": False}
NOT_A_NUMBER = (math.nan,) * 4


@dataclasses.dataclass
class Entry:
    """One setting in one metric. mean, low, high: over seeds, or of the one run over examples (`over` says which, and
    is "" without an interval); difference: (mean, low, high, p) to the baseline; adjusted: p after Holm; pairs: how
    many."""
    label: str
    count: int
    mean: float
    low: float
    high: float
    over: str
    difference: tuple = NOT_A_NUMBER
    adjusted: float = math.nan
    pairs: int = 0


@dataclasses.dataclass
class Comparison:
    """One metric: entries in the order of the groups, the baseline among them."""
    metric: str
    more_is_better: bool
    unit: str  # "seeds" or "examples"
    entries: list


def baseline_of(groups, wanted=None):
    """The group of that label; without a wish plain training, else the first."""
    labels = [group.label for group in groups]
    if wanted is None:
        wanted = "none" if "none" in labels else labels[0]
    if wanted not in labels:
        raise AnalysisError(USAGE, f"no setting is called {wanted!r}; there are: {', '.join(labels)}")
    return labels.index(wanted)


def last_common_round(groups):
    """The last round after which every run was evaluated; None where there is none."""
    rounds = [
        set(run.metric(name).round.tolist()) for group in groups for run in group.runs for name in run.metric_names[:1]]
    common = set.intersection(*rounds) if rounds else set()
    return max(common) if common else None


def at_round(run, name, round_number):
    """(value, low, high) of a metric after a round; NaN where it was not measured."""
    metric = run.metric(name)
    found = [] if metric is None else numpy.nonzero(metric.round == round_number)[0]
    return (math.nan,) * 3 if len(found) == 0 else tuple(
        float(column[found[-1]]) for column in (metric.value, metric.low, metric.high))


def compare_seeds(groups, baseline, round_number, metrics=None):
    """Comparisons of the run logs' metrics after a round, those that any run has."""
    result = []
    for name, more in (metrics or METRICS).items():
        cells = [{run.seed: at_round(run, name, round_number) for run in group.runs} for group in groups]
        values = [value for cell in cells for value, _, _ in cell.values() if not math.isnan(value)]
        if not values or (metrics is None and not any(values)):
            continue
        entries = [
            _seed_entry(group, cell, cells[baseline], i == baseline)
            for i, (group, cell) in enumerate(zip(groups, cells))]
        result.append(_adjusted(Comparison(name, more, "seeds", entries)))
    return result


def _seed_entry(group, cell, base, is_baseline):
    there = [cells for cells in cell.values() if not math.isnan(cells[0])]
    mean, low, high = mean_interval([cells[0] for cells in there])
    over = "seeds"
    if len(there) == 1:
        low, high, over = *there[0][1:], "examples"
    entry = Entry(group.label, len(there), mean, low, high, over if there else "")
    if not is_baseline:
        pairs = [cell[seed][0] - base[seed][0] for seed in cell if seed in base]
        pairs = [pair for pair in pairs if not math.isnan(pair)]
        entry.difference, entry.pairs = paired_t(pairs), len(pairs)
    return entry


def _adjusted(comparison):
    for entry, value in zip(comparison.entries, holm([entry.difference[3] for entry in comparison.entries])):
        entry.adjusted = float(value)
    return comparison


def heldout_examples(run):
    """Score by held-out example, metric -> {example: value}, of what OUT/heldout/ has: from scores.h5 (`selvage score`)
    nll, the mean -log p of the answer's tokens; from drafts.h5 (`selvage generate`) of the first answers agreement (LCS
    F1), rougeL and right, and the same after the last correction turn (`..._corrected`)."""
    paths = run.deck_paths("data.heldout")
    folder = run.folder / "heldout"
    if len(paths) != 1 or not folder.is_dir():
        return {}
    found = {}
    with SelvageFile(paths[0], "selvage-data") as data:
        if (folder / "scores.h5").exists():
            found["nll"] = _answer_nll(folder / "scores.h5", data)
        if (folder / "drafts.h5").exists():
            found.update(_answer_scores(folder / "drafts.h5", data, run))
    return found


def _answer_nll(path, data):
    with SelvageFile(path, "selvage-scores") as scores:
        offsets, prompts = data.read("/offsets"), data.read("/prompt_length")
        if not numpy.array_equal(scores.read("/offsets"), offsets):
            raise bad_data(f"{path}: not the scores of {data.path} (other lengths); score that file again")
        sums = numpy.concatenate([[0.0], numpy.cumsum(scores.read("/logprob"), dtype=float)])
    begins, ends = offsets[:-1] + prompts, offsets[1:]
    return dict(enumerate(((sums[begins] - sums[ends]) / (ends - begins)).tolist()))


def _answer_scores(path, data, run):
    tokenizer = Tokenizer.of_file(data.path)
    rule, likeness = run.key("evaluate.extract", "all"), run.key("evaluate.right_rougeL", 0)
    golds = _Texts(data, tokenizer, data.read("/prompt_length"))
    found = {}
    with SelvageFile(path, "selvage-drafts") as file:
        example, sample, turn = (file.read(name) for name in ("/example", "/sample", "/turn"))
        texts, last = _Texts(file, tokenizer), int(turn.max()) if len(turn) else 0
        for row in numpy.nonzero((sample == 0) & ((turn == 0) | (turn == last)))[0].tolist():
            number = int(example[row])
            if not 0 <= number < golds.rows:
                raise bad_data(
                    f"{path}: answers example {number}, {data.path} has {golds.rows}; answer that file again")
            text, gold = texts.of(row), golds.of(number)
            values = {
                "agreement": lcs_f1(text, gold), "rougeL": rouge_l(text, gold),
                "right": float(is_right(text, gold, rule, likeness))}
            for name, value in values.items():
                found.setdefault(name if turn[row] == 0 else f"{name}_corrected", {})[number] = value
    return found


class _Texts:
    """Rows of a file as text, from their `skip`th token on. All tokens are read: all rows are asked for."""

    def __init__(self, file, tokenizer, skip=None):
        self._tokenizer, self._tokens, offsets = tokenizer, file.read("/tokens").tolist(), file.read("/offsets")
        self._begins = (offsets[:-1] if skip is None else offsets[:-1] + skip).tolist()
        self._ends = offsets[1:].tolist()
        self.rows = len(self._ends)

    def of(self, row):
        return self._tokenizer.decode(self._tokens[self._begins[row]:self._ends[row]])


HELDOUT = {
    "nll": False, "agreement": True, "agreement_corrected": True, "rougeL": True, "rougeL_corrected": True,
    "right": True, "right_corrected": True}


def compare_examples(groups, baseline):
    """(comparisons over held-out examples, note): none, with the reason, where not all runs have OUT/heldout/."""
    try:
        tables = [{run.seed: heldout_examples(run) for run in group.runs} for group in groups]
    except AnalysisError as error:
        return [], f"No comparison by example: {error}."
    if not all(table for cells in tables for table in cells.values()):
        return [], "No comparison by example: not every run has answers or scores of the held-out set (OUT/heldout/)."
    result = []
    for name, more in HELDOUT.items():
        if not all(name in table for cells in tables for table in cells.values()):
            continue
        examples = sorted(set.intersection(*(set(table[name]) for cells in tables for table in cells.values())))
        values = [{seed: numpy.array([table[name][e] for e in examples])
                   for seed, table in cells.items()} for cells in tables]
        entries = [
            _example_entry(group, cells, values[baseline], i == baseline)
            for i, (group, cells) in enumerate(zip(groups, values))]
        result.append(_adjusted(Comparison(name, more, "examples", entries)))
    return result, ""


def _example_entry(group, cells, base, is_baseline):
    mean, low, high, _ = paired_bootstrap(numpy.mean(list(cells.values()), axis=0))
    entry = Entry(group.label, len(cells), mean, low, high, "examples")
    seeds = [seed for seed in cells if seed in base]
    if not is_baseline and seeds:
        differences = numpy.mean([cells[seed] - base[seed] for seed in seeds], axis=0)
        entry.difference, entry.pairs = paired_bootstrap(differences), len(differences)
    return entry


COST_COLUMNS = ("setting", "seeds", "steps", "tokens trained on", "of them targets", "tokens generated", "training s",
                "generation s", "generation's share", "evaluation s")


def costs(groups):
    """Rows under COST_COLUMNS, means over a setting's runs. "tokens trained on": read in forward and backward passes;
    the share is generation's of generation, weaving and training."""
    rows = []
    for group in groups:

        def mean(read):
            return float(numpy.mean([read(run) for run in group.runs]))

        parts = {kind: mean(lambda run: run.seconds_of(kind)) for kind in ("generate", "weave", "train", "evaluate")}
        round_time = parts["generate"] + parts["weave"] + parts["train"]
        rows.append(
            (group.label, str(len(group.runs)), f"{mean(lambda run: len(run.steps['step'])):.0f}",
             f"{mean(lambda run: run.tokens_of('train')):,.0f}",
             f"{mean(lambda run: run.steps['target_tokens'].sum()):,.0f}",
             f"{mean(lambda run: run.tokens_of('generate')):,.0f}", f"{parts['train']:.1f}", f"{parts['generate']:.1f}",
             f"{100 * parts['generate'] / round_time if round_time else 0:.0f}%", f"{parts['evaluate']:.1f}"))
    return rows


def number(value, digits=4):
    return "–" if math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def signed(value, digits=4):
    return number(value, digits) if math.isnan(value) or value < 0 else "+" + number(value, digits)


def interval(low, high, show=number):
    return "" if math.isnan(low) or math.isnan(high) else f"[{show(low)}, {show(high)}]"


def p_value(value):
    return "–" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


ENTRY_COLUMNS = ("setting", "n", "mean", "95% interval", "difference", "95% interval", "p", "p (Holm)")


def entry_rows(comparison, baseline):
    """Rows under ENTRY_COLUMNS, as texts."""
    rows = []
    for i, entry in enumerate(comparison.entries):
        mark = " *" if entry.over == "examples" and comparison.unit == "seeds" else ""
        row = [entry.label, str(entry.count), number(entry.mean), interval(entry.low, entry.high) + mark]
        mean, low, high, p = entry.difference
        row += ["baseline", "", "", ""] if i == baseline else [
            signed(mean), interval(low, high, signed),
            p_value(p), p_value(entry.adjusted)]
        rows.append(row)
    return rows
