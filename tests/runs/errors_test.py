# SPDX-License-Identifier: Apache-2.0
"""Bad command lines, decks, text and data files: one clear error, the exit code of its kind, nothing half-written."""
import gzip

from support import JobTest, h5py, numpy, program, unittest

USAGE, BAD_DATA, MISSING, IO = 64, 65, 66, 74


class CommandLine(JobTest):
    def test_commands_and_options(self):
        self.refuse(["rnu", self.deck], USAGE, "'rnu'", "did you mean run?", "--help")
        self.refuse(["run", self.deck, "--otu", "x"], USAGE, "--otu", "did you mean --out?", ranks=2)
        self.refuse(["run"], USAGE, "DECK")
        self.refuse(["run", self.deck, "--out"], USAGE, "--out")
        self.refuse(["run", self.deck, "--out", "a", "--out", "b"], USAGE, "--out stands twice")
        self.refuse(["prepare", "--input", "a.jsonl"], USAGE, "--output")
        words = ["prepare", "--input", "a.jsonl", "--output", "a.h5", "--tokenizer", "bytes"]
        self.refuse([*words, "--bad-lines", "keep"], USAGE, "--bad-lines", "error or drop")
        self.refuse([*words, "--max-tokens", "-3"], USAGE, "--max-tokens", "-3")
        self.refuse(["generate", "m.h5"], USAGE, "--prompt", "--data")
        self.refuse(["generate", "m.h5", "--prompt", "a", "--turns", "two"], USAGE, "--turns", "two")
        code, output, _ = program([])
        self.assertEqual(code, USAGE)
        self.assertIn("prepare", output)

    def test_settings(self):
        cases = {"train.lanse=4": ["train.lanse", "did you mean train.lanes?"], "train.lanes": ["table.key=value"],
                 "train.lanes='8'": ["train.lanes", "integer"], "train.lanes=3": ["train.lanes is 3", "power of two"],
                 "run.rounds=0": ["run.rounds = 0", "between 1"], "train.beta1=nan": ["train.beta1"],
                 "weave.method='bahs'": ["bahs", 'did you mean "bash"?'], "run.out=out": ["quotes"],
                 "model.kv_heads=3": ["kv_heads", "3"], "precision.compute='bf61'": ["precision.compute", "bf16"]}
        for setting, words in cases.items():
            with self.subTest(setting=setting):
                self.refuse_run([setting], BAD_DATA, *words, out="nothing")
        self.refuse_run(["train.lanse=4"], BAD_DATA, "--set train.lanse=4", ranks=2, out="nothing")
        self.assertFalse((self.folder / "nothing").exists())

    def test_resume_choice(self):
        self.refuse_run([], MISSING, "--resume atuo", "auto, never", ranks=2, options=["--resume", "atuo"])
        self.refuse_run([], BAD_DATA, "selvage-data", "selvage-checkpoint",
                        options=["--resume", self.folder / "train.h5"])


