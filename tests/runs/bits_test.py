# SPDX-License-Identifier: Apache-2.0
"""The log-probability that generation recorded is the one that the training forward computes: the same bits."""
from support import JobTest, h5py, numpy, program, unittest


class Bits(JobTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls().run_job("run", settings=["evaluate.every_rounds=1"])
        cls.checkpoint = cls().checkpoints("run")[-1]

    def write_data(self, name, prompts, answers):
        """A data file as another program would write it: no user block, no digest."""
        with h5py.File(self.folder / "train.h5", "r") as source, h5py.File(self.folder / name, "w") as file:
            rows = [list(p) + list(a) for p, a in zip(prompts, answers)]
            file.attrs["format"] = source.attrs["format"]
            file.attrs["format_version"] = source.attrs["format_version"]
            file["tokens"] = numpy.array(sum(rows, []), dtype=numpy.int32)
            file["offsets"] = numpy.cumsum([0] + [len(row) for row in rows], dtype=numpy.int64)
            file["prompt_length"] = numpy.array([len(p) for p in prompts], dtype=numpy.int32)
            source.copy("tokenizer", file)

    def score(self, data, ranks):
        output = self.folder / f"scores-{ranks}.h5"
        code, _, errors = program(["score", self.checkpoint, "--data", self.folder / data, "--output", output], ranks)
        self.assertEqual(code, 0, errors)
        with h5py.File(output, "r") as file:
            return file["offsets"][()], file["logprob"][()]

    def test_drafts_equal_scores(self):
        with h5py.File(self.folder / "train.h5", "r") as file:
            offsets, lengths, tokens = file["offsets"][()], file["prompt_length"][()], file["tokens"][()]
        prompts = [tokens[o:o + n] for o, n in zip(offsets, lengths)]
        seen = None
        for streams, ranks, threads in ((1, 1, 1), (3, 2, 1), (8, 1, 2), (32, 1, 1), (64, 2, 2)):
            path = self.folder / f"drafts-{streams}-{ranks}.h5"
            code, _, errors = program(["generate", self.checkpoint, "--data", self.folder / "train.h5", "--output", path,
                                       "--set", f"generate.streams={streams}", "--set", "generate.samples=2",
                                       "--set", f"train.threads_per_rank={threads}",
                                       "--set", "generate.top_p=0.9", "--set", "generate.max_new_tokens=12"], ranks)
            self.assertEqual(code, 0, errors)
            with h5py.File(path, "r") as file:
                draft = {name: file[name][()] for name in ("tokens", "offsets", "example", "logprob")}
            bits = {name: values.tobytes() for name, values in draft.items()}
            self.assertEqual(bits, seen or bits, f"{streams} streams on {ranks} ranks")
            seen = bits
        answers = [draft["tokens"][a:b] for a, b in zip(draft["offsets"], draft["offsets"][1:])]
        self.write_data("drafted.h5", [prompts[e] for e in draft["example"]], answers)
        for ranks in (1, 2):
            at, logprob = self.score("drafted.h5", ranks)
            ends = [logprob[end - len(answer):end] for end, answer in zip(at[1:], answers)]
            self.assertEqual(numpy.concatenate(ends).tobytes(), draft["logprob"].tobytes())
        self.assertGreater(len(set(draft["logprob"].tolist())), 100)

    def test_the_cpu_always_keeps_the_contract(self):
        scores = []
        for invariant in ("true", "false"):
            output = self.folder / f"invariant-{invariant}.h5"
            code, _, errors = program(["score", self.checkpoint, "--data", self.folder / "train.h5", "--output", output,
                                       "--set", f"precision.batch_invariant={invariant}"],
                                      environment={"SELVAGE_DEVICE": "cpu"})
            self.assertEqual(code, 0, errors)
            self.assertEqual(errors.count("changes nothing on this device"), int(invariant == "false"), errors)
            with h5py.File(output, "r") as file:
                scores.append(file["logprob"][()].tobytes())
        self.assertEqual(*scores)

    def test_evaluate_repeats_the_run(self):
        code, output, errors = program(["evaluate", self.checkpoint, self.deck], 2)
        self.assertEqual(code, 0, errors)
        printed = {words[0]: words[1:] for words in map(str.split, output.splitlines()[1:])}
        with h5py.File(self.folder / "run/run.h5", "r") as file:
            for name in ("forced_nll", "free_agreement", "free_agreement_sampled", "rougeL_turn1"):
                row = [f"{file[f'evaluations/{name}/{part}'][-1]:.5f}" for part in ("value", "low", "high")]
                self.assertEqual(printed[name], row, name)

    def test_the_run_measured_no_difference(self):
        with h5py.File(self.folder / "run/run.h5", "r") as file:
            values = file["evaluations/numeric_gap/value"][()]
        self.assertEqual(len(values), 4)
        self.assertTrue((values == 0).all(), values)


class BitsBf16(Bits):
    """Commands on a checkpoint compute in the precision that it was trained in."""
    settings = ('precision.compute="bf16"',)

    def test_evaluate_repeats_the_run(self):
        self.deck.write_text(self.deck.read_text() + '[precision]\ncompute = "bf16"\n')
        super().test_evaluate_repeats_the_run()

    def test_another_precision_is_another_result(self):
        one, other = self.folder / "bf16.h5", self.folder / "f32.h5"
        for path, words in ((one, []), (other, ["--set", 'precision.compute="f32"'])):
            code, _, errors = program(["score", self.checkpoint, "--data", self.folder / "heldout.h5", "--output", path,
                                       *words])
            self.assertEqual(code, 0, errors)
        with h5py.File(one, "r") as a, h5py.File(other, "r") as b:
            a, b = a["logprob"][()], b["logprob"][()]
        self.assertFalse((a == b).all())
        self.assertLess(abs(a - b).max(), 0.1)


if __name__ == "__main__":
    unittest.main()
