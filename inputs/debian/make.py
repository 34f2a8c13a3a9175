#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian package descriptions as text pairs: the long description is the prompt, the one-line synopsis the response.

    python3 inputs/debian/make.py OUT_DIR [--limit N] [--seed S]

Reads the lists that apt keeps (Translation-en and Packages); where there is no Translation-en, fetches the lists into
OUT_DIR/apt, without root. Writes train.jsonl, validation.jsonl, heldout.jsonl, tokenizer.model (sentencepiece, trained
on train.jsonl) and report.json. The same lists and options give the same files.

Packages built from one source share paragraphs, so a source is in one split as a whole, together with the sources whose
names differ only in a version (gcc-11, gcc-12). Unrelated names share paragraphs too: a validation or held-out pair
whose longest paragraph, or more than half of whose runs of eight words, stand in train is left out. report.json says
what is shared before and after that.
"""
import argparse
import gzip
import hashlib
import json
import lzma
import os
import re
import subprocess
import sys

SUFFIX = "\n\nSynopsis:"
SYSTEM_LISTS = "/var/lib/apt/lists"
COMPRESSED = r"(\.(gz|xz|lz4|bz2|zst))?$"
TRANSLATION = re.compile(r"Translation-en" + COMPRESSED)
PACKAGES = re.compile(r"(^|_)Packages" + COMPRESSED)
OTHERS = ("validation", "heldout")
SPLITS = ("train",) + OTHERS


def stop(code, message):
    print("make.py: " + message, file=sys.stderr)
    sys.exit(code)


# --- the lists ---


def list_files(folder, pattern):
    if not os.path.isdir(folder):
        return []
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if pattern.search(name)]


def complete(folder):
    """Without Packages the sources of the packages are not known."""
    return list_files(folder, TRANSLATION) and list_files(folder, PACKAGES)


def fetch_lists(folder):
    """apt-get update into a private folder; it needs no root and leaves the system's lists alone."""
    lists = os.path.join(folder, "lists")
    for path in (os.path.join(lists, "partial"), os.path.join(folder, "cache", "archives", "partial")):
        os.makedirs(path, exist_ok=True)
    options = {
        "Dir::State": folder,
        "Dir::State::lists": lists,
        "Dir::Cache": os.path.join(folder, "cache"),
        "Acquire::Languages": "en",
        "Acquire::GzipIndexes": "true",
        "APT::Sandbox::User": "root",  # the folder may be one that the user _apt cannot enter
    }
    command = ["apt-get", "-q", "update"]
    for key, value in options.items():
        command += ["-o", key + "=" + value]
    print("no English package descriptions in the system's lists; fetching them into " + lists, flush=True)
    try:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError:
        stop(66, "no apt-get here to fetch Debian's package lists; copy Translation-en.xz (main/i18n) and Packages.xz "
             "(main/binary-amd64) from a Debian mirror into a folder and give it with --lists")
    if result.returncode != 0 or not complete(lists):
        stop(66, "apt-get update did not bring the Translation-en and Packages lists; check the network and the files in "
             "/etc/apt\n" + result.stdout)
    return lists


def find_lists(given, out):
    if given:
        if not complete(given):
            stop(66, given + ": no Translation-en or no Packages list in it; give a folder such as " + SYSTEM_LISTS)
        return given
    private = os.path.join(os.path.abspath(out), "apt")
    for folder in (SYSTEM_LISTS, os.path.join(private, "lists")):
        if complete(folder):
            return folder
    return fetch_lists(private)


def read_list(path):
    try:
        if path.endswith(".gz"):
            with gzip.open(path) as file:
                data = file.read()
        elif path.endswith(".xz"):
            with lzma.open(path) as file:
                data = file.read()
        elif path.endswith((".lz4", ".bz2", ".zst")):
            data = subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", path], stdout=subprocess.PIPE,
                                  check=True).stdout
        else:
            with open(path, "rb") as file:
                data = file.read()
        return data.decode("utf-8")
    except (OSError, EOFError, lzma.LZMAError, subprocess.CalledProcessError, UnicodeDecodeError) as error:
        stop(65, "%s: cannot be read (%s); run apt-get update" % (path, error))


def read_descriptions(text):
    """(package, synopsis, description lines as they stand in the list) of every stanza."""
    for stanza in text.split("\n\n"):
        head, mark, body = stanza.partition("Description-en:")
        if not mark:
            continue
        package = re.search(r"^Package: *(\S+)", head, re.M)
        if not package:
            continue
        lines = body.split("\n")
        long = []
        for line in lines[1:]:
            if not line.startswith((" ", "\t")):
                break  # another field
            long.append(line)
        yield package.group(1), lines[0].strip(), long


