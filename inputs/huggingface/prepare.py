#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Text pairs and conversations to tokens, with the tokenizer and the chat template of a Hugging Face folder.

    python3 inputs/huggingface/prepare.py --tokenizer HF_DIR --input FILE.jsonl [--input ...] --output FILE.h5

Lines are {"prompt": "...", "response": "..."} or {"messages": [{"role": ..., "content": ...}, ...]}, the last message
the assistant's. Plain pairs: the prompt as tokenizer.json encodes it (with bos where it puts one), then the response and
end-of-answer. Conversations go through the folder's chat template: the prompt is what it writes before the last message
with the opening of the assistant's turn, the answer what it writes then, up to the token that ends the turn. A line may
have the template's "tools", "documents" and "chat_template_kwargs". Input may be packed (gzip; zstd with the package
zstandard).

Needs the Python packages tokenizers, jinja2, h5py and numpy. Writes the data file that `selvage prepare` writes, with
the bytes of all pieces, so that the program decodes the ids.
"""
import argparse
import array
import collections
import datetime
import hashlib
import json
import sys

import numpy

from chat_template import ChatTemplate, TemplateProblem
from data_file import describe, write_file
from folder_tokenizer import FolderTokenizer, Stop
from packed_text import read_lines

CHUNK = 1024  # lines that are encoded at a time
CORRECTION = "\n\nCorrection:\n"  # the default of weave.rac.template


class BadLine(Exception):
    """A line that is no pair."""


# --- lines ---


def parse_line(line):
    """The record. Raises BadLine with words that hold nothing of the line."""
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise BadLine("not a JSON object in UTF-8 (bytes that are not UTF-8)") from None
    except (ValueError, RecursionError):
        raise BadLine("not a JSON object in UTF-8 (syntax error)") from None
    if not isinstance(record, dict):
        raise BadLine("not an object")
    if "messages" in record:
        check_messages(record)
        return record
    for key in ("prompt", "response"):
        if key not in record:
            raise BadLine('no key "%s"' % key)
        if not isinstance(record[key], str):
            raise BadLine('"%s" is not a string' % key)
        if not record[key]:
            raise BadLine('"%s" is empty' % key)
    return record


def check_messages(record):
    if "prompt" in record or "response" in record:
        raise BadLine('both "messages" and "prompt" or "response"')
    messages = record["messages"]
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise BadLine('"messages" is not a list of messages')
    if not all(isinstance(message.get("role"), str) for message in messages):
        raise BadLine('"role" of a message is missing or not a string')
    if messages[-1]["role"] != "assistant":
        raise BadLine("the last message is not the assistant's")
    if len(messages) == 1:
        raise BadLine("the answer has no message before it")


def texts_of(record, template):
    """Prompt and answer; through the template for a conversation."""
    if "messages" in record:
        try:
            texts = template.split(record["messages"], record)
        except TemplateProblem as problem:
            raise BadLine(str(problem)) from problem
    else:
        texts = record["prompt"], record["response"]
    try:
        for text in texts:
            text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadLine("not a JSON object in UTF-8 (half of a surrogate pair)") from None
    return texts


# --- tokens ---


class Preparer:
    """Collects the pairs of all files, without their end-of-answer."""

    def __init__(self, tokenizer, template, options):
        self.tokenizer, self.template, self.options = tokenizer, template, options
        self.special = tokenizer.special_ids()
        self.pieces = tokenizer.pieces()
        self.tokens, self.lengths, self.prompt_lengths = array.array("i"), [], []
        self.dropped = collections.OrderedDict()  # reason to [(file, line)]
        self.duplicates, self.seen = [], set()
        self.lines = self.empty_lines = self.straddling = 0
        self.digest = hashlib.sha256()
        self.turn_end = None  # (token, place of the first conversation)
        self.chunk = []

    def add_file(self, path):
        for number, line in read_lines(path):
            self.lines += 1
            self.digest.update(line)
            line = line[3:] if number == 1 and line.startswith(b"\xef\xbb\xbf") else line  # byte-order mark
            if not line.strip(b" \t\r\n"):
                self.empty_lines += 1
                continue
            try:
                record = parse_line(line)
                self.chunk.append(((path, number), "messages" in record, *texts_of(record, self.template)))
            except BadLine as bad:
                self.bad_line((path, number), bad)
            if len(self.chunk) == CHUNK:
                self.flush()

    def bad_line(self, place, bad):
        if self.options.bad_lines == "error":
            self.flush()  # a line before may be worse
            raise Stop(65, "%s:%d: %s (--bad-lines drop leaves such lines out)" % (*place, bad))
        self.drop(place, str(bad))

    def drop(self, place, reason):
        self.dropped.setdefault(reason, []).append(place)

    def flush(self):
        chunk, self.chunk = self.chunk, []
        prompts = self.tokenizer.encode(entry[2] for entry in chunk)
        # Of conversations the whole text, of pairs the answer.
        others = self.tokenizer.encode(entry[2] + entry[3] if entry[1] else entry[3] for entry in chunk)
        for (place, is_chat, _, answer_text), prompt, answer in zip(chunk, prompts, others):
            if is_chat:
                answer = self.answer_of_chat(place, prompt, answer, answer_text)
            else:
                prompt = self.tokenizer.prefix + prompt
            if not prompt:
                self.bad_line(place, BadLine("the prompt has no token left (the tokenizer drops all of it)"))
                continue
            self.add_pair(place, prompt, answer)

    def answer_of_chat(self, place, prompt, whole, answer_text):
        """The tokens behind the prompt's, up to the one that ends the turn; that one is remembered."""
        if whole[:len(prompt)] == prompt:
            answer = whole[len(prompt):]
        else:  # a token of the whole text reaches over the end of the prompt
            self.straddling += 1
            answer = self.tokenizer.encode([answer_text])[0]
        end = len(answer)
        while end > 0 and answer[end - 1] not in self.special and not self.pieces[answer[end - 1]].strip():
            end -= 1
        found = answer[end - 1] if end > 0 and answer[end - 1] in self.special else None
        if self.turn_end is None:
            self.turn_end = found, place
        elif self.turn_end[0] != found:
            raise Stop(65, "%s:%d: the chat template ends this answer with %s, that of %s:%d with %s; give files with "
                       "one end each" % (*place, self.name_of(found), *self.turn_end[1], self.name_of(self.turn_end[0])))
        return answer if found is None else answer[:end - 1]

    def name_of(self, token):
        return "no special token" if token is None else repr(self.tokenizer.library.id_to_token(token))

    def add_pair(self, place, prompt, answer):
        vocabulary = self.tokenizer.vocabulary
        if vocabulary is not None:
            for token in prompt + answer:
                if token >= vocabulary:
                    raise Stop(65, "%s:%d: token id %d (%s) is outside the model's vocabulary of %d (config.json); the "
                               "folder's tokenizer is not the model's"
                               % (*place, token, self.name_of(token), vocabulary))
        length = len(prompt) + len(answer) + 1
        if 0 < self.options.max_tokens < length:
            return self.drop(place, "more than %d tokens" % self.options.max_tokens)
        pair = array.array("i", prompt + answer)
        key = hashlib.sha256(b"%d " % len(prompt) + pair.tobytes()).digest()
        if key in self.seen:
            self.duplicates.append(place)
            if self.options.duplicates == "drop":
                return None
        self.seen.add(key)
        self.tokens.extend(pair)
        self.lengths.append(length)
        self.prompt_lengths.append(len(prompt))
        return None

    def end_of_answer(self):
        """--end-of-answer, or what the chat template ends answers with, or eos."""
        name = self.options.end_of_answer
        if name:
            token = self.tokenizer.library.token_to_id(name)
            missing = "the tokenizer has no token %r" % name
        else:
            of_turns = self.turn_end[0] if self.turn_end else None
            token = self.tokenizer.id_of("eos_token") if of_turns is None else of_turns
            missing = "no eos_token in its tokenizer_config.json"
        if token is None:
            raise Stop(65, "%s: %s; name a token of the tokenizer with --end-of-answer"
                       % (self.options.tokenizer, missing))
        return token

    def columns(self):
        end = self.end_of_answer()
        lengths = numpy.array(self.lengths, dtype="i8")
        offsets = numpy.concatenate([[0], numpy.cumsum(lengths)])
        tokens = numpy.empty(offsets[-1], dtype="i4")
        ends = numpy.zeros(offsets[-1], dtype=bool)
        ends[offsets[1:] - 1] = True
        tokens[ends] = end
        tokens[~ends] = numpy.frombuffer(self.tokens, dtype="i4")
        return {"tokens": tokens, "offsets": offsets, "prompt_length": self.prompt_lengths,
                "tokenizer/pieces": numpy.frombuffer(b"".join(self.pieces), dtype="u1"),
                "tokenizer/piece_offsets": numpy.concatenate([[0], numpy.cumsum([len(p) for p in self.pieces])]),
                "tokenizer/model": []}

    def phrases(self):
        """Text to ids."""
        texts = sorted(set(self.options.phrase))
        return dict(zip(texts, self.tokenizer.encode(texts)))


