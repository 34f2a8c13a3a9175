# SPDX-License-Identifier: Apache-2.0
"""Opening Selvage's HDF5 files. Opening reads the first 4 KiB and HDF5's own metadata; everything else is read when it
is asked for, chunk by chunk, checked by HDF5's checksums. The digest of a whole file is not verified here (`selvage
check` does): that would read all of it."""
import math
import os
import pathlib

import h5py
import numpy

from .errors import bad_data, missing

FORMAT_VERSION = 1
USER_BLOCK_BYTES = 4096
MAGIC = b"SELVAGE\n"
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# What h5py raises on damaged files; MemoryError where a damaged shape asks for more than there is.
UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, MemoryError)
MOST_COMPRESSED = 1032  # times; deflate cannot do more, so a dataset that is larger has a damaged shape
CACHE_BYTES = 8 << 20  # per dataset: some chunks of 1 MiB, so that neighbours are not read again


class SelvageFile:
    """An open file of one of Selvage's formats ("selvage-drafts"). Errors: 66 not there; 65 not ours, truncated,
    damaged."""

    def __init__(self, path, *formats):
        self.path = pathlib.Path(path)
        self._bytes = _check_head(self.path)
        try:
            self._file = h5py.File(self.path, "r", rdcc_nbytes=CACHE_BYTES)
        except UNREADABLE as error:
            raise bad_data(
                f"{self.path}: damaged ({_first_line(error)}); use another copy, `selvage check` says more") from error
        try:
            self._check_format(formats)
        except Exception:
            self._file.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._file.close()

    def _check_format(self, formats):
        self.attributes = self._attributes_of(self._file)
        self.format = self.attributes.get("format")
        if not isinstance(self.format, str) or not self.format.startswith("selvage-"):
            raise bad_data(f"{self.path}: an HDF5 file, but not one of Selvage's (no attribute format); check the path")
        if formats and self.format not in formats:
            raise bad_data(f"{self.path}: format {self.format}, expected {' or '.join(formats)}; check the path")
        version = self.attributes.get("format_version")
        if version != FORMAT_VERSION:
            raise bad_data(
                f"{self.path}: format version {version}, this program reads {FORMAT_VERSION}; use the analysis "
                "of the version that wrote it")

    def _attributes_of(self, item):
        try:
            return {name: _plain(item.attrs[name]) for name in item.attrs}
        except UNREADABLE as error:
            raise self._damaged("its attributes", error) from error

    def _damaged(self, what, error):
        return bad_data(
            f"{self.path}: {what} cannot be read ({_first_line(error)}); the file is damaged, use another copy")

    def names(self, group="/"):
        """Names in a group, sorted; none where there is no such group."""
        try:
            item = self._file.get(group)
            return sorted(item) if isinstance(item, h5py.Group) else []
        except UNREADABLE as error:
            raise self._damaged(group, error) from error

    def _item(self, name):
        try:
            return self._file.get(name)
        except UNREADABLE as error:
            raise self._damaged(name, error) from error

    def attributes_of(self, name):
        item = self._item(name)
        return {} if item is None else self._attributes_of(item)

    def __contains__(self, name):
        return isinstance(self._item(name), h5py.Dataset)

    def dataset(self, name):
        """The h5py dataset, nothing of it read yet."""
        found = self._item(name)
        if not isinstance(found, h5py.Dataset):
            raise bad_data(f"{self.path}: no dataset {name}; the file is not a whole {self.format}")
        return found

    def length(self, name):
        """Of the first dimension."""
        data = self.dataset(name)
        if not data.shape:
            raise bad_data(f"{self.path}: {name} is a scalar, expected a list; the file is damaged, use another copy")
        return data.shape[0]

    def read(self, name, begin=0, end=None):
        """Elements begin .. end-1 of the first dimension as a numpy array; texts as an array of str."""
        data = self.dataset(name)
        try:
            if (claimed := math.prod(data.shape) * data.dtype.itemsize) > MOST_COMPRESSED * self._bytes:
                raise ValueError(f"{claimed} bytes in a file of {self._bytes}")
            values = data[()] if data.shape == () else data[begin:data.shape[0] if end is None else end]
            if data.dtype.kind in "SO":
                return numpy.array([_plain(value) for value in values], dtype=str)
        except UNREADABLE as error:
            raise self._damaged(name, error) from error
        return values


class Ragged:
    """Rows of unequal length over the token datasets of a file: row i is elements offsets[i] .. offsets[i+1]-1. Of
    /offsets only the two numbers that a row needs are read."""

    def __init__(self, file):
        self.file = file
        self.rows = file.length("/offsets") - 1
        if self.rows < 0:
            raise bad_data(f"{file.path}: /offsets is empty; the file is damaged, use another copy")

    def bounds(self, row):
        """First element of the row, and the one behind its last."""
        begin, end = (int(value) for value in self.file.read("/offsets", row, row + 2))
        if not 0 <= begin <= end:
            raise bad_data(f"{self.file.path}: /offsets falls from {begin} to {end} at row {row}; the file is damaged")
        return begin, end

    def row(self, row, *names):
        """The row's elements of each dataset."""
        begin, end = self.bounds(row)
        arrays = [self.file.read(name, begin, end) for name in names]
        for name, array in zip(names, arrays):
            if len(array) != end - begin:
                raise bad_data(f"{self.file.path}: {name} ends inside row {row}; the file is damaged, use another copy")
        return arrays

    def find(self, example, sample=0):
        """The first row of this example and sample, in files whose rows are ordered by them; None where there is none.
        A binary search: some thirty reads of one chunk each in the largest file."""
        first, last = 0, self.rows
        while first < last:
            middle = (first + last) // 2
            at = int(self.file.read("/example", middle, middle + 1)[0])
            if at < example or (at == example and self._key(middle) < (example, sample)):
                first = middle + 1
            else:
                last = middle
        return first if first < self.rows and self._key(first) == (example, sample) else None

    def _key(self, row):
        return int(self.file.read("/example", row, row + 1)[0]), int(self.file.read("/sample", row, row + 1)[0])

    def rows_like(self, row):
        """`row` and those behind it of the same example and sample (turns of a draft, methods of a woven example)."""
        key, rows = self._key(row), [row]
        while rows[-1] + 1 < self.rows and self._key(rows[-1] + 1) == key:
            rows.append(rows[-1] + 1)
        return rows


def _check_head(path):
    """Is it ours and whole, as far as its size and first bytes say? Its size."""
    try:
        if path.is_dir():
            raise bad_data(f"{path}: a folder, not a file; give the file in it")
        with open(path, "rb") as file:
            head, size = file.read(USER_BLOCK_BYTES), os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise missing(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise missing(f"{path}: cannot be opened ({error.strerror}); check its permissions") from error
    if size == 0:
        raise bad_data(f"{path}: empty; it was not written to its end")
    if head.startswith(MAGIC):
        lines = dict(line.split(": ", 1) for line in head.decode("latin-1").splitlines() if ": " in line)
        if lines.get("file_bytes") != str(size):
            raise bad_data(
                f"{path}: damaged (it has {size} bytes, {lines.get('file_bytes', 'an unknown number')} were written); "
                "use another copy")
    elif not any(head[at:at + 8] == HDF5_SIGNATURE for at in (0, 512, 1024, 2048)):
        raise bad_data(f"{path}: not a file of Selvage (it does not start like HDF5); check the path")
    return size


def _plain(value):
    """Attributes and texts as Python's own types."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, numpy.generic) else value


def _first_line(error):
    return str(error).splitlines()[0] if str(error) else type(error).__name__
