# SPDX-License-Identifier: Apache-2.0
"""What is wrong with an input, and the exit code that goes with it (those of the program, README.md)."""
USAGE = 64  # bad command line
BAD_DATA = 65  # foreign, truncated or damaged file
MISSING = 66  # no such file
IO = 74  # cannot be written


class AnalysisError(Exception):
    """Says what, where and what to do; `code` is the exit code of the command line."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def bad_data(text):
    return AnalysisError(BAD_DATA, text)


def missing(text):
    return AnalysisError(MISSING, text)
