# SPDX-License-Identifier: Apache-2.0
"""A run's output folder: its log as arrays, its deck, and where its other files are."""
import dataclasses
import pathlib
import tomllib

import numpy

from .errors import bad_data, missing
from .files import SelvageFile

STEP_COLUMNS = ("step", "round", "loss", "grad_norm", "learning_rate", "target_tokens", "seconds")
SWEEP_COLUMNS = ("kind", "round", "tokens", "examples", "repeated", "left_over", "seconds", "busy")
CHECKPOINT_COLUMNS = ("step", "bytes", "stall_seconds", "write_seconds")


@dataclasses.dataclass
class Metric:
    """One metric over the run's evaluations. step, round: int64 (evaluations,); value, low, high: float64
    (evaluations,), NaN where it has no value; low and high are the 95% interval (bootstrap over held-out examples).
    by_position: float64 (evaluations, bins) and count: int64 (evaluations, bins), examples that count there; both None
    where it has no curve."""
    name: str
    step: numpy.ndarray
    round: numpy.ndarray
    value: numpy.ndarray
    low: numpy.ndarray
    high: numpy.ndarray
    by_position: numpy.ndarray = None
    count: numpy.ndarray = None


class Run:
    """`steps` and `sweeps`: column name -> array (rows,), as README.md, "Files", lists them (losses in nats, seconds in
    s, `kind` str); `sweeps["communication"]` and `busy_by_rank` are NaN where a file has none. `events`: list of (time,
    kind, text); `memory`: name -> bytes. The log is a snapshot: a run that goes on replaces the file whole."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        path = self.folder / "run.h5"
        if self.folder.is_file():
            path, self.folder = self.folder, self.folder.parent
        if not self.folder.is_dir():
            raise missing(f"{self.folder}: no such folder; give the output folder of a run")
        if not path.exists():
            raise missing(
                f"{self.folder}: no run.h5 in it; it is not the output folder of a run, or the run has just begun")
        with SelvageFile(path, "selvage-run") as file:
            self.attributes = {name: value for name, value in file.attributes.items() if name != "deck"}
            self.deck_text = str(file.attributes.get("deck", ""))
            self.deck = self._parse(path)
            self.steps = self._columns(file, "/steps", STEP_COLUMNS)
            self.sweeps = self._columns(file, "/sweeps", SWEEP_COLUMNS)
            self._add_newer_columns(file)
            self._metrics = {
                name: self._metric(file, name)
                for name in file.names("/evaluations") if not name.endswith("_by_position")}
            events = self._columns(file, "/events", ("time", "kind", "text"))
            self.events = list(zip(*(events[name].tolist() for name in ("time", "kind", "text"))))
            # Of each that was written: the step, bytes, and seconds that the run waited and that the writing took.
            self.checkpoints = {name: numpy.array([]) for name in CHECKPOINT_COLUMNS}
            if file.names("/checkpoints"):
                self.checkpoints = self._columns(file, "/checkpoints", CHECKPOINT_COLUMNS)
            self.memory = {}
            if file.names("/memory"):
                memory = self._columns(file, "/memory", ("name", "bytes"))
                self.memory = dict(zip(memory["name"].tolist(), memory["bytes"].tolist()))

    def _parse(self, path):
        try:
            return tomllib.loads(self.deck_text)
        except tomllib.TOMLDecodeError as error:
            raise bad_data(
                f"{path}: its attribute deck is not TOML ({error}); the file is damaged, use another copy") from error

    @staticmethod
    def _columns(file, group, names):
        columns = {name: file.read(f"{group}/{name}") for name in names}
        if len({numpy.shape(column)[:1] for column in columns.values()}) > 1:
            raise bad_data(
                f"{file.path}: the columns of {group} differ in length; the file is damaged, use another copy")
        return columns

    def _add_newer_columns(self, file):
        rows = len(self.sweeps["kind"])
        for name, shape in (("communication", (rows,)), ("busy_by_rank", (rows, 1))):
            there = f"/sweeps/{name}" in file
            self.sweeps[name] = file.read(f"/sweeps/{name}") if there else numpy.full(shape, numpy.nan)

    def _metric(self, file, name):
        metric = Metric(name, **self._columns(file, f"/evaluations/{name}", ("step", "round", "value", "low", "high")))
        curve = f"/evaluations/{name}_by_position"
        if f"{curve}/value" in file:
            metric.by_position, metric.count = file.read(f"{curve}/value"), file.read(f"{curve}/count")
        return metric

    @property
    def metric_names(self):
        return sorted(self._metrics)

    def metric(self, name):
        """The metric, or None where this run never measured it."""
        return self._metrics.get(name)

    def key(self, name, default=None):
        """A key of the effective deck: key("weave.bash.rate")."""
        value = self.deck
        for part in name.split("."):
            if not isinstance(value, dict) or part not in value:
                return default
            value = value[part]
        return value

    def deck_paths(self, name):
        value = self.key(name, [])
        return [pathlib.Path(path) for path in ([value] if isinstance(value, str) else value)]

    @property
    def seed(self):
        return self.key("run.seed", 0)

    @property
    def rounds(self):
        """Rounds that have begun to train."""
        return int(self.steps["round"].max()) if len(self.steps["round"]) else 0

    def method_of(self, round_number):
        """The method of a round with BASH's kind of draft: "bash forced"."""
        methods = self.key("weave.method", "none")
        if isinstance(methods, list):
            methods = methods[min(max(round_number, 1), len(methods)) - 1]
        return f"bash {self.key('weave.bash.draft', 'forced')}" if methods == "bash" else methods

    @property
    def method(self):
        """The run's methods in order: "none", or "none x3, bash forced x2, rac"."""
        methods = [self.method_of(number) for number in range(1, max(1, self.key("run.rounds", 1)) + 1)]
        runs = []
        for name in methods:
            if runs and runs[-1][0] == name:
                runs[-1][1] += 1
            else:
                runs.append([name, 1])
        if len(runs) == 1:
            return runs[0][0]
        return ", ".join(name if count == 1 else f"{name} ×{count}" for name, count in runs)

    @property
    def state(self):
        """finished, stopped, or going (or killed: the file cannot tell)."""
        kinds = [kind for _, kind, _ in self.events if kind in ("start", "end", "stop")]
        return {"end": "finished", "stop": "stopped"}.get(kinds[-1] if kinds else "", "going, or killed")

    def sweep_rounds(self, kind, column="seconds"):
        """(rounds, values) of the sweeps of one kind."""
        chosen = self.sweeps["kind"] == kind
        return self.sweeps["round"][chosen], self.sweeps[column][chosen]

    def seconds_of(self, kind):
        return float(numpy.nansum(self.sweep_rounds(kind)[1]))

    def tokens_of(self, kind):
        return int(self.sweep_rounds(kind, "tokens")[1].sum())

    def round_files(self, part):
        """Round -> path of "drafts" or "woven" files, as far as they are written."""
        return {
            int(path.stem[6:]): path
            for path in sorted((self.folder / part).glob("round-*.h5")) if path.stem[6:].isdigit()}


def position_bins(bins):
    """First positions of the bins of the curves by answer position: 0, 8, 24, 56, ... (widths double from 8)."""
    return [8 * (2**i - 1) for i in range(bins)]
