#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The models of the GPU benchmark in PyTorch, as transformers has them: training steps compiled, with PyTorch's fused
attention and AdamW; answers by generate(). Prints lines like those of the table (tests/bench/gpu)."""
import argparse
import contextlib
import gc
import time

import torch
import transformers

# As tests/bench/driver/options.cpp names them: layers, hidden, heads, ffn, vocabulary.
SIZES = {"tiny": (2, 64, 1, 128, 512), "124m": (12, 768, 12, 2048, 50304), "1.3b": (24, 2048, 16, 5504, 50304),
         "7b-layers": (4, 4096, 32, 11008, 32000)}


def make(name, device):
    layers, hidden, heads, ffn, vocabulary = SIZES[name]
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads, intermediate_size=ffn,
        vocab_size=vocabulary, max_position_embeddings=8192, tie_word_embeddings=True, attn_implementation="sdpa")
    with torch.device(device):
        return transformers.LlamaForCausalLM(config)


def synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_of(work, device, at_least):
    """Median of five, after two to warm up (and compile)."""
    def timed(times):
        start = time.perf_counter()
        for _ in range(times):
            work()
        synchronize(device)
        return (time.perf_counter() - start) / times

    timed(2)
    times = max(1, round(at_least / 5 / timed(1) + 0.5))
    return sorted(timed(times) for _ in range(5))[2]


def line(name, value):
    print(f"  {name:<52} {value:>12.4g} tokens/s", flush=True)


def train(arguments, name, sequences, length, weights):
    """weights: bf16 alone, or f32 under autocast, which is what the optimizer state of Selvage is like."""
    model = make(name, arguments.device).to(weights)
    # Micro-batches of 8192 tokens, as there.
    at_once = max(1, min(sequences, 8192 // length))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    tokens = torch.randint(SIZES[name][-1], (sequences, length), device=arguments.device)
    autocast = weights == torch.float32

    @torch.compile(disable=arguments.eager)
    def loss(part):
        with torch.autocast(arguments.device, torch.bfloat16) if autocast else contextlib.nullcontext():
            return model(input_ids=part, labels=part, use_cache=False).loss

    def step():
        for part in tokens.split(at_once):
            (loss(part) * (len(part) / sequences)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    seconds = seconds_of(step, arguments.device, arguments.seconds)
    kind = "f32 weights under autocast" if autocast else "bf16 weights"
    line(f"{name}, {sequences} x {length} tokens, {kind}", sequences * length / seconds)


def generate(arguments, name, streams, prompt, new_tokens):
    """Decoding alone: what more new tokens take more."""
    model = make(name, arguments.device).to(torch.bfloat16).eval()
    tokens = torch.randint(SIZES[name][-1], (streams, prompt), device=arguments.device)

    def seconds(count):
        def work():
            model.generate(tokens, attention_mask=torch.ones_like(tokens), min_new_tokens=count, max_new_tokens=count,
                           do_sample=True, top_k=0, pad_token_id=0, eos_token_id=None,
                           cache_implementation=None if arguments.eager else "static")

        return seconds_of(work, arguments.device, arguments.seconds)

    few = new_tokens // 4
    line(f"{name}, batch {streams}, behind {prompt} tokens",
         streams * (new_tokens - few) / (seconds(new_tokens) - seconds(few)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", choices=SIZES, help="this one alone, in small shapes where it is tiny")
    parser.add_argument("--seconds", type=float, default=1, help="that a case is measured for, at least")
    parser.add_argument("--eager", action="store_true", help="without compiling")
    arguments = parser.parse_args()
    print(f"  PyTorch {torch.__version__}, transformers {transformers.__version__}")
    tiny = arguments.model == "tiny"
    models = [arguments.model] if arguments.model else ["1.3b", "124m"]
    for name in models:
        sequences, length = (2, 16) if tiny else (16 if name == "124m" else 8, 2048)
        for weights in (torch.float32, torch.bfloat16):
            attempt(train, arguments, name, sequences, length, weights)
        for streams in (2,) if tiny else (16, 64):
            attempt(generate, arguments, name, streams, 16 if tiny else 512, 8 if tiny else 128)


def attempt(case, arguments, name, *sizes):
    try:
        with torch.inference_mode(case is generate):
            case(arguments, name, *sizes)
    except torch.OutOfMemoryError:
        print(f"  {name}: not enough memory")
    torch.compiler.reset()
    gc.collect()
    if arguments.device == "cuda":
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
