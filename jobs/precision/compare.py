# SPDX-License-Identifier: Apache-2.0
"""Loss curves of two precisions and two seeds side by side: compare.py DIR with DIR/{f32,bf16}-{1,2}/run.h5."""
import pathlib
import sys

import h5py
import numpy


def curves(path):
    """Training loss of every step, and the round's losses on validation text."""
    with h5py.File(path, "r") as file:
        return file["steps/round"][()], file["steps/loss"][()], file["evaluations/validation_nll/value"][()]


def main():
    folder = pathlib.Path(sys.argv[1])
    runs = {(name, seed): curves(folder / f"{name}-{seed}/run.h5") for name in ("f32", "bf16") for seed in (1, 2)}
    names = sorted(runs, key=lambda run: (run[1], run[0] != "f32"))
    rounds = sorted(set(runs["f32", 1][0]))
    print("mean training loss of a round, and the validation loss after it")
    print("round" + "".join(f"{name + ' seed ' + str(seed):>24}" for name, seed in names))
    for number in rounds:
        cells = []
        for run in names:
            of_step, loss, validation = runs[run]
            cells.append(f"{loss[of_step == number].mean():14.4f}{validation[number]:10.4f}")
        print(f"{number:5d}" + "".join(cells))
    losses = {run: values[1] for run, values in runs.items()}
    between = {"precisions, seed 1": (("f32", 1), ("bf16", 1)), "precisions, seed 2": (("f32", 2), ("bf16", 2)),
               "seeds, f32": (("f32", 1), ("f32", 2))}
    for what, (one, other) in between.items():
        difference = losses[one] - losses[other]
        print(f"between {what}: mean difference of a step's loss {difference.mean():+.5f}, "
              f"root mean square {numpy.sqrt((difference ** 2).mean()):.5f}")


if __name__ == "__main__":
    main()
