# SPDX-License-Identifier: Apache-2.0
"""What other scripts rely on in the files: names, types and meaning of every dataset, and the output folder."""
import datetime
import subprocess

from support import JobTest, command, h5py, numpy, program, programs, unittest

# Dataset: (type, rank); VOLATILE ones may depend on ranks and time.
I4, I8, F4, F8, U1, TEXT = "<i4", "<i8", "<f4", "<f8", "|u1", "S"
TOKENIZER = {"tokenizer/pieces": (U1, 1), "tokenizer/piece_offsets": (I8, 1), "tokenizer/model": (U1, 1)}
STATE = {f"state/{name}": (I8, 0) for name in
         ("step", "round", "sweep", "cursor", "step_in_round", "rows_steps", "rows_sweeps", "rows_evaluations")}
FILES = {
    "selvage-run": {
        **{f"steps/{name}": (I8, 1) for name in ("step", "round", "target_tokens")},
        **{f"steps/{name}": (F8, 1) for name in ("loss", "grad_norm", "learning_rate", "seconds")},
        **{f"sweeps/{name}": (I8, 1) for name in ("round", "tokens", "examples", "repeated", "left_over")},
        "sweeps/kind": (TEXT, 1), "sweeps/seconds": (F8, 1), "sweeps/busy": (F8, 1),
        "sweeps/busy_by_rank": (F8, 2), "sweeps/communication": (F8, 1),
        "steps/skipped": (U1, 1), "memory/name": (TEXT, 1), "memory/bytes": (I8, 1),
        "checkpoints/step": (I8, 1), "checkpoints/bytes": (I8, 1), "checkpoints/stall_seconds": (F8, 1),
        "checkpoints/write_seconds": (F8, 1),
        **{f"events/{name}": (TEXT, 1) for name in ("time", "kind", "text")}},
    "selvage-drafts": {"tokens": (I4, 1), "offsets": (I8, 1), "example": (I8, 1), "sample": (I4, 1), "turn": (I4, 1),
                       "logprob": (F4, 1), "sampled_logprob": (F4, 1), "finish_reason": (U1, 1)},
    "selvage-woven": {"input_tokens": (I4, 1), "target_tokens": (I4, 1), "loss_weight": (F4, 1), "origin": (U1, 1),
                      "target_origin": (U1, 1), "offsets": (I8, 1), "example": (I8, 1), "sample": (I4, 1),
                      "answer_start": (I4, 1), "method": (U1, 1), "uses/step": (I8, 1), "uses/lane": (I4, 1),
                      "uses/row": (I4, 1), "uses/offset": (I4, 1), "uses/index": (I8, 1)},
    "selvage-checkpoint": {**TOKENIZER, **STATE},
    "selvage-data": {"tokens": (I4, 1), "offsets": (I8, 1), "prompt_length": (I4, 1), **TOKENIZER},
    "selvage-scores": {"tokens": (I4, 1), "offsets": (I8, 1), "logprob": (F4, 1)},
}
VOLATILE = {"steps/seconds", "sweeps/seconds", "sweeps/busy", "sweeps/busy_by_rank", "sweeps/communication",
            "memory/name", "memory/bytes", "checkpoints/step", "checkpoints/bytes", "checkpoints/stall_seconds",
            "checkpoints/write_seconds", "events/time", "events/kind", "events/text"}

METRICS = """forced_nll forced_accuracy forced_agreement free_agreement free_agreement_sampled chance_agreement gap
    context_gap prefix_shift exact_match rouge1 rouge2 rougeL exact_match_turn1 rouge1_turn1 rouge2_turn1 rougeL_turn1
    correction_rate corruption_rate numeric_gap""".split()
CURVES = "forced_nll context_gap prefix_shift prefix_shift_nll".split()
METRIC = {"step": (I8, 1), "round": (I8, 1), "value": (F8, 1), "low": (F8, 1), "high": (F8, 1)}
CURVE = {"value": (F8, 2), "count": (I8, 2)}

def columns(path, *names):
    with h5py.File(path, "r") as file:
        return [file[name][()] for name in names]