def read_sources(text, sources):
    """Package -> source package; `Source: name (version)`, absent where the two names are equal."""
    package = None
    for match in re.finditer(r"^(Package|Source): *(\S+)", text, re.M):
        if match.group(1) == "Package":
            package = match.group(2)
            sources.setdefault(package, package)
        elif package:
            sources[package] = match.group(2)


def unwrap(lines):
    """Debian's format: one leading space is flowing text, more is verbatim, ' .' parts paragraphs."""
    paragraphs = [[]]
    flowing = False
    for line in lines:
        content = line[1:].rstrip()
        if content in (".", ""):
            if paragraphs[-1]:
                paragraphs.append([])
            flowing = False
        elif content[0] in " \t":
            paragraphs[-1].append(content)
            flowing = False
        else:
            if flowing:
                paragraphs[-1][-1] += " " + content
            else:
                paragraphs[-1].append(content)
            flowing = True
    return ["\n".join(lines) for lines in paragraphs if lines]


# --- the pairs ---


class Pair:
    def __init__(self, package, source, synopsis, paragraphs):
        self.package = package
        self.family = re.sub(r"[-.]?\d+(\.\d+)*", "", source) or source
        self.source = source
        self.response = synopsis
        self.paragraphs = paragraphs
        self.prompt = "\n\n".join(paragraphs) + SUFFIX


def collect(folder, options, counts):
    sources = {}
    for path in list_files(folder, PACKAGES):
        read_sources(read_list(path), sources)
    pairs, packages, prompts = [], set(), set()
    for path in list_files(folder, TRANSLATION):
        for package, synopsis, lines in read_descriptions(read_list(path)):
            counts["descriptions"] += 1
            pair = Pair(package, sources.get(package, package), synopsis, unwrap(lines))
            if package in packages:
                counts["dropped_same_package"] += 1
            elif not pair.response or not pair.paragraphs:
                counts["dropped_empty"] += 1
            elif options.max_prompt and len(pair.prompt) > options.max_prompt:
                counts["dropped_long_prompt"] += 1
            elif pair.prompt in prompts:
                counts["dropped_same_prompt"] += 1
            else:
                pairs.append(pair)
                prompts.add(pair.prompt)
                counts["source_unknown"] += package not in sources
            packages.add(package)
    return pairs


