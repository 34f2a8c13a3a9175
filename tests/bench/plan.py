# SPDX-License-Identifier: Apache-2.0
"""What is measured: groups of workers that take turns, and the figures of each. Figures compare two threads of PyTorch
with the better of our one rank of two threads (1x2) and two ranks of one (2x1)."""
import dataclasses
import functools
import pathlib
import subprocess
from typing import Callable

from checkpoint import CheckpointWorker
from figures import Figure, rate
from start_up import StartWorker
from workers import Worker

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OURS = ("1x2", "2x1")  # ranks x threads
BYTES = {"f32": 4, "bf16": 2}
# PyTorch keeps its memory, and in huge pages, instead of asking the system for it in every step.
REUSE = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "68719476736", "THP_MEM_ALLOC_ENABLE": "1"}


@dataclasses.dataclass(frozen=True)
class Programs:
    build: pathlib.Path
    python: str = ""  # one that has PyTorch; empty: none here
    mpiexec: str = "mpirun"
    quick: bool = False

    def driver(self, mode, *options, ranks=1):
        launcher = [self.mpiexec, "-n", ranks] if ranks > 1 else []
        return lambda: Worker([*launcher, self.build / "tests/bench/selvage_bench", mode, *options,
                               "--seconds", 0.3 if self.quick else 1.5])

    def peer(self, script, *options):
        return lambda: Worker([self.python, "-B", HERE / "peers" / script, *options,
                               "--seconds", 0.3 if self.quick else 1.5, "--budget", 20 if self.quick else 30], REUSE)


@dataclasses.dataclass(frozen=True)
class Group:
    """workers: functions that start them, by name; those that fail are left out, and the figures that need them."""
    name: str
    workers: dict[str, Callable]
    figures: list[Figure]


def rate_of(worker):
    return lambda one: rate(one[worker])


def ratio(worker, other):
    return lambda one: rate(one[worker]) / rate(one[other])


def number_of(worker, name):
    return lambda one: one[worker][name]


def with_peer(programs, workers, script, *options):
    return {**workers, "torch": programs.peer(script, *options)} if programs.python else workers


def training(programs, model, precision, vs_torch, vs_ceiling):
    """A step of 4 x 256 tokens."""
    name = f"train_{model}_{precision}"
    common = ("--model", model, "--precision", precision)
    workers = {"1x2": programs.driver("train", *common, "--threads", 2),
               "2x1": programs.driver("train", *common, "--lanes", 2, ranks=2)}
    workers = with_peer(programs, workers, "train.py", *common)
    workers["ceiling"] = programs.driver("ceiling-train", *common, "--threads", 2)
    figures = [Figure(f"{name}_vs_torch", "ratio", ratio("ours", "torch"), vs_torch),
               Figure(f"{name}_vs_ceiling", "ratio", ratio("ours", "ceiling"), vs_ceiling),
               Figure(f"{name}_tokens_per_s", "tokens/s", rate_of("ours")),
               Figure(f"{name}_torch_tokens_per_s", "tokens/s", rate_of("torch")),
               Figure(f"{name}_ceiling_tokens_per_s", "tokens/s", rate_of("ceiling")),
               Figure(f"{name}_ceiling_gflops", "GFLOP/s", number_of("ceiling", "gflops"))]
    return Group(name, workers, figures)


def whole_ceiling(streams, new_tokens=128):
    """Tokens/s if only products took time: those of the prompts, and the steps'."""
    def value(one):
        steps = streams * (new_tokens - 1) / rate(one["ceiling"])
        return rate(one["ours"]) * (one["ceiling"]["prefill"] + steps) / (streams * new_tokens)
    return value