class Decks(JobTest):
    def refuse_deck(self, old, new, *words, ranks=1):
        """The deck with one line changed; the error names the line."""
        text = self.deck.read_text()
        self.assertIn(old, text)
        changed = self.folder / "changed.toml"
        changed.write_text(text.replace(old, new, 1))
        line = text[:text.index(old)].count("\n") + 1
        self.refuse_run([], BAD_DATA, f"{changed}:{line}", *words, deck=changed, ranks=ranks)

    def test_keys(self):
        self.refuse_deck("hidden = 32", "hiden = 32", "model.hiden", "did you mean model.hidden?", ranks=2)
        self.refuse_deck("[evaluate]", "[evaluat]", "evaluat", "evaluate")
        self.refuse_deck("layers = 2", "layers = 'two'", "model.layers", "integer")
        self.refuse_deck("layers = 2", "layers = 2.5", "model.layers", "integer")
        self.refuse_deck("layers = 2", "layers = 0", "model.layers = 0", "between 1")
        self.refuse_deck("layers = 2", "layers = ", "value")
        self.refuse_deck('["none", "bash", "rac"]', '["none", "rca"]', "rca", 'did you mean "rac"?')

    def test_keys_that_must_fit_each_other(self):
        self.refuse_deck("micro_batch_tokens = 128", "micro_batch_tokens = 64", "train.micro_batch_tokens is 64",
                         "data.context = 96")
        self.refuse_deck("lanes = 8", "lanes = 6", "train.lanes is 6", "power of two")

    def test_check(self):
        wrong = self.folder / "wrong.toml"
        wrong.write_text(self.deck.read_text().replace("hidden = 32", "hiden = 32"))
        code, output, _ = program(["check", self.deck, wrong, self.folder / "none.toml"], 2)
        self.assertEqual(code, BAD_DATA)
        good, bad, missing = output.splitlines()
        self.assertEqual(good, f"{self.deck}: good")
        self.assertTrue(bad.startswith(f"{wrong}:8: ") and "model.hidden" in bad, bad)
        self.assertIn("none.toml cannot be opened", missing)

    def test_missing_paths(self):
        for name in ("train", "heldout"):
            changed = self.folder / "changed.toml"
            changed.write_text(self.deck.read_text().replace(f'{name} = "{name}.h5"\n', ""))
            self.refuse_run([], BAD_DATA, f"data.{name} is missing", deck=changed)
        self.refuse_run([], MISSING, "nowhere.toml", deck=self.folder / "nowhere.toml", ranks=2)

    def test_grid(self):
        self.refuse_run(["grid.context=2"], BAD_DATA, "grid.context is 2", "set it to 1", ranks=2)
        self.refuse_run(["grid.tensor=3"], BAD_DATA, "grid.tensor is 3", "4 heads", ranks=3)
        self.refuse_run(["train.lanes=1"], BAD_DATA, "train.lanes is 1", "start fewer ranks", ranks=2)
        self.refuse_run(["grid.data=3"], BAD_DATA, "grid.data = 3", ranks=2)
        self.refuse_run(["grid.transport='nccl'"], BAD_DATA, 'grid.transport is "nccl"', "without a GPU", ranks=2)

    def test_effective_deck(self):
        """It holds every key, reads back, and says the same again."""
        code, first, errors = program(["check", "--effective", self.deck])
        self.assertEqual(code, 0, errors)
        for key in ("seed = 7", "beta1", "[weave.bash]", "walltime", "batch_invariant"):
            self.assertIn(key, first)
        (self.folder / "effective.toml").write_text(first)
        code, second, errors = program(["check", "--effective", self.folder / "effective.toml"])
        self.assertEqual(code, 0, errors)
        self.assertEqual(first, second)

    def test_last_setting_wins(self):
        self.run_job("last", 1, ["run.rounds=3", "run.rounds=1", "run.seed=1", "run.seed=9"])
        with h5py.File(self.folder / "last/run.h5", "r") as file:
            self.assertEqual(set(file["steps/round"][()]), {1})
            self.assertIn("seed = 9\n", file.attrs["deck"])

    def test_warmup_longer_than_the_run(self):
        text = self.run_job("warm", 1, ["train.warmup_steps=100", "run.rounds=1", "run.schedule_rounds=1"])
        self.assertIn("train.warmup_steps is 100, but the run has 4 steps", text)


class Text(JobTest):
    def refuse_lines(self, content, *words):
        path = self.folder / "bad.jsonl"
        path.write_bytes(content)
        output = self.folder / "bad.h5"
        self.refuse(["prepare", "--input", path, "--output", output, "--tokenizer", "bytes"], BAD_DATA, path, *words)
        self.assertFalse(output.exists())
        self.assertEqual(list(self.folder.glob("bad.h5*")), [])

    def test_lines(self):
        good = b'{"prompt": "a", "response": "b"}\n'
        for line, words in ((b'["a", "b"]', ["not an object"]), (b'{"prompt": "a"}', ['no key "response"']),
                            (b'{"prompt": "a", "response": 3}', ['"response"', "not a string"]),
                            (b'{"prompt": "", "response": "b"}', ['"prompt"', "empty"]),
                            (b'{"prompt": "\xff\xfe", "response": "b"}', ["UTF-8"]),
                            (b'{"prompt": "a", "respo', ["not a JSON object"])):
            with self.subTest(line=line):
                self.refuse_lines(good * 2 + line + b"\n" + good, ":3:", *words)
        packed = gzip.compress(good * 50)
        for content in (packed[:-6], packed[:10], packed + b"more", packed[:25] + b"????" + packed[29:]):
            self.refuse_lines(content, "damaged")
        self.refuse_lines(b"", "no text pair")
        self.refuse_lines(b"\n\n", "no text pair", "2 lines")

    def test_files(self):
        rest = ["--output", self.folder / "x.h5", "--tokenizer"]
        jsonl = self.folder / "train.jsonl"
        self.refuse(["prepare", "--input", self.folder / "none.jsonl", *rest, "bytes"], MISSING, "none.jsonl")
        self.refuse(["prepare", "--input", jsonl, *rest, self.folder / "none.model"], MISSING, "none.model", ranks=2)
        self.refuse(["prepare", "--input", jsonl, *rest, jsonl], BAD_DATA, "train.jsonl")
        under = ["--output", self.folder / "train.jsonl/x.h5", "--tokenizer", "bytes"]
        self.refuse(["prepare", "--input", jsonl, *under], IO, "train.jsonl")
        self.assertFalse((self.folder / "x.h5").exists())


