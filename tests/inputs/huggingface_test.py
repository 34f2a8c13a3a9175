#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""inputs/huggingface/prepare.py against transformers, on tokenizers of several families and a thousand lines. SELVAGE:
the program, which checks the files where it is given."""
import contextlib
import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests/support"), os.path.join(ROOT, "inputs/huggingface")]
import packages  # noqa: E402

packages.need("tokenizers", "transformers", "jinja2", "h5py", "numpy")
os.environ.update(TRANSFORMERS_VERBOSITY="error", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="true")

import h5py  # noqa: E402
import transformers  # noqa: E402

import mixed_lines  # noqa: E402
import prepare  # noqa: E402
import trained_folders  # noqa: E402

LINES = mixed_lines.lines(1000, special=["</s>", "<|endoftext|>", "<|im_end|>", "<eos>", "<|eot_id|>"])


class Data:
    """A data file as other programs read it."""

    def __init__(self, path):
        with h5py.File(path, "r") as file:
            self.tokens, self.offsets, self.prompt = (file[name][()].tolist() for name in
                                                      ("tokens", "offsets", "prompt_length"))
            group = file["tokenizer"]
            offsets, content = group["piece_offsets"][()], group["pieces"][()].tobytes()
            self.pieces = [content[a:b] for a, b in zip(offsets[:-1], offsets[1:])]
            self.end, self.begin, self.padding = (int(group.attrs[name]) for name in
                                                  ("end_of_answer", "begin", "padding"))
            self.phrases = {phrase.attrs["text"]: phrase[()].tolist() for phrase in group["phrases"].values()}
            self.attributes = dict(file.attrs)

    def pairs(self):
        """(prompt, answer), the answer with its end-of-answer."""
        for begin, end, prompt in zip(self.offsets[:-1], self.offsets[1:], self.prompt):
            yield self.tokens[begin:begin + prompt], self.tokens[begin + prompt:end]

    def text(self, tokens):
        return b"".join(self.pieces[token] for token in tokens if token not in (self.end, self.begin, self.padding))


class Prepare(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, records):
        with open(self.path(name), "w", encoding="utf-8") as file:
            for record in records:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        return self.path(name)

    def prepare(self, *arguments, code=0):
        words = ["--tokenizer", self.folder, "--output", self.path("out.h5"), *map(str, arguments)]
        said, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
            self.assertEqual(prepare.main(words), code, errors.getvalue())
        self.said, errors = said.getvalue(), errors.getvalue()
        if code:
            self.assertEqual([name for name in os.listdir(self.folder) if name.startswith("out.h5")], [])
            self.assertEqual(errors.count("\n"), 1, errors)
            return errors
        if os.environ.get("SELVAGE"):
            checked = subprocess.run([os.environ["SELVAGE"], "check", self.path("out.h5")], capture_output=True,
                                     text=True)
            self.assertEqual(checked.returncode, 0, checked.stderr)
        return Data(self.path("out.h5"))

    def refuse(self, *words, arguments=(), code=65):
        error = self.prepare("--input", self.path("in.jsonl"), *arguments, code=code)
        for word in words:
            self.assertIn(word, error)


class Encodings(Prepare):
    def test_pairs(self):
        """Prompt and answer are what transformers makes of them, and the pieces' bytes are the text."""
        for name in trained_folders.NAMES:
            with self.subTest(name=name):
                library = trained_folders.write(self.folder, name, LINES)
                other = transformers.AutoTokenizer.from_pretrained(self.folder)
                pairs = self.write("in.jsonl", [{"prompt": line, "response": line} for line in LINES])
                data = self.prepare("--input", pairs, "--phrase", "Well ")
                exact = 0
                whole, plain = other(LINES)["input_ids"], other(LINES, add_special_tokens=False)["input_ids"]
                for line, ids, ids_alone, (prompt, answer) in zip(LINES, whole, plain, data.pairs(), strict=True):
                    # An end-of-sentence that the tokenizer puts behind a text is no part of a prompt.
                    self.assertEqual(prompt, ids[:-1] if name == "unigram" else ids, repr(line))
                    self.assertEqual(answer, [*ids_alone, other.eos_token_id], repr(line))
                    text = data.text(prompt)
                    # The library takes away the space that encoding put in front.
                    self.assertIn(other.decode(prompt, skip_special_tokens=True),
                                  (text.decode("utf-8", "replace"), text.decode("utf-8", "replace").removeprefix(" ")))
                    exact += text.removeprefix(b" ") == line.encode().removeprefix(b" ")
                # Not those with special tokens in them, and what the normalizer changes or the vocabulary lacks.
                self.assertGreater(exact, {"qwen": 500, "unigram": 50}.get(name, 700))
                self.assertEqual((data.end, data.begin), (other.eos_token_id, -1 if other.bos_token_id is None else
                                                          other.bos_token_id))
                self.assertEqual(len(data.pieces), library.get_vocab_size())
                self.assertEqual(data.phrases, {text: other(text, add_special_tokens=False)["input_ids"] for text in
                                                ("Well ", "\n\nCorrection:\n")})

    def test_conversations(self):
        """The template's tokens, cut where the assistant's last turn begins."""
        for name in trained_folders.NAMES[1:]:
            with self.subTest(name=name):
                trained_folders.write(self.folder, name, LINES)
                other = transformers.AutoTokenizer.from_pretrained(self.folder)
                records = []
                for i in range(0, len(LINES) - 5, 4):
                    turns = [{"role": ("user", "assistant")[j % 2], "content": line.strip() or "-"}
                             for j, line in enumerate(LINES[i:i + 2 + i % 8 // 4 * 2])]
                    if i % 3 == 0 and name != "gemma":
                        turns.insert(0, {"role": "system", "content": "Be brief. 简短"})
                    records.append({"messages": turns})
                data = self.prepare("--input", self.write("in.jsonl", records))
                apart = 0
                for record, (prompt, answer) in zip(records, data.pairs(), strict=True):
                    turns = record["messages"]
                    whole = other.apply_chat_template(turns, return_dict=False)
                    self.assertEqual(prompt, other.apply_chat_template(turns[:-1], add_generation_prompt=True,
                                                                       return_dict=False))
                    if whole[:len(prompt)] != prompt:
                        apart += 1
                        continue
                    rest = whole[len(prompt):]
                    self.assertEqual(answer, rest[:len(answer)])
                    self.assertEqual(other.decode(rest[len(answer):]).strip(), "")
                    self.assertEqual(answer[-1], data.end)
                self.assertLess(apart, 20)
                self.assertEqual("inside a token" in self.said, apart > 0)
                ends = {"gemma": "<end_of_turn>", "qwen": "<|im_end|>", "llama3": "<|eot_id|>"}
                self.assertEqual(other.convert_ids_to_tokens(data.end), ends.get(name, "</s>"))


class Files(Prepare):
    pair = {"prompt": "two and two", "response": "four"}

    def setUp(self):
        super().setUp()
        trained_folders.write(self.folder, "qwen", LINES[:200])

    def messages(self, *turns):
        return {"messages": [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]}

    def test_report_and_packed_files(self):
        plain = self.write("in.jsonl", [self.pair, self.messages("a", "b"), self.pair, {"prompt": "a"},
                                        {"prompt": "long " * 300, "response": "b"}])
        with open(plain, "rb") as file, gzip.open(self.path("packed"), "wb") as packed:
            packed.write(file.read() + b"\n{\n")
        arguments = ["--bad-lines", "drop", "--max-tokens", 100]
        data = self.prepare("--input", plain, "--input", self.path("packed"), *arguments)
        self.assertEqual(len(data.prompt), 6)
        for part in ('dropped, no key "prompt"',):
            self.assertNotIn(part, self.said)
        for part in ('dropped, no key "response": 2\n  %s: 4\n  %s: 4\n' % (plain, self.path("packed")),
                     "more than 100 tokens: 2\n", "empty lines: 1\n",
                     "(syntax error): 1\n  %s: 7\n" % self.path("packed"),
                     "as a line before: 4\n  %s: 3\n  %s: 1-3\n" % (plain, self.path("packed"))):
            self.assertIn(part, self.said)
        self.assertEqual([data.attributes[name] for name in ("source_lines", "dropped_lines", "duplicates")],
                         [12, 5, 4])
        self.assertEqual(len(self.prepare("--input", plain, *arguments, "--duplicates", "drop").prompt), 2)

    def test_as_a_program(self):
        script = os.path.join(ROOT, "inputs/huggingface/prepare.py")
        words = ["--tokenizer", self.folder, "--input", self.write("in.jsonl", [self.pair]), "--output"]
        for output, code in ((self.path("out.h5"), 0), (self.path("in.jsonl/out.h5"), 74)):
            result = subprocess.run([sys.executable, "-B", script, *words, output], capture_output=True, text=True)
            self.assertEqual(result.returncode, code, result.stderr)
        self.assertIn("cannot be written", result.stderr)

    def test_encode_gives_the_same_prompts(self):
        data = self.prepare("--input", self.write("in.jsonl", [self.pair, self.messages("two and two", "four"), {
            "messages": [{"role": "system", "content": "Be brief."}, *self.messages("two", "b")["messages"]]}]))
        script = os.path.join(ROOT, "inputs/huggingface/encode.py")
        for words, (prompt, _) in zip((["two and two"], ["two and two", "--chat"], ["two", "--system", "Be brief."]),
                                      data.pairs(), strict=True):
            said = subprocess.run([sys.executable, "-B", script, self.folder, *words], capture_output=True, text=True,
                                  check=True).stdout
            self.assertEqual([int(word) for word in said.split()], prompt)

    def test_bad_lines(self):
        for line, words in ((b"[1]", ["not an object"]), (b'{"prompt": "\xff", "response": "b"}', ["not UTF-8"]),
                            (b'{"prompt": "\\ud800", "response": "b"}', ["surrogate"]), (b"{", ["syntax error"]),
                            (b'{"prompt": "", "response": "b"}', ['"prompt" is empty']),
                            (b'{"messages": [{"role": "assistant", "content": "a"}]}', ["no message before"]),
                            (b'{"messages": [{"role": "user", "content": "a"}]}', ["not the assistant's"]),
                            (b'{"messages": [{"role": "user"}, {"role": "assistant", "content": "a"}]}', ["refuses"]),
                            (b'{"messages": [], "prompt": "a"}', ["both"])):
            with open(self.path("in.jsonl"), "wb") as file:
                file.write(json.dumps(self.pair).encode() + b"\n" + line + b"\n")
            self.refuse("in.jsonl:2: ", *words)
        self.write("in.jsonl", [])
        self.refuse("no text pair")
        os.remove(self.path("in.jsonl"))
        self.refuse("no such file", code=66)

    def test_packed_files(self):
        line = json.dumps(self.pair).encode() + b"\n"
        ways = [gzip.compress]
        with contextlib.suppress(ImportError):
            import zstandard
            ways.append(zstandard.ZstdCompressor(write_checksum=True).compress)
        for way in ways:
            packed = way(line * 5000)
            half = len(packed) // 2
            for broken in (packed[:-3], packed[:half], packed + b"more", packed + packed[:half],
                           packed[:half] + b"????" + packed[half + 4:]):
                with open(self.path("in.jsonl"), "wb") as file:
                    file.write(broken)
                self.refuse("in.jsonl: packed text that is damaged", arguments=["--bad-lines", "drop"])
            with open(self.path("in.jsonl"), "wb") as file:
                file.write(way(line * 2000 + line[:7]) + way(line[7:]) + way(b""))
            self.assertEqual(len(self.prepare("--input", self.path("in.jsonl")).prompt), 2001)
            os.remove(self.path("out.h5"))

    def test_folders_that_do_not_fit(self):
        self.write("in.jsonl", [self.pair, self.messages("a", "b")])
        self.refuse("no token '<end>'", arguments=["--end-of-answer", "<end>"])
        with open(self.path("config.json"), "w", encoding="utf-8") as file:
            json.dump({"vocab_size": 300}, file)
        self.refuse("in.jsonl:1: token id ", "outside the model's vocabulary of 300")
        os.remove(self.path("config.json"))
        templates = {"{{ messages|length }}": "differently once the answer is there",
                     "{{ messages[0].content }}": "leaves the answer out",
                     "{{ raise_exception('no') }}": "refuses the conversation (no)"}
        for source, word in templates.items():
            with open(self.path("chat_template.jinja"), "w", encoding="utf-8") as file:
                file.write(source)
            self.refuse("in.jsonl:2: ", word)
        with open(self.path("chat_template.jinja"), "w", encoding="utf-8") as file:
            file.write("\n{{ 1")
        self.refuse("no Jinja template", "line 2")
        with open(self.path("tokenizer.json"), "r+", encoding="utf-8") as file:
            content = json.load(file)
            content["decoder"] = {"type": "WordPiece", "prefix": "##", "cleanup": True}
            file.seek(0)
            json.dump(content, file)
            file.truncate()
        self.refuse("decoder WordPiece is not supported")
        with open(self.path("tokenizer.json"), "w", encoding="utf-8") as file:
            file.write("{}")
        self.refuse("tokenizer.json", "cannot read it")
        os.remove(self.path("tokenizer.json"))
        self.refuse("tokenizer.json: no such file", "save_pretrained", code=66)

    def test_what_templates_may_use(self):
        source = ("{% if tools %}{{ tools|tojson }}{% endif %}{{ strftime_now('%d %b %Y') }}{% for m in messages %}"
                  "{% if m.content == 'skip' %}{% continue %}{% endif %}{{ m.role ~ '<&>' ~ m.content ~ mood }}<|im_end|>\n"
                  "{% endfor %}{% if add_generation_prompt %}assistant<&>{% endif %}")
        with open(self.path("chat_template.jinja"), "w", encoding="utf-8") as file:
            file.write(source)
        record = {**self.messages("skip", "x", "a", "b"), "tools": [{"name": "ä<"}],
                  "chat_template_kwargs": {"mood": "!"}}
        data = self.prepare("--input", self.write("in.jsonl", [record]), "--date", "2024-03-05")
        (prompt, answer), = data.pairs()
        self.assertEqual(data.text(prompt).decode(), '[{"name": "ä<"}]05 Mar 2024assistant<&>x!\nuser<&>a!\nassistant<&>')
        self.assertEqual(data.text(answer), b"b!")


DECK = """
[run]
rounds = 1
[model]
layers = 1
hidden = 32
heads = 2
kv_heads = 2
head_size = 16
ffn = 48
[data]
train = "out.h5"
heldout = "out.h5"
context = 96
[generate]
max_new_tokens = 8
cache_mib = 4
[weave]
method = "rac"
[train]
lanes = 1
steps_per_round = 2
batch_tokens = 512
micro_batch_tokens = 256
"""


@unittest.skipUnless(os.environ.get("SELVAGE"), "SELVAGE does not name the program")
class Program(Prepare):
    def run_program(self, *words):
        result = subprocess.run([os.environ["SELVAGE"], *words], capture_output=True, cwd=self.folder, timeout=120)
        return result.returncode, result.stdout, result.stderr.decode(errors="replace")

    def test_a_job(self):
        """RAC with its own template, and an answer with a correction, by a tokenizer that the program cannot encode."""
        trained_folders.write(self.folder, "qwen", LINES[:200])
        data = self.prepare("--input", self.write("in.jsonl", [{"prompt": "%d and" % i, "response": "é%d" % i}
                                                               for i in range(40)]))
        with open(self.path("deck.toml"), "w", encoding="utf-8") as file:
            file.write(DECK)
        code, _, errors = self.run_program("run", "deck.toml", "--out", "run")
        self.assertEqual(code, 0, errors)
        with h5py.File(self.path("run/woven/round-0001.h5"), "r") as file:
            template = file["input_tokens"][()][file["origin"][()] == 3].tolist()
        marker = data.phrases["\n\nCorrection:\n"]
        self.assertEqual(template, marker * (len(template) // len(marker)))
        self.assertGreater(len(template), 0)
        checkpoint = os.path.join("run/checkpoints", os.listdir(self.path("run/checkpoints"))[0])
        prompt = " ".join(map(str, next(data.pairs())[0]))
        code, said, errors = self.run_program("generate", checkpoint, "--prompt-ids", prompt, "--turns", "1")
        self.assertEqual((code, said.count(b"--- correction 1")), (0, 1), errors)
        code, _, errors = self.run_program("generate", checkpoint, "--prompt", "0 and")
        self.assertEqual(code, 65)
        self.assertIn("'0 and' cannot be encoded", errors)


if __name__ == "__main__":
    unittest.main()
