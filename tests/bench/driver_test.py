#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""selvage_bench on a tiny model: every mode answers rounds, on one and two ranks."""
import os
import subprocess
import unittest

import figures
from workers import Worker, WorkerError

DRIVER, MPIEXEC = os.environ["SELVAGE_BENCH"], os.environ["MPIEXEC"]


def worker(*arguments, ranks=1):
    launcher = [MPIEXEC, "-n", ranks] if ranks > 1 else []
    return Worker([*launcher, DRIVER, *arguments, "--model", "tiny", "--seconds", 0.01], patience=60)


def one_round(*arguments, ranks=1):
    running = worker(*arguments, ranks=ranks)
    numbers = running.round()
    running.close()
    return {**running.about, **numbers}


class Driver(unittest.TestCase):
    def test_train(self):
        alone = one_round("train", "--lanes", 2)
        self.assertEqual(alone["tokens"] % (4 * 32), 0)
        self.assertLess(alone["loss"], alone["first_loss"])
        two = one_round("train", "--lanes", 2, ranks=2)
        self.assertEqual(two["first_loss"], alone["first_loss"])
        self.assertGreater(figures.rate(two), 0)
        self.assertAlmostEqual(one_round("train", "--precision", "bf16")["first_loss"], alone["first_loss"], delta=0.1)

    def test_generate(self):
        self.assertEqual(one_round("generate", "--streams", 3, "--new-tokens", 5)["tokens"], 15)
        self.assertEqual(one_round("generate", "--streams", 3, "--precision", "bf16", ranks=2)["tokens"], 2 * 3 * 128)

    def test_ceilings(self):
        for precision in ("f32", "bf16"):
            training = one_round("ceiling-train", "--precision", precision)
            self.assertEqual(training["tokens"], 4 * 32)
            self.assertGreater(training["gflops"], 0)
            generation = one_round("ceiling-generate", "--precision", precision, "--streams", 3)
            self.assertEqual(generation["tokens"] % 3, 0)
            self.assertGreater(generation["prefill"], 0)
        self.assertGreater(one_round("ceiling-memory")["copy"], 0)

    def test_bad_command_lines(self):
        for arguments in ("nothing", "train --model 8b", "train --precision f8", "train --x 1", "train --lanes 3",
                          "generate --streams 0"):
            shown = subprocess.run([DRIVER, *arguments.split()], capture_output=True, text=True, check=False)
            self.assertEqual(shown.returncode, 64, arguments)
        with self.assertRaisesRegex(WorkerError, "give f32 or bf16"):
            worker("train", "--precision", "f8")


if __name__ == "__main__":
    unittest.main()
