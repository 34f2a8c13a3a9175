# SPDX-License-Identifier: Apache-2.0
"""What the tests of analysis/ share: the package, its command line, and files made by hand."""
import contextlib
import io
import pathlib
import subprocess
import sys
import tempfile

import h5py
import numpy

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/runs")]


def command(*words):
    """What `python3 -m analysis WORDS` does, in this process; returns (exit code, standard output, standard error)."""
    from analysis.command_line import main
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            code = main(list(map(str, words)))
        except SystemExit as end:
            code = end.code
    return code, output.getvalue(), errors.getvalue()


def process(*words, **options):
    """The same in a process of its own, from the root of the repository."""
    return subprocess.run([sys.executable, "-B", "-m", "analysis", *map(str, words)], cwd=ROOT, capture_output=True,
                          text=True, timeout=60, **options)


def write_file(path, file_format, datasets, **attributes):
    """A file as another program may write it: without user block and digest. `datasets`: name -> array."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": file_format, "format_version": 1, **attributes})
        for name, values in datasets.items():
            file[name] = values
    return path


def write_run(folder, deck, evaluations=None, steps=4, sweeps=(), events=()):
    """OUT/run.h5. evaluations: metric -> (value, low, high) by round from 0; sweeps: (kind, round, tokens, seconds)."""
    folder.mkdir(parents=True, exist_ok=True)
    step = numpy.arange(1, steps + 1)
    datasets = {
        f"steps/{name}": values
        for name, values in (("step", step), ("round", numpy.ones(steps, int)), ("loss", 3.0 / step),
                             ("grad_norm", 1.0 / step), ("learning_rate", step / 1000),
                             ("target_tokens", numpy.full(steps, 10)), ("seconds", numpy.full(steps, 0.5)))}
    columns = list(zip(*sweeps)) or [(), (), (), ()]
    datasets["sweeps/kind"] = numpy.array(columns[0], dtype="S8")
    for name, values in (("round", columns[1]), ("tokens", columns[2]), ("examples", columns[2]),
                         ("repeated", columns[1]), ("left_over", columns[1])):
        datasets[f"sweeps/{name}"] = numpy.array(values, dtype=int)
    datasets["sweeps/seconds"] = datasets["sweeps/busy"] = numpy.array(columns[3], dtype=float)
    for name, rows in (evaluations or {}).items():
        table = numpy.array(rows, dtype=float)
        datasets[f"evaluations/{name}/step"] = datasets[f"evaluations/{name}/round"] = numpy.arange(len(table))
        for i, column in enumerate(("value", "low", "high")):
            datasets[f"evaluations/{name}/{column}"] = table[:, i]
    for i, name in enumerate(("time", "kind", "text")):
        datasets[f"events/{name}"] = numpy.array([event[i] for event in events], dtype="S40")
    write_file(folder / "run.h5", "selvage-run", datasets, deck=deck)
    if not evaluations:
        with h5py.File(folder / "run.h5", "a") as file:
            file.require_group("evaluations")
    return folder


def temporary():
    return pathlib.Path(tempfile.mkdtemp(prefix="selvage-analysis-"))
