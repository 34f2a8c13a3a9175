#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Answers by PyTorch with a static KV cache: N prompts of 64 tokens are read at once, then every step decodes one token
for each. Tokens are drawn at temperature 1. Tries eager, compiled, and compiled with frozen (packed) weights, and
measures the fastest."""
import argparse

import torch
import torch._inductor.config
from torch.nn import functional

import rounds
from llama import CONFIGS, Llama


def draw(logits):
    """One token per row of probabilities softmax(logits), by the inverse of the cumulated ones (fastest here)."""
    cumulated = functional.softmax(logits.float(), dim=-1).cumsum(-1)
    place = torch.rand(len(logits), 1) * cumulated[:, -1:]
    return torch.searchsorted(cumulated, place).clamp_(max=logits.shape[1] - 1)


def draw_multinomial(logits):
    return torch.multinomial(functional.softmax(logits.float(), dim=-1), 1)


class Generator:
    def __init__(self, model, streams, prompt, new_tokens, dtype, draw):
        config, positions = model.config, prompt + new_tokens
        self.model, self.prompt, self.new_tokens, self.draw = model, prompt, new_tokens, draw
        shape = (streams, config.heads, positions, config.head_size)
        self.caches = [(torch.zeros(shape, dtype=dtype), torch.zeros(shape, dtype=dtype)) for _ in range(config.layers)]
        seen = torch.arange(positions)[None, :] <= torch.arange(positions)[:, None]
        self.masks = torch.zeros(positions, positions, dtype=dtype).masked_fill(~seen, -torch.inf)
        self.tokens = torch.randint(config.vocabulary, (streams, prompt), generator=torch.Generator().manual_seed(1))
        self.read, self.decode = self.read_prompts, self.decode_step

    def last_logits(self, x):
        return self.model.head(self.model.norm(x[:, -1]))

    def read_prompts(self, tokens):
        model, length = self.model, self.prompt
        place = torch.arange(length)
        x = model.embedding(tokens)
        for block, cache in zip(model.blocks, self.caches):
            x = block(x, model.cosine[:length], model.sine[:length], cache, place)
        return self.last_logits(x)

    def decode_step(self, tokens, place):
        """tokens [streams, 1] at position `place` [1]."""
        model = self.model
        x, mask = model.embedding(tokens), self.masks[place]
        for block, cache in zip(model.blocks, self.caches):
            x = block(x, model.cosine[place], model.sine[place], cache, place, mask)
        return self.draw(self.last_logits(x))

    @torch.inference_mode()
    def run(self):
        tokens = self.draw(self.read(self.tokens))
        answer = [tokens]
        for position in range(self.prompt, self.prompt + self.new_tokens - 1):
            tokens = self.decode(tokens, torch.tensor([position]))
            answer.append(tokens)
        return torch.cat(answer, dim=1)


def variants(arguments):
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[arguments.precision]
    torch.manual_seed(1)
    config = CONFIGS[arguments.model]
    model = Llama(config, arguments.prompt + arguments.new_tokens).to(dtype).eval().requires_grad_(False)

    def make(compiled, freezing, draw):
        def made():
            torch.compiler.reset()
            torch._inductor.config.freezing = freezing
            generator = Generator(model, arguments.streams, arguments.prompt, arguments.new_tokens, dtype, draw)
            if compiled:
                generator.decode = torch.compile(generator.decode_step, dynamic=False)
            return generator.run

        return made

    ways = {"eager": [("eager", False, False)],
            "compiled": [("compiled", True, False), ("compiled, frozen", True, True)]}
    ways["all"] = ways["compiled"] + ways["eager"]
    draws = [("", draw)] + ([(", multinomial", draw_multinomial)] if arguments.multinomial else [])
    return [(name + suffix, make(compiled, freezing, function))
            for name, compiled, freezing in ways[arguments.ways] for suffix, function in draws]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=CONFIGS, default="124m")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="bf16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--ways", choices=["eager", "compiled", "all"], default="all")
    parser.add_argument("--multinomial", action="store_true", help="try torch.multinomial too")
    parser.add_argument("--seconds", type=float, default=1, help="a round takes at least this long")
    parser.add_argument("--budget", type=float, default=150, help="seconds for finding the fastest way")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rounds.serve(variants(arguments), arguments.streams * arguments.new_tokens, arguments.seconds, arguments.budget)


if __name__ == "__main__":
    main()
