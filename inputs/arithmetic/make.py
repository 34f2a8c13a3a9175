#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Word problems with step-by-step answers and a final line "Answer: 42".

    python3 inputs/arithmetic/make.py OUT_DIR [--count N] [--seed S] [--difficulty easy medium hard]
    python3 inputs/arithmetic/make.py --check FILE...

Writes train.jsonl, validation.jsonl and heldout.jsonl; no problem stands in two of them. --check works out every step
line and the final answer again from the text alone, and leaves with 65 where anything is wrong.
"""
import argparse
import hashlib
import json
import os
import random
import re
import sys

# Steps of a problem, and the largest first amount; factors stay small, so that products do.
DIFFICULTIES = {"easy": (1, 2, 20), "medium": (2, 3, 100), "hard": (4, 6, 500)}
NAMES = ("Ada", "Amir", "Bela", "Chen", "Dana", "Elif", "Femi", "Greta", "Hugo", "Ines", "Jonas", "Kofi", "Lena",
         "Mara", "Nils", "Olga", "Pablo", "Quinn", "Rosa", "Sami", "Tove", "Uma", "Vera", "Wim", "Yuki", "Zoe")
THINGS = ("apples", "marbles", "books", "stamps", "coins", "pencils", "tickets", "shells", "stickers", "buttons",
          "cards", "eggs", "flowers", "letters", "bricks", "photos")
OPENINGS = ("{name} has {a} {things}.", "There are {a} {things} in {name}'s box.", "{name} starts with {a} {things}.",
            "On Monday {name} owns {a} {things}.", "{name} counts {a} {things} on the table.")
EVENTS = {
    "+": ("{other} gives {them} {b} more.", "Then {name} finds another {b}.", "{name} buys {b} more {things}.",
          "A parcel with {b} {things} arrives.", "{name} wins {b} {things} in a game."),
    "-": ("{name} gives {b} to {other}.", "Then {name} loses {b} of the {things}.", "{other} borrows {b}.",
          "{name} sells {b} {things}.", "{b} {things} are damaged and thrown away."),
    "*": ("A lucky trade leaves {name} with {b} times as many.", "A month later the number is {b} times as large.",
          "{name} works hard until there are {b} times as many."),
    "/": ("{name} sorts them into {b} equal boxes and keeps one box.",
          "The {things} are shared equally among {b} friends, and {name} keeps one share.",
          "{name} splits them into {b} equal piles and puts all but one pile away."),
}
QUESTIONS = ("How many {things} does {name} have now?", "How many {things} are left with {name}?",
             "How many {things} does {name} have in the end?")
OPERATIONS = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a // b}
SUFFIX = "\nSolution:\n"
STEP = re.compile(r"^(\d+) ([-+*/]) (\d+) = (\d+)$")
ANSWER = re.compile(r"^Answer: (\d+)$")
# What a sentence of a problem asks for, for the check: read from its words, not from the tables above.
CUES = (("*", re.compile(r"\d+ times as ")), ("/", re.compile(r"\d+ equal |equally among \d+ ")),
        ("+", re.compile(r"\d+ more\b|another \d+|arrives|wins")),
        ("-", re.compile(r"gives \d+ to|loses|borrows|sells|damaged")))


def next_step(random_numbers, value, largest):
    """An operation and its second operand; results stay whole, positive and below ten times the largest amount."""
    choices = ["+"]
    if value > 2:
        choices.append("-")
    if 1 < value <= largest:
        choices.append("*")
    divisors = [b for b in range(2, 10) if value % b == 0 and value > b]
    if divisors:
        choices.append("/")
    operation = random_numbers.choice(choices)
    if operation == "+":
        return operation, random_numbers.randint(2, largest)
    if operation == "-":
        return operation, random_numbers.randint(1, value - 1)
    if operation == "*":
        return operation, random_numbers.randint(2, 9)
    return operation, random_numbers.choice(divisors)


def problem(random_numbers, difficulty):
    fewest, most, largest = DIFFICULTIES[difficulty]
    name, other = random_numbers.sample(NAMES, 2)
    words = {"name": name, "other": other, "things": random_numbers.choice(THINGS), "them": name}
    value = random_numbers.randint(2, largest)
    text = [random_numbers.choice(OPENINGS).format(a=value, **words)]
    steps = []
    for _ in range(random_numbers.randint(fewest, most)):
        operation, b = next_step(random_numbers, value, largest)
        event = random_numbers.choice(EVENTS[operation]).format(b=b, **words)
        text.append(event)
        result = OPERATIONS[operation](value, b)
        steps.append("%d %s %d = %d" % (value, operation, b, result))
        value = result
    text.append(random_numbers.choice(QUESTIONS).format(**words))
    return " ".join(text) + SUFFIX, "\n".join(steps) + "\nAnswer: %d" % value


def calculation_of(problem_text):
    """The first amount, then (operation, operand) for every later sentence with a number."""
    found = []
    for sentence in re.split(r"(?<=[.?]) ", problem_text):
        numbers = re.findall(r"\d+", sentence)
        if numbers:
            operation = next((operation for operation, cue in CUES if cue.search(sentence)), "?")
            found.append((operation if found else "", int(numbers[0])))
    return found


def check_pair(prompt, response):
    """What is wrong with a pair, worked out from its text alone; None if nothing is."""
    lines = response.split("\n")
    value = None
    calculation = []
    for line in lines[:-1]:
        step = STEP.match(line)
        if not step:
            return "not a step: " + line
        a, operation, b, result = int(step.group(1)), step.group(2), int(step.group(3)), int(step.group(4))
        if value is not None and a != value:
            return "the step does not go on from %d: %s" % (value, line)
        right = {"+": a + b == result, "-": a == result + b, "*": a * b == result, "/": a == result * b}[operation]
        if not right:
            return "wrong arithmetic: " + line
        calculation += [("", a), (operation, b)] if value is None else [(operation, b)]
        value = result
    answer = ANSWER.match(lines[-1])
    if value is None or not answer:
        return "no steps, or no final line \"Answer: N\""
    if int(answer.group(1)) != value:
        return "the answer is %s, the steps give %d" % (answer.group(1), value)
    if calculation_of(prompt) != calculation:
        return "the steps do not do what the problem says: " + prompt
    return None


def check_file(path):
    """Number of pairs, list of mistakes, set of problems."""
    mistakes, prompts, pairs = [], set(), 0
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    record = json.loads(line)
                    prompt, response = record["prompt"], record["response"]
                    mistake = check_pair(prompt, response)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    mistakes.append("%s:%d: not a pair (%s)" % (path, number, error))
                    continue
                pairs += 1
                if prompt in prompts:
                    mistake = "the problem stands twice"
                prompts.add(prompt)
                if mistake:
                    mistakes.append("%s:%d: %s" % (path, number, mistake))
    except (OSError, UnicodeDecodeError) as error:
        mistakes.append("%s: cannot be read (%s)" % (path, error))
    if not mistakes and not pairs:
        mistakes.append(path + ": no pairs")
    return pairs, mistakes, prompts


def check(paths):
    total, mistakes, owner = 0, [], {}
    for path in paths:
        pairs, found, prompts = check_file(path)
        total += pairs
        mistakes += found
        shared = sum(prompt in owner for prompt in prompts)
        if shared:
            mistakes.append("%s: %d problems stand in another file too" % (path, shared))
        owner.update(dict.fromkeys(prompts, path))
    for mistake in mistakes[:20]:
        print(mistake, file=sys.stderr)
    print("%d pairs, %d mistakes" % (total, len(mistakes)))
    return 65 if mistakes else 0


def split_of(seed, prompt, options):
    """By the problem itself: the same one never gets into two files."""
    digest = hashlib.sha256(("%d:%s" % (seed, prompt)).encode()).digest()
    place = int.from_bytes(digest[:7], "big") / 2.0 ** 56
    if place < options.heldout:
        return "heldout"
    return "validation" if place < options.heldout + options.validation else "train"


def make(options):
    os.makedirs(options.out, exist_ok=True)
    random_numbers = random.Random(options.seed)
    splits = {"train": [], "validation": [], "heldout": []}
    seen = set()
    tries = 0
    while len(seen) < options.count:
        tries += 1
        if tries > 20 * options.count + 1000:
            print("make.py: only %d different problems found; give a smaller --count" % len(seen), file=sys.stderr)
            return 65
        prompt, response = problem(random_numbers, options.difficulty[len(seen) % len(options.difficulty)])
        if prompt in seen:
            continue
        seen.add(prompt)
        splits[split_of(options.seed, prompt, options)].append({"prompt": prompt, "response": response})
    for name, pairs in splits.items():
        path = os.path.join(options.out, name + ".jsonl")
        with open(path + ".part", "w", encoding="utf-8") as file:
            for pair in pairs:
                file.write(json.dumps(pair) + "\n")
        os.replace(path + ".part", path)
    print(", ".join("%s %d pairs" % (name, len(pairs)) for name, pairs in splits.items()))
    return 0


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", nargs="?", help="folder for the files; made where it is not there")
    parser.add_argument("--count", type=int, default=20000, help="problems, all splits together (default 20000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--difficulty", nargs="+", choices=sorted(DIFFICULTIES), default=["easy", "medium", "hard"],
                        help="taken in turn (default: all)")
    parser.add_argument("--validation", type=float, default=0.05, help="share of the problems (default 0.05)")
    parser.add_argument("--heldout", type=float, default=0.05, help="share of the problems (default 0.05)")
    parser.add_argument("--check", nargs="+", metavar="FILE", help="check files instead of making them")
    options = parser.parse_args(arguments)
    if options.check:
        return check(options.check)
    if not options.out:
        parser.error("give the folder for the files, or --check FILE")
    if options.count < 1:
        parser.error("--count must be positive")
    return make(options)


if __name__ == "__main__":
    sys.exit(main())
