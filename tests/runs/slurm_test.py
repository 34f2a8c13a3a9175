# SPDX-License-Identifier: Apache-2.0
"""slurm/selvage.sbatch as it is shipped, on a real Slurm of two nodes: warnings, requeues, lost nodes, arrays."""
import pathlib
import re
import shutil
import subprocess
import sys

from support import SELVAGE, JobTest, program, unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
import slurm_cluster  # noqa: E402

SETTINGS = ["run.rounds=40", "run.schedule_rounds=40", "checkpoint.keep=3"]


@unittest.skipIf(slurm_cluster.why_not(), slurm_cluster.why_not())
class Slurm(JobTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls().run_job("straight", 2, SETTINGS)
        cls.cluster = slurm_cluster.SlurmCluster()
        cls.cluster.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__()
        super().tearDownClass()

    def submit(self, out, options, environment=None, settings=()):
        """The job's number."""
        words = [self.deck, "--out", self.folder / out]
        for setting in (*SETTINGS, *settings):
            words += ["--set", setting]
        self.cluster.environment = {**self.cluster.environment, "SELVAGE": SELVAGE, "SELVAGE_PROFILE": "",
                                    "SELVAGE_MAX_REQUEUES": "50", **(environment or {})}
        shown = self.cluster.call("sbatch", f"--chdir={ROOT}", f"--output={self.folder}/{out}.log", "--time=10",
                                  *options, ROOT / "slurm/selvage.sbatch", *words)
        return shown.split()[-1]

    def log(self, out):
        path = self.folder / f"{out}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_for_checkpoint(self, out, step):
        """One of this step or a later one."""
        self.cluster.wait_until(lambda: any(int(path.stem.split("-")[1]) >= step for path in self.checkpoints(out)),
                                60, f"no checkpoint of step {step}\n{self.log(out)}")

    def wait_for_end(self, out, job):
        def ended():
            state = self.cluster.state(job)
            if state == "PENDING":
                self.cluster.start_now(job)
            return state == ""

        self.cluster.wait_until(ended, 120, f"job {job} does not end\n{self.log(out)}")

    def assert_finished(self, out, starts):
        self.assertIn("ended with code 0", self.log(out), self.log(out))
        self.assertEqual(self.log(out).count(", start "), starts, self.log(out))
        self.assert_same_run("straight", out)

    def test_a_warning_puts_the_job_back_and_it_goes_on(self):
        job = self.submit("warned", ["--nodes=2", "--ntasks-per-node=1"])
        for step in (20, 100):
            self.wait_for_checkpoint("warned", step)
            starts = self.log("warned").count("told to stop")
            self.cluster.call("scancel", "--signal=USR1", "--batch", job)
            self.cluster.wait_until(lambda: self.log("warned").count("told to stop") > starts, 20, "not told")
            self.cluster.wait_until(lambda: self.cluster.state(job) in ("PENDING", ""), 30, "not back in the queue")
        self.wait_for_end("warned", job)
        self.assertIn("stopped with everything saved; back into the queue", self.log("warned"))
        self.assert_finished("warned", 3)

    def test_the_cap_and_the_file_stop(self):
        job = self.submit("capped", ["--ntasks=2"], {"SELVAGE_MAX_REQUEUES": "0"})
        self.wait_for_checkpoint("capped", 4)
        self.cluster.call("scancel", "--signal=USR1", "--batch", job)
        self.wait_for_end("capped", job)
        self.assertIn("not queued again", self.log("capped"))
        # The same folder once more; now a file stops it, which no requeue can help.
        job = self.submit("capped", ["--ntasks=2"])
        self.wait_for_checkpoint("capped", 40)
        (self.folder / "capped/STOP").touch()
        self.wait_for_end("capped", job)
        self.assertIn("stopped by the file STOP", self.log("capped"))
        (self.folder / "capped/STOP").unlink()
        job = self.submit("capped", ["--ntasks=1"])
        self.wait_for_end("capped", job)
        self.assert_finished("capped", 1 + 1 + 1)

    def test_a_lost_node(self):
        """The job starts again on the node that is left."""
        job = self.submit("lost", ["--nodes=1-2", "--ntasks=4", "--spread-job"])
        self.wait_for_checkpoint("lost", 8)
        self.cluster.lose("n2")
        try:
            self.wait_for_end("lost", job)
        finally:
            self.cluster.start("n2")
            self.cluster.wait_until(lambda: self.cluster.idle_nodes() == 2, 30, "n2 does not come back")
        self.assertRegex(self.log("lost"), r"start 1, 4 tasks on n\[1-2\](.|\n)*start 2, 4 tasks on n1\n")
        self.assert_finished("lost", 2)

    def test_an_array_of_seeds_by_a_profile(self):
        """Through submit.sh, with mpirun in the batch script."""
        self.cluster.environment = {**self.cluster.environment, "SELVAGE": SELVAGE}
        shown = self.cluster.call("env", ROOT / "slurm/submit.sh", ROOT / "slurm/profiles/mpirun.sh", "--array=7-8",
                                  f"--chdir={ROOT}", f"--output={self.folder}/seed-%a.log", "--ntasks-per-node=1",
                                  "--nodes=1", "--time=10", "--", self.deck, "--out", self.folder / "seed-%a", "--set",
                                  "run.seed=%a", "--set", "run.rounds=3")
        job = shown.split()[-1]
        self.cluster.wait_until(lambda: self.cluster.state(job) == "", 60, "the array does not end")
        for seed in (7, 8):
            self.assertIn("ended with code 0", self.log(f"seed-{seed}"), self.log(f"seed-{seed}"))
        self.run_job("seed", settings=["run.rounds=3"])  # the deck's own seed is 7
        self.assert_same_run("seed", "seed-7")
        with self.assertRaises(AssertionError):
            self.assert_same_run("seed", "seed-8")

    def repository(self, name, inputs, *parts):
        """A copy of these parts of it, with small data among its inputs."""
        root = self.folder / name
        for part in ("jobs", inputs, *parts):
            shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("data"))
        (root / "build/cpu").mkdir(parents=True)
        (root / "build/cpu/selvage").symlink_to(SELVAGE)
        data = root / inputs / "data"
        data.mkdir()
        for part, source in (("train", "train"), ("validation", "heldout"), ("heldout", "heldout")):
            shutil.copy(self.folder / f"{source}.h5", data / f"{part}.h5")
        return root

    def test_a_job_script_as_it_is(self):
        """jobs/quickstart/run.sh with other data and a smaller job."""
        root = self.repository("quickstart", "inputs/quickstart")
        settings = ["run.rounds=2", "run.schedule_rounds=2", "model.layers=1", "train.steps_per_round=3",
                    "train.batch_tokens=512", "train.micro_batch_tokens=256", 'weave.method=["none", "bash"]']
        words = [word for setting in settings for word in ("--set", setting)]
        shown = self.cluster.call("sbatch", f"--chdir={root}", f"--output={self.folder}/script.log", "--time=10",
                                  "--nodes=2", "--ntasks-per-node=1", ROOT / "jobs/quickstart/run.sh", *words)
        self.wait_for_end("script", shown.split()[-1])
        self.assertIn("Files in out/quickstart", self.log("script"))
        self.assertIn("data 2, ", self.log("script"))  # by srun, on what the job has
        code, output, errors = program(["run", root / "inputs/quickstart/quickstart.toml", "--out",
                                        self.folder / "by hand", *words])
        self.assertEqual(code, 0, output + errors)
        shutil.move(root / "out/quickstart", self.folder / "by script")
        self.assert_same_run("by hand", "by script")

    def test_the_comparison_as_arrays(self):
        """jobs/compare/run.sh with other data and smaller jobs: arrays in their order, and the report at the end."""
        root = self.repository("compare", "inputs/arithmetic", "analysis", "slurm")
        words = [word for setting in ("model.layers=1", "train.batch_tokens=1024", "train.micro_batch_tokens=512",
                                      "generate.max_new_tokens=8") for word in ("--set", setting)]
        done = subprocess.run(
            [root / "jobs/compare/run.sh", "--slurm", root / "slurm/profiles/cpu.sh", *words], text=True,
            env={**self.cluster.environment, "SELVAGE": "build/cpu/selvage", "SELVAGE_TASKS": "arithmetic",
                 "SELVAGE_METHODS": "none rac", "SELVAGE_SEEDS": "1 2", "SELVAGE_START_ROUNDS": "1",
                 "SELVAGE_ROUNDS": "1", "SELVAGE_STEPS": "2"}, capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        job = re.search(r"2 arrays of methods, and job (\d+)", done.stdout)[1]

        def logs():
            return "".join(f"== {path}\n{path.read_text()}" for path in sorted(root.glob("*.log")))

        self.cluster.wait_until(lambda: self.cluster.state(job) == "", 120, f"job {job} does not end")
        table = root / "out/compare/compare.md"
        self.assertTrue(table.exists(), logs())
        self.assertRegex(table.read_text(), r"\| rac +\| 2 \|")
        self.assertIn("</html>", (root / "out/compare/report.html").read_text())
        for folder in ("start-1", "start-2", "none-1", "none-2", "rac-1", "rac-2"):
            self.assertEqual(len(self.checkpoints(root / "out/compare/arithmetic" / folder)), 1, folder)
        self.assertEqual(logs().count("ended with code 0"), 6, logs())  # none was left to the last job

    def test_bad_submissions_say_what_to_do(self):
        job = self.submit("unbuilt", ["--ntasks=1"], {"SELVAGE": "nowhere/selvage"})
        self.wait_for_end("unbuilt", job)
        self.assertIn("nowhere/selvage is not there; build it, or set SELVAGE", self.log("unbuilt"))
        shown = self.cluster.call("sbatch", f"--chdir={self.folder}", f"--output={self.folder}/elsewhere.log",
                                  ROOT / "slurm/selvage.sbatch", self.deck)
        self.wait_for_end("elsewhere", shown.split()[-1])
        self.assertIn("is not the root of the repository", self.log("elsewhere"))


if __name__ == "__main__":
    unittest.main()
