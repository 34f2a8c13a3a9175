// SPDX-License-Identifier: Apache-2.0
// config.json and tokenizer.json of a model folder.
#include "fuzz/driver.h"
#include "huggingface/config.h"
#include "huggingface/tokenizer.h"

namespace {

using namespace selvage;

void try_config(std::string const& text) {
    auto const config = huggingface::read_config(text, "config.json", io::StoredType::f32, {});
    validate(config.model);
    // The type is a key like others.
    auto const again = huggingface::read_config(huggingface::with_dtype(text, io::StoredType::bf16), "config.json",
                                                io::StoredType::f32, {});
    // But for the last bits of numbers with many digits.
    fuzz::require(again.family == config.family && again.special == config.special &&
                      again.model.heads == config.model.heads && again.model.activation == config.model.activation,
                  "another model with another dtype");
}

void try_tokenizer(std::string const& text) {
    TokenizerTable const table =
        huggingface::read_tokenizer({{"tokenizer.json", text}}, "folder", {0, -1, -1}, 1000, -1);
    fuzz::require(table.pieces.size() <= 1000, "more pieces than the vocabulary has");
    make_tokenizer(table);
}

}  // namespace

int main(int argc, char** argv) {
    fuzz::Corpus const corpus{
        {R"({"model_type": "llama", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 128,
            "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2, "vocab_size": 256,
            "rope_scaling": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3"}, "eos_token_id": [1, 2]})",
         R"({"model_type": "gemma2", "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 32, "intermediate_size": 48,
            "num_attention_heads": 2, "num_hidden_layers": 2, "num_key_value_heads": 1, "vocab_size": 64,
            "layer_types": ["sliding_attention", "full_attention"], "query_pre_attn_scalar": 16, "sliding_window": 8})",
         R"({"model_type": "gpt_neox", "hidden_act": "gelu", "hidden_size": 32, "intermediate_size": 48,
            "num_attention_heads": 2, "num_hidden_layers": 2, "rotary_pct": 0.25, "vocab_size": 64})",
         R"( {"decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "_"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}]}, "added_tokens": [{"id": 3, "content": "</s>", "special": true}],
            "model": {"vocab": {"a": 0, "_b": 1, "<0x0A>": 2}}})",
         R"( {"decoder": {"type": "ByteLevel"}, "model": {"vocab": [["a", -1.5], ["\u0120", -2]]}})"},
        {"null",
         "true",
         "-1",
         "0",
         "1e308",
         "2.5",
         "1e3",
         "9223372036854775807",
         "99999999999999999999",
         "\"\"",
         "[]",
         "{}",
         "\"mistral\"",
         "\"qwen2\"",
         "\"qwen3\"",
         "\"gemma\"",
         "\"linear\"",
         "\"head_dim\": ",
         "\"rope_parameters\": ",
         "\"use_sliding_window\": true,",
         "\"max_window_layers\": ",
         "\\ud800",
         "\\u0100"},
    };
    return fuzz::run(argc, argv, "huggingface", corpus, [] {
        return [](std::string const& input) { input.starts_with(" ") ? try_tokenizer(input) : try_config(input); };
    });
}
