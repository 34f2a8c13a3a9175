# SPDX-License-Identifier: Apache-2.0
"""The same deck on other numbers of ranks, streams and threads: the same bits everywhere."""
from support import JobTest, unittest


class Layout(JobTest):
    instruction_sets = (None, "AVX2", "SSE41")

    def test_ranks(self):
        self.run_job("one")
        for ranks in (2, 3, 4):
            with self.subTest(ranks=ranks):
                self.run_job(f"ranks-{ranks}", ranks)
                self.assert_same_run("one", f"ranks-{ranks}")

    def test_streams_cache_and_threads(self):
        self.run_job("plain")
        self.run_job("other", 2, ["generate.streams=1", "train.threads_per_rank=2", "generate.cache_mib=1", "checkpoint.writers=2"])
        self.assert_same_run("plain", "other")

    def test_instruction_sets(self):
        """Own kernels and the library's keep one order of accumulation, on any processor."""
        first, *others = self.instruction_sets
        self.run_job("widest", environment={"DNNL_MAX_CPU_ISA": first} if first else None)
        for name in others:
            with self.subTest(instruction_set=name):
                self.run_job(name, environment={"DNNL_MAX_CPU_ISA": name})
                self.assert_same_run("widest", name)

    def test_another_seed_is_another_run(self):
        """The comparison above can fail."""
        self.run_job("seed-7")
        self.run_job("seed-8", settings=["run.seed=8"])
        with self.assertRaises(AssertionError):
            self.assert_same_run("seed-7", "seed-8")


class LayoutBf16(Layout):
    """The same in bfloat16, where a processor with tile registers has an order of sums of its own."""
    settings = ('precision.compute="bf16"',)
    instruction_sets = ("AVX512_CORE_BF16", "AVX512_CORE", "AVX2", "SSE41")


if __name__ == "__main__":
    unittest.main()
