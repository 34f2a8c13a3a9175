#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
import contextlib
import gzip
import io
import json
import os
import shutil
import stat
import tempfile
import unittest

import support

LISTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lists")
SPLITS = ("train", "validation", "heldout")
BOILERPLATE = "This package is part of a long and winding series of packages that nobody will ever install."


def made_up_lists(folder, sources=150):
    """Every source has three packages that share a paragraph; its name stands in their text."""
    translation, packages = [], []
    for i in range(sources):
        source = "source%s" % "abcdefghij"[i % 10] * (1 + i // 10)
        for part in ("lib", "tool", "doc"):
            package = "%s-%s" % (source, part)
            shared = " %s does the work number %s of its kind, and does it rather well on most days." % (source, source)
            own = " Here is the %s of %s." % (part, source)
            translation.append("Package: %s\nDescription-en: the %s of %s\n%s\n .\n%s\n" %
                               (package, part, source, shared, own))
            packages.append("Package: %s\nSource: %s (1.%d)\n" % (package, source, i))
        translation.append("Package: extra%d\nDescription-en: extra of %s\n %s\n .\n Short.\n .\n Extra %d.\n" %
                           (i, source, BOILERPLATE, i))
        packages.append("Package: extra%d\nSource: %s\n" % (i, source))
    write(os.path.join(folder, "made_up_Translation-en"), "\n".join(translation))
    write(os.path.join(folder, "made_up_Packages"), "\n".join(packages))


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


class Debian(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.lists = os.path.join(self.folder, "lists")
        self.out = os.path.join(self.folder, "out")
        os.mkdir(self.lists)

    def make(self, *arguments):
        result = support.run("debian", self.out, "--lists", self.lists, *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        pairs = {}
        for split in SPLITS:
            with open(os.path.join(self.out, split + ".jsonl"), encoding="utf-8") as file:
                pairs[split] = [json.loads(line) for line in file]
        with open(os.path.join(self.out, "report.json"), encoding="utf-8") as file:
            return pairs, json.load(file)

    def test_descriptions_are_read_and_unwrapped(self):
        self.lists = LISTS
        pairs, report = self.make("--vocabulary", 0, "--validation", 0, "--heldout", 0)
        found = {pair["response"]: pair["prompt"] for pair in pairs["train"]}
        self.assertEqual(found, {
            "hammering tool for horseshoes":
                "Anvil bends horseshoes into shape, one after the other.\n\nIt knows these shapes:\n * round,\n"
                "   and rounder\n * square\n\nEach costs 7 \u20ac in  gold.\n\nSynopsis:",
            "hammering tool for horseshoes (library)":
                "Anvil bends horseshoes into shape, one after the other.\n\nThis package has the library.\n\nSynopsis:",
            "blower": "It blows.\n\nSynopsis:",
        })
        self.assertEqual(report["counts"]["descriptions"], 7)
        self.assertEqual(report["counts"]["dropped_same_package"], 1)
        self.assertEqual(report["counts"]["dropped_same_prompt"], 1)
        self.assertEqual(report["counts"]["dropped_empty"], 2)
        self.assertEqual(report["sources"], {"train": 2, "validation": 0, "heldout": 0})
        self.assertEqual(os.listdir(self.out).count("tokenizer.model"), 0)

    def test_sources(self):
        make = support.load("debian")
        sources = {}
        make.read_sources(make.read_list(os.path.join(LISTS, "example_main_binary-amd64_Packages")), sources)
        self.assertEqual(sources, {"anvil": "anvil", "libanvil1": "anvil", "libanvil-dev": "anvil",
                                   "bellows": "bellows"})
        names = ("gcc-11", "gcc-12", "llvm-14.0.6", "7zip", "9")
        families = [make.Pair("p", source, "s", ["t"]).family for source in names]
        self.assertEqual(families, ["gcc", "gcc", "llvm", "zip", "9"])

    def test_a_source_is_in_one_split(self):
        made_up_lists(self.lists)
        pairs, report = self.make("--vocabulary", 0, "--validation", 0.2, "--heldout", 0.2)
        owner = {}
        for split in SPLITS:
            self.assertGreater(len(pairs[split]), 40)
            for pair in pairs[split]:
                source = pair["response"].split()[-1]
                self.assertEqual(owner.setdefault(source, split), split)
        prompts = [pair["prompt"] for split in SPLITS for pair in pairs[split]]
        self.assertEqual(len(prompts), len(set(prompts)))
        self.assertEqual(report["pairs"], {split: len(pairs[split]) for split in SPLITS})
        # The pairs whose longest paragraph stands in train are out, and counted.
        for split in ("validation", "heldout"):
            self.assertFalse([pair for pair in pairs[split] if BOILERPLATE in pair["prompt"]])
            before, after = report["shared_with_train_before"][split], report["shared_with_train"][split]
            dropped = report["counts"]["dropped_shared_" + split]
            self.assertEqual(before["pairs"], 4 * dropped)
            self.assertEqual(before["longest_paragraph"], 0.25)
            self.assertAlmostEqual(before["paragraphs"], 2 / 9, places=3)
            self.assertEqual(after["pairs"], 3 * dropped)
            for share in ("longest_paragraph", "paragraphs", "sentences", "characters", "responses"):
                self.assertEqual(after[share], 0, share)

    def test_what_counts_as_a_leak(self):
        make = support.load("debian")
        words = ["w%d" % i for i in range(40)]
        pair = lambda *paragraphs: make.Pair("p", "s", "synopsis", [" ".join(p) for p in paragraphs])
        train = [pair(words), pair(["short", "one"])]
        others = {"same": pair(words), "same beside more": pair(words, ["x%d" % i for i in range(30)]),
                  "mostly the same": pair(words[:30] + ["x%d" % i for i in range(12)]),
                  "partly the same": pair(words[:20] + ["x%d" % i for i in range(30)]),
                  "short": pair(["short", "one"], ["another", "text", "that", "is", "longer"])}
        known = make.Known({"train": train, "validation": list(others.values()), "heldout": []})
        self.assertEqual({name: known.leaks(pair) for name, pair in others.items()},
                         {"same": True, "same beside more": True, "mostly the same": True, "partly the same": False,
                          "short": False})

    def test_short_paragraphs_leak_too(self):
        make = support.load("debian")
        short = make.Pair("p", "s", "synopsis", ["It blows."])
        known = make.Known({"train": [make.Pair("q", "t", "other", ["It blows.", "And more."])], "validation": [short],
                            "heldout": []})
        self.assertTrue(known.leaks(short))

    def test_the_seed_decides(self):
        made_up_lists(self.lists)
        options = ("--vocabulary", 0, "--validation", 0.2, "--heldout", 0.2)
        files = [split + ".jsonl" for split in SPLITS] + ["report.json"]
        self.make(*options)
        once = [support.read(os.path.join(self.out, name)) for name in files]
        self.make(*options)
        self.assertEqual([support.read(os.path.join(self.out, name)) for name in files], once)
        self.make("--seed", 2, *options)
        self.assertNotEqual(support.read(os.path.join(self.out, "train.jsonl")), once[0])
        limited, report = self.make("--limit", 200, *options)
        self.assertEqual(sum(map(len, limited.values())) + report["counts"]["dropped_shared_validation"] +
                         report["counts"]["dropped_shared_heldout"], 200)
        short, report = self.make("--max-prompt", 145, *options)
        self.assertTrue(all(len(pair["prompt"]) <= 145 for split in SPLITS for pair in short[split]))
        self.assertGreater(report["counts"]["dropped_long_prompt"], 0)

    def test_compressed_lists(self):
        made_up_lists(self.lists)
        options = ("--vocabulary", 0, "--validation", 0.2, "--heldout", 0.2)
        plain, _ = self.make(*options)
        for name in os.listdir(self.lists):
            path = os.path.join(self.lists, name)
            with gzip.open(path + ".gz", "wb") as file:
                file.write(support.read(path))
            os.remove(path)
        compressed, _ = self.make(*options)
        self.assertEqual(plain, compressed)

    def test_lists_that_are_missing_or_damaged(self):
        result = support.run("debian", self.out, "--lists", self.lists)
        self.assertEqual(result.returncode, 66)
        self.assertIn("no Translation-en or no Packages list", result.stderr)
        write(os.path.join(self.lists, "x_Packages"), "Package: a\n")
        write(os.path.join(self.lists, "x_Translation-en.gz"), "not compressed")
        result = support.run("debian", self.out, "--lists", self.lists)
        self.assertEqual(result.returncode, 65)
        self.assertIn("x_Translation-en.gz: cannot be read", result.stderr)
        self.assertEqual(os.listdir(self.out), [])

    def test_lists_are_fetched_where_there_are_none(self):
        made_up_lists(self.lists)
        tools = os.path.join(self.folder, "bin")
        os.mkdir(tools)
        apt = os.path.join(tools, "apt-get")
        write(apt, "#!/bin/sh\nfor option; do case $option in Dir::State::lists=*) to=${option#*=};; esac; done\n"
                   "echo called >> '%s/calls'\ncp '%s'/* \"$to\"\n" % (self.folder, self.lists))
        os.chmod(apt, os.stat(apt).st_mode | stat.S_IXUSR)
        make = support.load("debian")
        make.SYSTEM_LISTS = os.path.join(self.folder, "none")
        path = os.environ["PATH"]
        self.addCleanup(os.environ.__setitem__, "PATH", path)
        os.environ["PATH"] = tools + os.pathsep + path
        for _ in range(2):
            with contextlib.redirect_stdout(io.StringIO()):
                make.main([self.out, "--vocabulary", "0", "--validation", "0.2", "--heldout", "0.2"])
        self.assertTrue(os.path.getsize(os.path.join(self.out, "train.jsonl")) > 0)
        self.assertEqual(support.read(os.path.join(self.folder, "calls")), b"called\n")  # and kept for the next time

    @unittest.skipUnless(shutil.which("spm_train"), "spm_train is not installed")
    def test_tokenizer(self):
        made_up_lists(self.lists)
        self.make("--vocabulary", 400, "--validation", 0.2, "--heldout", 0.2)
        model = support.read(os.path.join(self.out, "tokenizer.model"))
        self.assertGreater(len(model), 1000)
        self.assertEqual(sorted(os.listdir(self.out)),
                         ["heldout.jsonl", "report.json", "tokenizer.model", "train.jsonl", "validation.jsonl"])
        self.make("--vocabulary", 400, "--validation", 0.2, "--heldout", 0.2)
        self.assertEqual(support.read(os.path.join(self.out, "tokenizer.model")), model)


if __name__ == "__main__":
    unittest.main()
