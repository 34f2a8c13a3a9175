# SPDX-License-Identifier: Apache-2.0
"""Whole jobs with a tensor axis: the same bits along the data axis, near to one rank, checkpoints of any grid."""
from support import JobTest, h5py, numpy, program, shutil, unittest


class Tensor(JobTest):
    def tensor_job(self, out, tensor, data, settings=(), options=()):
        return self.run_job(out, tensor * data, (f"grid.tensor={tensor}", *settings), options)

    def column(self, out, name):
        with h5py.File(self.folder / out / "run.h5", "r") as file:
            return file[name][()]

    def test_data_axis_does_not_matter(self):
        for tensor, others in ((2, (2, 3)), (4, (2,))):
            self.tensor_job(f"tensor-{tensor}", tensor, 1)
            for data in others:
                with self.subTest(tensor=tensor, data=data):
                    self.tensor_job(f"tensor-{tensor}x{data}", tensor, data)
                    self.assert_same_run(f"tensor-{tensor}", f"tensor-{tensor}x{data}")

    def test_near_to_one_rank(self):
        """The first round's drafts are the same tokens; losses differ by rounding alone."""
        bash = ('weave.method="bash"', 'weave.bash.draft="free"', "run.rounds=1", "run.schedule_rounds=1")
        self.run_job("whole", settings=bash)
        for tensor in (2, 4):
            with self.subTest(tensor=tensor):
                self.tensor_job(f"split-{tensor}", tensor, 1, bash)
                with h5py.File(self.folder / "whole/drafts/round-0001.h5") as a, \
                        h5py.File(self.folder / f"split-{tensor}/drafts/round-0001.h5") as b:
                    numpy.testing.assert_array_equal(a["tokens"], b["tokens"])
                    # Sums of at most 320 terms, logits of order 1.
                    numpy.testing.assert_allclose(a["logprob"], b["logprob"], rtol=0, atol=320 * 2**-24)
                    self.assertTrue(numpy.any(a["logprob"][()] != b["logprob"][()]), "not another order of sums")
                numpy.testing.assert_allclose(self.column("whole", "steps/loss"),
                                              self.column(f"split-{tensor}", "steps/loss"), rtol=1e-4)

    def test_checkpoints_move_between_grids(self):
        """Wherever a job goes on its losses stay near."""
        self.tensor_job("straight", 2, 1)
        self.tensor_job("start", 2, 2, ("run.rounds=1", "run.schedule_rounds=3"))
        for tensor, data in ((1, 1), (4, 1), (1, 2)):
            with self.subTest(tensor=tensor, data=data):
                out = f"moved-{tensor}x{data}"
                shutil.copytree(self.folder / "start", self.folder / out)
                self.tensor_job(out, tensor, data)
                steps = self.column(out, "steps/loss")
                numpy.testing.assert_array_equal(steps[:4], self.column("straight", "steps/loss")[:4])
                numpy.testing.assert_allclose(steps[4:5], self.column("straight", "steps/loss")[4:5], rtol=1e-4)
                self.assertEqual(len(steps), len(self.column("straight", "steps/loss")))

    def test_resume_on_another_grid_of_the_same_tensor_size(self):
        self.tensor_job("straight", 2, 1)
        self.tensor_job("stopped", 2, 2, ("run.rounds=1", "run.schedule_rounds=3"))
        self.tensor_job("stopped", 2, 1)
        self.assert_same_run("straight", "stopped")

    def test_what_is_sharded_does_not_show(self):
        """Wherever a job with its parameters in shards comes from or goes on, it has the same bits and less memory."""
        shards = 'train.shard="parameters"'
        self.tensor_job("unsharded", 2, 1)
        self.tensor_job("shards-first", 2, 2, (shards, "run.rounds=2"))
        memory = self.memory("shards-first")
        self.tensor_job("shards-first", 2, 1, ('train.shard="gradients"',))
        self.assert_same_run("unsharded", "shards-first")
        self.tensor_job("shards-then", 2, 1, ("run.rounds=1",))
        self.tensor_job("shards-then", 2, 3, (shards,))
        self.assert_same_run("unsharded", "shards-then")
        digests = [h5py.File(self.folder / out / "drafts/round-0002.h5").attrs["policy_digest"]
                   for out in ("unsharded", "shards-first", "shards-then")]
        self.assertEqual(len(set(digests)), 1)
        block = 4 * 4096
        whole = self.memory("unsharded")["parameters"]
        self.assertLessEqual(memory["parameters"], whole / 2 + block)
        self.assertLessEqual(self.memory("shards-then")["parameters"], whole / 3 + block)
        self.assertNotIn("gathered parameters", self.memory("unsharded"))
        self.assertGreater(memory["gathered parameters"], 0)

    def memory(self, out):
        """Name to peak bytes, of the rank that has most."""
        with h5py.File(self.folder / out / "run.h5") as file:
            table = file["memory"]
            return {name.decode(): size for name, size in zip(table["name"][()], table["bytes"][()])}

    def test_commands(self):
        """score and generate with a tensor axis agree with one rank up to rounding; recorded equals scored."""
        self.run_job("model", settings=("run.rounds=1", "run.schedule_rounds=1"))
        model = self.checkpoints("model")[-1]
        for tensor in (1, 2):
            code, _, errors = program(["generate", model, "--data", self.folder / "heldout.h5", "--output",
                                       self.folder / f"drafts-{tensor}.h5", "--set", f"grid.tensor={tensor}"], tensor)
            self.assertEqual(code, 0, errors)
            code, _, errors = program(["score", model, "--data", self.folder / "heldout.h5", "--output",
                                       self.folder / f"scores-{tensor}.h5", "--set", f"grid.tensor={tensor}"], tensor)
            self.assertEqual(code, 0, errors)
            code, output, errors = program(["evaluate", model, self.deck, "--set", f"grid.tensor={tensor}"], tensor)
            self.assertEqual(code, 0, output + errors)
        with h5py.File(self.folder / "scores-1.h5") as a, h5py.File(self.folder / "scores-2.h5") as b:
            numpy.testing.assert_allclose(a["logprob"], b["logprob"], rtol=0, atol=320 * 2**-22)
        with h5py.File(self.folder / "drafts-1.h5") as a, h5py.File(self.folder / "drafts-2.h5") as b:
            numpy.testing.assert_array_equal(a["tokens"], b["tokens"])

    def test_numeric_gap_is_zero(self):
        """Generation's log-probabilities are the training forward's, with few rows and with many."""
        self.tensor_job("gap", 2, 1)
        gap = self.column("gap", "evaluations/numeric_gap/value")
        self.assertTrue(len(gap) > 0)
        numpy.testing.assert_array_equal(gap, numpy.zeros_like(gap))

    def test_refused(self):
        self.refuse_run(["grid.tensor=3"], 65, "grid.tensor is 3", "4 heads", ranks=3)
        self.refuse_run(["grid.tensor=2"], 65, "3 ranks", "grid.tensor = 2", ranks=3)


class TensorBf16(Tensor):
    settings = ('precision.compute="bf16"',)


if __name__ == "__main__":
    unittest.main()
