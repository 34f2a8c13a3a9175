#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
import contextlib
import io
import json
import os
import tempfile
import unittest

import support

SPLITS = ("train.jsonl", "validation.jsonl", "heldout.jsonl")


class Arithmetic(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def make(self, name, *arguments):
        out = os.path.join(self.folder.name, name)
        result = support.run("arithmetic", out, *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        return [os.path.join(out, split) for split in SPLITS]

    def pairs(self, path):
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def test_made_files_are_right_and_disjoint(self):
        paths = self.make("data", "--count", 6000, "--seed", 3)
        result = support.run("arithmetic", "--check", *paths)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout, "6000 pairs, 0 mistakes\n")
        prompts = [{pair["prompt"] for pair in self.pairs(path)} for path in paths]
        self.assertEqual(len(set.union(*prompts)), 6000)
        self.assertTrue(all(200 < len(p) < 400 for p in prompts[1:]), [len(p) for p in prompts])
        operations = {line.split()[1] for pair in self.pairs(paths[0]) for line in pair["response"].split("\n")[:-1]}
        self.assertEqual(operations, set("+-*/"))

    def test_the_seed_decides(self):
        once, again, other = (self.make(name, "--count", 500, "--seed", seed)
                              for name, seed in (("once", 5), ("again", 5), ("other", 6)))
        for a, b, c in zip(once, again, other):
            self.assertEqual(support.read(a), support.read(b))
            self.assertNotEqual(support.read(a), support.read(c))

    def test_easy_problems_run_out(self):
        make = support.load("arithmetic")
        make.DIFFICULTIES["easy"] = (1, 1, 2)
        make.NAMES, make.THINGS = make.NAMES[:2], make.THINGS[:1]
        out = os.path.join(self.folder.name, "few")
        with contextlib.redirect_stderr(io.StringIO()) as message:
            self.assertEqual(make.main([out, "--count", "5000", "--difficulty", "easy"]), 65)
        self.assertRegex(message.getvalue(), "only [0-9]+ different problems")
        self.assertEqual(os.listdir(out), [])
        with contextlib.redirect_stdout(io.StringIO()) as message:
            self.assertEqual(make.main([out, "--count", "200", "--difficulty", "easy"]), 0)
            paths = [os.path.join(out, split) for split in SPLITS]
            self.assertEqual(make.check(paths), 0)
        self.assertIn("200 pairs, 0 mistakes", message.getvalue())

    def test_difficulties(self):
        steps = {}
        for difficulty in ("easy", "medium", "hard"):
            paths = self.make(difficulty, "--count", 300, "--difficulty", difficulty)
            steps[difficulty] = {pair["response"].count("\n") for path in paths for pair in self.pairs(path)}
        self.assertEqual(steps, {"easy": {1, 2}, "medium": {2, 3}, "hard": {4, 5, 6}})

    def test_every_kind_of_mistake_is_found(self):
        train = self.make("data", "--count", 200)[0]
        first = {"prompt": "Ada has 5 eggs. Then Ada loses 2 of the eggs. Ada wins 4 eggs in a game. "
                           "How many eggs does Ada have now?\nSolution:\n",
                 "response": "5 - 2 = 3\n3 + 4 = 7\nAnswer: 7"}
        mistakes = {
            "wrong arithmetic": ("5 - 2 = 3", "5 - 2 = 4"),
            "the answer is 8, the steps give 7": ("Answer: 7", "Answer: 8"),
            "does not go on from 3": ("3 + 4 = 7", "4 + 3 = 7"),
            "do not do what the problem says": ("loses 2", "loses 3"),
            "problem says: Ada has 5 eggs. Lena gives": ("Then Ada loses 2 of the eggs", "Lena gives Ada 2 more"),
            "not a step": ("5 - 2 = 3\n", "5 - 2\n"),
            "no steps, or no final line": ("Answer: 7", "7"),
        }
        self.assertIsNone(support.load("arithmetic").check_pair(**first))
        lines = support.read(train).decode().splitlines()
        bad = os.path.join(self.folder.name, "bad.jsonl")
        for message, (good_part, bad_part) in mistakes.items():
            changed = {key: text.replace(good_part, bad_part) for key, text in first.items()}
            self.check_fails(bad, lines + [json.dumps(changed)], "bad.jsonl:%d: " % (len(lines) + 1), message)
        self.check_fails(bad, lines + ["{\"prompt\": 1}"], "not a pair")
        self.check_fails(bad, lines + [lines[0][:40]], "not a pair")
        self.check_fails(bad, lines + [lines[0]], "the problem stands twice")
        self.check_fails(bad, [], "no pairs")
        result = support.run("arithmetic", "--check", train, train)
        self.assertEqual(result.returncode, 65)
        self.assertIn("stand in another file too", result.stderr)
        self.assertEqual(support.run("arithmetic", "--check", bad + ".not").returncode, 65)

    def check_fails(self, path, lines, *messages):
        with open(path, "w", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))
        result = support.run("arithmetic", "--check", path)
        self.assertEqual(result.returncode, 65, messages)
        for message in messages:
            self.assertIn(message, result.stderr)


if __name__ == "__main__":
    unittest.main()
