# SPDX-License-Identifier: Apache-2.0
"""What other scripts rely on at the command line: deck keys, options, exit codes, and what a resumed run may change."""
import re

from support import JobTest, h5py, numpy, program, programs, unittest

KEYS = {
    "run": "seed rounds schedule_rounds out walltime hang_minutes",
    "model": """from layers hidden heads kv_heads head_size ffn vocabulary norm activation rotary_base rotary_fraction
        tied query_key_norm post_norm norm_offset embedding_scale attention_scale attention_softcap logit_softcap
        sliding_window sliding_period rotary_scaling""",
    "data": "train validation heldout context too_long",
    "grid": "tensor context expert pipeline data",
    "precision": "compute batch_invariant",
    "generate": "examples samples streams max_new_tokens temperature top_p top_k cache_mib",
    "weave": "method rac_fraction",
    "weave.bash": """draft passes rate schedule rate_start rate_end k unit span_mean temperature top_p top_k special
        gold_weight""",
    "weave.rac": "template keep score threshold right_fraction truncated overflow gold_weight",
    "train": """lanes steps_per_round batch_tokens micro_batch_tokens learning_rate warmup_steps schedule weight_decay
        beta1 beta2 epsilon clip shard recompute threads_per_rank""",
    "evaluate": "every_rounds examples turns",
    "checkpoint": "every_steps every_minutes keep writers",
}

def keys_of(deck):
    """The keys of an effective deck, as table.key, with their values as they stand there."""
    found, table = {}, ""
    for line in deck.splitlines():
        if line.startswith("["):
            table = line.strip("[]")
        elif line and not line.startswith("#"):
            key, value = line.split(" = ", 1)
            found[f"{table}.{key}"] = value
    return found


