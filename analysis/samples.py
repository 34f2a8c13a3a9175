# SPDX-License-Identifier: Apache-2.0
"""Examples with the origin of every token, out of drafts and woven files of any size: rows are found by their offsets,
and only those that are asked for are read."""
import dataclasses
import difflib

import numpy

from .errors import AnalysisError
from .files import Ragged, SelvageFile
from .text_scores import is_right
from .tokenizer import Tokenizer

PROMPT, GOLD, OWN, TEMPLATE = range(4)
ORIGINS = ("prompt", "gold", "own", "template")
METHODS = ("none", "bash", "rac")
FINISH = ("end of answer", "length", "context")


@dataclasses.dataclass
class Line:
    """Tokens that belong together. tokens: int32 (n,); origin: uint8 (n,), indices of ORIGINS; logprob: float32 (n,) in
    nats under the model, NaN where no file has it; gold: position -> gold tokens that stand there instead of the
    own."""
    name: str
    tokens: numpy.ndarray
    origin: numpy.ndarray
    logprob: numpy.ndarray
    gold: dict


@dataclasses.dataclass
class Sample:
    """One example of a round (round 0: held-out, answered after the run). `method` of METHODS, "heldout" there."""
    round: int
    method: str
    example: int
    sample: int
    outcome: str
    lines: list


def line(name, tokens, origin, logprob=None, gold=None):
    tokens = numpy.asarray(tokens, dtype=numpy.int32)
    origins = numpy.broadcast_to(numpy.asarray(origin, dtype=numpy.uint8), tokens.shape)
    if logprob is None:
        logprob = numpy.full(tokens.shape, numpy.nan, dtype=numpy.float32)
    return Line(name, tokens, origins, numpy.asarray(logprob), gold or {})


def differing(own, gold):
    """Position -> gold tokens where own and gold tokens of the same positions differ."""
    return {i: [int(gold[i])] for i in range(min(len(own), len(gold))) if own[i] != gold[i]}


def aligned(own, gold):
    """Position -> gold tokens that stand in the place of an own token that differs, where the two have no common
    positions: by the matching blocks of both. A stretch of own tokens shares the stretch of gold behind the same
    match."""
    found = {}
    matcher = difflib.SequenceMatcher(None, [int(t) for t in own], [int(t) for t in gold], autojunk=False)
    for kind, begin, end, gold_begin, gold_end in matcher.get_opcodes():
        if kind != "equal":
            found.update({i: [int(token) for token in gold[gold_begin:gold_end]] for i in range(begin, end)})
    return found


