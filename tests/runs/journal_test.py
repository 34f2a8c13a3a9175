# SPDX-License-Identifier: Apache-2.0
"""Generation sweeps that are stopped or killed go on from their journal, on whatever ranks, to the same bits."""
import random
import re
import signal

from support import JobTest, unittest

# Some seconds of generation in one round.
LONG = ["run.rounds=2", "run.schedule_rounds=2", 'weave.method=["none","rac"]', "generate.examples=48",
        "generate.samples=200", "generate.max_new_tokens=40", "generate.streams=2"]


class Journal(JobTest):
    settings = LONG

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls().run_job("straight", 2)

    def journal(self, out):
        return sorted((self.folder / out / "journal").glob("round-0002.rank-*"))

    def journal_bytes(self, out):
        return sum(path.stat().st_size for path in self.journal(out))

    def records(self, path):
        """Of the journal, but for its header."""
        content, at, count = path.read_bytes(), 0, -1
        while at + 8 <= len(content):
            at += 8 + int.from_bytes(content[at:at + 4], "little")
            count += at <= len(content)
        return max(count, 0)

    def found(self, text):
        return sum(map(int, re.findall(r"(\d+) drafts were there", text)))

    def test_killed_and_on_other_ranks(self):
        dice = random.Random(5)
        whole = 9600 * 390  # about its bytes
        for trial in range(3):
            out = f"killed-{trial}"
            threshold = dice.uniform(0.05, 0.5) * whole
            code = self.interrupt(out, (1, 2, 3)[trial], lambda: self.journal_bytes(out) > threshold, signal.SIGKILL,
                                  LONG)
            self.assertNotEqual(code, 0)
            left = sum(map(self.records, self.journal(out)))
            self.assertGreater(left, 20)
            text = self.run_job(out, (3, 1, 2)[trial])
            self.assertGreaterEqual(self.found(text), left)
            self.assert_same_run("straight", out)
            self.assertEqual(list((self.folder / out / "journal").iterdir()), [])

    def test_stopped_twice(self):
        for threshold in (100_000, 300_000):
            code = self.interrupt("stopped", 2, lambda: self.journal_bytes("stopped") > threshold, settings=LONG)
            self.assertEqual(code, 75)
        left = sum(map(self.records, self.journal("stopped")))
        self.assertEqual(self.found(self.run_job("stopped", 1)), left)
        self.assert_same_run("straight", "stopped")

    def test_damaged_or_of_something_else(self):
        code = self.interrupt("foreign", 2, lambda: self.journal_bytes("foreign") > 200_000, settings=LONG)
        self.assertEqual(code, 75)
        first, second = self.journal("foreign")
        kept = self.records(second)
        first.write_bytes(first.read_bytes().replace(b"policy_digest: ", b"policy_digest: 0", 1))
        with open(second, "ab") as file:
            file.write(b"\x10\0\0\0half")
        text = self.run_job("foreign", 2)
        self.assertRegex(text, "rank-0 is of other weights, settings or data")
        self.assertRegex(text, "rank-1: the last 8 bytes are of a draft that was not written whole")
        self.assertEqual(self.found(text), kept)
        self.assert_same_run("straight", "foreign")

    def test_forced_drafts_and_a_fresh_start(self):
        """Sweeps of BASH's forced passes; and --resume never does not take up what was left."""
        settings = ["run.rounds=1", "run.schedule_rounds=1", 'weave.method="bash"']
        code = self.interrupt("forced", 1, lambda: sum(p.stat().st_size for p in (self.folder / "forced/journal").glob("*"))
                              > 100_000, signal.SIGKILL, LONG + settings)
        self.assertNotEqual(code, 0)
        self.run_job("forced straight", 1, settings)
        text = self.run_job("forced", 2, settings)
        self.assertGreater(self.found(text), 50)
        self.assert_same_run("forced straight", "forced")
        code = self.interrupt("again", 1, lambda: self.journal_bytes("again") > 100_000, signal.SIGKILL, LONG)
        text = self.run_job("again", 1, options=["--resume", "never"])
        self.assertEqual(self.found(text), 0)
        self.assertTrue((self.folder / "again/previous-1/journal").exists())
        self.assert_same_run("straight", "again")

    def test_evaluations_go_on_too(self):
        settings = ["run.rounds=1", "run.schedule_rounds=1", 'weave.method="none"', "evaluate.examples=0",
                    "evaluate.turns=40", "generate.max_new_tokens=60", "generate.streams=1"]
        self.run_job("evaluated straight", 2, settings)
        for sweep in (0, 1):
            out = f"evaluated-{sweep}"
            for ranks, number, least in ((2, signal.SIGKILL, 60_000), (1, signal.SIGUSR1, 120_000)):
                def written():
                    journals = (self.folder / out / "journal").glob(f"evaluation-{sweep:04d}.rank-*")
                    return sum(path.stat().st_size for path in journals) > least
                code = self.interrupt(out, ranks, written, number, LONG + settings)
                self.assertEqual(code == 75, number == signal.SIGUSR1, code)
            left = sum(map(self.records, (self.folder / out / "journal").glob(f"evaluation-{sweep:04d}.rank-*")))
            text = self.run_job(out, 3, settings)
            self.assertRegex(text, f"evaluation after round {sweep}: {left} drafts were there")
            self.assert_same_run("evaluated straight", out)


if __name__ == "__main__":
    unittest.main()
