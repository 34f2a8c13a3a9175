# SPDX-License-Identifier: Apache-2.0
"""Every command on good input, and what it says."""
import gzip
import json
import socket
import subprocess
import time

from support import JobTest, command, h5py, numpy, program, unittest

COMMANDS = ("run", "check", "prepare", "generate", "evaluate", "score", "info", "import", "export")


class Help(unittest.TestCase):
    def test_help(self):
        code, output, _ = program(["--help"], 2)
        self.assertEqual(code, 0)
        for name in COMMANDS:
            self.assertEqual(output.count(f"\n  {name} "), 1)
        options = {"run": ["--set", "--out", "--resume"], "check": ["--effective"],
                   "prepare": ["--input", "--output", "--tokenizer", "--begin", "--bad-lines", "--duplicates",
                               "--max-tokens"],
                   "generate": ["--prompt", "--prompt-ids", "--begin", "--data", "--output", "--turns", "--set"],
                   "evaluate": ["--set"],
                   "score": ["--data", "--output", "--set"], "info": [], "import": ["--ignore", "--end-of-answer"],
                   "export": ["--dtype", "--shard-mib"]}
        for name in COMMANDS:
            code, output, _ = program([name, "--help"])
            self.assertEqual(code, 0)
            self.assertIn(f"selvage {name} ", output)
            for option in [*options[name], "--help"]:
                self.assertIn(f"  {option}", output)

    def test_version(self):
        code, output, _ = program(["--version"], 2)
        self.assertEqual(code, 0)
        for word in ("selvage 0.", "\ncommit ", "\nMPI ", "\nHDF5 ", "\ninstruction set "):
            self.assertEqual(output.count(word), 1, output)


