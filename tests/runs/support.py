# SPDX-License-Identifier: Apache-2.0
"""What the whole-program tests share: a tiny job, the program as a user runs it, and comparison of outputs bit by bit."""
import concurrent.futures
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import h5py
import numpy

SELVAGE = os.environ.get("SELVAGE", str(pathlib.Path(__file__).resolve().parents[2] / "build/cpu/selvage"))

DECK = """
[run]
seed = 7
rounds = 3
schedule_rounds = 3
[model]
layers = 2
hidden = 32
heads = 4
kv_heads = 2
head_size = 8
ffn = 48
[data]
train = "train.h5"
heldout = "heldout.h5"
context = 96
[generate]
streams = 4
max_new_tokens = 12
cache_mib = 4
[weave]
method = ["none", "bash", "rac"]
[weave.rac]
template = "!"
gold_weight = 0.5
[train]
lanes = 8
steps_per_round = 4
batch_tokens = 512
micro_batch_tokens = 128
learning_rate = 1e-2
warmup_steps = 2
[evaluate]
examples = 5
[checkpoint]
keep = 20
"""


def program(arguments, ranks=1, environment=None, timeout=120):
    """Runs the program; returns (exit code, standard output, standard error)."""
    result = subprocess.run(command(arguments, ranks), capture_output=True, text=True, errors="replace", timeout=timeout,
                            env={**os.environ, **(environment or {})})
    return result.returncode, result.stdout, result.stderr


def programs(lines):
    """Runs the program once per line of words, some at a time (most of a short command is waiting for MPI)."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return list(pool.map(program, lines))


def command(arguments, ranks):
    words = [SELVAGE, *map(str, arguments)]
    return words if ranks == 1 else [os.environ.get("MPIEXEC", "mpirun"), "-n", str(ranks), *words]


def datasets(path):
    """Name to (dtype, shape, bytes) of every dataset that must not depend on ranks or time."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and not item.attrs.get("volatile", 0):
            found[name] = (item.dtype.str, item.shape, item[()].tobytes())

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


class JobTest(unittest.TestCase):
    """A folder with the tiny job's data and deck in it."""
    settings = ()  # of every job

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="selvage-run-"))
        for name, begin, end in (("train", 0, 48), ("heldout", 100, 110)):
            with open(cls.folder / f"{name}.jsonl", "w", encoding="utf-8") as lines:
                for i in range(begin, end):
                    a, b = i * 7 % 23, i * 5 % 17
                    pair = {"prompt": f"{a} and {b} make", "response": f" {a + b}" + " ok" * (i % 4)}
                    lines.write(json.dumps(pair) + "\n")
            code, _, errors = program(["prepare", "--input", cls.folder / f"{name}.jsonl", "--output",
                                       cls.folder / f"{name}.h5", "--tokenizer", "bytes"])
            assert code == 0, errors
        cls.deck = cls.folder / "deck.toml"
        cls.deck.write_text(DECK)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def run_job(self, out, ranks=1, settings=(), options=(), expect=0, environment=None):
        words = ["run", self.deck, "--out", self.folder / out, *options]
        for setting in (*self.settings, *settings):
            words += ["--set", setting]
        code, output, errors = program(words, ranks, environment)
        self.assertEqual(code, expect, f"{' '.join(map(str, words))} on {ranks} ranks:\n{output}\n{errors}")
        return output + errors

    def refuse(self, arguments, code, *words, ranks=1):
        """The program ends with `code` and one error line that has all the words, in time; returns what it wrote."""
        got, output, errors = program(arguments, ranks, timeout=30)
        text = f"{' '.join(map(str, arguments))} on {ranks} ranks:\n{output}\n{errors}"
        self.assertEqual(got, code, text)
        lines = [line for line in errors.splitlines() if " error " in line]
        self.assertEqual(len(lines), 1, text)
        for word in words:
            self.assertIn(str(word), lines[0])
        self.assertNotIn("internal", lines[0])
        return output + errors

    def refuse_run(self, settings, code, *words, ranks=1, deck=None, options=(), out="refused"):
        arguments = ["run", deck or self.deck, "--out", self.folder / out, *options]
        for setting in settings:
            arguments += ["--set", setting]
        return self.refuse(arguments, code, *words, ranks=ranks)

    def checkpoints(self, out):
        return sorted((self.folder / out / "checkpoints").glob("step-*.h5"))

    def assert_same_file(self, one, other):
        a, b = datasets(one), datasets(other)
        self.assertEqual(sorted(a), sorted(b), f"datasets of {one} and {other}")
        self.assertTrue(a, f"{one} has no datasets")
        for name in a:
            self.assertEqual(a[name], b[name], f"{name} of {one} and {other}")

    def assert_same_run(self, one, other):
        """Run log, drafts, woven files and the final checkpoint are the same, bit by bit."""
        one, other = self.folder / one, self.folder / other
        names = ["run.h5"]
        for part in ("drafts", "woven"):
            found = sorted(path.name for path in (one / part).glob("*.h5"))
            self.assertEqual(found, sorted(path.name for path in (other / part).glob("*.h5")))
            names += [f"{part}/{name}" for name in found]
        last = self.checkpoints(one)[-1].name
        self.assertEqual(last, self.checkpoints(other)[-1].name)
        for name in names + [f"checkpoints/{last}"]:
            self.assert_same_file(one / name, other / name)

    def interrupt(self, out, ranks, seen, signal_number=signal.SIGUSR1, settings=(), timeout=120):
        """Starts a run, sends a signal when `seen()` becomes true, returns the exit code."""
        words = ["run", self.deck, "--out", self.folder / out]
        for setting in settings:
            words += ["--set", setting]
        with open(self.folder / "interrupted.log", "w", encoding="utf-8") as log:
            process = subprocess.Popen(command(words, ranks), stdout=log, stderr=log)
            end = time.time() + timeout
            while not seen() and process.poll() is None and time.time() < end:
                time.sleep(0.002)
            process.send_signal(signal_number)
            return process.wait(timeout)


__all__ = ["JobTest", "command", "datasets", "h5py", "numpy", "program", "programs", "shutil", "unittest"]