def generation(programs, streams, vs_torch, vs_ceiling, precision="bf16"):
    """128 new tokens for prompts of 64, `streams` at once (on all ranks together)."""
    name = f"generate_124m_{precision}_{streams}"
    common = ("--model", "124m", "--precision", precision)
    workers = {"1x2": programs.driver("generate", *common, "--streams", streams, "--threads", 2)}
    if streams > 1:
        workers["2x1"] = programs.driver("generate", *common, "--streams", streams // 2, ranks=2)
    if vs_torch is not None or streams == 1:
        workers = with_peer(programs, workers, "generate.py", *common, "--streams", streams)
    workers["ceiling"] = programs.driver("ceiling-generate", *common, "--streams", streams, "--threads", 2)
    figures = [Figure(f"{name}_vs_torch", "ratio", ratio("ours", "torch"), vs_torch),
               Figure(f"{name}_vs_ceiling", "ratio", ratio("ours", "ceiling"), vs_ceiling),
               Figure(f"{name}_vs_ceiling_with_prompts", "ratio", whole_ceiling(streams)),
               Figure(f"{name}_tokens_per_s", "tokens/s", rate_of("ours")),
               Figure(f"{name}_torch_tokens_per_s", "tokens/s", rate_of("torch")),
               Figure(f"{name}_ceiling_tokens_per_s", "tokens/s", rate_of("ceiling"))]
    if streams == 1:  # every token, also the prompt, reads all matrices once
        gigabytes = 1e-9 * BYTES[precision] * matrix_elements()
        figures.append(Figure(f"decode_124m_{precision}_gbps", "GB/s", lambda one: gigabytes * rate(one["ours"]),
                              30.0 if precision == "bf16" else None))
    return Group(name, workers, figures)


def matrix_elements(layers=12, hidden=768, ffn=2048, vocabulary=50304):
    return layers * (4 * hidden * hidden + 3 * hidden * ffn) + hidden * vocabulary


def scaling(programs, precision):
    """The same global batch; the same streams per rank. Both 124M."""
    common = ("--model", "124m", "--precision", precision)
    suffix = "" if precision == "bf16" else f"_{precision}"
    two_lanes = ("train", *common, "--lanes", 2)
    goal = precision == "bf16"
    train = Group(f"scaling_train_{precision}",
                  {"1x1": programs.driver(*two_lanes),
                   "2x1": programs.driver(*two_lanes, ranks=2),
                   "1x2": programs.driver(*two_lanes, "--threads", 2)},
                  [Figure(f"scaling_train_2{suffix}", "ratio", ratio("2x1", "1x1"), 1.85 if goal else None),
                   Figure(f"train_2x1_vs_1x2{suffix}", "ratio of times", ratio("1x2", "2x1"), 1.03 if goal else None,
                          "lower")])
    streams = ("generate", *common, "--streams", 32)
    generate = Group(f"scaling_generate_{precision}",
                     {"1x1": programs.driver(*streams), "2x1": programs.driver(*streams, ranks=2)},
                     [Figure(f"scaling_generate_2{suffix}", "ratio", ratio("2x1", "1x1"), 1.85 if goal else None)])
    return [train, generate]


def memory(programs):
    return Group("memory", {"ceiling": programs.driver("ceiling-memory", "--threads", 2)},
                 [Figure("read_gbps", "GB/s", number_of("ceiling", "read")),
                  Figure("read_248_mib_gbps", "GB/s", number_of("ceiling", "read_248_mib")),
                  Figure("copy_gbps", "GB/s", number_of("ceiling", "copy"))])


def start(programs):
    return Group("start", {"start": functools.partial(StartWorker, ROOT, programs.build / "selvage")},
                 [Figure("start_to_first_step_s", "s", number_of("start", "seconds"), 1.0, "lower"),
                  Figure("start_to_first_step_with_evaluation_s", "s", number_of("start", "seconds_with_evaluation"))])


def checkpoint(programs):
    figures = [("checkpoint_stall_s", "s", "stall"), ("checkpoint_stall_without_copy_s", "s", "waited"),
               ("checkpoint_gbps", "GB/s", "gbps"), ("checkpoint_dd_gbps", "GB/s", "dd_gbps"),
               ("checkpoint_vs_dd", "ratio", "vs_dd")]
    return Group("checkpoint", {"checkpoint": functools.partial(CheckpointWorker, programs.build / "selvage")},
                 [Figure(name, unit, number_of("checkpoint", key)) for name, unit, key in figures])


def groups(programs):
    return [training(programs, "124m", "bf16", 1.25, 0.85),
            training(programs, "124m", "f32", 1.0, 0.88),
            training(programs, "30m", "bf16", 1.5, None),
            generation(programs, 1, None, None),
            generation(programs, 32, 1.6, 0.75),
            generation(programs, 64, 1.6, 0.75),
            *scaling(programs, "bf16"),
            memory(programs),
            start(programs),
            checkpoint(programs)]


def version_of_torch(python):
    """Empty: this Python has none."""
    asked = subprocess.run([python, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True,
                           check=False)
    return asked.stdout.strip() if asked.returncode == 0 else ""


def version_of_selvage(selvage):
    """Lines of `selvage --version`: itself, its commit, its libraries and the instruction set."""
    asked = subprocess.run([selvage, "--version"], capture_output=True, text=True, check=False)
    return asked.stdout.splitlines()