# --- the program ---


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokenizer", required=True, metavar="HF_DIR", help="folder with tokenizer.json and its "
                        "configuration, and a chat template for conversations")
    parser.add_argument("--input", required=True, action="append", metavar="FILE.jsonl", help="may be repeated")
    parser.add_argument("--output", required=True, metavar="FILE.h5", help="data file to write")
    parser.add_argument("--bad-lines", choices=("error", "drop"), default="error",
                        help="a line that is no pair: stop there (default), or leave it out")
    parser.add_argument("--duplicates", choices=("keep", "drop"), default="keep",
                        help="pairs that stood before: keep (default), or leave out")
    parser.add_argument("--max-tokens", type=int, default=0, help="leave out pairs of more tokens (default 0: none)")
    parser.add_argument("--end-of-answer", metavar="TOKEN",
                        help="default: what the chat template ends answers with, or eos")
    parser.add_argument("--phrase", action="append", metavar="TEXT", default=[CORRECTION],
                        help="a text that the program must know in tokens, as weave.rac.template (its default is always "
                        "known); may be repeated")
    parser.add_argument("--date", type=datetime.datetime.fromisoformat,
                        help="for templates that write the date (default: now)")
    return parser.parse_args(arguments)


def prepare(options):
    tokenizer = FolderTokenizer(options.tokenizer)
    template = ChatTemplate(options.tokenizer, tokenizer.config, tokenizer.special_tokens, options.date)
    preparer = Preparer(tokenizer, template, options)
    for path in options.input:
        preparer.add_file(path)
    preparer.flush()
    if not preparer.lengths:
        raise Stop(65, "%s: no text pair in it (%d lines, %d of them empty)" % (options.input[0], preparer.lines,
                                                                              preparer.empty_lines))
    write_file(options.output, preparer, options.input)
    print("%s: %d pairs, %d tokens, tokenizer huggingface with %d pieces" % (
        options.output, len(preparer.lengths), sum(preparer.lengths), len(preparer.pieces)))
    print(describe(preparer), end="")


def main(arguments=None):
    options = parse(arguments)
    try:
        prepare(options)
    except Stop as problem:
        print("prepare.py: %s" % problem, file=sys.stderr)
        return problem.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