class Commands(JobTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls().run_job("job", settings=["run.rounds=1", "run.schedule_rounds=3"])
        cls.model = cls.folder / "job/checkpoints/step-00000004.h5"

    # --- the deck ---

    def test_keys(self):
        code, effective, _ = program(["check", "--effective", self.deck])
        self.assertEqual(code, 0)
        keys = keys_of(effective)
        for table, names in KEYS.items():
            for name in names.split():
                self.assertIn(f"{table}.{name}", keys)
        again = self.folder / "again.toml"
        again.write_text(effective)
        self.assertEqual(program(["check", again])[0], 0)
        for name in ("train", "heldout"):
            self.assertEqual(keys[f"data.{name}"], f'["{self.folder / name}.h5"]')
        with h5py.File(self.folder / "job/run.h5", "r") as file:
            keys = keys_of(file.attrs["deck"])
        self.assertEqual(keys["data.train"], f'["{self.folder / "train"}.h5"]')
        self.assertEqual(keys["run.schedule_rounds"], "3")

    def test_choices_are_accepted(self):
        choices = {
            "data.too_long": ["drop", "truncate"], "weave.method": ["none", "bash", "rac", "both"],
            "weave.bash.draft": ["forced", "mixed", "free"], "weave.bash.unit": ["token", "span"],
            "weave.bash.schedule": ["constant", "linear", "exponential", "inverse-sigmoid"],
            "weave.bash.special": ["gold"],
            "weave.rac.keep": ["all", "wrong", "wrong+some"], "weave.rac.score": ["exact", "rougeL", "token_f1"],
            "weave.rac.truncated": ["keep", "drop"], "weave.rac.overflow": ["cut", "drop"],
            "train.schedule": ["constant", "linear", "cosine"], "precision.compute": ["f32", "bf16"]}
        decks = []
        for key, values in choices.items():
            table, name = key.rsplit(".", 1)
            for value in values:
                decks.append(self.folder / f"choice-{len(decks)}.toml")
                files = 'train = "a.h5"\nheldout = "b.h5"\n'
                decks[-1].write_text(f'[data]\n{files}{name} = "{value}"\n' if table == "data" else
                                     f'[data]\n{files}[{table}]\n{name} = "{value}"\n')
        code, output, _ = program(["check", *decks])
        self.assertEqual(code, 0, output)
        code, _, errors = program(["run", self.deck, "--set", 'precision.compute="fp8"'])
        self.assertEqual(code, 65)
        self.assertIn("bf16", errors)

    def test_set_works_wherever_keys_apply(self):
        on_heldout = [self.model, "--data", self.folder / "heldout.h5", "--output"]
        commands = (["run", self.deck, "--out", self.folder / "set"],
                    ["generate", *on_heldout, self.folder / "set.h5"],
                    ["score", *on_heldout, self.folder / "set-scores.h5"],
                    ["evaluate", self.model, self.deck])
        good = ["--set", 'weave.method=["none", "bash"]', "--set", "run.rounds=0", "--set", "run.rounds=1"]
        last_is_wrong = ["--set", "run.rounds=1", "--set", "run.rounds=0"]
        lines = [[*words, *good] for words in commands] + [[*words, *last_is_wrong] for words in commands]
        for line, expected, (code, _, errors) in zip(lines, [0] * 4 + [65] * 4, programs(lines)):
            self.assertEqual(code, expected, f"{line} {errors}")
        wrong = {"run.rouns=1": "run.rounds?", "run.rounds=x": "TOML value", "nonsense": "table.key=value",
                 "run.seed='a'": "run.seed"}
        lines = [[*words, "--set", setting] for words, setting in zip(commands, wrong)]
        for named, (code, _, errors) in zip(wrong.values(), programs(lines)):
            self.assertEqual(code, 65, errors)
            self.assertIn(named, errors)

    # --- commands ---

    def test_exit_codes(self):
        (self.folder / "empty.h5").write_bytes(b"")
        (self.folder / "cut.h5").write_bytes((self.folder / "train.h5").read_bytes()[:9000])
        (self.folder / "text.h5").write_text("not HDF5")
        (self.folder / "bad.jsonl").write_text('{"prompt": "a"}\n')
        (self.folder / "taken").write_text("a file, no folder")
        with h5py.File(self.folder / "no_pair.h5", "w") as file, h5py.File(self.folder / "train.h5", "r") as train:
            file.attrs["format"], file.attrs["format_version"] = "selvage-data", 1
            file["tokens"], file["offsets"] = numpy.array([65, 256], "i4"), numpy.array([0, 0, 2], "i8")
            file["prompt_length"] = numpy.array([0, 1], "i4")
            train.copy("tokenizer", file)
        damaged = [self.folder / f"{name}.h5" for name in ("empty", "cut", "text", "no_pair")]
        self.assertNotIn("good", program(["check", *damaged])[1])
        into = ["--output", self.folder / "o.h5"]
        f = lambda name: self.folder / name
        cases = (
                (64, []), (64, ["rum"]), (64, ["run"]), (64, ["run", self.deck, "--ot", "x"]), (64, ["info"]),
                (64, ["generate", self.model]), (64, ["generate", self.model, "--prompt", "a", "--turns", "many"]),
                (64, ["generate", self.model, "--prompt", "a", "--data", f("train.h5")]),
                (64, ["score", self.model, *into]), (64, ["run", self.deck, "--out", "x", "--out", "y"]),
                (65, ["info", f("empty.h5")]), (65, ["check", f("train.h5"), f("none.h5")]),
                (65, ["score", f("train.h5"), "--data", f("train.h5"), *into]),
                (65, ["score", self.model, "--data", f("job/run.h5"), *into]),
                (65, ["score", self.model, "--data", f("no_pair.h5"), *into]),
                (65, ["prepare", "--input", f("bad.jsonl"), *into, "--tokenizer", "bytes"]),
                (65, ["run", f("train.h5")]), (65, ["run", self.deck, "--out", f("x"), "--set", "grid.tensor=2"]),
                (65, ["run", self.deck, "--out", f("x"), "--set", "run.walltime='soon'"]),
                (65, ["run", self.deck, "--out", f("x"), "--resume", f("train.h5")]),
                (66, ["run", f("none.toml")]), (66, ["run", self.deck, "--out", f("x"), "--resume", f("none.h5")]),
                (66, ["run", self.deck, "--out", f("x"), "--set", "data.train='none.h5'"]),
                (66, ["info", f("none.h5")]), (66, ["score", self.model, "--data", f("none.h5"), *into]),
                (66, ["generate", f("none.h5"), "--prompt", "a"]), (66, ["evaluate", f("none.h5"), self.deck]),
                (66, ["prepare", "--input", f("none.jsonl"), *into, "--tokenizer", "bytes"]),
                (66, ["prepare", "--input", f("train.jsonl"), *into, "--tokenizer", f("none.model")]),
                (74, ["prepare", "--input", f("train.jsonl"), "--output", f("taken/a.h5"), "--tokenizer", "bytes"]),
                (74, ["run", self.deck, "--out", f("taken")]),
                (0, ["--version"]), (0, ["--help"]), (0, ["run", "--help"]), (0, ["check", "--help"]),
                (0, ["prepare", "--help"]), (0, ["generate", "--help"]), (0, ["evaluate", "--help"]),
                (0, ["score", "--help"]), (0, ["info", "--help"]))
        for (expected, words), (code, output, errors) in zip(cases, programs([words for _, words in cases])):
            self.assertEqual(code, expected, f"{words}\n{output}\n{errors}")
            self.assertFalse((self.folder / "o.h5").exists(), words)
        _, version, _ = program(["--version"])
        for part in ("selvage 0", "commit ", "MPI", "HDF5", "instruction set"):
            self.assertIn(part, version)

    def test_nearest_name(self):
        for words, nearest in ((["rnu"], "run"), (["run", self.deck, "--rezume", "never"], "--resume")):
            self.assertIn(nearest + "?", program(words)[2])

    # --- resume ---

    def test_keep(self):
        self.run_job("keep", settings=["checkpoint.keep=2", "checkpoint.every_steps=3"])
        kept = [path.name for path in self.checkpoints("keep")]
        self.assertEqual(kept, ["step-00000009.h5", "step-00000012.h5"])

    def test_what_may_differ_on_resume(self):
        self.run_job("differ", 1, ["run.rounds=1"])
        self.run_job("differ", 2, ["run.rounds=2", "run.walltime='10:00:00'", "run.hang_minutes=5", "grid.data=2",
                                   "checkpoint.keep=3", "checkpoint.every_steps=3", "checkpoint.every_minutes=1",
                                   "checkpoint.writers=1", "train.threads_per_rank=2", "generate.streams=3",
                                   "generate.cache_mib=8"])
        for setting in ("train.lanes=4", "weave.bash.rate=0.5", "run.schedule_rounds=9"):
            text = self.run_job("differ", settings=[setting], expect=65)
            self.assertIn(setting.split("=")[0], text)

    def test_schedules_go_by_the_first_start(self):
        deck = self.folder / "free.toml"
        deck.write_text(re.sub(r"schedule_rounds = .*\n", "", self.deck.read_text()))
        for rounds in (2, 3):
            code, _, errors = program(["run", deck, "--out", self.folder / "grown", "--set", f"run.rounds={rounds}",
                                       "--set", "train.schedule='linear'", "--set", "train.warmup_steps=0"])
            self.assertEqual(code, 0, errors)
        with h5py.File(self.folder / "grown/run.h5", "r") as file:
            self.assertEqual(keys_of(file.attrs["deck"])["run.schedule_rounds"], "2")
            self.assertEqual(file["steps/learning_rate"].shape, (12,))
            rates = file["steps/learning_rate"][()]
        self.assertTrue((rates[7:] == rates[7]).all() and rates[0] > rates[6] > rates[7])


if __name__ == "__main__":
    unittest.main()