class Samples:
    """Reads examples of a run; keeps the files that it opened until it is closed."""

    def __init__(self, run):
        self.run = run
        self.tokenizer, self.note = Tokenizer.of_run(run)
        self._open = {}
        self._drafts, self._woven = run.round_files("drafts"), run.round_files("woven")
        self.rounds = sorted(set(self._drafts) | set(self._woven))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for file in self._open.values():
            file.close()

    def _ragged(self, path, file_format):
        if path not in self._open:
            self._open[path] = SelvageFile(path, file_format)
        return Ragged(self._open[path])

    def of_round(self, round_number, count=10, seed=1):
        """`count` examples of a round, spread over the whole file, one at random (by seed) in each of its equal
        parts."""
        if round_number in self._woven:
            table = self._ragged(self._woven[round_number], "selvage-woven")
            rows = spread_rows(table.rows, count, seed)
            samples = [self._woven_sample(round_number, table, row) for row in rows]
            return samples + self._rejected(round_number, table, max(1, count // 4), seed)
        table = self._ragged(self._drafts[round_number], "selvage-drafts")
        return [self._draft_sample(round_number, table, row) for row in spread_rows(table.rows, count, seed)]

    def example(self, round_number, example):
        """All rows of one example in a round."""
        table = self._ragged(self._woven[round_number], "selvage-woven")
        found = table.find(example)
        return [] if found is None else [self._woven_sample(round_number, table, row) for row in table.rows_like(found)]

    def _woven_sample(self, round_number, table, row):
        file = table.file
        tokens, targets, weight, origin = table.row(row, "/input_tokens", "/target_tokens", "/loss_weight", "/origin")
        example, sample, start, method = (int(file.read(name, row, row + 1)[0])
                                          for name in ("/example", "/sample", "/answer_start", "/method"))
        prompt = int(numpy.argmax(origin != PROMPT)) if (origin != PROMPT).any() else len(origin)
        lines = [line("prompt", tokens[:prompt], PROMPT)]
        gold = targets[weight > 0]
        draft, draft_row = self._draft(round_number, example, sample)
        outcome = "gold"
        if method == 1:
            own = origin[prompt:] == OWN
            differs = {i: g for i, g in differing(tokens[prompt:], gold).items() if own[i]}
            lines.append(line("read", tokens[prompt:], origin[prompt:], gold=differs))
            if draft is not None:
                free = self._attribute(round_number, "kind") == "free"
                lines.append(
                    line("own", draft[0], OWN, draft[1],
                         aligned(draft[0], gold) if free else differing(draft[0], gold)))
            outcome = "own tokens differ" if differs else "own tokens as gold" if own.any() else "all gold"
        elif method == 2:
            read = slice(prompt, start + 1)
            own = tokens[read][origin[read] == OWN]
            logprob = draft[1][:len(own)] if draft is not None else None
            if logprob is not None and len(logprob) < len(own):
                logprob = None
            lines.append(line("draft", own, OWN, logprob, aligned(own, gold)))
            lines.append(line("template", tokens[read][origin[read] == TEMPLATE], TEMPLATE))
            outcome = self._right_or_wrong(own, gold) + self._ending(round_number, draft_row)
        lines.append(line("gold", gold, GOLD))
        return Sample(round_number, METHODS[method], example, sample, outcome, lines)

    def _draft(self, round_number, example, sample):
        """((tokens, logprob), row) of the first answer, or (None, None)."""
        if round_number not in self._drafts:
            return None, None
        table = self._ragged(self._drafts[round_number], "selvage-drafts")
        row = table.find(example, sample)
        return (None, None) if row is None else (table.row(row, "/tokens", "/logprob"), row)

    def _attribute(self, round_number, name):
        return self._ragged(self._drafts[round_number], "selvage-drafts").file.attributes.get(name)

    def _ending(self, round_number, draft_row):
        if draft_row is None:
            return ""
        file = self._ragged(self._drafts[round_number], "selvage-drafts").file
        reason = int(file.read("/finish_reason", draft_row, draft_row + 1)[0])
        return "" if reason == 0 else ", cut by " + FINISH[min(reason, 2)]

    def _right_or_wrong(self, own, gold):
        right = is_right(self.tokenizer.decode(own), self.tokenizer.decode(gold),
                         self.run.key("evaluate.extract", "all"), self.run.key("evaluate.right_rougeL", 0))
        return "right" if right else "wrong"

    def _rejected(self, round_number, woven, count, seed):
        """Drafts of a RAC round that no woven row came of, `count` at most, if the training data are still there."""
        file = woven.file
        if not file.attributes.get("rejected_right", 0) + file.attributes.get("rejected_truncated", 0) \
                + file.attributes.get("rejected_overflow", 0) or round_number not in self._drafts:
            return []
        table = self._ragged(self._drafts[round_number], "selvage-drafts")
        found = []
        for row in spread_rows(table.rows, 8 * count, seed + 1):
            example, sample = (int(table.file.read(name, row, row + 1)[0]) for name in ("/example", "/sample"))
            at = woven.find(example, sample)
            kept = at is not None and any(file.read("/method", r, r + 1)[0] for r in woven.rows_like(at))
            if not kept and len(found) < count:
                found.append(self._draft_sample(round_number, table, row, "draft not used: "))
        return found

    def _draft_sample(self, round_number, table, row, prefix=""):
        """A draft without its woven row, beside prompt and gold of the data file."""
        example, sample = (int(table.file.read(name, row, row + 1)[0]) for name in ("/example", "/sample"))
        pair = self._pair("data.train", example)
        tokens, logprob = table.row(row, "/tokens", "/logprob")
        if pair is None:
            return Sample(round_number, self._method(table), example, sample, prefix + "gold unknown",
                          [line("draft", tokens, OWN, logprob)])
        prompt, gold = pair
        outcome = prefix + self._right_or_wrong(tokens, gold) + self._ending(round_number, row)
        return Sample(round_number, self._method(table), example, sample, outcome, [
            line("prompt", prompt, PROMPT),
            line("draft", tokens, OWN, logprob, aligned(tokens, gold)),
            line("gold", gold, GOLD)])

    @staticmethod
    def _method(table):
        return table.file.attributes.get("method", "rac")

    def _pair(self, key, example):
        """(prompt, answer) of a row counted through the files of a deck's key; None where they are gone."""
        for path in self.run.deck_paths(key):
            try:
                table = self._ragged(path, "selvage-data")
            except AnalysisError:
                return None
            if example < table.rows:
                (tokens,) = table.row(example, "/tokens")
                prompt = int(table.file.read("/prompt_length", example, example + 1)[0])
                return tokens[:prompt], tokens[prompt:]
            example -= table.rows
        return None

    def heldout(self, count=10, seed=1):
        """Answers to held-out prompts with their corrections, where OUT/heldout/drafts.h5 was made after the run by
        `selvage generate CHECKPOINT --data HELDOUT --output OUT/heldout/drafts.h5 --turns N`."""
        path = self.run.folder / "heldout" / "drafts.h5"
        if not path.exists():
            return []
        table = self._ragged(path, "selvage-drafts")
        found = {}
        for row in spread_rows(table.rows, count, seed):
            example, sample = (int(table.file.read(name, row, row + 1)[0]) for name in ("/example", "/sample"))
            if (example, sample) not in found:
                found[example, sample] = self._turns(table, table.find(example, sample), example, sample)
        return list(found.values())

    def _turns(self, table, first, example, sample):
        pair = self._pair("data.heldout", example)
        lines, right = [], []
        for row in table.rows_like(first):
            tokens, logprob = table.row(row, "/tokens", "/logprob")
            turn = int(table.file.read("/turn", row, row + 1)[0])
            gold = pair[1] if pair else []
            lines.append(
                line(f"correction {turn}" if turn else "draft", tokens, OWN, logprob,
                     aligned(tokens, gold) if pair else {}))
            right.append(pair is not None and self._right_or_wrong(tokens, gold) == "right")
        if pair is None:
            return Sample(0, "heldout", example, sample, "gold unknown", lines)
        return Sample(0, "heldout", example, sample, outcome_of_turns(right),
                      [line("prompt", pair[0], PROMPT), *lines,
                       line("gold", pair[1], GOLD)])


def outcome_of_turns(right):
    """What became of an answer, from whether each turn was right."""
    if len(right) == 1:
        return "right" if right[0] else "wrong"
    return {(True, True): "stays right", (False, True): "corrected", (True, False): "corrupted",
            (False, False): "stays wrong"}[right[0], right[-1]]


def spread_rows(rows, count, seed):
    """`count` of `rows` row numbers, rising: one at random in each of as many equal parts."""
    count = min(rows, count)
    random = numpy.random.Generator(numpy.random.Philox(seed))
    edges = [rows * i // count for i in range(count + 1)] if count else []
    return [int(random.integers(a, b)) for a, b in zip(edges, edges[1:])]
