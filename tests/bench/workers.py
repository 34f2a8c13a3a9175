# SPDX-License-Identifier: Apache-2.0
"""Processes that stay alive and measure one round whenever they are asked (driver/rounds.h, peers/rounds.py)."""
import json
import os
import pathlib
import queue
import re
import subprocess
import tempfile
import threading
import time


class WorkerError(Exception):
    """It could not start, or gave no numbers; the message says why."""


class Worker:
    """One process. `about` holds the numbers that it was ready with."""

    def __init__(self, command, environment=None, patience=600):
        self.command = [str(part) for part in command]
        self.patience = patience
        self.errors = tempfile.TemporaryFile(mode="w+")
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
            env={**os.environ, **(environment or {})})
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self._collect, daemon=True)
        self.reader.start()
        try:
            self.about = self._answer()
        except WorkerError:
            self.close()
            raise

    def _collect(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def _answer(self):
        try:
            line = self.lines.get(timeout=self.patience)
        except queue.Empty:
            self.process.kill()
            raise WorkerError(f"no answer in {self.patience} s") from None
        if line is None:
            self.process.wait()
            raise WorkerError(self._last_error())
        try:
            return json.loads(line)
        except ValueError:
            raise WorkerError(f"not JSON: {line.strip()}") from None

    def _last_error(self):
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors if line.strip()]
        reasons = [line for line in lines if re.match(r"\d{4}-\S+ error ", line)] or lines[-1:]  # of the log
        return reasons[0] if reasons else f"exit code {self.process.returncode}, no message"

    def round(self):
        try:
            self.process.stdin.write("round\n")
            self.process.stdin.flush()
        except OSError:
            self.process.wait()
            raise WorkerError(self._last_error()) from None
        return self._answer()

    def close(self):
        try:
            self.process.stdin.close()
        except OSError:
            pass
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join()
        self.process.stdout.close()
        self.errors.close()
