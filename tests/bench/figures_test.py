#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""From made-up rounds to figures, table and JSON; and workers that answer, fail, or end."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import bench
import figures
import plan
from figures import Figure
from workers import Worker, WorkerError

# Names that other people's scripts read, with their goals.
CONTRACT = {"train_124m_bf16_vs_torch": 1.25, "train_124m_bf16_vs_ceiling": 0.85, "train_124m_f32_vs_torch": 1.0,
            "train_124m_f32_vs_ceiling": 0.88, "train_30m_bf16_vs_torch": 1.5, "generate_124m_bf16_32_vs_torch": 1.6,
            "generate_124m_bf16_32_vs_ceiling": 0.75, "generate_124m_bf16_64_vs_torch": 1.6,
            "generate_124m_bf16_64_vs_ceiling": 0.75, "decode_124m_bf16_gbps": 30, "scaling_train_2": 1.85,
            "scaling_generate_2": 1.85, "train_2x1_vs_1x2": 1.03, "start_to_first_step_s": 1.0}


def rounds(**rates):
    """Rounds of a tenth of a second from every worker's tokens/s."""
    return [dict(zip(rates, ({"tokens": rate / 10, "seconds": 0.1} for rate in of_round)))
            for of_round in zip(*rates.values())]


class Figures(unittest.TestCase):
    RATIO = Figure("a_vs_b", "ratio", plan.ratio("a", "b"), 2.0)

    def test_median_of_ratios_and_spread(self):
        row = figures.evaluate(self.RATIO, rounds(a=[200, 330, 500], b=[100, 110, 100]))
        self.assertAlmostEqual(row["value"], 3)
        self.assertAlmostEqual(row["spread"], (5 - 2) / 3)
        self.assertEqual((row["name"], row["unit"], row["goal"], row["met"]), ("a_vs_b", "ratio", 2.0, True))

    def test_goals(self):
        of = rounds(a=[199], b=[100])
        self.assertFalse(figures.evaluate(self.RATIO, of)["met"])
        self.assertTrue(figures.evaluate(Figure("x", "s", plan.ratio("a", "b"), 2.0, "lower"), of)["met"])
        self.assertNotIn("met", figures.evaluate(Figure("x", "s", plan.ratio("a", "b")), of))

    def test_what_cannot_be_told_is_left_out(self):
        self.assertIsNone(figures.evaluate(self.RATIO, rounds(a=[1, 2])))
        self.assertIsNone(figures.evaluate(self.RATIO, []))
        self.assertIsNone(figures.evaluate(self.RATIO, [{"a": {"tokens": 1, "seconds": float("nan")},
                                                         "b": {"tokens": 1, "seconds": 1}}]))

    def test_a_worker_lost_on_the_way(self):
        of = rounds(a=[1, 1, 1], b=[1, 1, 1])
        del of[1]["b"]
        self.assertIsNone(figures.evaluate(self.RATIO, of))

    def test_best_by_median(self):
        of, best = figures.with_best(rounds(a=[1, 5, 9], b=[6, 6, 1]), "ours", ["a", "b", "c"])
        self.assertEqual(best, "b")
        self.assertEqual([figures.rate(one["ours"]) for one in of], [figures.rate(one["b"]) for one in of])
        self.assertEqual(figures.with_best([], "ours", ["a"]), ([], None))

    def test_ceiling_with_prompts(self):
        # 10 s for prompts and 127 steps of 2 streams at 4 tokens/s: 73.5 s for 256 tokens.
        one = {"ours": {"tokens": 256, "seconds": 147}, "ceiling": {"tokens": 4, "seconds": 1, "prefill": 10}}
        self.assertAlmostEqual(plan.whole_ceiling(2)(one), 0.5)

    def test_json(self):
        row = figures.evaluate(self.RATIO, rounds(a=[200], b=[100]))
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "figures.json")
            figures.write_json(path, figures.machine(), [row], ["a note"])
            content = json.loads(path.read_text(encoding="utf-8"))
            self.assertEqual([p.name for p in pathlib.Path(folder).iterdir()], ["figures.json"])
        self.assertIsInstance(content["machine"], dict)
        self.assertGreater(content["machine"]["cores"], 0)
        self.assertLessEqual({"name", "value", "unit", "goal", "spread"}, set(content["figures"][0]))

    def test_busy_share(self):
        self.assertTrue(0 <= figures.busy_share(0.05) <= 1)

    def test_table(self):
        text = figures.table([figures.evaluate(Figure("x", "GB/s", plan.rate_of("a")), rounds(a=[12345])),
                              figures.evaluate(self.RATIO, rounds(a=[100], b=[100]))])
        lines = text.splitlines()
        self.assertRegex(lines[1], r"^a_vs_b +1 +ratio +>= 2 +0% +MISSED$")
        self.assertRegex(lines[2], r"^x +12345 +GB/s +0%$")


