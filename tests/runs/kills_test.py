# SPDX-License-Identifier: Apache-2.0
"""Ranks that are killed at seeded random moments, in every sweep and in the middle of writing checkpoints: the run goes on
each time, on other numbers of ranks, and ends with the bits of the run that nobody disturbed. SELVAGE_KILLS sets how many
(jobs/faults/run.sh: hundreds)."""
import collections
import contextlib
import os
import random
import signal
import statistics
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
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(int(dice.choice(victims)), signal.SIGKILL)

    def where(self, out):
        """What the run is in, from what it has on disk; files are written beside it."""
        folder = self.folder / out
        yield from ["writing a file"] if list(folder.rglob("*.partial")) else []
        written = [path for part in ("journal", "drafts", "woven") for path in (folder / part).glob("*")]
        newest = max(written, key=lambda path: path.stat().st_mtime_ns, default=None)
        if newest is None:
            yield "the start"
        elif newest.parent.name == "journal":
            yield "evaluation" if newest.name.startswith("evaluation") else "generation"
        else:
            yield "training"

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
                places = list(self.where(out))
                self.kill_one(job, ranks, dice)
                died = time.monotonic()
                code = job.wait(60)
                if code == 0:  # it had done its work
                    break
                longest_end = max(longest_end, time.monotonic() - died)
                self.assertNotEqual(code, 75, self.tail(out))
                moments.update(places)
                kills += 1
            self.run_job(out, dice.choice((1, 2, 3)))
            self.assert_same_run("straight", out)
        print(f"{kills} kills in {runs} runs survived: {dict(moments)}; a job was down {longest_end:.1f} s after it, at "
              "the most")
        for moment in ("writing a file", "generation", "training"):
            self.assertGreater(moments[moment], KILLS // 20, moments)

    def test_stopped_at_random_moments(self):
        """By signals that ask: everything is saved, within seconds."""
        dice = random.Random(int(os.environ.get("SELVAGE_KILLS_SEED", "1")) + 1)
        latencies, runs = [], 0
        while len(latencies) < max(4, KILLS // 4):
            out, ranks = f"stopped-{runs}", dice.choice((1, 2, 3))
            job = self.start(out, ranks)
            time.sleep(dice.uniform(0.8, 1.5))
            asked = time.monotonic()
            job.send_signal(dice.choice((signal.SIGUSR1, signal.SIGUSR2)))
            code = job.wait(60)
            if code == 0:  # it was faster
                self.assert_same_run("straight", out)
                runs += 1
                continue
            self.assertEqual(code, 75, self.tail(out))
            latencies.append(time.monotonic() - asked)
        self.run_job(out, 2)
        self.assert_same_run("straight", out)
        print(f"{len(latencies)} stops: {statistics.median(latencies):.2f} s from the signal to the end in the median, "
              f"{max(latencies):.2f} s at the most")
        self.assertLess(max(latencies), 10)

    def test_a_second_signal_ends_at_once(self):
        job = self.start("impatient", 2)
        while not list((self.folder / "impatient/journal").glob("round-*")):
            time.sleep(0.002)
        ranks = subprocess.run(["pgrep", "-P", str(job.pid)], capture_output=True, text=True, check=True).stdout.split()
        for rank in ranks:
            for number in (signal.SIGUSR1, signal.SIGTERM):
                os.kill(int(rank), number)
        self.assertEqual(job.wait(20), 75, self.tail("impatient"))
        self.run_job("impatient", 1)
        self.assert_same_run("straight", "impatient")

    def tail(self, out):
        return (self.folder / f"{out}.log").read_text(errors="replace")[-3000:]


if __name__ == "__main__":
    unittest.main()
