# SPDX-License-Identifier: Apache-2.0
"""Text against text, example by example, as src/score/ defines it (the run log has only the means)."""
import re

NUMBER = re.compile(r"[0-9]+(?:,[0-9]{3}(?![0-9]))*(?:\.[0-9]+)?")
WORD = re.compile(r"[^ \t\n\v\f\r]+")
SPACE = " \t\n\v\f\r"


def lcs_length(a, b):
    """Longest common subsequence of two lists."""
    row = [0] * (len(b) + 1)
    for word in a:
        diagonal = 0
        for j, other in enumerate(b, 1):
            above = row[j]
            row[j] = diagonal + 1 if word == other else max(above, row[j - 1])
            diagonal = above
    return row[-1]


def _f1(common, a, b):
    return 2 * common / (len(a) + len(b)) if a or b else 1.0


def lcs_f1(prediction, reference):
    """F1 of the LCS over words (the agreement of the gap meter); two empty texts agree fully."""
    a, b = WORD.findall(prediction), WORD.findall(reference)
    return _f1(lcs_length(a, b), a, b)


def rouge_l(prediction, reference):
    """ROUGE-L, F1, over lower-cased runs of ASCII letters and digits."""
    a, b = (re.findall("[a-z0-9]+", text.lower()) for text in (prediction, reference))
    return _f1(lcs_length(a, b), a, b) if a and b else 0.0


def extract_answer(text, rule):
    """What exact match compares: `all`, `last_line`, or `last_number` (in one form: "1,250.50" is "1250.5")."""
    text = text.strip(SPACE)
    if rule == "last_line":
        return re.split("[\r\n]", text)[-1].strip(SPACE)
    return _last_number(text) if rule == "last_number" else text


def _last_number(text):
    found = None
    for found in NUMBER.finditer(text):
        pass
    if found is None:
        return ""
    number = found[0].replace(",", "")
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    number = re.sub("^0+(?=[0-9])", "", number)
    before = text[:found.start()]
    minus = before.endswith("-") and not re.search(r"[0-9A-Za-z)]-$", before)
    return "-" + number if minus and number != "0" else number


def exact_match(prediction, reference, rule="all"):
    expected = extract_answer(reference, rule)
    if rule == "last_number" and not expected:
        return False
    return extract_answer(prediction, rule) == expected


def is_right(prediction, reference, rule, right_rouge_l):
    """What the run's evaluations call right: an exact match or, where evaluate.right_rougeL is set, that likeness to
    gold."""
    if right_rouge_l > 0:
        return rouge_l(prediction, reference) >= right_rouge_l
    return exact_match(prediction, reference, rule)
