# SPDX-License-Identifier: Apache-2.0
"""What can go wrong while a run is under way: disks, locks, damaged checkpoints, a model that diverges."""
import os
import re
import signal
import socket
import subprocess
import time

from support import JobTest, command, h5py, program, shutil, unittest

BAD_DATA, IO = 65, 74


def mounted(folder, *options):
    """Whether a small file system could be mounted there (root alone may)."""
    folder.mkdir()
    return os.geteuid() == 0 and subprocess.run(["mount", *options, str(folder)], capture_output=True).returncode == 0


class OutputFolder(JobTest):
    def test_full_disk(self):
        """Exit 74, what was there before is good, and with more space the run goes on to the same bits."""
        disk = self.folder / "disk"
        if not mounted(disk, "-t", "tmpfs", "-o", "size=1200k", "selvage-test"):
            self.skipTest("a small tmpfs cannot be mounted here (not root, or a container without the right)")
        try:
            for ranks in (1, 2):
                out = disk / f"run-{ranks}"
                text = self.refuse_run(["checkpoint.every_steps=2"], IO, "No space left", "free space", ranks=ranks,
                                       out=out)
                self.assertIn("the run may fill the disk", text)
                left = self.checkpoints(out)
                self.assertTrue(left)
                self.assertEqual([path for path in out.rglob("*") if path.name.endswith(".partial")], [])
                code, output, _ = program(["check", *left, out / "run.h5", *(out / "woven").glob("*.h5")])
                self.assertEqual(code, 0, output)
                shutil.copytree(out, self.folder / f"moved-{ranks}")
                shutil.rmtree(out)
        finally:
            subprocess.run(["umount", str(disk)], check=True)
        self.run_job("straight")
        for ranks in (1, 2):
            text = self.run_job(f"moved-{ranks}", ranks, ["checkpoint.every_steps=2"])
            self.assertIn("going on from", text)
            self.assert_same_run("straight", f"moved-{ranks}")

    def test_not_writable(self):
        self.refuse_run([], IO, self.deck, out=self.deck / "out", ranks=2)
        self.refuse(["score", self.deck, "--data", "a"], 64, "--output")
        disk = self.folder / "read-only"
        if not mounted(disk, "-t", "tmpfs", "-o", "ro", "selvage-test"):
            self.skipTest("a read-only file system cannot be mounted here (not root, or a container without the right)")
        try:
            self.refuse_run([], IO, disk, "Read-only", "permissions", out=disk / "out", ranks=2)
            self.refuse_run([], IO, disk, "Read-only", out=disk)
            self.refuse(["prepare", "--input", self.folder / "train.jsonl", "--output", disk / "x.h5", "--tokenizer",
                         "bytes"],
                        IO, disk / "x.h5", "Read-only")
        finally:
            subprocess.run(["umount", str(disk)], check=True)

    def test_unfinished_files_and_a_dead_jobs_lock(self):
        out = self.folder / "killed"
        (out / "checkpoints").mkdir(parents=True)
        (out / "LOCK").write_text(f"{socket.gethostname()} 999999999 1\n")
        unfinished = [out / "run.h5.partial", out / "checkpoints/step-00000004.h5.partial"]
        for path in unfinished:
            path.write_bytes(b"half")
        text = self.run_job("killed", 2)
        self.assertIn("taking over", text)
        self.assertIn("process 999999999", text)
        self.assertIn("removed 2 unfinished file(s)", text)
        self.assertFalse(any(path.exists() for path in unfinished) or (out / "LOCK").exists())

    def test_in_use(self):
        """A second run waits for the first, and says for whom."""
        words = ["run", self.deck, "--out", self.folder / "busy", "--set", "run.rounds=4000", "--set",
                 "run.schedule_rounds=3"]
        first = subprocess.Popen(command(words, 1), stderr=subprocess.PIPE)
        second = None
        try:
            end = time.time() + 30
            while not (self.folder / "busy/run.h5").exists() and time.time() < end:
                time.sleep(0.01)
            second = subprocess.Popen(command(words, 1), stderr=subprocess.PIPE, text=True)
            waiting = next(line for line in second.stderr if "waiting" in line)
            self.assertIn(f"waiting for process {first.pid} on {socket.gethostname()}", waiting)
            self.assertIsNone(second.poll())
        finally:
            for process in (second, first):
                if process:
                    process.kill()
                    process.communicate()

    def test_refused_jobs_change_nothing(self):
        """Neither a wrong deck nor --resume of an older checkpoint with one moves a file."""
        self.run_job("kept")
        names = sorted(path for path in (self.folder / "kept").rglob("*"))
        older = ["--resume", self.checkpoints("kept")[0]]
        for options, setting, word in ((older, "model.ffn=64", "model.ffn"), (older, "train.clip=3.0", "train.clip"),
                                       (["--resume", "never"], "data.context=4", "no example is left")):
            self.refuse_run([setting], BAD_DATA, word, out="kept", options=options, ranks=2)
            self.assertEqual(names, sorted(path for path in (self.folder / "kept").rglob("*")))


