# SPDX-License-Identifier: Apache-2.0
"""Token ids to text by the piece table that data files and checkpoints carry; no tokenizer library is needed."""
from .errors import AnalysisError, bad_data
from .files import SelvageFile


class Tokenizer:
    """`pieces`: list of bytes, what each id stands for (special ids are empty); `special`: id -> name."""

    def __init__(self, pieces, special=None):
        self.pieces = pieces
        self.special = special or {}
        self.end_of_answer = next((token for token, name in self.special.items() if name == "end"), -1)

    @classmethod
    def of_file(cls, path):
        """From a data file, checkpoint or model."""
        with SelvageFile(path, "selvage-data", "selvage-checkpoint", "selvage-model") as file:
            table = file.read("/tokenizer/pieces").tobytes()
            offsets = file.read("/tokenizer/piece_offsets").tolist()
            if not offsets or offsets[-1] > len(table) or any(a > b for a, b in zip(offsets, offsets[1:])):
                raise bad_data(f"{path}: /tokenizer/piece_offsets does not fit /tokenizer/pieces; the file is damaged")
            attributes = file.attributes_of("/tokenizer")
        names = {"end_of_answer": "end", "begin": "begin", "padding": "padding"}
        special = {int(attributes[key]): name for key, name in names.items() if int(attributes.get(key, -1)) >= 0}
        return cls([table[a:b] for a, b in zip(offsets, offsets[1:])], special)

    @classmethod
    def none(cls):
        """Without a table: every token is shown as its id."""
        return cls([])

    @classmethod
    def of_run(cls, run):
        """Of the run's data or, where that is gone, its newest checkpoint; (tokenizer, note), the note says what was
        amiss."""
        paths = [*run.deck_paths("data.train"), *sorted((run.folder / "checkpoints").glob("step-*.h5"), reverse=True)]
        for path in paths:
            try:
                return cls.of_file(path), ""
            except AnalysisError:
                continue
        return cls.none(
        ), "The data files of this run are not where its deck says, and no checkpoint is left: tokens are shown as ids."

    def decode(self, tokens):
        """Text of ids; special tokens vanish, bytes that are not UTF-8 become U+FFFD."""
        if not self.pieces:
            return "".join(f"[{token}]" for token in tokens)
        return b"".join(self._bytes(token) for token in tokens).decode("utf-8", "replace")

    def _bytes(self, token):
        return self.pieces[token] if 0 <= token < len(self.pieces) and token not in self.special else b""

    def show(self, token):
        """One token for the eye: its text, <end> for a special one, \\xNN for bytes that are no text alone, [id]
        without a table."""
        token = int(token)
        if token in self.special:
            return f"<{self.special[token]}>"
        if not 0 <= token < len(self.pieces):
            return f"[{token}]"
        return self.pieces[token].decode("utf-8", "backslashreplace")
