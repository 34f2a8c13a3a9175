#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`selvage prepare` with the tokenizer bytes and with sentencepiece models, against sentencepiece and transformers from
the Python registry. SELVAGE: the program."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path += [os.path.join(ROOT, "tests/support"), os.path.join(ROOT, "tests/inputs")]
import packages  # noqa: E402

packages.need("sentencepiece", "google.protobuf", "transformers", "tokenizers", "h5py", "numpy")
os.environ.update(TRANSFORMERS_VERBOSITY="error", HF_HUB_OFFLINE="1")

import h5py  # noqa: E402
import sentencepiece  # noqa: E402
import transformers  # noqa: E402

import mixed_lines  # noqa: E402

LINES = mixed_lines.lines(1000, seed=2)
LLAMA = {"model_type": "bpe", "normalization_rule_name": "identity", "remove_extra_whitespaces": False,
         "byte_fallback": True, "split_digits": True, "allow_whitespace_only_pieces": True}


class Reference(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        with open(cls.path("lines.jsonl"), "w", encoding="utf-8") as file:
            for line in LINES:
                file.write(json.dumps({"prompt": "x", "response": line}) + "\n")

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    def train(self, **flags):
        # Its text is a line each, without NUL, which it does not take.
        text = iter([part for line in LINES for part in line.replace("\0", "").split("\n") if part])
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=text, model_prefix=self.path("tokenizer"), vocab_size=900, hard_vocab_limit=False,
            character_coverage=0.98, minloglevel=2, **flags)
        return self.path("tokenizer.model")

    def answers(self, tokenizer, *options):
        """The program's tokens of every line, and the end-of-answer that it puts behind them."""
        out = self.path("out.h5")
        subprocess.run([os.environ["SELVAGE"], "prepare", "--input", self.path("lines.jsonl"), "--output", out,
                        "--tokenizer", tokenizer, *options], check=True, stdout=subprocess.DEVNULL)
        with h5py.File(out, "r") as file:
            tokens, offsets, prompt = (file[name][()].tolist() for name in ("tokens", "offsets", "prompt_length"))
            pieces, at = file["tokenizer/pieces"][()].tobytes(), file["tokenizer/piece_offsets"][()]
        self.pieces = [pieces[a:b] for a, b in zip(at[:-1], at[1:])]
        self.prompt = tokens[:prompt[0]]
        rows = [tokens[a + p:b] for a, b, p in zip(offsets[:-1], offsets[1:], prompt)]
        self.assertEqual(len({row[-1] for row in rows}), 1)
        return [row[:-1] for row in rows], rows[0][-1]

    def check(self, path):
        library = sentencepiece.SentencePieceProcessor(model_file=path)
        rows, end = self.answers(path)
        self.assertEqual(end, library.eos_id())
        for line, row in zip(LINES, rows, strict=True):
            self.assertEqual(row, library.encode(line), repr(line))
        return rows

    def test_bytes(self):
        rows, end = self.answers("bytes")
        self.assertEqual(end, 256)
        for line, row in zip(LINES, rows, strict=True):
            self.assertEqual(bytes(row), line.encode())

    def test_like_llama(self):
        rows = self.check(self.train(**LLAMA))
        with open(self.path("tokenizer_config.json"), "w", encoding="utf-8") as file:
            json.dump({"tokenizer_class": "LlamaTokenizer", "legacy": False}, file)
        other = transformers.AutoTokenizer.from_pretrained(self.folder)
        for line, ids, row in zip(LINES, other(LINES, add_special_tokens=False)["input_ids"], rows, strict=True):
            # transformers puts no space in front of a text that begins with one; sentencepiece, as here, always does.
            if not line.startswith(("▁", " ")):
                self.assertEqual(row, ids, repr(line))
            self.assertEqual(b"".join(self.pieces[token] for token in row), b" " + line.replace("▁", " ").encode())

    def test_other_models(self):
        for flags in ({"model_type": "unigram"}, {"model_type": "bpe"}, {"model_type": "word"}, {"model_type": "char"},
                      {"model_type": "unigram", "byte_fallback": True, "add_dummy_prefix": False, "unk_id": 3,
                       "eos_id": 0, "bos_id": -1, "user_defined_symbols": ["the", "👍🏽"], "control_symbols": ["<x>"]}):
            with self.subTest(**flags):
                path = self.train(**flags)
                rows = self.check(path)
                if flags.get("bos_id") != -1:
                    library = sentencepiece.SentencePieceProcessor(model_file=path)
                    self.assertEqual(self.answers(path, "--begin")[0], rows)
                    self.assertEqual(self.prompt, library.encode("x", add_bos=True))


if __name__ == "__main__":
    unittest.main()