class Checkpoints(JobTest):
    def flip(self, path):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    def test_flipped_byte(self):
        self.run_job("run")
        newest, older = self.checkpoints("run")[-1], self.checkpoints("run")[-2]
        self.flip(newest)
        for arguments in (["generate", newest, "--prompt", "a"], ["evaluate", newest, self.deck]):
            self.refuse(arguments, BAD_DATA, newest)
        self.refuse_run([], BAD_DATA, newest, options=["--resume", newest], out="run", ranks=2)
        code, output, _ = program(["check", newest, older])
        self.assertEqual(code, BAD_DATA)
        self.assertIn(f"{older}: good", output)
        self.assertNotIn(f"{newest}: good", output)
        text = self.run_job("run", 2)
        self.assertEqual(text.count("passing over"), 1)
        self.assertIn(f"going on from {older}", text)
        self.assertEqual(program(["check", newest])[0], 0)

    def test_none_is_good(self):
        self.run_job("none", settings=["run.rounds=1"])
        for path in self.checkpoints("none"):
            self.flip(path)
        self.refuse_run(["run.rounds=1"], BAD_DATA, "none of the", "--resume never", out="none", ranks=2)

    def test_another_model(self):
        self.run_job("small", settings=["run.rounds=1", "model.layers=1"])
        other = self.checkpoints("small")[-1]
        self.refuse_run([], BAD_DATA, "model.layers", other, options=["--resume", other], out="other", ranks=2)
        self.refuse_run([f"model.from='{other}'"], BAD_DATA, "[model]", "contradicts", out="other", ranks=2)
        self.refuse_run([], BAD_DATA, "model.layers", out="small")
        damaged = self.folder / "small/run.h5"
        self.flip(damaged)
        self.refuse_run(["run.rounds=2", "model.layers=1"], BAD_DATA, damaged, "put back", out="small", ranks=2)


