# SPDX-License-Identifier: Apache-2.0
"""The whole program with tensors in the memory of the emulated GPU, which the host cannot touch."""
from support import JobTest, datasets, h5py, numpy, unittest

EMULATED = {"SELVAGE_DEVICE": "emulated"}


class Device(JobTest):
    settings = ("train.steps_per_round=2", "train.batch_tokens=128", "train.lanes=4", "evaluate.examples=2",
                "run.schedule_rounds=2", "run.rounds=2", 'weave.method="bash"')

    def test_ranks_do_not_show(self):
        # The emulation has none of the paths that the key opens.
        settings = ["precision.batch_invariant=false"]
        output = self.run_job("one", settings=settings, environment=EMULATED)
        if "device: emulated" not in output:
            self.skipTest("not built with the emulation")
        self.run_job("two", 2, settings=settings, environment=EMULATED)
        self.assert_same_run("one", "two")
        with h5py.File(self.folder / "one/run.h5") as file:
            events = dict(zip(file["events/kind"].asstr()[()], file["events/text"].asstr()[()]))
        self.assertIn("attention by own kernels", events["precision"])
        self.assertIn(events["precision"], output)
        self.run_job("cpu")
        self.assertEqual(sorted(datasets(self.checkpoints("one")[-1])), sorted(datasets(self.checkpoints("cpu")[-1])))
        # The first round's losses: later ones are of drafts that other roundings may have turned.
        losses = [h5py.File(self.folder / out / "run.h5")["steps/loss"][:2] for out in ("one", "cpu")]
        numpy.testing.assert_allclose(*losses, rtol=1e-5)

    def test_resumes_on_the_other_device(self):
        self.run_job("mixed", settings=["run.rounds=1"], environment=EMULATED)
        self.run_job("mixed")


if __name__ == "__main__":
    unittest.main()