class Plan(unittest.TestCase):
    def test_names_and_goals(self):
        groups = plan.groups(plan.Programs(pathlib.Path("build"), "python"))
        found = [figure for group in groups for figure in group.figures]
        names = [figure.name for figure in found]
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            self.assertRegex(name, "^[a-z0-9_]+$")
        self.assertEqual({figure.name: figure.goal for figure in found if figure.goal is not None}, CONTRACT)

    def test_without_pytorch(self):
        for group in plan.groups(plan.Programs(pathlib.Path("build"))):
            self.assertNotIn("torch", group.workers)


def script(text):
    return lambda: Worker([sys.executable, "-c", text])


ANSWERS = """
print('{"variant": "v", "tried": {}}', flush=True)
import sys
for line in sys.stdin: print('{"tokens": 4, "seconds": 2}', flush=True)
"""
ONE_ANSWER = ANSWERS + "    break\nsys.exit('out of luck')\n"
ONE_ANSWER = ONE_ANSWER.replace("for line in sys.stdin: print", "for line in sys.stdin:\n    print")


class Workers(unittest.TestCase):
    def test_rounds(self):
        worker = script(ANSWERS)()
        self.assertEqual(worker.about["variant"], "v")
        self.assertEqual([worker.round(), worker.round()], 2 * [{"tokens": 4, "seconds": 2}])
        worker.close()
        self.assertEqual(worker.process.returncode, 0)

    def test_one_that_cannot_start(self):
        with self.assertRaisesRegex(WorkerError, "no such thing"):
            script("import sys; sys.exit('no such thing')")()

    def test_a_group_goes_on_without_the_one_that_fails(self):
        notes = []
        group = plan.Group("g", {"a": script(ANSWERS), "b": script("raise SystemExit('broken')"),
                                 "c": script(ONE_ANSWER)},
                           [Figure("a", "tokens/s", plan.rate_of("a")), Figure("c", "tokens/s", plan.rate_of("c"))])
        rows = bench.measure(group, 2, notes.append)
        self.assertEqual([(row["name"], row["value"]) for row in rows], [("a", 2.0)])
        text = "\n".join(notes)
        self.assertIn("g: b is left out: broken", text)
        self.assertIn("g: c is left out: out of luck", text)


class CommandLine(unittest.TestCase):
    RUN = pathlib.Path(__file__).with_name("run.sh")

    def run_script(self, *arguments):
        return subprocess.run(["bash", self.RUN, *arguments], capture_output=True, text=True, check=False)

    def test_help(self):
        shown = self.run_script("--help")
        self.assertEqual(shown.returncode, 0)
        for option in ("--json", "--quick", "--only"):
            self.assertIn(option, shown.stdout)

    def test_bad_options(self):
        for arguments in (["--jsn", "x"], ["--json"], ["--json", "/no/such/folder/x"], ["--only"], ["x"]):
            shown = self.run_script(*arguments)
            self.assertEqual(shown.returncode, 64, arguments)
            self.assertEqual(shown.stdout, "")
            self.assertEqual(len(shown.stderr.splitlines()), 1, shown.stderr)


if __name__ == "__main__":
    unittest.main()
