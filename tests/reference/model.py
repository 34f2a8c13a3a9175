# SPDX-License-Identifier: Apache-2.0
"""Loss, logits and every gradient of small models, by PyTorch in double precision.

  python3 model.py           reads weights and batch from model_*.bin beside this script and computes the rest anew
  python3 model.py --draw    draws weights and batch too

Needs numpy and torch (written with 2.15). The model is written a second time here, from the papers' formulas in plain
tensor operations, one sequence after the other: nothing is packed, paged or blocked. Files are those of reference_file.py.
"""
import math
import pathlib
import sys

import numpy as np
import torch

from reference_file import read, write

FOLDER = pathlib.Path(__file__).parent

BASE = dict(layers=2, hidden=16, heads=4, kv_heads=4, head_size=4, ffn=24, vocabulary=40, norm="rmsnorm",
            norm_epsilon=1e-5, activation="swiglu", rotary_base=10000.0, rotary_fraction=1.0, tied=True,
            attention_bias=False, output_bias=False, mlp_bias=False, parallel_residual=False)
# What a file's configuration leaves out where it is so.
USUAL = dict(query_key_norm=False, post_norm=False, norm_offset=False, embedding_scale=1.0, attention_scale=0.0,
             attention_softcap=0.0, logit_softcap=0.0, sliding_window=0, sliding_period=0, rotary_scaling="none",
             rotary_scaling_factor=1.0, rotary_low_frequency_factor=1.0, rotary_high_frequency_factor=4.0,
             rotary_original_context=8192)
CONFIGS = {
    # Llama-like: grouped queries, tied
    "llama": BASE | dict(hidden=24, kv_heads=2, head_size=6, ffn=40),
    # GPT-NeoX-like: every bias, two norms of the same input, a quarter of each head turned
    "neox": BASE | dict(hidden=32, heads=2, kv_heads=2, head_size=16, ffn=48, norm="layernorm", activation="gelu",
                        rotary_fraction=0.25, tied=False, attention_bias=True, output_bias=True, mlp_bias=True,
                        parallel_residual=True),
    # Heads larger than hidden / heads, one key/value head, query biases, slow rotation
    "geglu": BASE | dict(hidden=20, heads=3, kv_heads=1, head_size=8, ffn=36, vocabulary=41, activation="geglu",
                         norm_epsilon=1e-6, rotary_base=1e6, tied=False, attention_bias=True),
    # A gated MLP with biases beside the attention
    "parallel": BASE | dict(layers=1, kv_heads=2, mlp_bias=True, output_bias=True, parallel_residual=True),
    # LayerNorm with sequential residual, biases in the MLP alone, nothing turned
    "layernorm": BASE | dict(layers=1, norm="layernorm", rotary_fraction=0.0, mlp_bias=True, activation="gelu"),
    # Gemma-2-like, with caps and a window that scores, logits and the longer sequences reach
    "gemma2": BASE | dict(hidden=20, heads=3, kv_heads=1, head_size=8, ffn=36, vocabulary=41, activation="geglu",
                          norm_epsilon=1e-6, norm_offset=True, post_norm=True, embedding_scale=4.47213595,
                          attention_scale=0.4, attention_softcap=1.5, logit_softcap=2.0, sliding_window=40,
                          sliding_period=2),
    # Qwen-3-like, with Llama 3's rotation: of four pairs two turn as ever, one is mixed, one is slow
    "qwen3": BASE | dict(hidden=20, kv_heads=2, head_size=8, ffn=36, norm_epsilon=1e-6, rotary_base=100.0, tied=False,
                         query_key_norm=True, rotary_scaling="llama3", rotary_scaling_factor=8.0,
                         rotary_original_context=64),
    # A window in every layer, a GELU by the error function in a gate, all frequencies divided, norms of heads with 1 +
    "sliding": BASE | dict(kv_heads=2, attention_bias=True, activation="geglu_erf", sliding_window=64,
                           query_key_norm=True, norm_offset=True, rotary_scaling="linear", rotary_scaling_factor=4.0),
    # Pythia's GELU; LayerNorm of what branches leave
    "post_layernorm": BASE | dict(norm="layernorm", activation="gelu_erf", post_norm=True, mlp_bias=True,
                                  output_bias=True, rotary_fraction=0.5, attention_softcap=2.0),
}
LENGTHS = [70, 1, 13, 130, 5]  # across the 64-token pages


