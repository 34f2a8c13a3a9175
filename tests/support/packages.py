# SPDX-License-Identifier: Apache-2.0
"""Tests that hold Selvage against other people's Python libraries: they run with an interpreter that has those, and are
skipped, saying what is missing, where there is none. .ci/run makes one in build/python of requirements.txt beside
this."""
import importlib.util
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SKIPPED = 77  # exit status


def is_here(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # not even the package that it is part of
        return False


def others():
    """Interpreters that may have more packages than this one."""
    named = (os.environ.get("SELVAGE_PYTHON_PACKAGES", ""), os.path.join(ROOT, "build/python/bin/python"))
    return [python for python in named if os.access(python, os.X_OK)]


def interpreter_with(*names):
    """One that can import them, or None."""
    for python in (*others(), sys.executable):
        if subprocess.run([python, "-c", f"import {', '.join(names)}"], capture_output=True, check=False).returncode == 0:
            return python
    return None


def need(*names):
    """Goes on where this interpreter has the packages, else starts the program again with the one of
    SELVAGE_PYTHON_PACKAGES or build/python, else ends it as skipped."""
    missing = [name for name in names if not is_here(name)]
    if not missing:
        return
    for python in others():
        if not os.environ.get("SELVAGE_PACKAGES_TRIED"):
            os.environ["SELVAGE_PACKAGES_TRIED"] = python
            os.execv(python, [python, "-B", *sys.argv])
    print("skipped: no Python package %s here; SELVAGE_PYTHON_PACKAGES may name an interpreter that has it (see "
          "tests/support/requirements.txt)" % ", ".join(missing))
    sys.exit(SKIPPED)