class Data(JobTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        good = (cls.folder / "train.h5").read_bytes()
        flipped = bytearray(good)
        flipped[len(good) // 2] ^= 4
        cls.damaged = {"empty": b"", "text": b"prompt,response\n" * 500, "cut": good[:len(good) * 2 // 3],
                       "short": good[:100], "flipped": bytes(flipped)}
        for name, content in cls.damaged.items():
            (cls.folder / f"{name}.h5").write_bytes(content)
        with h5py.File(cls.folder / "foreign.h5", "w") as file:
            file["weights"] = numpy.zeros(4)
        cls.damaged["foreign"] = None

    def test_data_files(self):
        for name in self.damaged:
            with self.subTest(name=name):
                path = self.folder / f"{name}.h5"
                self.refuse_run([f"data.train='{path}'"], BAD_DATA, path)
                self.refuse(["info", path], BAD_DATA, path)
        paths = [self.folder / f"{name}.h5" for name in self.damaged]
        code, output, _ = program(["check", *paths])
        self.assertEqual(code, BAD_DATA)
        self.assertEqual(len(output.splitlines()), len(paths))
        for path, line in zip(paths, output.splitlines()):
            self.assertIn(str(path), line)
            self.assertNotIn("good", line)
        self.refuse_run([f"data.heldout='{self.folder}/cut.h5'"], BAD_DATA, "cut.h5", ranks=2)
        self.refuse_run(["data.train='none.h5'"], MISSING, "none.h5", ranks=2)
        self.refuse_run(["data.validation='none.h5'"], MISSING, "none.h5")

    def test_model_files(self):
        for name in self.damaged:
            path = self.folder / f"{name}.h5"
            with self.subTest(name=name):
                self.refuse(["generate", path, "--prompt", "a"], BAD_DATA, path)
        self.refuse_run([f"model.from='{self.folder}/cut.h5'"], BAD_DATA, "cut.h5", ranks=2)
        self.refuse_run([f"model.from='{self.folder}/train.h5'"], BAD_DATA, "selvage-data")
        self.refuse_run([f"model.from='{self.folder}/none.h5'"], MISSING, "none.h5")
        self.refuse(["evaluate", self.folder / "train.h5", self.deck], BAD_DATA, "selvage-data", ranks=2)
        self.refuse(["score", self.folder / "none.h5", "--data", self.folder / "train.h5", "--output",
                     self.folder / "s.h5"],
                    MISSING, "none.h5", ranks=2)
        self.assertFalse((self.folder / "s.h5").exists())

    def test_token_beyond_the_vocabulary(self):
        self.refuse_run(["model.vocabulary=128"], BAD_DATA, "train.h5: row", "vocabulary of 128")
        self.refuse_run(["model.vocabulary=256"], BAD_DATA, "token id 256", ranks=2)

    def test_pairs_longer_than_the_context(self):
        with h5py.File(self.folder / "train.h5", "r") as file:
            long = int((numpy.diff(file["offsets"][()]) > 25).sum())
        self.assertGreater(long, 3)
        settings = ["data.context=25", "run.rounds=1"]
        text = self.run_job("dropped", 1, settings)
        self.assertIn(f"data.train: {long} of 48 pairs are longer than data.context = 25: {long} dropped, 0 with", text)
        self.assertIn(f"{48 - long} training examples", text)
        text = self.run_job("truncated", 2, [*settings, "data.too_long='truncate'"])
        told = f"data.train: {long} of 48 pairs are longer than data.context = 25: 0 dropped, {long} with"
        self.assertEqual(text.count(told), 1)
        self.assertIn("48 training examples", text)
        with h5py.File(self.folder / "truncated/woven/round-0001.h5", "r") as file:
            self.assertEqual(numpy.diff(file["offsets"][()]).max(), 24)
        self.refuse_run(["data.context=4"], BAD_DATA, "no example is left", "48 of 48", "data.context", ranks=2)


if __name__ == "__main__":
    unittest.main()