def shapes(c):
    query, kv = c["heads"] * c["head_size"], c["kv_heads"] * c["head_size"]
    out = {"embedding.weight": (c["vocabulary"], c["hidden"])}

    def linear(name, rows, columns, bias):
        out[name + ".weight"] = (rows, columns)
        if bias:
            out[name + ".bias"] = (rows,)

    def norm(name):
        out[name + ".weight"] = (c["hidden"],)
        if c["norm"] == "layernorm":
            out[name + ".bias"] = (c["hidden"],)

    for i in range(c["layers"]):
        p = f"layers.{i}."
        norm(p + "attention_norm")
        linear(p + "attention.query", query, c["hidden"], c["attention_bias"])
        linear(p + "attention.key", kv, c["hidden"], c["attention_bias"])
        linear(p + "attention.value", kv, c["hidden"], c["attention_bias"])
        if c["query_key_norm"]:
            out[p + "attention.query_norm.weight"] = out[p + "attention.key_norm.weight"] = (c["head_size"],)
        linear(p + "attention.output", c["hidden"], query, c["output_bias"])
        if c["post_norm"]:
            norm(p + "attention_post_norm")
        norm(p + "mlp_norm")
        if not c["activation"].startswith("gelu"):
            linear(p + "mlp.gate", c["ffn"], c["hidden"], c["mlp_bias"])
        linear(p + "mlp.up", c["ffn"], c["hidden"], c["mlp_bias"])
        linear(p + "mlp.down", c["hidden"], c["ffn"], c["mlp_bias"])
        if c["post_norm"]:
            norm(p + "mlp_post_norm")
    norm("final_norm")
    if not c["tied"]:
        out["output.weight"] = (c["vocabulary"], c["hidden"])
    return out


def gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_erf(x):
    return x * torch.special.ndtr(x)


def softcap(x, cap):
    return x if cap == 0 else cap * torch.tanh(x / cap)


def silu(x):
    return x / (1 + torch.exp(-x))


def stretched(c, frequency):
    if c["rotary_scaling"] == "none":
        return frequency
    slow = frequency / c["rotary_scaling_factor"]
    if c["rotary_scaling"] == "linear":
        return slow
    # By wavelengths, as Meta's code for Llama 3.1 has it.
    wavelength = 2 * math.pi / frequency
    low, high = c["rotary_low_frequency_factor"], c["rotary_high_frequency_factor"]
    context = c["rotary_original_context"]
    smooth = (context / wavelength - low) / (high - low)
    mixed = (1 - smooth) * slow + smooth * frequency
    return torch.where(wavelength > context / low, slow, torch.where(wavelength < context / high, frequency, mixed))


def rotate(c, x):
    """x [tokens, heads, head_size]; dim i turns with dim i + rotated / 2."""
    n = int(c["head_size"] * c["rotary_fraction"])
    if n == 0:
        return x
    frequency = stretched(c, c["rotary_base"] ** (-torch.arange(0, n, 2, dtype=torch.float64) / n))
    angle = torch.arange(x.shape[0], dtype=torch.float64)[:, None, None] * frequency
    a, b, rest = x[..., :n // 2], x[..., n // 2:n], x[..., n:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin(), rest], -1)


def forward(c, w, tokens):
    def linear(x, name):
        y = x @ w[name + ".weight"].T
        return y + w[name + ".bias"] if name + ".bias" in w else y

    def norm(x, name):
        if c["norm"] == "rmsnorm":
            factor = w[name + ".weight"] + (1 if c["norm_offset"] else 0)
            return x / torch.sqrt((x * x).mean(-1, keepdim=True) + c["norm_epsilon"]) * factor
        x = x - x.mean(-1, keepdim=True)
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + c["norm_epsilon"]) * w[name + ".weight"] + \
            w[name + ".bias"]

    def head_norm(x, name):
        return norm(x, name) if c["query_key_norm"] else x

    def post_norm(x, name):
        return norm(x, name) if c["post_norm"] else x

    def attention(x, p, layer):
        n = len(tokens)
        q = rotate(c, head_norm(linear(x, p + "query").view(n, c["heads"], c["head_size"]), p + "query_norm"))
        k = rotate(c, head_norm(linear(x, p + "key").view(n, c["kv_heads"], c["head_size"]), p + "key_norm"))
        v = linear(x, p + "value").view(n, c["kv_heads"], c["head_size"])
        share = c["heads"] // c["kv_heads"]
        k, v = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
        scores = torch.einsum("qhd,khd->hqk", q, k) * (c["attention_scale"] or 1 / math.sqrt(c["head_size"]))
        scores = softcap(scores, c["attention_softcap"])
        distance = torch.arange(n)[:, None] - torch.arange(n)
        unseen = distance < 0
        slides = c["sliding_window"] > 0 and (c["sliding_period"] == 0 or (layer + 1) % c["sliding_period"] != 0)
        if slides:
            unseen |= distance >= c["sliding_window"]
        scores = scores.masked_fill(unseen, -math.inf)
        return linear(torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(n, -1), p + "output")

    def mlp(x, p):
        function = {"swiglu": silu, "geglu": gelu, "gelu": gelu, "geglu_erf": gelu_erf, "gelu_erf": gelu_erf}
        gate = function[c["activation"]]
        if c["activation"].startswith("gelu"):
            return linear(gate(linear(x, p + "up")), p + "down")
        return linear(gate(linear(x, p + "gate")) * linear(x, p + "up"), p + "down")

    x = w["embedding.weight"][tokens] * c["embedding_scale"]
    for i in range(c["layers"]):
        p = f"layers.{i}."
        branch = post_norm(attention(norm(x, p + "attention_norm"), p + "attention.", i), p + "attention_post_norm")
        if c["parallel_residual"]:
            x = x + branch + mlp(norm(x, p + "mlp_norm"), p + "mlp.")
        else:
            x = x + branch
            x = x + post_norm(mlp(norm(x, p + "mlp_norm"), p + "mlp."), p + "mlp_post_norm")
    return softcap(norm(x, "final_norm") @ w["embedding.weight" if c["tied"] else "output.weight"].T,
                   c["logit_softcap"])


