# SPDX-License-Identifier: Apache-2.0
"""Ranks that are killed at seeded random moments, in every sweep and in the middle of writing checkpoints: the run goes on
each time, on other numbers of ranks, and ends with the bits of the run that nobody disturbed. SELVAGE_KILLS sets how many
(jobs/faults/run.sh: hundreds)."""
import collections
import os
import random
import signal
import subprocess
import time

from support import JobTest, command, unittest

KILLS = int(os.environ.get("SELVAGE_KILLS", "12"))
KILLS_IN_A_RUN = 6
SETTINGS = ["run.rounds=6", "run.schedule_rounds=6", "checkpoint.every_steps=2", 'weave.method=["bash","rac","both"]',
            "generate.examples=48", "generate.samples=40", "generate.streams=2"]


class Kills(JobTest):
    settings = SETTINGS

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        start = time.monotonic()
        cls().run_job("straight", 2)
        cls.seconds = time.monotonic() - start

    def start(self, out, ranks):
        words = ["run", self.deck, "--out", self.folder / out]
        for setting in SETTINGS:
            words += ["--set", setting]
        with open(self.folder / f"{out}.log", "a", encoding="utf-8") as log:
            return subprocess.Popen(command(words, ranks), stdout=log, stderr=log, start_new_session=True)

    def kill_one(self, job, ranks, dice):
        """Of mpirun's children: a rank."""
        children = subprocess.run(["pgrep", "-P", str(job.pid)], capture_output=True, text=True).stdout.split()
        victims = children if ranks > 1 and len(children) == ranks else [job.pid]
        os.kill(int(dice.choice(victims)), signal.SIGKILL)

    def where(self, out):
        """What the run was in, from what it has on disk."""
        folder = self.folder / out
        if list(folder.rglob("*.partial")):
            return "writing a file"
        if list((folder / "journal").glob("*")):
            return "generation"
        return "training or evaluation" if list(folder.glob("checkpoints/*.h5")) else "the start"

    def test_killed_at_random_moments(self):
        dice = random.Random(int(os.environ.get("SELVAGE_KILLS_SEED", "1")))
        moments = collections.Counter()
        longest_end = kills = runs = 0
        while kills < KILLS:
            out, runs = f"killed-{runs}", runs + 1
            for _ in range(KILLS_IN_A_RUN):
                ranks = dice.choice((1, 2, 3))
                job = self.start(out, ranks)
                partial = dice.random() < 0.3  # as soon as a checkpoint is being written, from some moment on
                moment = time.monotonic() + dice.uniform(0.1, 0.5 * self.seconds)
                while job.poll() is None:
                    if time.monotonic() >= moment and (not partial or list(
                            (self.folder / out).glob("checkpoints/*.partial"))):
                        break
                    time.sleep(0.0005)
                if job.poll() is not None:  # it was faster
                    self.assertEqual(job.returncode, 0, self.tail(out))
                    break
                moments[self.where(out)] += 1
                self.kill_one(job, ranks, dice)
                died = time.monotonic()
                code = job.wait(60)
                longest_end = max(longest_end, time.monotonic() - died)
                self.assertNotIn(code, (0, 75), self.tail(out))
                kills += 1
            self.run_job(out, dice.choice((1, 2, 3)))
            self.assert_same_run("straight", out)
        print(f"{kills} kills in {runs} runs survived: {dict(moments)}; a job was down {longest_end:.1f} s after it, at "
              "the most")
        for moment in ("writing a file", "generation", "training or evaluation"):
            self.assertGreater(moments[moment], KILLS // 20, moments)

    def tail(self, out):
        return (self.folder / f"{out}.log").read_text(errors="replace")[-3000:]


if __name__ == "__main__":
    unittest.main()
