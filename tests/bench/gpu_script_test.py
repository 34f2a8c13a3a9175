#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/gpu.sh in a bundle, with no more of an environment than a bare machine has, on the emulated GPU."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[1]


class Bundle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="selvage-bundle-")) / "bundle"
        programs = [os.environ[name] for name in ("SELVAGE", "SELVAGE_BENCH", "DEVICE_TEST")]
        made = subprocess.run([TESTS / "support/bundle.sh", cls.folder, *programs], capture_output=True, text=True,
                              check=False)
        if made.returncode == 69:
            raise unittest.SkipTest(made.stderr)
        assert made.returncode == 0, made.stderr
        shutil.copy(TESTS / "gpu.sh", cls.folder)
        (cls.folder / "gpu_tests.list").write_text("device_test 1 2\n")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder.parent)

    def script(self, *options):
        bare = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder)}
        done = subprocess.run([self.folder / "gpu.sh", *options], capture_output=True, text=True, env=bare, check=False,
                              stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout + done.stderr

    def test_everything_passes(self):
        code, shown = self.script("--device", "emulated")
        self.assertEqual(code, 0, shown)
        self.assertEqual(re.findall(r"device_test +(\d) ranks +passed", shown), ["1", "2"], shown)
        self.assertEqual(len(set(re.findall(r"ranks-\d: forced_nll ([\d.]+)", shown))), 1, shown)
        self.assertEqual(len(re.findall(r"% of the ceiling", shown)), 15, shown)
        self.assertIn("all passed", shown)

    def test_what_is_not_there_fails(self):
        (self.folder / "bin/selvage_bench").rename(self.folder / "bin/other")
        code, shown = self.script("--device", "emulated", "--part", "table")
        (self.folder / "bin/other").rename(self.folder / "bin/selvage_bench")
        self.assertEqual(code, 1, shown)
        self.assertIn("FAILED: the benchmark table", shown)

    def test_without_a_gpu_it_says_so(self):
        code, shown = self.script("--part", "tests")
        self.assertEqual(code, 1, shown)
        self.assertRegex(shown, "not built with CUDA|no GPU can be used")
        self.assertIn("FAILED: device_test on 2 ranks", shown)

    def test_bad_options(self):
        for options in (["--devic", "cuda"], ["--device", "x"], ["--part", "some"], ["--bundle", "/tmp/x"], ["--part"]):
            code, shown = self.script(*options)
            self.assertEqual(code, 64, shown)


if __name__ == "__main__":
    unittest.main()
