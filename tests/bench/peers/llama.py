# SPDX-License-Identifier: Apache-2.0
"""The model of the comparison, in PyTorch: Llama-style, of the sizes that tests/bench/driver/options.cpp names."""
import dataclasses

import torch
from torch import nn
from torch.nn import functional


@dataclasses.dataclass(frozen=True)
class Config:
    layers: int
    hidden: int
    heads: int
    ffn: int
    vocabulary: int = 50304
    head_size: int = 64


CONFIGS = {
    "124m": Config(layers=12, hidden=768, heads=12, ffn=2048),
    "30m": Config(layers=6, hidden=384, heads=6, ffn=1024),
    "tiny": Config(layers=2, hidden=64, heads=1, ffn=128, vocabulary=512),
}


def rotary_table(head_size, positions):
    rate = 10000.0 ** (-torch.arange(0, head_size, 2) / head_size)
    angle = torch.outer(torch.arange(positions), rate)
    return torch.cos(angle), torch.sin(angle)  # [positions, head_size / 2]


def rotate(x, cosine, sine):
    """x [batch, heads, tokens, head_size]; dim i is paired with dim i + head_size / 2."""
    a, b = x.chunk(2, dim=-1)
    cosine, sine = cosine.to(x.dtype), sine.to(x.dtype)
    return torch.cat((a * cosine - b * sine, b * cosine + a * sine), dim=-1)


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads = config.heads
        self.attention_norm = nn.RMSNorm(config.hidden, eps=1e-5)
        self.query_key_value = nn.Linear(config.hidden, 3 * config.hidden, bias=False)
        self.output = nn.Linear(config.hidden, config.hidden, bias=False)
        self.mlp_norm = nn.RMSNorm(config.hidden, eps=1e-5)
        self.gate_up = nn.Linear(config.hidden, 2 * config.ffn, bias=False)
        self.down = nn.Linear(config.ffn, config.hidden, bias=False)

    def forward(self, x, cosine, sine, cache=None, place=None, mask=None):
        """cache: (keys, values) of [batch, heads, positions, head_size]; new rows are written at `place` [tokens], and
        `mask` says what each of them sees. Without a cache: whole sequences."""
        batch, tokens, hidden = x.shape
        q, k, v = (self.query_key_value(self.attention_norm(x)).view(batch, tokens, 3, self.heads, -1)
                   .permute(2, 0, 3, 1, 4).unbind(0))
        q, k = rotate(q, cosine, sine), rotate(k, cosine, sine)
        if cache is not None:
            keys, values = cache
            keys.index_copy_(2, place, k)
            values.index_copy_(2, place, v)
            if mask is not None:
                k, v = keys, values
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        x = x + self.output(mixed.transpose(1, 2).reshape(batch, tokens, hidden))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        return x + self.down(functional.silu(gate) * up)


class Llama(nn.Module):
    def __init__(self, config, positions):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.hidden)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.hidden, eps=1e-5)
        self.head = nn.Linear(config.hidden, config.vocabulary, bias=False)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)
        self.head.weight = self.embedding.weight
        cosine, sine = rotary_table(config.head_size, positions)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)

    def forward(self, tokens):
        """Logits of whole sequences [batch, tokens]."""
        x = self.embedding(tokens)
        length = tokens.shape[1]
        for block in self.blocks:
            x = block(x, self.cosine[:length], self.sine[:length])
        return self.head(self.norm(x))

    def loss(self, tokens, targets):
        logits = self(tokens)
        return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
