# SPDX-License-Identifier: Apache-2.0
"""Small folders of random weights, as transformers writes them, and what transformers computes with them.

  python3 huggingface.py [FOLDER]     default: huggingface/ beside this script; computes anew what is there, from the
                                      weights that are there
  python3 huggingface.py --draw [FOLDER]    makes the folders too

Needs numpy, torch, transformers, safetensors and sentencepiece (written with torch 2.15, transformers 5.23). For each case a folder
CASE/, and CASE.bin (format in reference_file.py): tokens of a batch of sequences, logits of every row, the loss with every
gradient in double precision, by the names of the folder's tensors, and greedy tokens after a prompt in single precision.
"""
import io
import json
import pathlib
import sys

import numpy as np
import safetensors.torch
import sentencepiece
import torch
import transformers

from reference_file import write

SMALL = dict(vocab_size=96, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
             max_position_embeddings=4096, initializer_range=0.2, bos_token_id=1, eos_token_id=2)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64, rope_theta=500000.0)

# name: (model_type, configuration, type of the weights, largest shard)
CASES = {
    "llama2": ("llama", SMALL | dict(rms_norm_eps=1e-5), "float16", "5GB"),
    "llama3": ("llama", SMALL | dict(num_key_value_heads=2, head_dim=8, rope_parameters=LLAMA3, attention_bias=True,
                                     mlp_bias=True), "bfloat16", "12KB"),
    "llama_linear": ("llama", SMALL | dict(num_hidden_layers=1, num_key_value_heads=1, tie_word_embeddings=True,
                                           rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=1e4)), "float32",
                     "5GB"),
    "mistral": ("mistral", SMALL | dict(num_key_value_heads=2, head_dim=12, sliding_window=16), "float32", "5GB"),
    "qwen2": ("qwen2", SMALL | dict(num_key_value_heads=2, tie_word_embeddings=True), "float32", "5GB"),
    "qwen3": ("qwen3", SMALL | dict(num_key_value_heads=2, head_dim=8, tie_word_embeddings=True), "float32", "5GB"),
    "gemma": ("gemma", SMALL | dict(num_key_value_heads=1, head_dim=16), "float32", "5GB"),
    "gemma2": ("gemma2", SMALL | dict(num_hidden_layers=4, num_key_value_heads=2, head_dim=8, query_pre_attn_scalar=20,
                                      sliding_window=16, attn_logit_softcapping=5.0, final_logit_softcapping=3.0), "float32",
               "20KB"),
    "gpt_neox": ("gpt_neox", SMALL | dict(hidden_size=32, rope_parameters=dict(rope_type="default", rope_theta=1e4,
                                                                               partial_rotary_factor=0.5)), "float32", "5GB"),
}
LENGTHS = [70, 1, 13, 40, 5]
PROMPT, NEW = 9, 24


def draw(folder, case, seed):
    kind, keys, dtype, most = CASES[case]
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(kind, **keys))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:  # norms and biases too, or their paths would not be seen
                weight += 0.3 * torch.randn(weight.shape)
    model.to(getattr(torch, dtype)).save_pretrained(folder / case, max_shard_size=most)
    if case == "llama2":
        draw_tokenizer(folder / case / "tokenizer.model")


def draw_tokenizer(path):
    """A sentencepiece model with as many pieces as the models have ids."""
    words = ["the", "there", "then", "small", "smaller", "model", "models", "reads", "what", "it", "wrote", "writes"]
    lines = [" ".join(words[(i * k + k) % len(words)] for k in range(1, 8)) for i in range(200)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, vocab_size=96,
                                             model_type="bpe", normalization_rule_name="identity", hard_vocab_limit=False,
                                             num_threads=1, minloglevel=2)
    path.write_bytes(model.getvalue())


def stored_name(name, stored):
    """GPT-NeoX's output projection is called otherwise in memory."""
    return name if name in stored else name.replace("lm_head", "embed_out")


def stored_names(folder):
    names = set()
    for file in folder.glob("*.safetensors"):
        with safetensors.safe_open(file, "pt") as opened:
            names.update(opened.keys())
    return names


def load(folder, dtype):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
    return model.eval()


def compute(folder, case, seed):
    generator = np.random.default_rng(seed)
    model = load(folder / case, torch.float64)
    vocabulary = model.config.vocab_size
    rows = sum(LENGTHS)
    out = {"lengths": np.array(LENGTHS, "<i4"),
           "tokens": generator.integers(3, vocabulary, rows).astype("<i4"),
           "targets": generator.integers(0, vocabulary, rows).astype("<i4"),
           "loss_weights": (generator.uniform(0.25, 1.5, rows) * (generator.uniform(0, 1, rows) < 0.66)).astype("<f4")}
    logits, at = [], 0
    for length in LENGTHS:
        logits.append(model(torch.tensor(out["tokens"][None, at:at + length].astype("i8"))).logits[0])
        at += length
    logits = torch.cat(logits)
    chosen = logits.log_softmax(-1)[torch.arange(rows), torch.tensor(out["targets"].astype("i8"))]
    loss = -(chosen * torch.tensor(out["loss_weights"].astype("f8"))).sum()
    loss.backward()
    out["logits"] = logits.detach().numpy().astype("<f4")
    out["loss"] = np.array([loss.item()], "<f8")
    stored = stored_names(folder / case)
    for name, weight in model.named_parameters():
        out["gradient/" + stored_name(name, stored)] = weight.grad.numpy().astype("<f4")
    single = load(folder / case, torch.float32)
    prompt = torch.tensor(out["tokens"][None, :PROMPT].astype("i8"))
    with torch.no_grad():
        answer = single.generate(prompt, max_new_tokens=NEW, do_sample=False, attention_mask=torch.ones_like(prompt),
                                 pad_token_id=0)
    out["prompt"] = out["tokens"][:PROMPT]
    out["greedy"] = answer[0, PROMPT:].numpy().astype("<i4")
    write(folder / f"{case}.bin", out)


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--draw"]
    folder = pathlib.Path(arguments[0]) if arguments else pathlib.Path(__file__).parent / "huggingface"
    folder.mkdir(parents=True, exist_ok=True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for seed, case in enumerate(CASES):
        if "--draw" in sys.argv or not (folder / case).exists():
            draw(folder, case, seed + 1)
        compute(folder, case, seed + 1)
        size = sum(file.stat().st_size for file in (folder / case).iterdir()) + (folder / f"{case}.bin").stat().st_size
        print(f"{case}: {size / 1000:.0f} kB", json.dumps(sorted(file.name for file in (folder / case).iterdir())))


if __name__ == "__main__":
    main()
