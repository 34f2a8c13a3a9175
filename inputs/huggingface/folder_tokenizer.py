# SPDX-License-Identifier: Apache-2.0
"""The tokenizer of a Hugging Face folder, and the bytes that its ids stand for."""
import json
import os
import re

import tokenizers


class Stop(Exception):
    """What ends the script; `code` is its exit code, as the program's."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def read_json(path, needed):
    if not os.path.isfile(path):
        if needed:
            raise Stop(66, "%s: no such file; a folder is needed that save_pretrained of the tokenizer wrote (for a "
                                "sentencepiece tokenizer.model alone there is selvage prepare --tokenizer)" % path)
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (ValueError, RecursionError) as error:
        raise Stop(65, "%s: not JSON (%s); get the file again" % (path, error)) from error
    if not isinstance(content, dict):
        raise Stop(65, "%s: not a JSON object; get the file again" % path)
    return content


# --- the bytes of a piece ---


def byte_of_character():
    """Byte-level BPE (GPT-2) writes every byte as one printable character: itself where it is one, else from U+0100."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xa1, 0xac + 1), *range(0xae, 0xff + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{chr(byte): byte for byte in printable}, **{chr(256 + i): byte for i, byte in enumerate(others)}}


BYTES = byte_of_character()
BYTE_PIECE = re.compile("<0x([0-9A-Fa-f]{2})>")


def byte_level(piece):
    if all(character in BYTES for character in piece):
        return bytes(BYTES[character] for character in piece)
    return piece.encode()


def decoder_steps(decoder):
    if decoder is None:
        raise Stop(65, "the tokenizer has no decoder: what text its ids stand for is not known")
    return [step for part in decoder["decoders"] for step in decoder_steps(part)] \
        if decoder["type"] == "Sequence" else [decoder]


def decoding(decoder):
    """The function from a piece to its bytes. What a decoder does to a text as a whole (Fuse, Strip of the space that
    encoding puts in front) is not part of it."""
    replacements, byte_fallback = [], False
    for step in decoder_steps(decoder):
        kind = step["type"]
        if kind == "ByteLevel":
            return byte_level
        if kind == "ByteFallback":
            byte_fallback = True
        elif kind == "Replace" and "String" in step["pattern"]:
            replacements.append((step["pattern"]["String"], step["content"]))
        elif kind == "Metaspace":
            replacements.append((step["replacement"], " "))
        elif kind not in ("Fuse", "Strip"):
            raise Stop(65, "tokenizer.json: decoder %s is not supported (ByteLevel, ByteFallback, Replace, Metaspace, "
                                "Fuse and Strip are)" % kind)

    def piece_bytes(piece):
        match = BYTE_PIECE.fullmatch(piece) if byte_fallback else None
        if match:
            return bytes([int(match.group(1), 16)])
        for old, new in replacements:
            piece = piece.replace(old, new)
        return piece.encode()

    return piece_bytes


# --- the folder ---


def text_of_token(token):
    """Tokens stand in configurations as text, or as an object with their text."""
    return token.get("content") if isinstance(token, dict) else token


class FolderTokenizer:
    """Encodes as transformers.AutoTokenizer does from the same tokenizer.json."""

    def __init__(self, folder):
        path = os.path.join(folder, "tokenizer.json")
        self.json = read_json(path, needed=True)
        self.config = read_json(os.path.join(folder, "tokenizer_config.json"), needed=False)
        named = {**read_json(os.path.join(folder, "special_tokens_map.json"), needed=False), **self.config}
        self.special_tokens = {name: text_of_token(token) for name, token in named.items()
                               if re.fullmatch("(bos|eos|unk|sep|pad|cls|mask)_token", name) and token is not None}
        try:
            self.library = tokenizers.Tokenizer.from_file(path)
        except Exception as error:  # the library knows no narrower one
            raise Stop(65, "%s: the tokenizers library cannot read it (%s); get the file again, or install a newer "
                                "tokenizers" % (path, error)) from error
        self.library.no_truncation()
        self.library.no_padding()
        self.add_tokens()
        self.prefix = self.find_prefix()
        self.model_config = read_json(os.path.join(folder, "config.json"), needed=False)
        self.model_config = self.model_config.get("text_config") or self.model_config
        self.vocabulary = self.model_config.get("vocab_size")  # None: not known

    def add_tokens(self):
        """Tokens that tokenizer_config.json alone has."""
        for number, entry in sorted((self.config.get("added_tokens_decoder") or {}).items(), key=lambda kv: int(kv[0])):
            if self.library.token_to_id(entry["content"]) is None:
                flags = {key: entry[key] for key in ("lstrip", "rstrip", "single_word", "normalized", "special")
                         if key in entry}
                self.library.add_tokens([tokenizers.AddedToken(entry["content"], **flags)])
            if self.library.token_to_id(entry["content"]) != int(number):
                raise Stop(65, "tokenizer_config.json gives %r the id %s, tokenizer.json has %s; get both files again"
                                    % (entry["content"], number, self.library.token_to_id(entry["content"])))

    def find_prefix(self):
        """What tokenizer.json puts in front of every text: bos, or nothing."""
        encoding = self.library.encode("a")
        plain = encoding.special_tokens_mask.index(0) if 0 in encoding.special_tokens_mask else 0
        return encoding.ids[:plain]

    def id_of(self, name):
        """Of bos_token, eos_token or pad_token: by its text, else what config.json has; None: there is none."""
        token = self.special_tokens.get(name)
        number = None if token is None else self.library.token_to_id(token)
        given = self.model_config.get(name + "_id") if number is None else number
        given = given[0] if isinstance(given, list) and given else given
        return given if isinstance(given, int) and self.library.id_to_token(given) is not None else None

    def encode(self, texts):
        """Nothing put in front or behind; special tokens in a text become their ids."""
        return [encoding.ids for encoding in self.library.encode_batch(list(texts), add_special_tokens=False)]

    def special_ids(self):
        return {number for number, token in self.library.get_added_tokens_decoder().items() if token.special}

    def pieces(self):
        """The bytes of every id; of special tokens and of ids without a token none."""
        vocabulary = self.library.get_vocab(with_added_tokens=True)
        piece_bytes = decoding(self.json.get("decoder"))
        special = self.special_ids()
        pieces = [b""] * (max(vocabulary.values()) + 1)
        for piece, number in vocabulary.items():
            if number not in special:
                pieces[number] = piece_bytes(piece)
        return pieces
