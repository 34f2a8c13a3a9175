# SPDX-License-Identifier: Apache-2.0
"""The data file of Selvage (format selvage-data), and the report about it."""
import datetime
import os

import h5py
import numpy

from folder_tokenizer import Stop

DATASETS = {  # name to (type, description, unit)
    "tokens": ("i4", "token ids of prompt and answer of every pair, one after the other", "token id"),
    "offsets": ("i8", "pair i is tokens offsets[i] to offsets[i+1] - 1", "token"),
    "prompt_length": ("i4", "tokens of the pair's prompt; the rest is its answer", "token"),
    "tokenizer/pieces": ("u1", "bytes of all pieces, one after the other", "byte"),
    "tokenizer/piece_offsets": ("i8", "piece i is bytes piece_offsets[i] to piece_offsets[i+1] - 1", "byte"),
    "tokenizer/model": ("u1", "serialized model of the tokenizer's library, where it has one", "byte"),
}


def write_file(path, preparer, inputs):
    """Written whole or not at all."""
    columns = preparer.columns()
    names = ", ".join(map(os.path.basename, inputs[:100]))
    if inputs[100:]:
        names += " and %d more" % (len(inputs) - 100)
    try:
        with h5py.File(path + ".partial", "w", libver=("earliest", "v110")) as file:
            file.attrs.update({
                "format": "selvage-data", "format_version": numpy.int32(1),
                "created": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "source": names, "source_digest": preparer.digest.hexdigest(), "source_lines": preparer.lines,
                "empty_lines": preparer.empty_lines, "dropped_lines": sum(map(len, preparer.dropped.values())),
                "duplicates": len(preparer.duplicates),
                "duplicates_dropped": int(preparer.options.duplicates == "drop")})
            for name, (dtype, description, units) in DATASETS.items():
                values = numpy.asarray(columns[name], dtype=dtype)
                made = file.create_dataset(name, data=values, chunks=True if values.size else None,
                                           fletcher32=values.size > 0)
                made.attrs.update({"description": description, "units": units})
            for i, (text, ids) in enumerate(preparer.phrases().items()):
                made = file.create_dataset("tokenizer/phrases/%d" % i, data=numpy.asarray(ids, dtype="i4"))
                made.attrs.update({"text": text, "description": "token ids of the text in the attribute text",
                                   "units": "token id"})
            begin, padding = (preparer.tokenizer.id_of(name) for name in ("bos_token", "pad_token"))
            file["tokenizer"].attrs.update({
                "kind": "huggingface", "end_of_answer": numpy.int32(preparer.end_of_answer()),
                "begin": numpy.int32(-1 if begin is None else begin),
                "padding": numpy.int32(-1 if padding is None else padding)})
        os.replace(path + ".partial", path)
    except OSError as error:
        raise Stop(74, "%s: cannot be written (%s); check the disk and permissions" % (path, error)) from error
    finally:
        if os.path.exists(path + ".partial"):
            os.remove(path + ".partial")


def length_row(name, lengths):
    lengths = numpy.sort(lengths)
    # Nearest rank: the smallest length that at least `percent` of the pairs do not exceed.
    at = [lengths[(len(lengths) * percent + 99) // 100 - 1] for percent in (50, 90, 95, 99)]
    return ("%10s" + "%8d" * 6 + "%10.1f\n") % (name, lengths[0], *at, lengths[-1], lengths.mean())


def numbers_of(places):
    """Line numbers by file, runs as first-last."""
    text, i = "", 0
    while i < len(places):
        path, first = places[i]
        if i == 0 or places[i - 1][0] != path:
            text += "%s  %s:" % ("\n" if i else "", path)
        last = first
        while i + 1 < len(places) and places[i + 1] == (path, last + 1):
            last, i = last + 1, i + 1
        text += " %d" % first + ("-%d" % last if last > first else "")
        i += 1
    return text + "\n"


def describe(preparer):
    lengths, prompts = numpy.array(preparer.lengths), numpy.array(preparer.prompt_lengths)
    text = ("%10s" + "%8s" * 6 + "%10s\n") % ("tokens", "least", "50%", "90%", "95%", "99%", "most", "mean")
    text += length_row("prompt", prompts) + length_row("answer", lengths - prompts) + length_row("together", lengths)
    if preparer.empty_lines:
        text += "empty lines: %d\n" % preparer.empty_lines
    if preparer.straddling:
        text += "answers that begin inside a token of the whole conversation, encoded by themselves: %d\n" % \
            preparer.straddling
    for reason, places in preparer.dropped.items():
        text += "dropped, %s: %d\n%s" % (reason, len(places), numbers_of(places))
    if preparer.duplicates:
        word = "dropped" if preparer.options.duplicates == "drop" else "kept (--duplicates drop leaves them out)"
        text += "%s, the same prompt and answer as a line before: %d\n%s" % (word, len(preparer.duplicates),
                                                                            numbers_of(preparer.duplicates))
    return text
