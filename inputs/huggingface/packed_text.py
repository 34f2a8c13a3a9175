# SPDX-License-Identifier: Apache-2.0
"""The lines of text files, plain or packed (gzip, zstd)."""
import gzip
import io
import os
import zlib

from folder_tokenizer import Stop


class Damaged(Exception):
    pass


class ZstdReader(io.RawIOBase):
    """The frames of a file one behind the other. A cut in the middle of one, which zstandard.open lets pass, is an
    error."""

    def __init__(self, file, zstandard):
        super().__init__()
        self.file, self.zstandard = file, zstandard
        self.frame, self.packed, self.text = None, b"", b""

    def readable(self):
        return True

    def close(self):
        self.file.close()
        super().close()

    def readinto(self, buffer):
        while not self.text:
            self.packed = self.packed or self.file.read(1 << 18)
            if not self.packed:
                if self.frame is not None:
                    raise Damaged("it ends in the middle")
                return 0
            self.unpack()
        count = min(len(buffer), len(self.text))
        buffer[:count], self.text = self.text[:count], self.text[count:]
        return count

    def unpack(self):
        if self.frame is None:
            self.frame = self.zstandard.ZstdDecompressor().decompressobj()
        try:
            self.text = self.frame.decompress(self.packed)
        except self.zstandard.ZstdError as error:
            raise Damaged(error) from error
        self.packed = self.frame.unused_data if self.frame.eof else b""
        if self.frame.eof:
            self.frame = None


def open_packed(path):
    """Goes by what the file begins with, not by its name."""
    if not os.path.exists(path):
        raise Stop(66, path + ": no such file; check --input")
    if os.path.isdir(path):
        raise Stop(65, path + ": a folder, not a JSONL file; give the file in it")
    with open(path, "rb") as file:
        magic = file.read(4)
    if magic[:2] == b"\x1f\x8b":
        return gzip.open(path)
    if magic == b"\x28\xb5\x2f\xfd":
        try:
            import zstandard
        except ImportError:
            raise Stop(66, path + ": packed with zstd, which needs the Python package zstandard; install it, or unpack "
                       "the file") from None
        return io.BufferedReader(ZstdReader(open(path, "rb"), zstandard))
    return open(path, "rb")


def read_lines(path):
    """(number, bytes) of every line."""
    try:
        with open_packed(path) as file:
            yield from enumerate(file, 1)
    except (Damaged, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Stop(65, "%s: packed text that is damaged (%s); get the file again, or unpack it yourself"
                   % (path, error)) from error
    except OSError as error:
        raise Stop(74, "%s: cannot be read (%s)" % (path, error)) from error