class Divergence(JobTest):
    def test_loss_not_finite(self):
        """The step is named, and every checkpoint that is left is good."""
        settings = ["train.learning_rate=1e3", "train.warmup_steps=0", "train.clip=0", "checkpoint.every_steps=1",
                    "checkpoint.keep=2",
                    "weave.method='none'", "evaluate.every_rounds=0", "train.steps_per_round=40",
                    "train.weight_decay=900.0"]
        for ranks in (1, 2):
            out = f"diverged-{ranks}"
            self.refuse_run(settings, BAD_DATA, "finite", "step", "train.learning_rate", "checkpoint", ranks=ranks,
                            out=out)
            left = self.checkpoints(out)
            self.assertEqual(len(left), 2)
            code, output, _ = program(["check", *left])
            self.assertEqual(code, 0, output)

    def test_outliers_are_skipped_and_counted(self):
        """And the run goes on from a stop with what it knew of the steps before."""
        settings = ["train.on_outlier='skip'", "train.outlier_factor=0.97", "train.outlier_window=3",
                    "train.outlier_patience=6", "run.rounds=4", "run.schedule_rounds=4", "evaluate.examples=1"]
        self.run_job("skipping", 2, settings)
        with h5py.File(self.folder / "skipping/run.h5") as log:
            skipped, loss, norm = (log[f"steps/{name}"][()] for name in ("skipped", "loss", "grad_norm"))
            told = [text for kind, text in zip(log["events/kind"][()], log["events/text"][()]) if kind == b"skipped"]
        kept = []
        for i, one in enumerate(skipped):
            limits = [0.97 * sorted(part)[len(part) // 2] for part in zip(*kept[-3:])] if len(kept) >= 3 else [9e9, 9e9]
            self.assertEqual(bool(one), loss[i] > limits[0] or norm[i] > limits[1], i)
            if not one:
                kept.append((loss[i], norm[i]))
        self.assertGreater(sum(skipped), 0)
        self.assertEqual(len(told), sum(skipped))
        out = self.folder / "skipping in two"
        self.run_job(out.name, 1, [*settings, "run.rounds=3"])
        self.run_job(out.name, 2, settings)
        self.assert_same_run("skipping", out.name)
        self.refuse_run([*settings, "train.outlier_patience=1"], BAD_DATA, "outlier", "in a row", "train.on_outlier",
                        out="impatient")
        self.refuse_run([*settings, "train.on_outlier='stop'"], BAD_DATA, "outlier", "train.on_outlier", out="strict")

    def test_model_not_finite_in_evaluation(self):
        settings = ["train.learning_rate=1e3", "train.clip=0"]
        for ranks in (1, 2):
            text = self.refuse_run(settings, BAD_DATA, "finite", "after step", "train.learning_rate", ranks=ranks,
                                   out=f"far-{ranks}")
            self.assertLess(text.count("finite"), 2)


class Hang(JobTest):
    def start(self, out, hang_minutes):
        """Three ranks that train for long, and their process numbers."""
        words = ["run", self.deck, "--out", self.folder / out, "--set", "run.rounds=4000", "--set",
                 "run.schedule_rounds=4000", "--set", f"run.hang_minutes={hang_minutes}"]
        job = subprocess.Popen(command(words, 3), stderr=subprocess.PIPE, text=True)
        self.addCleanup(job.kill)
        while not self.checkpoints(out):
            time.sleep(0.01)
        ranks = subprocess.run(["pgrep", "-P", str(job.pid)], capture_output=True, text=True, check=True).stdout.split()
        self.assertEqual(len(ranks), 3)
        return job, [int(rank) for rank in ranks]

    def test_a_rank_that_stands_still_ends_the_job(self):
        """With a line for where each of the others is."""
        job, ranks = self.start("hung", 0.03)
        os.kill(ranks[1], signal.SIGSTOP)
        _, errors = job.communicate(timeout=30)
        self.assertEqual(job.returncode, 71, errors[-3000:])
        told = re.findall(r"selvage: rank (\d) made no progress for 0.03 minutes .*\n((?:    .*\n)+)", errors)
        self.assertEqual({rank for rank, _ in told}, {"0", "2"}, errors[-3000:])
        for _, stack in told:
            self.assertIn("selvage::", stack)
            self.assertIn("main", stack)

    def test_a_job_that_was_suspended_goes_on(self):
        """As schedulers do it that suspend jobs for more urgent ones."""
        job, (first, *others) = self.start("suspended", 0.05)
        os.kill(first, signal.SIGSTOP)
        time.sleep(0.5)  # the others wait for it
        for rank in others:
            os.kill(rank, signal.SIGSTOP)
        time.sleep(6)
        for rank in (*others, first):
            os.kill(rank, signal.SIGCONT)
        time.sleep(1)
        (self.folder / "suspended/STOP").touch()
        _, errors = job.communicate(timeout=30)
        self.assertEqual(job.returncode, 75, errors[-3000:])
        self.assertNotIn("no progress", errors)


if __name__ == "__main__":
    unittest.main()
