# SPDX-License-Identifier: Apache-2.0
"""Every way to make drafts and weave them runs, and the woven files say the truth."""
from support import JobTest, h5py, numpy, unittest

PROMPT, GOLD, GENERATED, TEMPLATE = range(4)


class Methods(JobTest):
    def woven(self, out, round_number=1):
        with h5py.File(self.folder / out / f"woven/round-{round_number:04d}.h5", "r") as file:
            return {name: file[name][()] for name in file if isinstance(file[name], h5py.Dataset)}, dict(file.attrs)

    def gold(self):
        with h5py.File(self.folder / "train.h5", "r") as file:
            offsets, lengths, tokens = file["offsets"][()], file["prompt_length"][()], file["tokens"][()]
        return [(tokens[a:a + n], tokens[a + n:b]) for a, b, n in zip(offsets, offsets[1:], lengths)]

    def check_rows(self, woven):
        """Alignment, targets and loss of every row against the data."""
        gold = self.gold()
        for row, (a, b) in enumerate(zip(woven["offsets"], woven["offsets"][1:])):
            prompt, answer = gold[woven["example"][row]]
            inputs, targets = woven["input_tokens"][a:b], woven["target_tokens"][a:b]
            weight, origin, target_origin = (woven[n][a:b] for n in ("loss_weight", "origin", "target_origin"))
            first = woven["answer_start"][row]
            self.assertEqual(list(inputs[:len(prompt)]), list(prompt))
            self.assertEqual(list(targets[first:]), list(answer))
            self.assertTrue((weight[:first] == 0).all() and (weight[first:] > 0).all())
            self.assertTrue((target_origin[first:] == GOLD).all())
            self.assertEqual(len(inputs) - first, len(answer))
            self.assertEqual(list(targets[:first]), list(inputs[1:first + 1]))
            if woven["method"][row] != 2:
                self.assertEqual(first, len(prompt) - 1)
                read = inputs[len(prompt):]
                self.assertTrue(((read == answer[:-1]) | (origin[len(prompt):] == GENERATED)).all())
            else:
                self.assertTrue((origin[first + 1:] == GOLD).all())
                self.assertEqual(origin[first], TEMPLATE)
            self.assertNotIn(256, inputs)

    def test_every_kind_of_draft(self):
        cases = {"forced": ["weave.bash.passes=3"], "mixed": ["weave.bash.unit='span'"], "free": ["weave.bash.gold_weight=0.25"]}
        for draft, settings in cases.items():
            with self.subTest(draft=draft):
                self.run_job(draft, 2, ["run.rounds=1", "weave.method='bash'", f"weave.bash.draft='{draft}'", "weave.bash.rate=0.5",
                                        "generate.samples=2", *settings])
                woven, attributes = self.woven(draft)
                self.check_rows(woven)
                self.assertTrue((woven["origin"] == GENERATED).any())
                self.assertGreater(attributes["own_positions"], 0)
                with h5py.File(self.folder / draft / "drafts/round-0001.h5", "r") as file:
                    self.assertEqual(file.attrs["kind"], draft)

    def test_forced_passes_reach_mixed(self):
        """With as many passes as the longest answer, forced drafts woven together are the mixed ones, token by token."""
        same = ["run.rounds=1", "weave.method='bash'", "weave.bash.rate=0.5"]
        self.run_job("passes", 1, same + ["weave.bash.draft='forced'", "weave.bash.passes=20"])
        self.run_job("mixture", 1, same + ["weave.bash.draft='mixed'"])
        one, other = self.woven("passes")[0], self.woven("mixture")[0]
        self.assertTrue((one["input_tokens"] == other["input_tokens"]).all())

    def test_rac_and_both(self):
        for method in ("rac", "both"):
            self.run_job(method, 2, ["run.rounds=1", f"weave.method='{method}'"])
            woven, _ = self.woven(method)
            self.check_rows(woven)
            self.assertIn(2, woven["method"])
            self.assertTrue((woven["origin"] == TEMPLATE).any())
        self.assertIn(1, woven["method"])

    def test_uses_are_the_steps(self):
        self.run_job("uses", 2, ["run.rounds=2"])
        for round_number in (1, 2):
            with h5py.File(self.folder / f"uses/woven/round-{round_number:04d}.h5", "r") as file:
                lengths = numpy.diff(file["offsets"][()])
                uses = {name: file[f"uses/{name}"][()] for name in ("step", "lane", "row", "offset", "index")}
                weight = [int((file["loss_weight"][a:b] > 0).sum()) for a, b in zip(file["offsets"][:-1], file["offsets"][1:])]
            with h5py.File(self.folder / "uses/run.h5", "r") as log:
                targets = dict(zip(log["steps/step"][()], log["steps/target_tokens"][()]))
            first = 4 * (round_number - 1)
            self.assertEqual(sorted(set(uses["step"])), [first + i for i in (1, 2, 3, 4)])
            for step in set(uses["step"]):
                mine = uses["step"] == step
                self.assertLessEqual(lengths[uses["index"][mine]].sum(), 512)
                self.assertEqual(sum(weight[i] for i in uses["index"][mine]), targets[step])


if __name__ == "__main__":
    unittest.main()
