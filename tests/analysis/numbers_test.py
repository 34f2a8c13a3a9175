# SPDX-License-Identifier: Apache-2.0
"""Statistics, scores, groups and tables against values worked out otherwise."""
import json
import math
import shutil
import unittest

import numpy
from helpers import ROOT, temporary, write_run

from analysis import Run, compare, groups, statistics, tables, text_scores
from analysis.charts import smooth, thin

DECK = """
[run]
seed = {seed}
rounds = 2
out = "/x/{seed}"
[data]
heldout = ["{heldout}"]
[model]
from = "/starts-1/seed-{seed}/step-010.h5"
[weave]
method = "{method}"
[weave.bash]
draft = "{draft}"
rate = {rate}
[evaluate]
extract = "all"
"""


def t_density_p(t, degrees):
    """Two-sided p by adding up Student's density."""
    x = numpy.linspace(-abs(t), abs(t), 400001)
    height = math.gamma((degrees + 1) / 2) / math.gamma(degrees / 2) / math.sqrt(degrees * math.pi)
    values = height * (1 + x * x / degrees)**(-(degrees + 1) / 2)
    return 1 - float(((values[1:] + values[:-1]) / 2 * numpy.diff(x)).sum())


class Statistics(unittest.TestCase):

    def test_students_t(self):
        # Quantiles as tables print them.
        for degrees, quantile in ((1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (9, 2.2622),
                                  (10, 2.2281), (30, 2.0423), (120, 1.9799)):
            self.assertAlmostEqual(statistics.student_t_quantile(0.975, degrees), quantile, 4)
            self.assertAlmostEqual(statistics.student_t_cdf(-quantile, degrees), 0.025, 5)
        self.assertAlmostEqual(statistics.student_t_cdf(0, 7), 0.5)

    def test_paired_t(self):
        differences = [0.31, -0.04, 0.22, 0.18, 0.09]
        mean, low, high, p = statistics.paired_t(differences)
        error = numpy.std(differences, ddof=1) / math.sqrt(5)
        self.assertAlmostEqual(mean, 0.152)
        self.assertAlmostEqual(high - mean, 2.776445 * error, 6)
        self.assertAlmostEqual(mean - low, 2.776445 * error, 6)
        self.assertAlmostEqual(p, t_density_p(mean / error, 4), 8)

    def test_pairs_without_variation_say_nothing(self):
        for differences in ([0.5], [0.5, 0.5], [0.0, 0.0], [0.1, 0.1, 0.1]):
            mean, *others = statistics.paired_t(differences)
            self.assertAlmostEqual(mean, differences[0])
            self.assertTrue(all(map(math.isnan, others)), differences)

    def test_paired_bootstrap(self):
        values = numpy.random.Generator(numpy.random.Philox(3)).normal(0.1, 1.0, 400)
        mean, low, high, p = statistics.paired_bootstrap(values)
        error = values.std() / math.sqrt(400)
        self.assertAlmostEqual(mean, values.mean())
        self.assertAlmostEqual(low, mean - 1.96 * error, delta=0.1 * error)  # the mean of 400 is all but normal
        self.assertAlmostEqual(high, mean + 1.96 * error, delta=0.1 * error)
        self.assertAlmostEqual(p, math.erfc(mean / error / math.sqrt(2)), delta=0.02)
        self.assertEqual(statistics.paired_bootstrap(values)[1:], (low, high, p))
        self.assertLessEqual(statistics.paired_bootstrap(values + 1)[3], 1e-4)

    def test_holm(self):
        numpy.testing.assert_allclose(statistics.holm([0.01, math.nan, 0.04, 0.03]), [0.03, math.nan, 0.06, 0.06])
        numpy.testing.assert_allclose(statistics.holm([0.9, 0.8]), [1, 1])


class Scores(unittest.TestCase):

    def test_rouge_of_other_library(self):
        for case in json.loads((ROOT / "tests/reference/rouge.json").read_text()):
            expected = case["rougeL"][2]
            self.assertAlmostEqual(text_scores.rouge_l(case["prediction"], case["reference"]), expected, 9, case)

    def test_agreement(self):
        for a, b, expected in (("", "", 1), (" \n", "\t", 1), ("", "a", 0), ("the cat  sat\non", "the dog sat on",
                                                                             0.75), ("b a", "a b c d", 1 / 3)):
            self.assertAlmostEqual(text_scores.lcs_f1(a, b), expected)

    def test_numbers(self):
        for text, number in (("12 + 7 = 19\nAnswer: 19.", "19"), ("1,250.50 dollars",
                                                                  "1250.5"), ("sums 1,2,3", "3"), ("pairs 10,20", "20"),
                             ("12,345,678", "12345678"), ("42.0", "42"), ("x = -7", "-7"), ("9-7", "7"), ("(9)-7", "7"),
                             ("-0.0", "0"), ("007", "7"), ("0.50", "0.5"), ("none", ""), ("", "")):
            self.assertEqual(text_scores.extract_answer(text, "last_number"), number, text)
        self.assertTrue(text_scores.exact_match("so\nAnswer: 42", "Answer: 42", "last_line"))
        self.assertFalse(text_scores.exact_match("no idea", "nor this", "last_number"))


class Curves(unittest.TestCase):

    def test_thin_keeps_means_and_extremes(self):
        values = numpy.random.Generator(numpy.random.Philox(1)).normal(size=1000)
        steps, mean, least, largest = thin(numpy.arange(1, 1001), values)
        self.assertLessEqual(len(steps), 240)
        self.assertEqual((least.min(), largest.max()), (values.min(), values.max()))
        sizes = numpy.diff(numpy.linspace(0, 1000, 241).astype(int))
        self.assertAlmostEqual(float((mean * sizes).sum()), float(values.sum()))
        numpy.testing.assert_allclose(thin(numpy.arange(7), values[:7])[1], values[:7])

    def test_smooth(self):
        numpy.testing.assert_allclose(smooth(numpy.array([1.0, 2, 6, 4]), 3), [1.5, 3, 4, 5])


class Comparisons(unittest.TestCase):
    VALUES = {"none": {1: 0.30, 2: 0.34, 3: 0.31}, "rac": {1: 0.36, 2: 0.38, 3: 0.39}}

    @classmethod
    def setUpClass(cls):
        cls.folder = temporary()

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def run_of(self, name, seed, values, method="none", draft="forced", rate=0.25, heldout="/d/one/heldout.h5"):
        deck = DECK.format(seed=seed, method=method, draft=draft, rate=rate, heldout=heldout)
        rows = [(value, value - 0.05, value + 0.05) for value in values]
        sweeps = (("evaluate", 0, 9, 1.0), ("generate", 1, 50, 2.0), ("train", 1, 400, 6.0))
        return Run(write_run(self.folder / name, deck, {"free_agreement": rows}, sweeps=sweeps))

    def runs(self):
        return [
            self.run_of(f"{method}-{seed}", seed, (0.1, value), method) for method, seeds in self.VALUES.items()
            for seed, value in seeds.items()]

    def test_groups_are_settings(self):
        found = groups.group_runs(self.runs())
        self.assertEqual([(group.label, group.seeds) for group in found], [("none", [1, 2, 3]), ("rac", [1, 2, 3])])
        same = [
            self.run_of("a", 1, (0, 1), "bash", rate=0.25),
            self.run_of("b", 1, (0, 1), "bash", rate=0.5),
            self.run_of("c", 1, (0, 1), "bash", "mixed")]
        self.assertEqual([group.label for group in groups.group_runs(same)],
                         ["bash forced (weave.bash.rate 0.25)", "bash forced (weave.bash.rate 0.5)", "bash mixed"])

    def test_tasks_are_heldout_files(self):
        runs = [
            self.run_of("t1", 1, (0, 1), heldout="/d/one/heldout.h5"),
            self.run_of("t2", 1, (0, 1), heldout="/d/two/heldout.h5")]
        self.assertEqual(groups.tasks_of(runs), {"one": runs[:1], "two": runs[1:]})
        self.assertEqual(groups.tasks_of(runs[:1]), {"": runs[:1]})
        runs = [
            self.run_of("task-a/x", 1, (0, 1), heldout="/d/one/heldout.h5"),
            self.run_of("task-b/x", 1, (0, 1), heldout="/d/two/heldout.h5")]
        self.assertEqual(groups.tasks_of(runs), {"task-a": runs[:1], "task-b": runs[1:]})

    def test_paired_by_seed(self):
        found = groups.group_runs(self.runs()[::-1])  # the order in which runs are given does not matter
        baseline = compare.baseline_of(found)
        self.assertEqual(found[baseline].label, "none")
        (comparison,) = compare.compare_seeds(found, baseline, compare.last_common_round(found))
        entry = comparison.entries[1 - baseline]
        differences = [0.06, 0.04, 0.08]
        error = numpy.std(differences, ddof=1) / math.sqrt(3)
        self.assertAlmostEqual(entry.mean, sum(self.VALUES["rac"].values()) / 3)
        self.assertAlmostEqual(entry.high - entry.mean,
                               4.302653 * numpy.std(list(self.VALUES["rac"].values()), ddof=1) / math.sqrt(3), 6)
        self.assertEqual((entry.count, entry.pairs, entry.over), (3, 3, "seeds"))
        self.assertAlmostEqual(entry.difference[0], 0.06)
        self.assertAlmostEqual(entry.difference[3], t_density_p(0.06 / error, 2), 6)
        self.assertTrue(math.isnan(comparison.entries[baseline].difference[3]))

    def test_one_seed_is_honest(self):
        found = groups.group_runs([self.run_of(f"one-{method}", 1, (0.1, 0.3), method) for method in ("none", "rac")])
        (comparison,) = compare.compare_seeds(found, 0, 1)
        entry = comparison.entries[1]
        self.assertEqual((entry.over, round(entry.low, 6), round(entry.high, 6)),
                         ("examples", 0.25, 0.35))  # the run log's own interval
        self.assertTrue(math.isnan(entry.difference[3]))
        self.assertIn("[0.2500, 0.3500] *",
                      tables.comparison_text(tables.comparison_blocks([run for group in found for run in group.runs])))

    def test_costs(self):
        (row, _) = compare.costs(groups.group_runs(self.runs()))
        self.assertEqual(row, ("none", "3", "4", "400", "40", "50", "6.0", "2.0", "25%", "1.0"))


if __name__ == "__main__":
    unittest.main()