class Commands(JobTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.log = cls().run_job("run", 2, [f"data.validation='{cls.folder}/heldout.h5'", "evaluate.examples=0"])
        cls.files = sorted((cls.folder / "run").rglob("*.h5"))
        cls.checkpoint = cls().checkpoints("run")[-1]

    def done(self, arguments, ranks=1):
        code, output, errors = program(arguments, ranks)
        self.assertEqual(code, 0, f"{arguments}\n{output}\n{errors}")
        return output, errors

    def test_check(self):
        files = [self.deck, self.folder / "train.h5", *self.files]
        output, _ = self.done(["check", *files], 2)
        self.assertEqual(sorted(output.splitlines()), sorted(f"{path}: good" for path in files))

    def test_info(self):
        formats = set()
        for path in [self.folder / "train.h5", *self.files]:
            output, _ = self.done(["info", path], 2 if path == self.checkpoint else 1)
            self.assertEqual(output.count(str(path)), 1, output)
            self.assertIn("checksums verified", output)
            formats.add(output.splitlines()[1].strip().split(",")[0])
        self.assertEqual(formats,
                         {"selvage-data", "selvage-run", "selvage-drafts", "selvage-woven", "selvage-checkpoint"})
        self.assertIn("12 steps done", self.done(["info", self.checkpoint])[0])

    def test_generate_text(self):
        first, _ = self.done(["generate", self.checkpoint, "--prompt", "3 and 4 make", "--set",
                              "generate.max_new_tokens=9"])
        self.assertTrue(first.endswith("\n"))
        again, _ = self.done(["generate", self.checkpoint, "--prompt", "3 and 4 make", "--turns", "2", "--set",
                              "generate.max_new_tokens=9"])
        self.assertTrue(again.startswith(first))
        self.assertEqual(again.count("--- correction"), 2)
        self.refuse(["generate", self.checkpoint, "--prompt", "a"], 64, "one rank", "--data", ranks=2)
        self.refuse(["generate", self.checkpoint, "--prompt", ""], 64, "--prompt is empty")
        self.refuse(["generate", self.checkpoint, "--prompt", "a", "--set", "generate.temperatur=1"], 65,
                    "did you mean generate.temperature?")

    def test_generated_text_comes_as_it_is_made(self):
        words = ["generate", self.checkpoint, "--prompt", "3 and 4 make", "--turns", "1", "--set",
                 "generate.max_new_tokens=9"]
        whole, _ = self.done(words)
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # keeps what was written at a time apart
        with ours, subprocess.Popen(command(words, 1), stdout=its, stderr=subprocess.DEVNULL) as process:
            its.close()
            parts = list(iter(lambda: ours.recv(65536), b""))
        self.assertEqual(process.returncode, 0)
        self.assertEqual(b"".join(parts).decode(errors="replace"), whole)
        answers = [answer.rstrip("\n") for answer in whole.split("--- correction 1\n")]
        self.assertGreaterEqual(len(parts), max(map(len, answers)), parts)

    def test_generate_from_ids(self):
        words = ["generate", self.checkpoint, "--set", "generate.max_new_tokens=9"]
        ids = " ".join(str(byte) for byte in b"3 and 4 make")
        self.assertEqual(self.done([*words, "--prompt", "3 and 4 make"])[0],
                         self.done([*words, "--prompt-ids", ids])[0])
        self.refuse([*words, "--prompt-ids", "51, 32 9999"], 65, "token 3 of the prompt", "9999", "vocabulary of 320")
        for text in ("51 x2", "51 -3", "99999999999"):
            self.refuse([*words, "--prompt-ids", text], 64, "--prompt-ids", "at character")
        self.refuse([*words, "--prompt", "a", "--begin"], 65, "no begin token")
        self.refuse([*words, "--prompt-ids", " "], 64, "--prompt-ids is empty")
        self.refuse([*words, "--prompt-ids", "51", "--prompt", "a"], 64, "one of them")

    def test_prompt_longer_than_the_context(self):
        words = ["generate", self.checkpoint, "--prompt", "x" * 50, "--set", "data.context=40", "--set",
                 "generate.max_new_tokens=8"]
        self.refuse(words, 65, "the prompt has 50 tokens", "data.context = 40", "data.too_long")
        _, errors = self.done([*words, "--set", "data.too_long='truncate'"])
        self.assertIn("the first 18 are cut", errors)

    def test_generate_file(self):
        # The template is that of the checkpoint's deck, "!"; a longer one would leave no room.
        for ranks in (1, 2):
            _, errors = self.done(["generate", self.checkpoint, "--data", self.folder / "heldout.h5", "--output",
                                   self.folder / f"d{ranks}.h5",
                                   "--turns", "1", "--set", "generate.max_new_tokens=9", "--set", "data.context=25"],
                                  ranks)
            self.assertEqual(errors.count("are longer than data.context = 25"), 1)
            self.done(["check", self.folder / f"d{ranks}.h5"])
        self.assert_same_file(self.folder / "d1.h5", self.folder / "d2.h5")
        with h5py.File(self.folder / "d1.h5", "r") as file:
            self.assertEqual(set(file["turn"][()]), {0, 1})
        _, errors = self.done(["generate", self.checkpoint, "--data", self.folder / "heldout.h5", "--output",
                               self.folder / "d.h5",
                               "--turns", "1", "--set", "data.context=25", "--set",
                               'weave.rac.template="\\n\\nCorrection:\\n"'])
        self.assertIn("9 corrections were left out", errors)

    def test_prepare(self):
        turns = [{"role": "user", "content": "3 and 4 make"}, {"role": "assistant", "content": " 7"}]
        talk, packed = self.folder / "talk.jsonl", self.folder / "packed"
        talk.write_text(json.dumps({"messages": turns}) + "\nno pair\n")
        packed.write_bytes(gzip.compress((self.folder / "train.jsonl").read_bytes()))
        said = set()
        for ranks in (1, 2):
            output, _ = self.done(["prepare", "--input", packed, "--input", talk, "--input", packed, "--bad-lines",
                                   "drop", "--duplicates", "drop", "--output", self.folder / f"p{ranks}.h5", "--tokenizer",
                                   "bytes"], ranks)
            said.add(output.replace(f"p{ranks}.h5", "p.h5"))
            self.done(["check", self.folder / f"p{ranks}.h5"])
        self.assertEqual(len(said), 1)
        self.assertIn(f"  {talk}: 2\n", output)
        self.assertIn(f"  {packed}: 1-48\n", output)
        self.assert_same_file(self.folder / "p1.h5", self.folder / "p2.h5")
        with h5py.File(self.folder / "p1.h5", "r") as file, h5py.File(self.folder / "train.h5", "r") as train:
            self.assertEqual(len(file["prompt_length"]), 49)
            before = len(train["tokens"])
            self.assertEqual(file["tokens"][:before].tolist(), train["tokens"][()].tolist())
            self.assertEqual(bytes(file["tokens"][before:-1].tolist()), b"User:\n3 and 4 make\n\nAssistant:\n 7")

    def test_data_of_another_vocabulary(self):
        with h5py.File(self.folder / "heldout.h5", "r") as file:
            columns = {name: file[name][()] for name in ("tokens", "offsets", "prompt_length")}
            columns["tokens"][columns["offsets"][3]] = 5000
            with h5py.File(self.folder / "foreign.h5", "w") as foreign:
                foreign.attrs["format"], foreign.attrs["format_version"] = "selvage-data", 1
                for name, values in columns.items():
                    foreign[name] = values
                file.copy("tokenizer", foreign)
        rest = ["--data", self.folder / "foreign.h5", "--output", self.folder / "none.h5"]
        for command_name in ("generate", "score"):
            self.refuse([command_name, self.checkpoint, *rest], 65, "foreign.h5: row 3: token id 5000",
                        "vocabulary of 320")
        self.refuse(["evaluate", self.checkpoint, self.deck, "--set", f"data.heldout='{self.folder}/foreign.h5'"], 65,
                    "row 3: token id 5000")
        self.assertFalse((self.folder / "none.h5").exists())

    def test_score(self):
        for ranks in (1, 2, 3):
            self.done(["score", self.checkpoint, "--data", self.folder / "train.h5", "--output",
                       self.folder / f"s{ranks}.h5"], ranks)
            self.assert_same_file(self.folder / "s1.h5", self.folder / f"s{ranks}.h5")
        with h5py.File(self.folder / "s1.h5", "r") as file:
            logprob = file["logprob"][()]
            self.assertTrue((logprob[file["offsets"][:-1]] == 0).all() and (logprob <= 0).all() and (logprob < 0).any())
        self.done(["check", self.folder / "s1.h5"])
        self.assertIn("selvage-scores", self.done(["info", self.folder / "s1.h5"])[0])

    def test_evaluate(self):
        words = ["evaluate", self.checkpoint, self.deck, "--set", "evaluate.examples=0"]
        one, _ = self.done(words)
        two, _ = self.done(words, 2)
        self.assertEqual(one, two)
        rows = dict((line.split()[0], line.split()[1:]) for line in one.splitlines())
        with h5py.File(self.folder / "run/run.h5", "r") as file:
            for metric in ("forced_nll", "gap", "rougeL", "correction_rate_turn1"):
                self.assertIn(metric, rows)
            self.assertAlmostEqual(float(rows["forced_nll"][0]), file["evaluations/forced_nll/value"][-1], places=5)

    def test_validation(self):
        """On the same examples it is the held-out forced_nll, at every evaluation."""
        with h5py.File(self.folder / "run/run.h5", "r") as file:
            values = {n: file[f"evaluations/{n}/value"][()] for n in ("validation_nll", "forced_nll")}
            low, high = (file[f"evaluations/validation_nll/{n}"][()] for n in ("low", "high"))
        numpy.testing.assert_allclose(values["validation_nll"], values["forced_nll"], rtol=1e-12)
        self.assertEqual(len(set(values["validation_nll"])), 4)
        self.assertTrue(((low < values["validation_nll"]) & (values["validation_nll"] < high)).all())
        self.run_job("alone", 1, [f"data.validation='{self.folder}/heldout.h5'", "evaluate.examples=0"])
        self.assert_same_run("run", "alone")

    def test_sweep_rows(self):
        with h5py.File(self.folder / "run/run.h5", "r") as file:
            kinds = [bytes(kind).decode() for kind in file["sweeps/kind"][()]]
            examples, busy = file["sweeps/examples"][()], file["sweeps/busy"][()]
            by_rank = file["sweeps/busy_by_rank"][()]
        rows = [i for i, kind in enumerate(kinds) if kind == "evaluate"]
        self.assertEqual(list(examples[rows]), [10] * 4)
        self.assertTrue(((busy[rows] > 0) & (busy[rows] <= 1)).all(), busy)
        for row in rows + [i for i, kind in enumerate(kinds) if kind == "generate"]:
            self.assertEqual(len(by_rank[row]), 2)
            self.assertTrue(((by_rank[row] > 0) & (by_rank[row] <= 1)).all(), by_rank)
            self.assertAlmostEqual(by_rank[row].mean(), busy[row])

    def test_communication_and_memory(self):
        with h5py.File(self.folder / "run/run.h5", "r") as file:
            train = file["sweeps/kind"].asstr()[()] == "train"
            share = file["sweeps/communication"][()]
            memory = dict(zip(file["memory/name"].asstr()[()], file["memory/bytes"][()]))
            with h5py.File(self.checkpoints("run")[-1], "r") as checkpoint:
                elements = sum(values.size for values in checkpoint["parameters"].values())
        self.assertTrue(((share[train] > 0) & (share[train] < 1)).all(), share)
        self.assertTrue((share[~train] == 0).all(), share)
        # Blocks are padded.
        self.assertTrue(4 * elements <= memory["parameters"] < 8 * elements + 65536, memory)
        self.assertGreater(memory["activations"], 0)
        self.assertGreaterEqual(memory["gradient"], memory["parameters"])

    def test_end_of_the_run_is_foretold(self):
        words = "the run ends about "
        end = [line.split(words)[1][:19] for line in self.log.splitlines() if words in line]
        self.assertEqual(len(end), 1)
        self.assertLess(abs(time.mktime(time.strptime(end[0], "%Y-%m-%dT%H:%M:%S")) - time.time()), 600)


if __name__ == "__main__":
    unittest.main()
