#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reference numbers for ROUGE, by Google's rouge-score (pip install rouge-score==0.1.2): writes rouge.json beside this file.

A case is {"prediction", "reference", "words" of the prediction, "rouge1", "rouge2", "rougeL": [precision, recall, f1]}.
"""
import json
import os
import random

from rouge_score import rouge_scorer, tokenize

PAIRS = [
    ("", ""),
    ("", "something"),
    ("something", ""),
    ("...", "!!! ???"),
    ("word", "word"),
    ("word", "other"),
    ("The quick brown fox", "the QUICK brown fox."),
    ("the the the the", "the the"),
    ("the cat sat on the mat the cat sat", "the cat sat"),
    ("a b a b a b", "b a b a"),
    ("police killed the gunman", "the gunman police killed"),
    ("don't stop-me now", "dont stop me now"),
    ("x86_64 i386 utf8", "x86 64 i386 utf 8"),
    ("Größe naïve café", "grosse naive cafe"),
    ("\u4e2d\u6587 text \u6587", "text"),
    ("5 \u212a and 6\u212aelvin", "5 k and 6 kelvin"),
    ("\u0130stanbul \u0130\u0130", "i stanbul istanbul i"),
    ("\uff21\uff22 \u216b \u00b2 full width", "ab xii 2 full width"),
    ("emoji \U0001f600smile\U0001f600", "emoji smile"),
    ("line one\nline two\n\nline three", "line one line three"),
    ("tab\tand\u00a0space\r\nend", "tab and space end"),
    ("nul\u0000byte", "nul byte"),
    ("12 + 7 = 19\n19 * 2 = 38\nAnswer: 38", "12 + 7 = 19\n19 * 3 = 57\nAnswer: 57"),
    ("10 / 5 = 2\nAnswer: 2", "10 / 5 = 2\n2 * 5 = 10\nAnswer: 10"),
    ("flexible package manager -- debugging symbols", "flexible package manager -- console interface"),
    ("portable library for OpenGL, window and input (development files)",
     "portable library for OpenGL, window and input (runtime)"),
    ("Simple DSL for MongoDB query generation", "DSL for generating MongoDB queries"),
]


def random_pairs():
    numbers = random.Random(20140501)
    words = ["alpha", "Beta", "gamma-ray", "delta", "x1", "Omega,", "(sigma)", "tau's", "\u00e9t\u00e9", "99.5"]
    for length in (3, 17, 64, 65, 200, 600):
        for other in (length, length // 2, length + 7):
            yield (" ".join(numbers.choices(words, k=length)), " ".join(numbers.choices(words, k=other)))
    long = numbers.choices(words, k=500)
    changed = [word for word in long if numbers.random() > 0.1]
    yield " ".join(long), " ".join(changed)


def main():
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])
    cases = []
    for prediction, reference in PAIRS + list(random_pairs()):
        scores = scorer.score(reference, prediction)
        case = {"prediction": prediction, "reference": reference, "words": tokenize.tokenize(prediction, None)}
        if len(case["words"]) > 70:
            del case["words"]
        case.update({name: list(score) for name, score in scores.items()})
        cases.append(case)
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "rouge.json"), "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
