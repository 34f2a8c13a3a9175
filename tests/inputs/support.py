# SPDX-License-Identifier: Apache-2.0
"""Loads a script under inputs/ as a module, and runs it as a program."""
import importlib.util
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def path(folder):
    return os.path.join(ROOT, "inputs", folder, "make.py")


def load(folder):
    spec = importlib.util.spec_from_file_location(folder + "_make", path(folder))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(folder, *arguments):
    return subprocess.run([sys.executable, "-B", path(folder)] + [str(a) for a in arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)


def read(path):
    with open(path, "rb") as file:
        return file.read()
