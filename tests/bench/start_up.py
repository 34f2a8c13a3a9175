# SPDX-License-Identifier: Apache-2.0
"""How long `selvage run` takes from exec to its first training step, with the quickstart's deck."""
import json
import os
import pathlib
import random
import signal
import subprocess
import tempfile
import time

from workers import WorkerError

PARTS = {"train": 20000, "validation": 500, "heldout": 500}  # pairs of a made-up corpus


def quickstart_data(root, selvage, folder):
    """Arguments that give the deck its data: none where jobs/quickstart/run.sh has made it, else a corpus of random
    words, prepared into `folder`."""
    if (root / "inputs/quickstart/data/heldout.h5").exists():
        return []
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 9))) for _ in range(2000)]
    arguments = []
    for part, pairs in PARTS.items():
        text, data = pathlib.Path(folder, f"{part}.jsonl"), pathlib.Path(folder, f"{part}.h5")
        with text.open("w", encoding="utf-8") as file:
            for _ in range(pairs):
                prompt, response = (" ".join(draw.choices(words, k=count)) for count in (20, 6))
                file.write(json.dumps({"prompt": prompt + "\n", "response": response}) + "\n")
        subprocess.run([selvage, "prepare", "--input", text, "--output", data, "--tokenizer", "bytes"], check=True,
                       capture_output=True)
        arguments += ["--set", f"data.{part}={json.dumps(str(data))}"]
    return arguments


class StartWorker:
    """A new job each round. The evaluation that opens every run is work, not start-up: "seconds" leaves it out,
    "seconds_with_evaluation" does not. Times of the parts are the program's own, from its run log."""

    def __init__(self, root, selvage):
        import h5py
        self.h5py = h5py
        self.folder = tempfile.TemporaryDirectory(prefix="selvage-bench-")
        data = quickstart_data(root, selvage, self.folder.name)
        self.command = [str(selvage), "run", str(root / "inputs/quickstart/quickstart.toml"), *data]
        self.about = {"data": "made up" if data else "quickstart"}

    def round(self):
        with tempfile.TemporaryDirectory(dir=self.folder.name) as folder:
            start = time.perf_counter()
            with subprocess.Popen([*self.command, "--out", os.path.join(folder, "out")], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True) as process:
                evaluated = self._wait_for_evaluation(process, start)
                time.sleep(1)  # it weaves, and trains
                process.send_signal(signal.SIGUSR1)
                process.communicate()
            with self.h5py.File(os.path.join(folder, "out", "run.h5")) as log:
                seconds = dict(zip(log["sweeps/kind"].asstr()[:], log["sweeps/seconds"][:].tolist()))
        with_evaluation = evaluated + seconds["weave"]
        return {"seconds": with_evaluation - seconds["evaluate"], "seconds_with_evaluation": with_evaluation}

    @staticmethod
    def _wait_for_evaluation(process, start):
        last = ""
        for line in process.stderr:
            if "round 0: evaluated" in line:
                return time.perf_counter() - start
            last = line.strip() or last
        process.wait()
        raise WorkerError(last or f"exit code {process.returncode}")

    def close(self):
        self.folder.cleanup()
