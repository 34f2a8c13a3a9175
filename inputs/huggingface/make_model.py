#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small Llama of random weights, as a folder of the transformers library: to try import, training and export with.

    python3 inputs/huggingface/make_model.py HF_DIR [--layers N] [--hidden N] [--vocabulary N] [--shards N] [--seed S]

Writes config.json, tokenizer files (a token for each byte, and one that ends an answer: the ids of selvage prepare
--tokenizer bytes) and bf16 weights, in so many files. Needs numpy alone. Holds one tensor at a time, so that large
folders can be made too.
"""
import argparse
import json
import os
import struct
import sys

import numpy as np

END = 256  # the id that ends an answer


def configuration(options):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": options.hidden,
            "intermediate_size": options.hidden * 11 // 4, "num_hidden_layers": options.layers,
            "num_attention_heads": options.hidden // 16, "num_key_value_heads": options.hidden // 32, "head_dim": 16,
            "max_position_embeddings": 2048, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "tie_word_embeddings": False,
            "eos_token_id": END, "torch_dtype": "bfloat16", "vocab_size": options.vocabulary}


def shapes(c):
    hidden, ffn = c["hidden_size"], c["intermediate_size"]
    query, key = c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"]
    yield "model.embed_tokens.weight", (c["vocab_size"], hidden)
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        yield layer + "input_layernorm.weight", (hidden,)
        for name, rows in (("q", query), ("k", key), ("v", key)):
            yield f"{layer}self_attn.{name}_proj.weight", (rows, hidden)
        yield layer + "self_attn.o_proj.weight", (hidden, query)
        yield layer + "post_attention_layernorm.weight", (hidden,)
        for name in ("gate", "up"):
            yield f"{layer}mlp.{name}_proj.weight", (ffn, hidden)
        yield layer + "mlp.down_proj.weight", (hidden, ffn)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (c["vocab_size"], hidden)


def bf16(values):
    """The nearest bf16 of finite numbers."""
    bits = values.astype("<f4").view("<u4")
    return ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype("<u2")


def draw(generator, shape):
    return bf16(generator.normal(0, 0.02, shape) if len(shape) == 2 else np.ones(shape))


def write_weights(path, entries, generator):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in entries:
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape in entries:
            file.write(draw(generator, shape).tobytes())
    return at


def byte_pieces():
    """A printable character for each byte, as byte-level BPE has them."""
    printable = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def tokenizer():
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    end = {"id": END, "content": "<|end|>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
           "special": True}
    vocabulary = {piece: byte for byte, piece in enumerate(byte_pieces())}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [end], "normalizer": None,
            "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocabulary,
                      "merges": []}}


def write_json(folder, name, content):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=64, help="a multiple of 32")
    parser.add_argument("--vocabulary", type=int, default=320)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.hidden % 32 or min(options.hidden, options.layers, options.shards) < 1 or options.vocabulary <= END:
        parser.error(f"hidden must be a multiple of 32, layers and shards at least 1, vocabulary above {END}")
    os.makedirs(options.folder, exist_ok=True)
    if os.listdir(options.folder):
        sys.exit(f"{options.folder} is not empty; remove it or name another folder")
    config = configuration(options)
    write_json(options.folder, "config.json", config)
    write_json(options.folder, "generation_config.json", {"eos_token_id": END, "max_new_tokens": 64})
    write_json(options.folder, "tokenizer.json", tokenizer())
    write_json(options.folder, "tokenizer_config.json",
               {"eos_token": "<|end|>", "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 2048})
    entries, generator = list(shapes(config)), np.random.default_rng(options.seed)
    share, places, total = -(-len(entries) // options.shards), {}, 0
    for shard in range(options.shards):
        here = entries[shard * share:(shard + 1) * share]
        name = "model.safetensors" if options.shards == 1 else f"model-{shard + 1:05}-of-{options.shards:05}.safetensors"
        total += write_weights(os.path.join(options.folder, name), here, generator)
        places.update({tensor: name for tensor, _ in here})
    if options.shards > 1:
        write_json(options.folder, "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": places})
    print(f"{options.folder}: {total // 2} parameters in {options.shards} files")


if __name__ == "__main__":
    main()
