# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint of about 1 GB costs a run, and how fast it is written, beside dd with fsync in the same folder."""
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

from workers import WorkerError

# Few operations for its size: most of it is the vocabulary.
DECK = """
[run]
rounds = 1
[model]
layers = 2
hidden = 512
heads = 8
kv_heads = 8
head_size = 64
ffn = 1408
vocabulary = 160000
[data]
train = "data.h5"
heldout = "data.h5"
context = 64
[generate]
cache_mib = 4
max_new_tokens = 1
[weave]
method = "none"
[train]
lanes = 1
steps_per_round = 23
batch_tokens = 256
micro_batch_tokens = 256
[evaluate]
every_rounds = 0
examples = 1
turns = 0
[checkpoint]
every_steps = 12
"""


class CheckpointWorker:
    """Each round a run that writes in the background and one that waits, and dd."""

    def __init__(self, selvage, folder=None):
        import h5py
        self.h5py = h5py
        self.selvage = str(selvage)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="selvage-bench-", dir=folder))
        lines = [json.dumps({"prompt": f"{i} and one make ", "response": str(i + 1)}) for i in range(300)]
        (self.folder / "data.jsonl").write_text("\n".join(lines) + "\n")
        (self.folder / "deck.toml").write_text(DECK)
        self._run("prepare", "--input", self.folder / "data.jsonl", "--output", self.folder / "data.h5", "--tokenizer",
                  "bytes")
        self.about = {"folder": str(self.folder)}

    def _run(self, *words):
        done = subprocess.run([self.selvage, *map(str, words)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise WorkerError(done.stderr.strip().splitlines()[-1])

    def _checkpoints(self, background):
        """Seconds that the run waited for the one in the middle of training, bytes, and seconds of writing."""
        out = self.folder / "out"
        self._run("run", self.folder / "deck.toml", "--out", out, "--set", f"checkpoint.background={background}")
        with self.h5py.File(out / "run.h5") as log:
            table = {name: log[f"checkpoints/{name}"][()] for name in ("stall_seconds", "write_seconds", "bytes")}
        shutil.rmtree(out)
        return table["stall_seconds"][0], int(table["bytes"][0]), statistics.median(table["write_seconds"])

    def _dd(self, size):
        path = self.folder / "dd"
        start = time.perf_counter()
        subprocess.run(["dd", "if=/dev/zero", f"of={path}", "bs=4M", f"count={max(1, size >> 22)}", "conv=fsync"],
                       check=True, capture_output=True)
        seconds = time.perf_counter() - start
        os.remove(path)
        return seconds

    def round(self):
        stall, size, _ = self._checkpoints("true")
        waited, _, writing = self._checkpoints("false")
        dd = self._dd(size)
        return {"stall": stall, "waited": waited, "gbps": size / writing / 1e9, "vs_dd": dd / writing,
                "dd_gbps": size / dd / 1e9}

    def close(self):
        shutil.rmtree(self.folder)