class Formats(JobTest):
    """Looks at one job of four rounds with every method, and at the files of all commands."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls().run_job("job", 2, ["run.rounds=4", 'weave.method=["none", "bash", "rac", "both"]', "generate.samples=2",
                                 "evaluate.turns=1"])
        cls.job = cls.folder / "job"
        cls.model = cls.job / "checkpoints/step-00000016.h5"
        on_heldout = [cls.model, "--data", cls.folder / "heldout.h5", "--output"]
        for words in (["score", *on_heldout, cls.folder / "scores.h5"],
                      ["generate", *on_heldout, cls.folder / "answers.h5", "--turns", 2, "--set",
                       "generate.max_new_tokens=9", "--set", "data.context=96"]):
            code, _, errors = program(words, 2)
            assert code == 0, errors

    def files(self):
        return sorted(self.job.rglob("*.h5")) + [self.folder / name for name in ("train.h5", "scores.h5", "answers.h5")]

    # --- files ---

    def check_dataset(self, name, item, expected):
        dtype, rank = expected
        self.assertEqual(len(item.shape), rank, name)
        self.assertEqual("S" if item.dtype.kind in "SO" else item.dtype.str, dtype, name)
        self.assertIsInstance(item.attrs["description"], str, name)
        self.assertIsInstance(item.attrs["units"], str, name)
        self.assertTrue(item.attrs["description"] and item.attrs["units"], name)
        self.assertEqual(item.attrs.get("volatile", 0), int(name in VOLATILE), name)
        self.assertTrue(item.fletcher32 or rank == 0 or item.size == 0, name)

    def expected_datasets(self, file):
        expected = dict(FILES[file.attrs["format"]])
        for metric in file.get("evaluations", {}):
            for name, kind in (CURVE if metric.endswith("_by_position") else METRIC).items():
                expected[f"evaluations/{metric}/{name}"] = kind
        for parameter, values in file.get("parameters", {}).items():
            for group in ("parameters", "optimizer/first_moment", "optimizer/second_moment", "optimizer/master"):
                expected[f"{group}/{parameter}"] = (F4, values.ndim)
        return expected

    def test_every_dataset_of_every_file(self):
        seen = set()
        for path in self.files():
            with self.subTest(path=path.name), h5py.File(path, "r") as file:
                seen.add(file.attrs["format"])
                expected = self.expected_datasets(file)
                for name, kind in expected.items():
                    self.check_dataset(name, file[name], kind)
                found = []
                file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
                # A master copy is a second name of the parameter: a visit shows one of the two.
                strangers = set(found) - set(expected)
                self.assertFalse(strangers, f"datasets that the table of this test does not know: {strangers}")
        self.assertEqual(seen, set(FILES))

    def test_root_attributes(self):
        for path in self.files():
            with self.subTest(path=path.name), h5py.File(path, "r") as file:
                self.assertEqual(file.attrs["format_version"], 1)
                self.assertTrue(numpy.issubdtype(file.attrs["format_version"].dtype, numpy.integer))
                self.assertRegex(file.attrs["selvage_version"], r"^\d+\.\d+\.\d+")
                self.assertTrue(file.attrs["git_commit"])
                created = datetime.datetime.fromisoformat(file.attrs["created"].replace("Z", "+00:00"))
                self.assertLess(abs((datetime.datetime.now(datetime.timezone.utc) - created).total_seconds()), 3600)
                if self.job in path.parents:
                    self.assertIn("[weave.bash]", file.attrs["deck"])
                # Library bounds V110 (superblock version 3) behind a user block.
                self.assertEqual(file.userblock_size, 4096)
                with open(path, "rb") as content:
                    head = content.read(4096 + 9)
                self.assertEqual(head[:8] + head[4096:], b"SELVAGE\n" + b"\x89HDF\r\n\x1a\n" + b"\x03")

    def test_check_and_info_know_every_file(self):
        code, output, _ = program(["check", *self.files()])
        self.assertEqual(code, 0, output)
        one_of_each = [path for path in self.files() if path.name not in ("round-0002.h5", "round-0003.h5")][3:]
        for code, output, errors in programs([["info", path] for path in one_of_each]):
            self.assertEqual(code, 0, errors)
            self.assertIn("format version 1", output)
            self.assertLess(len(output.splitlines()), 100)

    def test_output_folder(self):
        found = sorted(str(path.relative_to(self.job)) for path in self.job.rglob("*") if path.is_file())
        rounds = [f"round-{number:04d}.h5" for number in (1, 2, 3, 4)]
        expected = ["run.h5", *(f"checkpoints/step-{step:08d}.h5" for step in (4, 8, 12, 16)),
                    *(f"drafts/{name}" for name in rounds[1:]), *(f"woven/{name}" for name in rounds)]
        self.assertEqual(found, sorted(expected))

    def test_run_log(self):
        with h5py.File(self.job / "run.h5", "r") as file:
            log = file["evaluations"]
            for metric in METRICS:
                self.assertEqual(list(log[metric]["step"]), [0, 4, 8, 12, 16], metric)
                self.assertEqual(list(log[metric]["round"]), [0, 1, 2, 3, 4], metric)
                value, low, high = (log[metric][name][()] for name in ("value", "low", "high"))
                numbers = ~numpy.isnan(value)
                value, low, high = value[numbers], low[numbers], high[numbers]
                self.assertTrue((low <= value).all() and (value <= high).all(), metric)
            for metric in CURVES:
                self.assertEqual(log[f"{metric}_by_position/value"].shape[0], 5, metric)
            self.assertEqual(list(log["numeric_gap/value"]), [0] * 5)
            self.assertEqual(list(file["steps/step"]), list(range(1, 17)))
            self.assertEqual(list(file["steps/round"]), [1 + step // 4 for step in range(16)])
            kinds = list(zip(file["sweeps/kind"].asstr()[()], file["sweeps/round"]))
            self.assertEqual(kinds, [("evaluate", 0)] + [
                (kind, number) for number in (1, 2, 3, 4) for kind in ("generate", "weave", "train", "evaluate")
                if (kind, number) != ("generate", 1)])
            for kind, text in zip(file["events/kind"].asstr()[()], file["events/text"].asstr()[()]):
                self.assertTrue(kind and text)

    def test_state(self):
        for path, place in zip(self.checkpoints("job"), ((4, 1, 3), (8, 2, 3), (12, 3, 3), (16, 5, 4))):
            with h5py.File(path, "r") as file:
                state = {name: int(value[()]) for name, value in file["state"].items()}
                self.assertEqual((state["step"], state["round"], state["sweep"]), place)
                self.assertEqual(state["rows_steps"], place[0])
                with h5py.File(self.job / f"woven/round-{place[0] // 4:04d}.h5", "r") as woven:
                    self.assertGreaterEqual(state["cursor"], len(set(woven["example"][()])))
                self.assertEqual(file["optimizer/master/embedding.weight"], file["parameters/embedding.weight"])
        self.assertEqual((state["rows_sweeps"], state["rows_evaluations"]), (16, 5))

    # --- drafts ---

    def test_order_of_rows(self):
        for path in sorted((self.job / "drafts").glob("*.h5")) + [self.folder / "answers.h5"]:
            keys = list(zip(*columns(path, "example", "sample", "turn")))
            self.assertEqual(keys, sorted(set(keys)), path)
        for path in (self.job / "woven").glob("*.h5"):
            keys = list(zip(*columns(path, "example", "sample", "method")))
            self.assertEqual(keys, sorted(set(keys)), path)
        turn, = columns(self.folder / "answers.h5", "turn")
        self.assertEqual(sorted(set(turn)), [0, 1, 2])

    def test_why_drafts_end(self):
        for path, longest in ((self.folder / "answers.h5", 9), (self.job / "drafts/round-0003.h5", 12)):
            offsets, tokens, reasons, turns = columns(path, "offsets", "tokens", "finish_reason", "turn")
            for a, b, reason, turn in zip(offsets, offsets[1:], reasons, turns):
                answer = tokens[a:b]
                self.assertEqual(reason == 0, answer[-1] == 256)
                self.assertNotIn(256, answer[:-1])
                self.assertLessEqual(len(answer), longest)
                if reason == 1 and turn == 0:
                    self.assertEqual(len(answer), longest)

    def score(self, model, prompts, answers, name):
        """Log-probabilities of the answers' tokens by `score`, from a data file that another program wrote."""
        data = self.folder / f"{name}.h5"
        sequences = [numpy.concatenate(pair) for pair in zip(prompts, answers)]
        with h5py.File(data, "w") as file, h5py.File(self.folder / "train.h5", "r") as train:
            file.attrs["format"], file.attrs["format_version"] = "selvage-data", 1
            file["tokens"] = numpy.concatenate(sequences).astype("i4")
            file["offsets"] = numpy.cumsum([0] + [len(s) for s in sequences]).astype("i8")
            file["prompt_length"] = numpy.array([len(p) for p in prompts], dtype="i4")
            train.copy("tokenizer", file)
        code, _, errors = program(["score", model, "--data", data, "--output", self.folder / f"{name}-scores.h5",
                                   "--set", "train.threads_per_rank=1"], 2)
        self.assertEqual(code, 0, errors)
        offsets, logprob = columns(self.folder / f"{name}-scores.h5", "offsets", "logprob")
        self.assertTrue((logprob[offsets[:-1]] == 0).all())
        return numpy.concatenate([logprob[a + len(p):b] for a, b, p in zip(offsets, offsets[1:], prompts)])

    def prompts_of(self, data, examples):
        offsets, lengths, tokens = columns(self.folder / data, "offsets", "prompt_length", "tokens")
        return [tokens[offsets[i]:offsets[i] + lengths[i]] for i in examples]

    def test_logprob_is_that_of_score(self):
        """Free drafts of the job and of `generate`: the bits of teacher forcing under the weights that made them."""
        for name, step, data in (("job/drafts/round-0003", 8, "train.h5"), ("answers", 16, "heldout.h5")):
            model = self.job / f"checkpoints/step-{step:08d}.h5"
            example, turn, offsets, tokens, logprob = columns(self.folder / f"{name}.h5", "example", "turn", "offsets",
                                                              "tokens", "logprob")
            rows = [i for i in range(len(example)) if turn[i] == 0]
            answers = [tokens[offsets[i]:offsets[i + 1]] for i in rows]
            scored = self.score(model, self.prompts_of(data, example[rows]), answers, "drafted")
            recorded = numpy.concatenate([logprob[offsets[i]:offsets[i + 1]] for i in rows])
            self.assertEqual(recorded.tobytes(), scored.tobytes(), name)

    def test_generated_tokens_are_the_drafts(self):
        """Every token that a woven file calls generated stands in the drafts file, at its position."""
        for number in (2, 3, 4):
            drafts, woven = (self.job / f"{folder}/round-{number:04d}.h5" for folder in ("drafts", "woven"))
            example, sample, offsets, tokens = columns(drafts, "example", "sample", "offsets", "tokens")
            own = {key: tokens[a:b] for key, a, b in zip(zip(example, sample), offsets, offsets[1:])}
            example, sample, method, offsets, start, tokens, origin = columns(
                woven, "example", "sample", "method", "offsets", "answer_start", "input_tokens", "origin")
            prompts = self.prompts_of("train.h5", example)
            for row, (a, b) in enumerate(zip(offsets, offsets[1:])):
                read, generated = tokens[a:b], origin[a:b] == 2
                if method[row] == 0:
                    self.assertFalse(generated.any())
                    continue
                draft, first = own[example[row], sample[row]], len(prompts[row])
                if method[row] == 1:
                    self.assertEqual(start[row], first - 1)
                    places = numpy.flatnonzero(generated)
                    self.assertEqual(list(read[places]), list(draft[places - first]))
                else:
                    self.assertEqual(list(read[generated]), [token for token in draft if token != 256])
                    self.assertEqual(bytes(read[origin[a:b] == 3].astype("u1")), b"!")
            with h5py.File(woven, "r") as file:
                count = {name: int(file.attrs[name]) for name in
                         ("rows", "rows_plain", "rows_bash", "rows_rac", "own_used", "draft_tokens_with_loss")}
            self.assertEqual([count["rows_plain"], count["rows_bash"], count["rows_rac"]],
                             [int((method == kind).sum()) for kind in (0, 1, 2)])
            self.assertEqual((count["rows"], count["draft_tokens_with_loss"]), (len(method), 0))
            in_bash = numpy.repeat(method == 1, numpy.diff(offsets))
            self.assertEqual(count["own_used"], int(((origin == 2) & in_bash).sum()))

    def test_policy(self):
        """A digest names the weights: equal for all that one checkpoint makes."""
        digests = {}
        for number in (2, 3, 4):
            with h5py.File(self.job / f"drafts/round-{number:04d}.h5", "r") as file:
                self.assertEqual(file.attrs["policy_step"], 4 * (number - 1))
                self.assertEqual(file.attrs["seed"], 7)
                for name in ("temperature", "top_p", "top_k"):
                    self.assertEqual(file.attrs[name].shape, ())
                digests[file.attrs["policy_step"]] = file.attrs["policy_digest"]
        self.assertEqual(len(set(digests.values())), 3)
        model, output = self.job / "checkpoints/step-00000008.h5", self.folder / "8.h5"
        code, _, errors = program(["generate", model, "--data", self.folder / "heldout.h5", "--output", output,
                                   "--set", "generate.max_new_tokens=1"])
        self.assertEqual(code, 0, errors)
        with h5py.File(output, "r") as file:
            self.assertEqual((file.attrs["policy_step"], file.attrs["policy_digest"]), (8, digests[8]))

    # --- data ---

    def test_data_of_another_program(self):
        """The least that a data file needs, as h5py writes it; and each part of it missing."""
        whole = self.folder / "foreign.h5"

        def write(path, leave_out="", kind="bytes"):
            with h5py.File(path, "w", libver="earliest") as file, h5py.File(self.folder / "train.h5", "r") as train:
                for name, value in (("format", numpy.bytes_("selvage-data")), ("format_version", numpy.int32(1))):
                    if name != leave_out:
                        file.attrs[name] = value
                for name in ("tokens", "offsets", "prompt_length"):
                    if name != leave_out:
                        file.create_dataset(name, data=train[name][()], compression="gzip")
                if leave_out != "tokenizer":
                    table = file.create_group("tokenizer")
                    for name in ("pieces", "piece_offsets"):
                        table[name] = train["tokenizer"][name][()]
                    for name in ("end_of_answer", "begin", "padding"):
                        table.attrs[name] = train["tokenizer"].attrs[name]
                    table.attrs["kind"] = kind

        write(whole)
        self.assertEqual(program(["check", whole])[0], 0)
        self.run_job("foreign", settings=["run.rounds=1", f'data.train="{whole}"'])
        self.run_job("own", settings=["run.rounds=1"])
        self.assert_same_run("foreign", "own")
        # A tokenizer that Selvage does not know decodes by its pieces; there is no marker text then.
        write(self.folder / "other.h5", kind="other")
        data = [f'data.{name}="{self.folder}/other.h5"' for name in ("train", "heldout")]
        self.run_job("other", settings=["run.rounds=1", "weave.method='rac'", "weave.rac.template=''", *data])
        parts = ("format", "format_version", "tokens", "offsets", "prompt_length", "tokenizer")
        for part in parts:
            write(self.folder / f"without-{part}.h5", part)
        output = program(["check", *(self.folder / f"without-{part}.h5" for part in parts)])[1]
        self.assertEqual(len(output.splitlines()), len(parts), output)
        self.assertNotIn(": good", output)

    def test_order_goes_by_seed_and_round(self):
        orders = {}
        same = ["run.rounds=5", "generate.examples=10", "weave.method='none'"]
        others = {"a": [], "b": ["weave.method='rac'", "train.steps_per_round=2"], "c": ["run.seed=8"]}
        for name, settings in others.items():
            self.run_job(f"order-{name}", settings=same + settings)
            orders[name] = [set(columns(self.folder / f"order-{name}/woven/round-{number:04d}.h5", "example")[0])
                            for number in range(1, 6)]
            self.assertTrue(all(len(examples) == 10 for examples in orders[name]))
            # 48 examples: the fifth round takes the last 8 of the first epoch and goes on with the second.
            first = set().union(*orders[name][:4])
            self.assertEqual(len(first), 40)
            self.assertEqual(first | orders[name][4], set(range(48)))
        self.assertEqual(orders["a"], orders["b"])
        self.assertNotEqual(orders["a"], orders["c"])

    def test_evaluate_repeats_the_run(self):
        model = self.job / "checkpoints/step-00000008.h5"
        code, output, errors = program(["evaluate", model, self.deck, "--set", "evaluate.turns=1"], 2)
        self.assertEqual(code, 0, errors)
        printed = {line.split()[0]: float(line.split()[1]) for line in output.splitlines()[1:]}
        with h5py.File(self.job / "run.h5", "r") as file:
            for metric in METRICS:
                value = file[f"evaluations/{metric}/value"][2]
                numpy.testing.assert_allclose(printed[metric], value, atol=6e-6, err_msg=metric)

    # --- the run as it goes ---

    def test_run_log_is_always_readable(self):
        """A script that reads run.h5 again and again while the job runs."""
        log = self.folder / "watched/run.h5"
        words = ["run", self.deck, "--out", log.parent, "--set", "run.rounds=9", "--set", "checkpoint.every_steps=1"]
        process = subprocess.Popen(command(words, 2), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        reads, steps = 0, [0]
        while process.poll() is None:
            if log.exists():
                with h5py.File(log, "r") as file:
                    values = {name: file[f"steps/{name}"][()] for name in ("step", "loss", "seconds")}
                    self.assertEqual(len({len(column) for column in values.values()}), 1)
                    self.assertTrue(len(file["events/text"]) > 0)
                    steps.append(len(values["step"]))
                reads += 1
                self.assertFalse([path for path in log.parent.rglob("*.h5") if "partial" in path.name])
        self.assertEqual(process.wait(), 0)
        self.assertEqual(steps, sorted(steps))
        self.assertGreater(reads, 10)


if __name__ == "__main__":
    unittest.main()