def draw(c, seed):
    """Weights of a size that makes every branch matter, and a batch with loss on about two thirds of its rows."""
    rng = np.random.default_rng(seed)
    out = {}
    for name, shape in shapes(c).items():
        if len(shape) == 2:
            value = rng.normal(0, 0.4 if name == "embedding.weight" else 0.8 / math.sqrt(shape[1]), shape)
        else:
            one = name.endswith("norm.weight") and not c["norm_offset"]
            value = rng.normal(1.0 if one else 0.0, 0.3, shape)
        out["weight/" + name] = value.astype("<f4")
    rows = sum(LENGTHS)
    out["lengths"] = np.array(LENGTHS, "<i4")
    out["tokens"] = rng.integers(0, c["vocabulary"], rows).astype("<i4")
    out["targets"] = rng.integers(0, c["vocabulary"], rows).astype("<i4")
    out["loss_weights"] = (rng.uniform(0.25, 1.5, rows) * (rng.uniform(0, 1, rows) < 0.66)).astype("<f4")
    return out


def config_text(c):
    def value(v):
        return {True: "true", False: "false"}[v] if isinstance(v, bool) else f'"{v}"' if isinstance(v, str) else f"{v}"
    return "".join(f"{key} {value(v)}\n" for key, v in c.items() if USUAL.get(key) != v).replace('"', "")


def compute(c, given):
    w = {name: torch.tensor(given["weight/" + name].astype("f8"), requires_grad=True) for name in shapes(c)}
    logits, at = [], 0
    for length in given["lengths"]:
        logits.append(forward(c, w, torch.tensor(given["tokens"][at:at + length].astype("i8"))))
        at += length
    logits = torch.cat(logits)
    log_probability = logits.log_softmax(-1)[torch.arange(at), torch.tensor(given["targets"].astype("i8"))]
    loss = -(log_probability * torch.tensor(given["loss_weights"].astype("f8"))).sum()
    loss.backward()
    out = {"config": np.frombuffer(config_text(c).encode(), "u1")} | given
    out["loss"] = np.array([loss.item()], "<f8")
    rows = np.array([0, 63, 64, 69, 70, 71, 83, 84, 147, 148, 212, 213, at - 1], "<i4")
    out["logit_rows"] = rows
    out["logits"] = logits.detach().numpy()[rows].astype("<f4")
    for name in w:
        out["gradient/" + name] = w[name].grad.numpy().astype("<f4")
    return out


def main():
    for seed, (name, c) in enumerate(CONFIGS.items()):
        c = USUAL | c
        path = FOLDER / f"model_{name}.bin"
        if path.exists() and "--draw" not in sys.argv:
            given = {k: v for k, v in read(path).items()
                     if k.startswith("weight/") or k in ("lengths", "tokens", "targets", "loss_weights")}
        else:
            given = draw(c, seed + 1)
        write(path, compute(c, given))
        print(f"{path.name}: loss {read(path)['loss'][0]:.6f}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
