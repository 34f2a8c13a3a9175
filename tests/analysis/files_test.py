# SPDX-License-Identifier: Apache-2.0
"""Foreign, truncated and damaged files; files too large to be read; folders of runs that go on."""
import os
import pathlib
import resource
import shutil
import time
import unittest

import h5py
import numpy
from helpers import command, process, temporary, write_file, write_run

from analysis import AnalysisError, Ragged, Run, Samples, SelvageFile

TRIALS = int(os.environ.get("SELVAGE_TRIALS", 120))  # damaged files
DECK = ('[run]\nrounds = 2\n[weave]\nmethod = "rac"\n'
        '[data]\ntrain = ["/gone/train.h5"]\nheldout = ["/gone/heldout.h5"]\n')
ROWS, LENGTH = 4_000_000, 300  # tokens, logprob and sampled_logprob together 14 GB, most of it holes


def large_drafts(path):
    """A drafts file of 14 GB in which the rows that `written` names have tokens; the rest of the token datasets is
    holes."""
    written = range(0, ROWS, ROWS // 50)
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        file.attrs.update({"format": "selvage-drafts", "format_version": 1, "kind": "free", "method": "rac"})
        chunk = {"chunks": (131072,), "fletcher32": True}
        file.create_dataset("offsets", data=numpy.arange(0, (ROWS + 1) * LENGTH, LENGTH), **chunk)
        file.create_dataset("example", data=numpy.arange(ROWS), **chunk)
        for name, kind in (("sample", "i4"), ("turn", "i4"), ("finish_reason", "u1")):
            file.create_dataset(name, (ROWS,), kind, **chunk)
        for name, kind in (("tokens", "i4"), ("logprob", "f4"), ("sampled_logprob", "f4")):
            data = file.create_dataset(name, (ROWS * LENGTH,),
                                       kind)  # contiguous: the file system keeps what is not written as holes
            for row in written:
                data[row * LENGTH:(row + 1) * LENGTH] = numpy.arange(LENGTH) + row
    return written


class Refused(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.folder = temporary()
        cls.out = write_run(cls.folder / "out", DECK, {"gap": [(0.5, 0.4, 0.6)]})
        cls.good = (cls.out / "run.h5").read_bytes()

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def refuse(self, content, code, *words):
        """A run.h5 of this content (None: no file) is refused by library and command line alike."""
        out = self.folder / "refused"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        if content is not None:
            (out / "run.h5").write_bytes(content)
        with self.assertRaises(AnalysisError) as caught:
            Run(out)
        self.assertEqual(caught.exception.code, code, caught.exception)
        for word in (*words, str(out)):
            self.assertIn(word, str(caught.exception))
        return out

    def test_missing(self):
        out = self.refuse(None, 66, "no run.h5")
        self.assertEqual(command("table", out)[0], 66)
        self.assertEqual(process("table", out).returncode, 66)
        with self.assertRaises(AnalysisError) as caught:
            Run(self.folder / "nowhere")
        self.assertEqual(caught.exception.code, 66)

    def test_foreign(self):
        out = self.refuse(b"", 65, "empty")
        code, output, errors = command("report", out, "-o", out / "r.html")
        self.assertEqual((code, output, errors.count("\n")), (65, "", 1), errors)
        self.assertEqual(sorted(os.listdir(out)), ["run.h5"])
        self.refuse(b"step,loss\n1,2\n" * 1000, 65, "does not start like HDF5")
        other = write_file(self.folder / "other.h5", "selvage-drafts", {"tokens": [1]})
        self.refuse(other.read_bytes(), 65, "selvage-drafts", "selvage-run")
        with h5py.File(self.folder / "foreign.h5", "w") as file:
            file["x"] = [1]
        self.refuse((self.folder / "foreign.h5").read_bytes(), 65, "not one of Selvage's")
        newer = write_file(self.folder / "newer.h5", "selvage-run", {}, format_version=2)
        self.refuse(newer.read_bytes(), 65, "format version 2")

    def test_truncated(self):
        for size in (len(self.good) // 2, len(self.good) - 1, 600, 100, 9):
            self.refuse(self.good[:size], 65)

    def test_flipped_bytes(self):
        """Any damage is an AnalysisError or does not matter, never another exception."""
        random = numpy.random.Generator(numpy.random.Philox(5))
        for _ in range(TRIALS):
            damaged = bytearray(self.good)
            for at in random.integers(8, len(damaged), 3):
                damaged[at] ^= int(random.integers(1, 256))
            path = self.folder / "flipped" / "run.h5"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(damaged)
            try:
                Run(path.parent).metric("gap")
            except AnalysisError as error:
                self.assertEqual(error.code, 65)

    def test_checksum(self):
        """A flipped byte in a token is found when it is read, and named."""
        path = self.folder / "sum.h5"
        with h5py.File(path, "w") as file:
            file.attrs.update({"format": "selvage-drafts", "format_version": 1})
            file["offsets"] = [0, 4]
            file.create_dataset("tokens", data=numpy.full(4, 0x5a5a5a5a, "i4"), chunks=(4,), fletcher32=True)
        path.write_bytes(path.read_bytes().replace(b"\x5a" * 16, b"\x5a" * 15 + b"\x5b"))
        with SelvageFile(path, "selvage-drafts") as file, self.assertRaises(AnalysisError) as caught:
            Ragged(file).row(0, "/tokens")
        self.assertEqual(caught.exception.code, 65)
        self.assertIn("/tokens", str(caught.exception))

    def test_command_line(self):
        self.assertEqual(command("table", self.folder / "out" / "run.h5")[0], 0)
        for words in ((), ("nothing",), ("table",), ("report", self.out, "--baseline"),
                      ("plot", self.out, "--charts", "nonsense"), ("table", self.out, "--metrics", "x"),
                      ("compare", self.out, "--baseline", "x")):
            self.assertEqual(command(*words)[0], 64, words)
        self.assertEqual(command("report", self.out, "-o", self.folder / "no" / "such" / "r.html")[0], 74)


class Going(unittest.TestCase):

    def test_run_that_goes_on(self):
        """Only what is written to its end counts; the rest is not there yet."""
        folder = temporary()
        self.addCleanup(shutil.rmtree, folder)
        out = write_run(folder / "out", DECK, steps=3, events=[("t", "start", "started at step 0, data 2")])
        (out / "drafts").mkdir()
        (out / "drafts" / "round-0001.h5.partial").write_bytes(b"half")
        (out / "LOCK").write_text("host 1")
        self.assertEqual((Run(out).state, Run(out).rounds), ("going, or killed", 1))
        with Samples(Run(out)) as samples:
            self.assertEqual(samples.rounds, [])
        code, _, errors = command("report", out, "-o", folder / "r.html")
        self.assertEqual(code, 0, errors)
        self.assertIn("No drafts or woven files yet", (folder / "r.html").read_text())
        self.assertEqual(command("samples", out)[0], 66)


class Large(unittest.TestCase):
    """A drafts file of 14 GB of which almost nothing is read."""

    @classmethod
    def setUpClass(cls):
        cls.folder = temporary()
        cls.out = write_run(cls.folder / "out", DECK)
        (cls.out / "drafts").mkdir()
        cls.path = cls.out / "drafts" / "round-0001.h5"
        cls.written = large_drafts(cls.path)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @staticmethod
    def bytes_read():
        text = pathlib.Path("/proc/self/io").read_text()
        return int(text.split("rchar: ")[1].split()[0])

    def test_reads_what_it_is_asked_for(self):
        self.assertGreater(self.path.stat().st_size, 14e9)
        run, before, start = Run(self.out), self.bytes_read(), time.monotonic()
        with Samples(run) as samples:
            found = samples.of_round(1, 20)
            self.assertEqual(len(found), 20)
            table = samples._ragged(self.path, "selvage-drafts")
            for example in (0, self.written[7], ROWS - 1):
                self.assertEqual(table.find(example), example)
            self.assertIsNone(table.find(ROWS))
            self.assertIsNone(table.find(17, 1))
            numpy.testing.assert_array_equal(
                table.row(self.written[7], "/tokens")[0],
                numpy.arange(LENGTH) + self.written[7])
        self.assertLess(self.bytes_read() - before, 300e6)
        self.assertLess(time.monotonic() - start, 5)

    def test_report_in_little_memory(self):

        def limit():
            resource.setrlimit(resource.RLIMIT_DATA, (600 << 20, 600 << 20))

        result = process("report", self.out, "-o", self.folder / "large.html", preexec_fn=limit,
                         env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertLess((self.folder / "large.html").stat().st_size, 3e6)


if __name__ == "__main__":
    unittest.main()
