#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Training steps in PyTorch at its best: forward, loss, backward, clipping, fused AdamW. Tries what --precision can
mean (bf16: autocast, or bf16 weights) with and without torch.compile, and measures the fastest."""
import argparse
import contextlib
import copy

import torch

import rounds
from llama import CONFIGS, Llama


def batches(config, sequences, length):
    """One batch; every step trains on it."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(config.vocabulary, (sequences, length + 1), generator=generator)
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def trainer(model, data, autocast, compiled):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    loss = torch.compile(model.loss) if compiled else model.loss

    def step():
        with torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext():
            value = loss(*data)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def variants(arguments):
    config = CONFIGS[arguments.model]
    data = batches(config, arguments.sequences, arguments.length)
    torch.manual_seed(1)
    initial = Llama(config, arguments.length)
    kinds = {"f32": [("f32", torch.float32, False)],
             "bf16": [("bf16 weights", torch.bfloat16, False), ("bf16 autocast", torch.float32, True)]}

    def make(dtype, autocast, compiled):
        torch.compiler.reset()
        return lambda: trainer(copy.deepcopy(initial).to(dtype), data, autocast, compiled)

    ways = {"eager": [False], "compiled": [True], "all": [True, False]}[arguments.ways]
    return [(f"{name}, {'compiled' if compiled else 'eager'}", make(dtype, autocast, compiled))
            for compiled in ways for name, dtype, autocast in kinds[arguments.precision]]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=CONFIGS, default="124m")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--ways", choices=["eager", "compiled", "all"], default="all")
    parser.add_argument("--seconds", type=float, default=1, help="a round takes at least this long")
    parser.add_argument("--budget", type=float, default=150, help="seconds for finding the fastest way")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rounds.serve(variants(arguments), arguments.sequences * arguments.length, arguments.seconds, arguments.budget)


if __name__ == "__main__":
    main()