def seeded(seed, text):
    """In [0, 1), a function of the seed and the text alone."""
    digest = hashlib.sha256(("%d:%s" % (seed, text)).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2.0 ** 56


def choose(pairs, options):
    pairs.sort(key=lambda pair: (seeded(options.seed, "pair " + pair.package), pair.package))
    if options.limit:
        del pairs[options.limit:]
    splits = {name: [] for name in SPLITS}
    for pair in pairs:
        place = seeded(options.seed, "source " + pair.family)
        if place < options.heldout:
            splits["heldout"].append(pair)
        elif place < options.heldout + options.validation:
            splits["validation"].append(pair)
        else:
            splits["train"].append(pair)
    return splits


# --- what the splits share ---


def sentences(paragraph):
    return [s for s in re.split(r"(?<=[.!?:])\s+|\n", paragraph) if s]


def share(found, known):
    found = list(found)
    return round(sum(item in known for item in found) / len(found), 4) if found else 0.0


def longest(pair):
    return max(pair.paragraphs, key=len)


def word_runs(pair, words=8):
    for paragraph in pair.paragraphs:
        split = paragraph.split()
        for i in range(len(split) - words + 1):
            yield " ".join(split[i:i + words])


class Known:
    """What of the validation and held-out text stands in train, word for word. Runs of eight words find what is shared
    with small changes."""

    def __init__(self, splits):
        train = splits["train"]
        self.paragraphs = {p for pair in train for p in pair.paragraphs}
        self.sentences = {s for pair in train for p in pair.paragraphs for s in sentences(p)}
        self.responses = {pair.response for pair in train}
        wanted = {run for name in OTHERS for pair in splits[name] for run in word_runs(pair)}
        self.runs = {run for pair in train for run in word_runs(pair) if run in wanted}

    def leaks(self, pair):
        return longest(pair) in self.paragraphs or share(word_runs(pair), self.runs) > 0.5

    def report(self, pairs):
        flat = [p for pair in pairs for p in pair.paragraphs]
        return {
            "pairs": len(pairs),
            "paragraphs": share(flat, self.paragraphs),
            "sentences": share((s for p in flat for s in sentences(p)), self.sentences),
            "characters": round(sum(len(p) for p in flat if p in self.paragraphs) / max(1, sum(map(len, flat))), 4),
            "longest_paragraph": share(map(longest, pairs), self.paragraphs),
            "runs_of_eight_words": share((run for pair in pairs for run in word_runs(pair)), self.runs),
            "responses": share((pair.response for pair in pairs), self.responses),
        }


# --- output ---


def write_jsonl(path, pairs):
    with open(path + ".part", "w", encoding="utf-8") as file:
        for pair in pairs:
            record = {"prompt": pair.prompt, "response": pair.response}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    os.replace(path + ".part", path)


def train_tokenizer(out, train, options):
    """On whole pairs, in their seeded order, up to --tokenizer-chars characters. Byte-pair merges count in whole
    numbers, so the number of threads does not matter."""
    text = os.path.join(out, "tokenizer.txt")
    written = 0
    with open(text, "w", encoding="utf-8") as file:
        for pair in train:
            if written >= options.tokenizer_chars:
                break
            written += file.write("\n".join(pair.paragraphs) + "\n" + pair.response + "\n")
    command = ["spm_train", "--input=" + text, "--model_prefix=" + os.path.join(out, "tokenizer"),
               "--vocab_size=%d" % options.vocabulary, "--model_type=" + options.model_type,
               "--normalization_rule_name=identity", "--add_dummy_prefix=false", "--remove_extra_whitespaces=false",
               "--byte_fallback=true", "--hard_vocab_limit=false", "--unk_id=0", "--eos_id=1", "--bos_id=-1",
               "--pad_id=-1", "--user_defined_symbols=" + SUFFIX.strip(), "--num_threads=4", "--minloglevel=1"]
    try:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError:
        stop(66, "no spm_train here; install it (Debian: apt-get install sentencepiece), or use --vocabulary 0 and the "
             "tokenizer bytes")
    if result.returncode != 0:
        stop(65, "spm_train failed; a smaller --vocabulary needs less text\n" + result.stdout)
    for name in ("tokenizer.txt", "tokenizer.vocab"):
        os.remove(os.path.join(out, name))


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", help="folder for the files; made where it is not there")
    parser.add_argument("--limit", type=int, default=0, help="most pairs, all splits together (default: all)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-prompt", type=int, default=0, help="drop pairs with a longer prompt, in characters")
    parser.add_argument("--validation", type=float, default=0.03, help="share of the sources (default 0.03)")
    parser.add_argument("--heldout", type=float, default=0.03, help="share of the sources (default 0.03)")
    parser.add_argument("--lists", help="folder of apt lists (default: the system's)")
    parser.add_argument("--vocabulary", type=int, default=2048, help="pieces of the tokenizer; 0: train none")
    parser.add_argument("--model-type", choices=("bpe", "unigram"), default="bpe")
    parser.add_argument("--tokenizer-chars", type=int, default=4000000, help="text that the tokenizer is trained on")
    options = parser.parse_args(arguments)
    if options.validation + options.heldout >= 1 or min(options.validation, options.heldout) < 0:
        parser.error("--validation and --heldout must be shares that leave something for train")
    if min(options.limit, options.max_prompt, options.vocabulary) < 0:
        parser.error("--limit, --max-prompt and --vocabulary must not be negative")
    return options


def main(arguments=None):
    options = parse(arguments)
    os.makedirs(options.out, exist_ok=True)
    folder = find_lists(options.lists, options.out)
    counts = dict.fromkeys(("descriptions", "dropped_same_package", "dropped_empty", "dropped_long_prompt",
                            "dropped_same_prompt", "source_unknown"), 0)
    splits = choose(collect(folder, options, counts), options)
    known = Known(splits)
    before = {name: known.report(splits[name]) for name in OTHERS}
    for name in OTHERS:
        kept = [pair for pair in splits[name] if not known.leaks(pair)]
        counts["dropped_shared_" + name] = len(splits[name]) - len(kept)
        splits[name] = kept
    after = {name: known.report(splits[name]) for name in OTHERS}
    wanted = {"train": 1, "validation": options.validation, "heldout": options.heldout}
    if not all(splits[name] for name in SPLITS if wanted[name]):
        stop(65, "too few pairs for three splits (%s); give a larger --limit or shares"
             % ", ".join("%s %d" % (name, len(splits[name])) for name in SPLITS))
    for name in SPLITS:
        write_jsonl(os.path.join(options.out, name + ".jsonl"), splits[name])
    if options.vocabulary:
        train_tokenizer(options.out, splits["train"], options)
    report = {
        "lists": [os.path.basename(path) for path in list_files(folder, TRANSLATION)],
        "seed": options.seed,
        "counts": counts,
        "pairs": {name: len(splits[name]) for name in SPLITS},
        "sources": {name: len({pair.source for pair in splits[name]}) for name in SPLITS},
        "shared_with_train_before": before,
        "shared_with_train": after,
    }
    text = json.dumps(report, indent=2)
    with open(os.path.join(options.out, "report.json"), "w", encoding="utf-8") as file:
        file.write(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
