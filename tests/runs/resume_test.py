# SPDX-License-Identifier: Apache-2.0
"""Stopped, killed or damaged runs go on to the bits of the run that nobody disturbed."""
import random
import signal

from support import JobTest, h5py, unittest


class Resume(JobTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls().run_job("straight")

    def test_rounds_in_two_jobs(self):
        for first, second in ((4, 2), (1, 3)):
            out = f"halves-{first}-{second}"
            self.run_job(out, first, ["run.rounds=1"])
            self.run_job(out, second)
            self.assert_same_run("straight", out)

    def test_done_says_so(self):
        self.run_job("done")
        before = (self.folder / "done/run.h5").read_bytes()
        text = self.run_job("done", 2)
        self.assertIn("is finished", text)
        self.assertIn("ROUGE-L", text)
        self.assertEqual(before, (self.folder / "done/run.h5").read_bytes())

    def test_signal_in_the_middle_of_training(self):
        # A checkpoint after step 2 says that round 1 is in its training sweep.
        steps = ["checkpoint.every_steps=1"]
        seen = self.folder / "signal/checkpoints/step-00000002.h5"
        code = self.interrupt("signal", 2, seen.exists, settings=steps)
        self.assertEqual(code, 75)
        self.assertLess(len(self.checkpoints("signal")), 12)
        self.run_job("signal", 3, steps)
        self.assert_same_run("straight", "signal")
        with h5py.File(self.folder / "signal/run.h5") as log:
            sweep = (log["sweeps/kind"][()] == b"train") & (log["sweeps/round"][()] == 1)
            steps = log["steps/seconds"][log["steps/round"][()] == 1]
            self.assertGreaterEqual(log["sweeps/seconds"][sweep][0], steps.sum())  # of both parts

    def test_signal_before_the_first_sweep(self):
        code = self.interrupt("early", 2, (self.folder / "early/LOCK").exists)
        self.assertEqual(code, 75)
        self.run_job("early", 2)
        self.assert_same_run("straight", "early")

    def test_other_data_is_refused(self):
        self.run_job("data", settings=["run.rounds=1"])
        right = (self.folder / "train.h5").read_bytes()
        try:
            (self.folder / "train.h5").write_bytes((self.folder / "heldout.h5").read_bytes())
            self.assertIn("data.train", self.run_job("data", 2, expect=65))
        finally:
            (self.folder / "train.h5").write_bytes(right)

    def test_rounds_only_grow(self):
        self.run_job("shrunk", settings=["run.rounds=2"])
        self.assertIn("run.rounds is 1", self.run_job("shrunk", settings=["run.rounds=1"], expect=65))

    def test_stop_file(self):
        (self.folder / "stop").mkdir()
        (self.folder / "stop/STOP").write_text("")
        text = self.run_job("stop", 2, expect=75)
        self.assertIn("file STOP", text)
        (self.folder / "stop/STOP").unlink()
        self.run_job("stop", 1)
        self.assert_same_run("straight", "stop")

    def test_killed_anywhere(self):
        dice = random.Random(3)
        for trial in range(4):
            out = f"killed-{trial}"
            steps = ["checkpoint.every_steps=2"]
            target = self.folder / out / f"checkpoints/step-{2 * dice.randint(1, 5):08d}.h5"
            code = self.interrupt(out, 1, target.exists, signal.SIGKILL, steps)
            self.assertNotEqual(code, 0)
            self.run_job(out, dice.choice((1, 2)), steps)
            self.assert_same_run("straight", out)

    def test_damaged_checkpoint_falls_back(self):
        self.run_job("damaged", 1, ["run.rounds=2"])
        newest = self.checkpoints("damaged")[-1]
        content = bytearray(newest.read_bytes())
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
        text = self.run_job("damaged", 2)
        self.assertIn("passing over", text)
        self.assertIn(newest.name, text)
        self.assert_same_run("straight", "damaged")

    def test_from_a_named_checkpoint(self):
        self.run_job("named")
        middle = self.checkpoints("named")[0]
        text = self.run_job("named", 2, options=["--resume", middle])
        self.assertIn("previous-1", text)
        self.assert_same_run("straight", "named")

    def test_never_starts_again_and_keeps_the_old(self):
        self.run_job("again", settings=["run.rounds=1"])
        self.run_job("again", 2, options=["--resume", "never"])
        self.assert_same_run("straight", "again")
        self.assertTrue((self.folder / "again/previous-1/run.h5").exists())

    def test_another_deck_is_refused_by_key(self):
        self.run_job("deck", settings=["run.rounds=1"])
        text = self.run_job("deck", settings=["train.learning_rate=0.5"], expect=65)
        self.assertIn("train.learning_rate", text)


if __name__ == "__main__":
    unittest.main()
