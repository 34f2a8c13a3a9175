# SPDX-License-Identifier: Apache-2.0
"""Small tokenizers, trained here, in folders as Hugging Face's models have them."""
import json
import os

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers)

QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
CHATML = ("{%- for message in messages %}\n{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n"
          "{%- endfor %}\n{%- if add_generation_prompt %}\n{{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n")
LLAMA3_CHAT = ("{{- bos_token }}{% for message in messages %}\n    {{- '<|start_header_id|>' + message['role'] + "
               "'<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}\n{% endfor %}\n"
               "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}")
LLAMA2_CHAT = ("{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = "
               "'<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}{% else %}{% set loop_messages = messages %}"
               "{% set system_message = '' %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != "
               "(loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
               "{% if loop.index0 == 0 %}{% set content = system_message + message['content'] %}{% else %}{% set content = "
               "message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + "
               "' [/INST]' }}{% else %}{% generation %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endgeneration %}"
               "{% endif %}{% endfor %}")
# With the blanks that trim_blocks and lstrip_blocks take away.
GEMMA_CHAT = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}
    {{ raise_exception('System role not supported') }}
  {% endif %}
{% for message in messages %}
    {% set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}
{% if add_generation_prompt %}
{{'<start_of_turn>model\\n'}}{% endif %}"""


def byte_level(text, special, pre_tokenizer, normalizer=None, begin=None):
    made = Tokenizer(models.BPE())
    if normalizer is not None:
        made.normalizer = normalizer
    made.pre_tokenizer = pre_tokenizer
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(text, trainers.BpeTrainer(vocab_size=700, show_progress=False,
                                                       initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    made.add_special_tokens([AddedToken(token, special=True) for token in special])
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    if begin:
        made.post_processor = processors.TemplateProcessing(single=begin + " $A",
                                                            special_tokens=[(begin, made.token_to_id(begin))])
    return made


def split_byte_level(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def byte_fallback(text, special, begin):
    """BPE over characters, bytes for those it does not know; spaces are U+2581. The caller sets the rest."""
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    byte_pieces = ["<0x%02X>" % byte for byte in range(256)]
    made.train_from_iterator(text, trainers.BpeTrainer(vocab_size=800, show_progress=False, limit_alphabet=150,
                                                       special_tokens=[*special, *byte_pieces]))
    content = json.loads(made.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] not in byte_pieces]
    content["pre_tokenizer"] = None
    made = Tokenizer.from_str(json.dumps(content))
    made.post_processor = processors.TemplateProcessing(single=begin + " $A",
                                                        special_tokens=[(begin, made.token_to_id(begin))])
    return made


def llama2(text):
    made = byte_fallback(text, ["<unk>", "<s>", "</s>"], "<s>")
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                      decoders.Strip(" ", 1, 0)])
    return made


def llama2_legacy(text):
    made = byte_fallback(text, ["<unk>", "<s>", "</s>"], "<s>")
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                      decoders.Strip(" ", 1, 0)])
    return made


def gemma(text):
    made = byte_fallback(text, ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"], "<bos>")
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return made


def unigram(text):
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.train_from_iterator(text, trainers.UnigramTrainer(vocab_size=700, show_progress=False, unk_token="<unk>",
                                                           special_tokens=["<unk>", "<s>", "</s>"]))
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return made


NAMES = ("gpt2", "llama3", "qwen", "llama2", "llama2_legacy", "gemma", "unigram")


def write(folder, name, text):
    """A folder with tokenizer.json and its configuration, for the family `name`."""
    for old in os.listdir(folder):
        os.remove(os.path.join(folder, old))
    end = "<|endoftext|>"
    chatml = ["<|im_start|>", "<|im_end|>"]
    headers = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    if name == "gpt2":
        made = byte_level(text, [end], pre_tokenizers.ByteLevel(add_prefix_space=False))
        config = {"tokenizer_class": "GPT2Tokenizer", "bos_token": end, "eos_token": end, "unk_token": end}
    elif name == "llama3":
        made = byte_level(text, headers, split_byte_level(LLAMA3), begin=headers[0])
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": headers[0], "eos_token": headers[3],
                  "chat_template": LLAMA3_CHAT}
    elif name == "qwen":
        made = byte_level(text, [end, *chatml], split_byte_level(QWEN), normalizers.NFC())
        config = {"tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": chatml[1], "pad_token": end,
                  "unk_token": None, "chat_template": CHATML}
    elif name in ("llama2", "llama2_legacy"):
        made = llama2(text) if name == "llama2" else llama2_legacy(text)
        config = {"tokenizer_class": "LlamaTokenizer" if name == "llama2" else "PreTrainedTokenizerFast", "bos_token": "<s>",
                  "eos_token": {"content": "</s>", "__type": "AddedToken"}, "unk_token": "<unk>", "legacy": False,
                  "chat_template": LLAMA2_CHAT}
    elif name == "unigram":
        made = unigram(text)
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
                  "unk_token": "<unk>", "chat_template": LLAMA2_CHAT}
    else:
        made = gemma(text)
        config = {"tokenizer_class": "GemmaTokenizer", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>",
                  "unk_token": "<unk>", "mask_token": "<mask>"}
        with open(os.path.join(folder, "chat_template.jinja"), "w", encoding="utf-8") as file:
            file.write(GEMMA_CHAT)
    made.save(os.path.join(folder, "tokenizer.json"))
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    return made
