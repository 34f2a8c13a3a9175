# SPDX-License-Identifier: Apache-2.0
"""A small real run: what the package reads of it against the files and the program's own figures, the commands, and the
report in a real browser."""
import csv
import io
import json
import re
import unittest

import matplotlib.image
import numpy
from browser import PROGRAM, Chromium
from helpers import command
from support import JobTest, h5py, program

from analysis import AnalysisError, Run, Samples, compare
from analysis.charts import CHARTS

MAY_BE_ZERO = {"exact_match", "prefix_shift"}  # throughout, in so small a run; then they are not drawn


class SmallRun(JobTest):
    settings = ("evaluate.examples=0", "evaluate.turns=1", "run.rounds=4", "run.schedule_rounds=4",
                'weave.method=["none", "bash", "rac", "both"]')

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        job = cls()
        job.run_job("one", settings=("train.steps_per_round=20",
                                     "evaluate.right_rougeL=0.4"))  # answers that share something with gold
        cls.out = cls.folder / "one"
        checkpoint = job.checkpoints("one")[-1]
        (cls.out / "heldout").mkdir()
        data = cls.folder / "heldout.h5"
        for words in ([
                "generate", checkpoint, "--data", data, "--output", cls.out / "heldout/drafts.h5", "--turns", "1",
                "--set", "generate.temperature=0"],
                      ["score", checkpoint, "--data", data, "--output", cls.out / "heldout/scores.h5"]):
            code, _, errors = program(words)
            assert code == 0, errors
        cls.run_of = Run(cls.out)
        outs = []
        for method in ("none", "rac"):
            for seed in (1, 2):
                outs.append(cls.folder / f"{method}-{seed}")
                job.run_job(
                    outs[-1].name,
                    settings=(f"run.seed={seed}", f'weave.method="{method}"', "run.rounds=2", "evaluate.examples=5"))
        cls.one, cls.many, cls.outs = cls.folder / "one.html", cls.folder / "many.html", outs
        for page, folders in ((cls.one, [cls.out]), (cls.many, outs)):
            code, _, errors = command("report", *folders, "-o", page)
            assert (code, errors) == (0, ""), errors

    def test_run_log(self):
        with h5py.File(self.out / "run.h5") as file:
            numpy.testing.assert_array_equal(self.run_of.steps["loss"], file["steps/loss"][()])
            numpy.testing.assert_array_equal(self.run_of.metric("gap").low, file["evaluations/gap/low"][()])
            self.assertEqual(self.run_of.sweeps["kind"].tolist(), [kind.decode() for kind in file["sweeps/kind"][()]])
            self.assertEqual(len(self.run_of.checkpoints["step"]),
                             sum(kind == b"checkpoint" for kind in file["events/kind"][()]))
            numpy.testing.assert_array_equal(self.run_of.checkpoints["stall_seconds"],
                                             file["checkpoints/stall_seconds"][()])
        self.assertEqual((self.run_of.method, self.run_of.state, self.run_of.seed),
                         ("none, bash forced, rac, both", "finished", 7))

    def test_truncated_file_of_the_program(self):
        copy = self.folder / "cut" / "run.h5"
        copy.parent.mkdir()
        copy.write_bytes((self.out / "run.h5").read_bytes()[:-1])
        with self.assertRaisesRegex(AnalysisError, "bytes, [0-9]+ were written"):
            Run(copy)

    def test_damaged_drafts(self):
        """A report says what it could not read, and has the rest; what was asked for by name is refused."""
        copy = self.folder / "damaged"
        (copy / "drafts").mkdir(parents=True)
        (copy / "run.h5").write_bytes((self.out / "run.h5").read_bytes())
        (copy / "drafts/round-0002.h5").write_bytes((self.out / "drafts/round-0002.h5").read_bytes()[:-9])
        code, _, errors = command("report", copy, "-o", self.folder / "damaged.html")
        self.assertEqual(code, 0)
        self.assertRegex(errors, "warning: Not all examples could be read: .*round-0002.h5: damaged")
        self.assertEqual(command("samples", copy, "--round", 2)[0], 65)

    def test_scores_by_example_are_those_of_the_program(self):
        """The means over examples are the run log's values after the last round: two programs, one definition."""
        found = compare.heldout_examples(self.run_of)
        for name, metric in (("agreement", "free_agreement"), ("rougeL", "rougeL"), ("rougeL_corrected",
                                                                                     "rougeL_turn1")):
            self.assertEqual(len(found[name]), 10)
            self.assertAlmostEqual(numpy.mean(list(found[name].values())),
                                   self.run_of.metric(metric).value[-1], 12, name)
        right, corrected = (numpy.array([found[name][i] for i in range(10)]) for name in ("right", "right_corrected"))
        self.assertTrue(0 < right.mean() < 1)
        self.assertAlmostEqual(corrected[right == 0].mean(), self.run_of.metric("correction_rate").value[-1], 12)
        self.assertAlmostEqual(1 - corrected[right == 1].mean(), self.run_of.metric("corruption_rate").value[-1], 12)
        with h5py.File(self.folder / "heldout.h5") as data:
            lengths = numpy.diff(data["offsets"][()]) - data["prompt_length"][()]
        nll = numpy.array([found["nll"][i] for i in range(10)])
        self.assertAlmostEqual(float((nll * lengths).sum() / lengths.sum()),
                               self.run_of.metric("forced_nll").value[-1], 5)

    def test_tokens_of_every_row(self):
        """Lines and gold against the woven file, row by row, and the text against the data's."""
        texts = [json.loads(line) for line in (self.folder / "train.jsonl").read_text().splitlines()]
        methods = set()
        with Samples(self.run_of) as samples:
            self.assertEqual(samples.rounds, [1, 2, 3, 4])
            self.tokenizer = samples.tokenizer
            for number in samples.rounds:
                with h5py.File(self.out / f"woven/round-{number:04}.h5") as file:
                    woven = {
                        name: file[name][()]
                        for name in ("offsets", "input_tokens", "target_tokens", "origin", "example", "method",
                                     "loss_weight")}
                found = samples.of_round(number, 10**6)
                self.assertEqual(len(found), len(woven["example"]))
                for row, sample in enumerate(found):
                    begin, end = woven["offsets"][row:row + 2]
                    lines = {line.name: line for line in sample.lines}
                    pair = texts[sample.example]
                    self.assertEqual(sample.example, woven["example"][row])
                    self.assertEqual(samples.tokenizer.decode(lines["prompt"].tokens), pair["prompt"])
                    self.assertEqual(samples.tokenizer.decode(lines["gold"].tokens), pair["response"])
                    middle = [line for name, line in lines.items() if name in ("read", "draft", "template")]
                    read = numpy.concatenate([lines["prompt"].tokens, *(line.tokens for line in middle)])
                    numpy.testing.assert_array_equal(read, woven["input_tokens"][begin:end][:len(read)])
                    origin = numpy.concatenate([lines["prompt"].origin, *(line.origin for line in middle)])
                    numpy.testing.assert_array_equal(origin, woven["origin"][begin:end][:len(read)])
                    self.check_gold(sample, lines, woven, begin, end)
                    methods.add(sample.method)
        self.assertEqual(methods, {"none", "bash", "rac"})

    def check_gold(self, sample, lines, woven, begin, end):
        if sample.method == "bash":
            read, prompt = lines["read"], len(lines["prompt"].tokens)
            targets = woven["target_tokens"][begin + prompt - 1:end - 1]
            expected = {
                i: [int(targets[i])]
                for i in range(len(read.tokens)) if read.origin[i] == 2 and read.tokens[i] != targets[i]}
            self.assertEqual(read.gold, expected)
        elif sample.method == "rac":
            draft = lines["draft"]
            words = [self.tokenizer.decode(tokens).split() for tokens in (draft.tokens, lines["gold"].tokens)]
            if words[0] == words[1] or not set(words[0]) & set(words[1]):  # all or nothing in common
                self.assertEqual(sample.outcome.startswith("right"), words[0] == words[1], sample)

    def test_log_probabilities_are_the_drafts(self):
        with Samples(self.run_of) as samples, h5py.File(self.out / "drafts/round-0003.h5") as file:
            for sample in samples.of_round(3, 8):
                if sample.method != "rac":
                    continue
                row = numpy.nonzero((file["example"][()] == sample.example)
                                    & (file["sample"][()] == sample.sample))[0][0]
                draft = next(line for line in sample.lines if line.name == "draft")
                begin = file["offsets"][row]
                numpy.testing.assert_array_equal(draft.logprob, file["logprob"][begin:begin + len(draft.tokens)])

    def test_held_out_turns(self):
        with Samples(self.run_of) as samples:
            found = samples.heldout(10)
        self.assertEqual(len(found), 10)
        self.assertEqual({tuple(line.name for line in sample.lines)
                          for sample in found}, {("prompt", "draft", "correction 1", "gold")})

    def test_without_the_data(self):
        """Tokens come from a checkpoint's table where the data are gone, and are ids where that is gone too."""
        run = Run(self.out)
        run.deck["data"]["train"] = ["/nowhere.h5"]
        with Samples(run) as samples:
            self.assertEqual(samples.note, "")
            self.assertEqual(samples.tokenizer.decode([72, 105, 256]), "Hi")
        run.folder = self.folder
        with Samples(run) as samples:
            self.assertIn("shown as ids", samples.note)
            self.assertEqual(samples.tokenizer.show(72), "[72]")

    def test_commands(self):
        code, output, errors = command("table", self.out)
        self.assertEqual((code, errors), (0, ""))
        self.assertEqual(len(output.strip().splitlines()), 2 + 5)
        self.assertIn(f"{self.run_of.metric('forced_nll').value[-1]:.4f} [", output)
        code, output, errors = command("table", self.out, "--csv", "--metrics", "gap")
        self.assertEqual((code, errors), (0, ""))
        header, *rows = csv.reader(output.splitlines())
        self.assertEqual(header, ["run", "round", "method", "loss", "gap", "gap_low", "gap_high"])
        numpy.testing.assert_array_equal([float(row[5]) for row in rows], self.run_of.metric("gap").low)
        code, output, errors = command("samples", self.out, "--round", 2, "--outcome", "differ", "--count", 3)
        self.assertEqual((code, errors), (0, ""))
        self.assertEqual(len(re.findall("^== round 2, bash, .*own tokens differ$", output, re.M)), 3)
        with h5py.File(self.out / "woven/round-0003.h5") as file:
            example = file["example"][-1]
        code, output, _ = command("samples", self.out, "--round", 3, "--example", example)
        self.assertEqual(code, 0)
        self.assertIn(f"example {example},", output)
        self.assertEqual(command("samples", self.out, "--round", 9)[0], 66)
        plot = self.folder / "plot.png"
        self.assertEqual(command("plot", self.out, "-o", plot)[0], 0)
        self.assertGreater(matplotlib.image.imread(plot).std(), 0.05)

    def test_self_contained(self):
        for page in (self.one, self.many):
            text = page.read_text()
            self.assertLess(len(text), 2e6)
            self.assertEqual(re.findall(r'(?:src|href)="(?!#)', text), [])
            self.assertEqual(len(re.findall("<script", text)), text.count("</script>"))
        self.assertIn(self.run_of.deck["data"]["heldout"][0], self.one.read_text())

    def test_comparison(self):
        code, output, errors = command("compare", *self.outs)
        self.assertEqual((code, errors), (0, ""))
        for word in ("| none ", "| rac ", "baseline", "p (Holm)", "### forced_nll (less is better)",
                     "No comparison by example"):
            self.assertIn(word, output)

    @unittest.skipUnless(PROGRAM, "no Chromium here (Debian: chromium)")
    def test_browser(self):
        with Chromium() as browser:
            for page, width, dark in ((self.one, 1280, False), (self.one, 1280, True), (self.one, 390, False),
                                      (self.many, 390, True)):
                browser.open(page, width, dark)
                self.check_page(browser, page, width, dark)
            browser.open(self.one)
            self.check_tokens(browser)
            self.assertGreater(len(browser.pdf()), 50000)
            self.assertEqual(browser.errors, [])
            self.assertEqual({address.split(":")[0] for address in browser.requests}, {"file"})

    def check_page(self, browser, page, width, dark):
        where = f"{page.name}, {width} wide, {'dark' if dark else 'light'}"
        self.assertLessEqual(browser.evaluate("document.documentElement.scrollWidth"), width, where)
        drawn = set(browser.evaluate("[...document.querySelectorAll('figure')].map(f => f.dataset.chart)"))
        expected = set(CHARTS) - MAY_BE_ZERO if page is self.one else {
            "loss", "gap", "sweep_times", "nll_by_position", "throughput"}
        self.assertLessEqual(expected, drawn, where)
        image = matplotlib.image.imread(io.BytesIO(browser.screenshot()))[:, :, :3]
        background = numpy.median(image[::9, ::9].reshape(-1, 3), axis=0)
        self.assertTrue(background.mean() < 0.2 if dark else background.mean() > 0.9, (where, background))
        boxes = browser.evaluate(
            "[...document.querySelectorAll('figure svg')].map(s => { const b = s.getBoundingClientRect();"
            "return [b.x + scrollX, b.y + scrollY, b.width, b.height, s.textContent.trim().length]; })")
        for name, (x, y, w, h, letters) in zip(drawn, boxes):
            part = image[int(y):int(y + h), int(x):int(x + w)]
            part = part[::2, ::2]
            inked = (abs(part - background).max(axis=2) > 0.15).mean()
            self.assertGreater(min(w, 2 * h), 250, (where, name))
            self.assertGreater(inked, 0.01, f"{where}: a chart is empty")
            self.assertGreater(len(numpy.unique(part.reshape(-1, 3).round(1), axis=0)), 5,
                               f"{where}: a chart has no colours")
            self.assertGreater(letters, 10, f"{where}: a chart without text")
        self.assertGreater(browser.evaluate("document.querySelectorAll('.example').length"), 5, where)

    @staticmethod
    def choose(browser, name, value):
        browser.evaluate(f"(() => {{ const s = document.getElementById('filter-{name}'); s.value = '{value}';"
                         "s.dispatchEvent(new Event('change')); })()")

    def check_tokens(self, browser):
        count = "document.querySelectorAll('.example').length"
        self.assertEqual(browser.evaluate(count), 12)
        browser.evaluate("document.getElementById('more').click()")
        self.assertEqual(browser.evaluate(count), 24)
        self.choose(browser, "round", "2")
        self.assertEqual(
            browser.evaluate(
                "[...new Set([...document.querySelectorAll('.example b')].map(b => b.textContent))].join()"), "round 2")
        self.choose(browser, "outcome", "own tokens differ")
        self.assertGreater(browser.evaluate(count), 0)
        # A token that differs: own by colour, and its note says what gold has there.
        note = browser.evaluate("document.querySelector('.row .o2.d').dataset.note")
        self.assertRegex(note, r"^gold: (.|\n)+\n(.|\n)*own, id \d+$")
        own, gold = browser.evaluate(
            "['.o2', '.o1'].map(c => getComputedStyle(document.querySelector('.row ' + c)).backgroundColor)")
        self.assertNotEqual(own, gold)
        browser.evaluate(
            "document.querySelector('.row .o2.d').dispatchEvent(new MouseEvent('mouseover', {bubbles: true}))")
        self.assertEqual(browser.evaluate("document.getElementById('tip').textContent"), note)
        self.assertGreater(browser.evaluate("document.querySelectorAll('.row .p').length"), 0)
        shading = "getComputedStyle(document.querySelector('.row .p')).boxShadow"
        self.assertNotEqual(browser.evaluate(shading), "none")
        browser.evaluate("document.getElementById('shade').click()")
        self.assertEqual(browser.evaluate(shading), "none")


if __name__ == "__main__":
    unittest.main()
