#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The token ids of a prompt, for `selvage generate MODEL.h5 --prompt-ids`.

    python3 inputs/huggingface/encode.py HF_DIR "TEXT" [--chat] [--system TEXT]

As prepare.py encodes the prompt of a pair, or with --chat that of a conversation whose only turn is TEXT.
"""
import argparse
import sys

from chat_template import ChatTemplate, TemplateProblem
from folder_tokenizer import FolderTokenizer, Stop


def encode(options):
    tokenizer = FolderTokenizer(options.folder)
    if not options.chat and options.system is None:
        return tokenizer.prefix + tokenizer.encode([options.text])[0]
    template = ChatTemplate(options.folder, tokenizer.config, tokenizer.special_tokens)
    messages = [] if options.system is None else [{"role": "system", "content": options.system}]
    messages.append({"role": "user", "content": options.text})
    try:
        return tokenizer.encode([template.render(messages, {}, True)])[0]
    except TemplateProblem as problem:
        raise Stop(65, str(problem)) from problem


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", metavar="HF_DIR")
    parser.add_argument("text", metavar="TEXT")
    parser.add_argument("--chat", action="store_true", help="by the folder's chat template")
    parser.add_argument("--system", metavar="TEXT", help="a system message in front; implies --chat")
    try:
        print(*encode(parser.parse_args(arguments)))
    except Stop as problem:
        print("encode.py: %s" % problem, file=sys.stderr)
        return problem.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
